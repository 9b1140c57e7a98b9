"""The coordinators' store: the real one, in memory, with a disk and a network around it that fail.

It may be slow, fail, hang, commit and say that it failed, or be restored from an older copy without a word. Where
several coordinators share it, each has a way of its own to it, one transaction comes after the other, and whoever
is to look at it anew is woken.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import cast

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from killdeer_coordinator.core.books import Books, Decide, Decision, FleetLimits, Letter
from killdeer_coordinator.core.limits import Withheld
from killdeer_coordinator.store import migrate
from killdeer_coordinator.store.database import Database
from killdeer_coordinator.store.errors import StoreFailure
from killdeer_coordinator.store.sqlite import open_sqlite
from killdeer_coordinator.store.store import Committed, Store
from tests.simulation.clock import MS
from tests.simulation.ground import Ground
from tests.simulation.known import Known, Way

COPIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory(Database):
    """There is one connection to it, and it stays open."""

    connection: Connection

    @contextmanager
    def transaction(self, verb: str, engine: Engine, *, question: bool = False) -> Iterator[Connection]:
        try:
            with self.connection.begin():
                yield self.connection
        except SQLAlchemyError as cause:
            raise self.failure(verb, cause) from cause


class FaultyStore:
    """`failing`: every use fails with it. `lies`: the share of commits that are said to have failed. `wake` is
    called with the commit of what other coordinators are to see at once. Synchronous; the coordinator's shell gives
    it its time."""

    def __init__(
        self, ground: Ground, limits: FleetLimits, clock: Callable[[], int], wake: Callable[[], None]
    ) -> None:
        self._ground = ground
        opened = open_sqlite(make_url("sqlite://"))
        self._content = _content(opened)
        self._content.deserialize(_empty())
        whole = {one.name: getattr(opened, one.name) for one in fields(opened)}
        self._connection = opened.deciding.connect()
        database = InMemory(**{**whole, "wake": lambda _: wake()}, connection=self._connection)
        self._known = Known()
        self._open = partial(Way, self._known, database, limits=limits, clock=clock)
        self.real = self._open()
        self._clock = clock
        self._dice = ground.dice("store")
        self._copies: list[bytes] = []
        self._read: Books | None = None  # as of the last write
        self._decision = Decision()
        self.failing = ""
        self.lies = 0.0
        self.slow_ns = 0
        self.wall_ms = 0  # how far its clock is off, where it has one of its own

    def opened(self) -> Store:
        """By a coordinator that starts: nothing is known of what the last one did."""
        return self._open()

    def close(self) -> None:
        self._known.check(self.real)
        self._connection.close()
        self.real.close()

    def takes_ns(self) -> int:
        if self.slow_ns and self._dice.random() < 0.3:
            return self._dice.randint(1 * MS, self.slow_ns)
        return self._dice.randint(MS // 5, 4 * MS)

    def decide(self, by: str, real: Store, decide: Decide) -> Committed:
        """`real` is the way of the coordinator `by`."""
        self._answers()
        before, self._read = self._read, None
        seen: list[Books] = []

        def recorded(books: Books) -> Decision:
            seen.append(books)
            self._decision = decide(books)
            return self._decision

        committed = real.decide(recorded)
        self._known.decided(self._decision.changes)
        if not self._decision.changes and not self._decision.audit:
            self._read = before
        if isinstance(committed.answer, Withheld):
            self._ground.reach(f"withheld: {committed.answer.scope}")
        for witness in self._ground.witnesses:
            witness.committed(by, seen[0], self._decision)
        self._lie()
        return committed

    def post(self, by: str, real: Store, letters: Sequence[Letter]) -> None:
        self._answers()
        real.post(letters)
        self._lie()

    def collect(self, by: str, real: Store) -> tuple[int, list[Letter]]:
        """What was taken out is gone, also where its answer is lost."""
        self._answers()
        taken = real.collect(by)
        self._lie()
        return taken

    def read(self) -> Books:
        """Read anew only after a write: it is the same books otherwise, at another time."""
        self._answers()
        if self._read is None:
            self._read = self.real.read()
        return replace(self._read, now_ms=self._clock(), hosts=dict(self._read.hosts))

    def copy(self) -> None:
        """A backup."""
        self._known.check(self.real)
        self._copies = [*self._copies[-COPIES:], self._content.serialize()]

    def restore(self) -> bool:
        """From a backup, behind everybody's back; False: there is none."""
        if not self._copies:
            return False
        self._read = None
        self._known.forget()
        self._content.deserialize(self._dice.choice(self._copies))
        position = self.real.read().position
        for witness in self._ground.witnesses:
            witness.restored(position)
        return True

    def _answers(self) -> None:
        if self.failing:
            self._ground.reach("fault store fails")
            raise StoreFailure(self.failing)

    def _lie(self) -> None:
        if self.lies and self._dice.random() < self.lies:
            self._ground.reach("fault store lies")
            raise StoreFailure("the connection was lost at the commit")


def _content(database: Database) -> sqlite3.Connection:
    """The one connection of a store in memory."""
    return cast(sqlite3.Connection, database.deciding.raw_connection().driver_connection)


@lru_cache
def _empty() -> bytes:
    """A new store, made once in a process: its schema takes longer than a whole history's reads."""
    database = open_sqlite(make_url("sqlite://"))
    with database.deciding.begin() as connection:
        migrate.upgrade(connection)
    content = _content(database).serialize()
    database.close()
    return content
