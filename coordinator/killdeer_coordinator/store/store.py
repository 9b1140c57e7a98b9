"""The store: one deciding verb, and the questions that people ask (rule R17).

Synchronous; the shell reaches it through AsyncStore. Its methods may be called from several threads: the
database lets one decision in at a time, whichever coordinator it comes from.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

from sqlalchemy import Connection, Delete, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from killdeer.v1.operator_pb2 import (
    AuditEntry,
    Explanation,
    GetReportResponse,
    LogLine,
    RunView,
    WatchEventsResponse,
)
from killdeer.v1.probe_pb2 import Reading
from killdeer.v1.process_pb2 import KernelEvent, StorePosition
from killdeer_coordinator.core.books import (
    Books,
    CertificateRow,
    Decide,
    FleetLimits,
    Letter,
    PutHalt,
    PutRemoval,
    PutRun,
    ReleaseHalts,
    RemovalRow,
    TokenRow,
)
from killdeer_coordinator.outside import OutsideError
from killdeer_coordinator.store import books, explaining, migrate, queries, record, rows, statements
from killdeer_coordinator.store.database import Database, failure
from killdeer_coordinator.store.deaths import ANY, Wanted, death_values
from killdeer_coordinator.store.errors import StoreFailure
from killdeer_coordinator.store.sqlite import REMEDY, name_of, open_sqlite

# What other coordinators are to see at once: halts, runs that are aborted or taken over, hosts that are removed.
_WAKING = (PutHalt, ReleaseHalts, PutRun, PutRemoval)

EVIDENCE_BATCH = 5_000
_OLD = (statements.DELETE_OLD_EVIDENCE, statements.DELETE_OLD_READINGS, statements.DELETE_OLD_LINES)
DAY_MS = 24 * 3_600_000

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Committed:
    """A decision that is durable: its answer, and the store's position after it."""

    answer: object
    position: StorePosition


class Beside(Protocol):
    """The removals that outlive the store. One that is later than the store's holds: the store was restored."""

    def of(self, host: str) -> RemovalRow | None: ...

    def keep(self, removed: Iterable[RemovalRow]) -> None:
        """Durable when it returns. Raises OutsideError."""


class Store:
    def __init__(
        self,
        database: Database,
        *,
        limits: FleetLimits,
        clock: Callable[[], int] | None,
        removals: Beside | None = None,
    ) -> None:
        self._database = database
        self._removals = removals
        self._limits = limits
        self._clock = database.clock if clock is None else lambda _: clock()
        self._committed = StorePosition()  # where the last decision through this object has led to

    @classmethod
    def open(
        cls,
        url: str,
        *,
        limits: FleetLimits | None = None,
        clock: Callable[[], int] | None = None,
        removals: Beside | None = None,
    ) -> Self:
        """`sqlite:////PATH/killdeer.db`, `sqlite://` for one in memory, `postgresql://USER@HOST/DATABASE`; brought
        to this version's schema.

        `limits` are coordinator.toml's, before operators' changes; `clock` gives Unix ms, the store's own where
        none is given (rule R20); `removals` are those kept beside it. Raises StoreInUse, NewerStore, StoreFailure.
        """
        database = _open(url)
        try:
            with database.deciding.begin() as connection:
                database.prepare(connection)
                migrate.upgrade(connection)
        except BaseException as cause:
            database.close()
            if isinstance(cause, SQLAlchemyError):
                raise database.failure("open", cause) from cause
            raise
        return cls(database, limits=limits or FleetLimits(limits={}), clock=clock, removals=removals)

    def limit(self, limits: FleetLimits) -> None:
        """From the next decision on these are coordinator.toml's; what operators have set stays set."""
        self._limits = limits

    @classmethod
    def beside(cls, url: str) -> Self:
        """As `open`, for a command beside a coordinator that may be running: it takes no directory for itself and
        changes no schema. Raises StoreFailure where there is no store yet, or one of another revision."""
        database = _open(url, beside=True)
        try:
            with database.transaction("open", database.deciding) as connection:
                migrate.check(connection)
        except BaseException:
            database.close()
            raise
        return cls(database, limits=FleetLimits(limits={}), clock=None)

    def close(self) -> None:
        """Nothing else may be called afterwards."""
        self._database.close()

    # --- decisions --------------------------------------------------------------------------------------

    def decide(self, fn: Decide) -> Committed:
        """Lock the fleet row, load, decide, write, commit. An exception of `fn` rolls back and passes through.

        Raises StoreFailure: then, unless the commit itself failed, nothing was written.
        """
        with self._deciding("decide in") as connection:
            fleet = connection.execute(statements.LOCK_FLEET).one()
            # The clock is read with the lock held, so that decisions are in the order of their times.
            read = self._load(
                connection,
                fleet,
                books.Questions(
                    position_known=self._asked(lambda position: books.position_known(connection, position)),
                    run_of_key=self._asked(lambda key: books.run_of_key(connection, key)),
                    token_of=self._asked(lambda token_hash: books.token_of(connection, token_hash)),
                    certificates_of=self._asked(lambda host: self._certificates_of(connection, host)),
                    removal_of=self._asked(lambda host: self._removal_of(connection, host)),
                ),
            )
            decision = fn(replace(read, committed=self._committed))
            position = books.write(connection, read, decision)
            removed = [change.row for change in decision.changes if isinstance(change, PutRemoval)]
            if removed and self._removals is not None:
                try:
                    self._removals.keep(removed)  # before the commit: never in the store alone
                except OutsideError as cause:
                    raise StoreFailure(str(cause)) from cause
            if any(isinstance(change, _WAKING) for change in decision.changes):
                self._database.wake(connection)
        self._committed = position
        return Committed(decision.answer, position)

    def read(self) -> Books:
        """The books as one moment saw them. The questions in them each ask the store again, as it is then."""
        questions = books.Questions(
            position_known=self.position_known,
            run_of_key=self.run_of_key,
            token_of=self.token_of,
            certificates_of=self.certificates_of,
            removal_of=self.removal_of,
        )
        with self._reading() as connection:
            fleet = connection.execute(statements.READ_FLEET).one()
            return self._load(connection, fleet, questions)

    def _load(self, connection: Connection, fleet: rows.AnyRow, questions: books.Questions) -> Books:
        return books.load(connection, fleet, self._clock(connection), self._limits, questions)

    def position_known(self, position: StorePosition) -> bool:
        with self._reading() as connection:
            return books.position_known(connection, position)

    def run_of_key(self, key: str) -> str:
        with self._reading() as connection:
            return books.run_of_key(connection, key)

    def token_of(self, token_hash: str) -> TokenRow | None:
        with self._reading() as connection:
            return books.token_of(connection, token_hash)

    def certificates_of(self, host: str) -> tuple[CertificateRow, ...]:
        with self._reading() as connection:
            return self._certificates_of(connection, host)

    def removal_of(self, host: str) -> RemovalRow | None:
        with self._reading() as connection:
            return self._removal_of(connection, host)

    def removals(self) -> list[RemovalRow]:
        """As the store alone has them."""
        with self._asking() as connection:
            return [rows.removal_of(row) for row in connection.execute(statements.READ_REMOVALS)]

    def _removal_of(self, connection: Connection, host: str) -> RemovalRow | None:
        stored = books.removal_of(connection, host)
        return self._later(host, stored) or stored

    def _certificates_of(self, connection: Connection, host: str) -> tuple[CertificateRow, ...]:
        later = self._later(host, books.removal_of(connection, host))
        return () if later is not None else books.certificates_of(connection, host)

    def _later(self, host: str, stored: RemovalRow | None) -> RemovalRow | None:
        """The removal that is known beside the store, if the store does not know of it."""
        beside = self._removals.of(host) if self._removals is not None else None
        return beside if beside is not None and (stored is None or beside.at_ms > stored.at_ms) else None

    # --- letters ----------------------------------------------------------------------------------------

    def post(self, letters: Sequence[Letter]) -> None:
        """All of them, or none."""
        with self._deciding("post letters in") as connection:
            at_ms = self._clock(connection)
            connection.execute(statements.APPEND_LETTERS, [rows.letter_values(one, at_ms) for one in letters])
            self._database.wake(connection)

    def collect(self, recipient: str) -> tuple[int, list[Letter]]:
        """The letters to this coordinator, oldest first, taken out for ever; and the store's clock."""
        with self._deciding("collect letters from") as connection:
            found = connection.execute(statements.COLLECT_LETTERS, {"recipient": recipient}).all()
            letters = [rows.letter_of(row) for row in sorted(found, key=lambda row: row.number)]
            return self._clock(connection), letters

    def listen(self) -> AsyncGenerator[None, None]:
        return self._database.listen()

    # --- evidence ---------------------------------------------------------------------------------------

    def append_events(self, host: str, events: Sequence[KernelEvent]) -> list[WatchEventsResponse]:
        """Keeps them, each with the run of its command, and returns them numbered, for those who watch."""
        if not events:
            return []
        commands = sorted({event.command_id for event in events if event.command_id})
        with self._deciding("append evidence to") as connection:
            # In turn, so that who follows by number misses nothing that is committed later.
            connection.execute(statements.LOCK_FLEET)
            now_ms = self._clock(connection)
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

    def append_record(self, run_id: str, readings: Sequence[Reading], lines: Sequence[LogLine]) -> None:
        """All of them, or none. Nobody follows them by number, so they wait for no decision."""
        if readings or lines:
            with self._deciding("append a record to") as connection:
                record.append(connection, run_id, readings, lines)

    def retain(self, days: int) -> int:
        """Deletes events, readings and lines older than that, in batches that let decisions through; how many."""
        return sum(self._delete_old(old, days) for old in _OLD)

    def _delete_old(self, old: Delete, days: int) -> int:
        total = 0
        while True:
            with self._deciding("delete old evidence from") as connection:
                before_ms = self._clock(connection) - days * DAY_MS
                deleted = connection.execute(old, {"before_ms": before_ms, "batch": EVIDENCE_BATCH}).rowcount
            total += deleted
            if deleted < EVIDENCE_BATCH:
                return total

    # --- questions (see queries.py) ---------------------------------------------------------------------

    def runs(self, limit: int = 50) -> list[RunView]:
        with self._asking() as connection:
            return queries.runs(connection, limit)

    def run(self, run: str) -> RunView:
        """Raises NoSuchRun, AmbiguousRun."""
        with self._asking() as connection:
            return queries.run(connection, run)

    def run_id(self, run: str) -> str:
        """Raises NoSuchRun, AmbiguousRun."""
        with self._asking() as connection:
            return queries.run_id(connection, run)

    def report(self, run: str) -> GetReportResponse:
        """Raises NoSuchRun, AmbiguousRun."""
        with self._asking() as connection:
            return record.report(connection, run)

    def audit(self, limit: int = 0) -> list[AuditEntry]:
        with self._asking() as connection:
            return queries.audit(connection, limit)

    def verify_audit(self, witnessed: Mapping[str, StorePosition] | None = None) -> str:
        with self._asking() as connection:
            return queries.verify_audit(connection, witnessed or {})

    def events(
        self, after: int | None = None, limit: int = 1_000, wanted: Wanted = ANY
    ) -> list[WatchEventsResponse]:
        with self._asking() as connection:
            return queries.events(connection, after, limit, wanted)

    def explain(self, host: str, process: str, limit: int = 3) -> list[Explanation]:
        with self._asking() as connection:
            return explaining.explain(connection, host, process, limit)

    def told_since_ms(self, host: str) -> int:
        with self._asking() as connection:
            return explaining.told_since_ms(connection, host)

    def sizes(self) -> queries.Sizes:
        with self._asking() as connection:
            return queries.sizes(connection)

    def _asked(self, question: Callable[[A], B]) -> Callable[[A], B]:
        """The question, for use inside a decision: what the database does to it is no fault of the decision."""

        def ask(about: A) -> B:
            try:
                return question(about)
            except SQLAlchemyError as cause:
                raise self._database.failure("read", cause) from cause

        return ask

    def _deciding(self, verb: str) -> AbstractContextManager[Connection]:
        return self._database.transaction(verb, self._database.deciding)

    def _asking(self) -> AbstractContextManager[Connection]:
        return self._database.transaction("read", self._database.reading, question=True)

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._database.transaction("read", self._database.reading)


def _open(url: str, *, beside: bool = False) -> Database:
    try:
        parsed = make_url(url)
    except ArgumentError as cause:
        raise StoreFailure(f"cannot open the store {url!r}: {cause}") from cause
    match parsed.get_backend_name():
        case "sqlite":
            try:
                return open_sqlite(parsed, beside=beside)
            except OSError as cause:
                raise failure("open", name_of(parsed), cause, REMEDY) from cause
        case "postgresql":
            # Only who uses it has its driver in memory.
            from killdeer_coordinator.store.postgres import open_postgres

            return open_postgres(parsed)
        case other:
            raise StoreFailure(f"cannot open the store: {other} is neither sqlite nor postgresql")
