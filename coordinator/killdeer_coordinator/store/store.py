"""The store: one deciding verb, and the questions that people ask (rule R17).

Synchronous; the shell reaches it through AsyncStore. Its methods may be called from several threads: SQLite
itself lets one decision in at a time, and an in-memory store, which is one connection, takes turns.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from killdeer.v1.operator_pb2 import AuditEntry, Explanation, RunView, WatchEventsResponse
from killdeer.v1.process_pb2 import KernelEvent, StorePosition
from killdeer_coordinator.core.books import Books, Decide, FleetLimits
from killdeer_coordinator.store import books, explaining, migrate, queries, statements
from killdeer_coordinator.store.deaths import ANY, Wanted, death_values
from killdeer_coordinator.store.engine import deciding, file_of, lock_directory, open_engine, reading, sqlite_url
from killdeer_coordinator.store.errors import StoreFailure

EVIDENCE_BATCH = 5_000
DAY_MS = 24 * 3_600_000

A = TypeVar("A")
B = TypeVar("B")


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Committed:
    """A decision that is durable: its answer, and the store's position after it."""

    answer: object
    position: StorePosition


class Store:
    """`name` is how messages call it; `turns` is taken around every use of an in-memory store."""

    def __init__(
        self, engine: Engine, *, name: str, limits: FleetLimits, clock: Callable[[], int], lock: int | None = None
    ) -> None:
        self._engine = engine
        self._name = name
        self._limits = limits
        self._clock = clock
        self._lock = lock
        self._turns: AbstractContextManager[object] = nullcontext() if lock is not None else Lock()

    @classmethod
    def open(cls, url: str, *, limits: FleetLimits | None = None, clock: Callable[[], int] = unix_ms) -> Self:
        """`sqlite:////PATH/killdeer.db`, or `sqlite://` for one in memory; brought to this version's schema.

        `limits` are coordinator.toml's, before operators' changes; `clock` gives Unix ms. Raises StoreInUse,
        NewerStore, StoreFailure.
        """
        parsed = sqlite_url(url)
        file = file_of(parsed)
        name = "in memory" if file is None else str(file)
        lock, engine = None, None
        try:
            lock = None if file is None else lock_directory(file.parent)
            engine = open_engine(parsed)
            with deciding(engine) as connection:
                migrate.upgrade(connection)
            return cls(engine, name=name, limits=limits or FleetLimits(limits={}), clock=clock, lock=lock)
        except BaseException as cause:
            if engine is not None:
                engine.dispose()
            if lock is not None:
                os.close(lock)
            if isinstance(cause, SQLAlchemyError | OSError):
                raise _failure("open", name, cause) from cause
            raise

    def close(self) -> None:
        """Gives the directory back. Nothing else may be called afterwards."""
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- decisions --------------------------------------------------------------------------------------

    def decide(self, fn: Decide) -> Committed:
        """Lock the fleet row, load, decide, write, commit. An exception of `fn` rolls back and passes through.

        Raises StoreFailure: then, unless the commit itself failed, nothing was written.
        """
        with self._transaction("decide in", deciding) as connection:
            fleet = connection.execute(statements.LOCK_FLEET).one()
            # The clock is read with the lock held, so that decisions are in the order of their times.
            read = books.load(
                connection,
                fleet,
                self._clock(),
                self._limits,
                self._asked(lambda position: books.position_known(connection, position)),
                self._asked(lambda key: books.run_of_key(connection, key)),
            )
            decision = fn(read)
            position = books.write(connection, read, decision)
        return Committed(decision.answer, position)

    def read(self) -> Books:
        """The books as one moment saw them. The two questions in them each ask the store again, as it is then."""
        with self._transaction("read", reading) as connection:
            fleet = connection.execute(statements.READ_FLEET).one()
            return books.load(connection, fleet, self._clock(), self._limits, self.position_known, self.run_of_key)

    def position_known(self, position: StorePosition) -> bool:
        with self._transaction("read", reading) as connection:
            return books.position_known(connection, position)

    def run_of_key(self, key: str) -> str:
        with self._transaction("read", reading) as connection:
            return books.run_of_key(connection, key)

    # --- evidence ---------------------------------------------------------------------------------------

    def append_events(self, host: str, events: Sequence[KernelEvent]) -> list[WatchEventsResponse]:
        """Keeps them, each with the run of its command, and returns them numbered, for those who watch."""
        if not events:
            return []
        now_ms = self._clock()
        commands = sorted({event.command_id for event in events if event.command_id})
        with self._transaction("append evidence to", deciding) as connection:
            found = connection.execute(statements.RUNS_OF_COMMANDS, {"command_ids": commands})
            run_of = {row.command_id: row.run_id for row in found}
            values = [
                {
                    "received_ms": now_ms,
                    "host": host,
                    "run_id": run_of.get(event.command_id),
                    "event": event.SerializeToString(),
                }
                for event in events
            ]
            numbers = connection.execute(statements.APPEND_EVIDENCE, values).scalars().all()
            kept = [
                WatchEventsResponse(
                    number=number, event=event, run_id=run_of.get(event.command_id, ""), received_unix_ms=now_ms
                )
                for number, event in zip(numbers, events, strict=True)
            ]
            if died := [{**row, "host": host} for row in death_values(kept)]:
                connection.execute(statements.APPEND_DEATHS, died)
        return kept

    def retain(self, days: int) -> int:
        """Deletes evidence older than that, in batches that let decisions through; how many events went."""
        before_ms, total = self._clock() - days * DAY_MS, 0
        while True:
            with self._transaction("delete old evidence from", deciding) as connection:
                batch = {"before_ms": before_ms, "batch": EVIDENCE_BATCH}
                deleted = connection.execute(statements.DELETE_OLD_EVIDENCE, batch).rowcount
            total += deleted
            if deleted < EVIDENCE_BATCH:
                return total

    # --- questions (see queries.py) ---------------------------------------------------------------------

    def runs(self, limit: int = 50) -> list[RunView]:
        with self._transaction("read", reading) as connection:
            return queries.runs(connection, limit)

    def run(self, run: str) -> RunView:
        """Raises NoSuchRun, AmbiguousRun."""
        with self._transaction("read", reading) as connection:
            return queries.run(connection, run)

    def run_id(self, run: str) -> str:
        """Raises NoSuchRun, AmbiguousRun."""
        with self._transaction("read", reading) as connection:
            return queries.run_id(connection, run)

    def audit(self, limit: int = 0) -> list[AuditEntry]:
        with self._transaction("read", reading) as connection:
            return queries.audit(connection, limit)

    def verify_audit(self, witnessed: Mapping[str, StorePosition] | None = None) -> str:
        with self._transaction("read", reading) as connection:
            return queries.verify_audit(connection, witnessed or {})

    def events(
        self, after: int | None = None, limit: int = 1_000, wanted: Wanted = ANY
    ) -> list[WatchEventsResponse]:
        with self._transaction("read", reading) as connection:
            return queries.events(connection, after, limit, wanted)

    def explain(self, host: str, process: str, limit: int = 3) -> list[Explanation]:
        with self._transaction("read", reading) as connection:
            return explaining.explain(connection, host, process, limit)

    def told_since_ms(self, host: str) -> int:
        with self._transaction("read", reading) as connection:
            return explaining.told_since_ms(connection, host)

    def sizes(self) -> queries.Sizes:
        with self._transaction("read", reading) as connection:
            return queries.sizes(connection)

    def _asked(self, question: Callable[[A], B]) -> Callable[[A], B]:
        """The question, for use inside a decision: what the database does to it is no fault of the decision."""

        def ask(about: A) -> B:
            try:
                return question(about)
            except SQLAlchemyError as cause:
                raise _failure("read", self._name, cause) from cause

        return ask

    @contextmanager
    def _transaction(
        self, verb: str, begin: Callable[[Engine], AbstractContextManager[Connection]]
    ) -> Iterator[Connection]:
        with self._turns:
            try:
                with begin(self._engine) as connection:
                    yield connection
            except SQLAlchemyError as cause:
                raise _failure(verb, self._name, cause) from cause


def _failure(verb: str, name: str, cause: BaseException) -> StoreFailure:
    # SQLAlchemy's own text quotes statements and values; the driver's says what is wrong.
    original = getattr(cause, "orig", None) or cause
    return StoreFailure(f"cannot {verb} the store ({name}): {original}; look at its disk's space, mode and health")
