"""What people ask the store: runs, audit, evidence, sizes. Each takes a reading connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from killdeer.v1.operator_pb2 import AuditEntry, RunView, StrikeView, WatchEventsResponse
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.store import chain, rows, statements
from killdeer_coordinator.store.deaths import Wanted
from killdeer_coordinator.store.errors import AmbiguousRun, NoSuchRun
from killdeer_coordinator.store.schema import deaths, evidence

LATEST = "latest"
_BEYOND = "\U0010ffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`store_bytes` of the database itself; `evidence_rows` from the oldest kept to the newest, `evidence_since_ms`
    when the oldest came; 0: none is kept."""

    store_bytes: int
    evidence_rows: int
    evidence_since_ms: int
    audit_length: int


def runs(connection: Connection, limit: int) -> list[RunView]:
    """The newest first, without their strikes."""
    found = connection.execute(statements.NEWEST_RUNS, {"limit": limit})
    return [rows.run_view(rows.run_of(row), []) for row in found]


def run_id(connection: Connection, run: str) -> str:
    """The id meant by an id, a unique prefix of one, or `latest`. Raises NoSuchRun, AmbiguousRun."""
    if run == LATEST:
        newest = connection.execute(statements.NEWEST_RUNS, {"limit": 1}).first()
        if newest is None:
            raise NoSuchRun("cannot find the latest run: none has been started yet")
        return str(newest.run_id)
    if not run:
        raise NoSuchRun("cannot find a run without a name: give an id, a prefix of one, or `latest`")
    found = [
        str(row.run_id)
        for row in connection.execute(statements.RUNS_OF_PREFIX, {"prefix": run, "end": run + _BEYOND})
    ]
    if not found:
        raise NoSuchRun(f"cannot find the run {run!r}: no run's id begins so; `killdeer runs` lists them")
    if run in found or len(found) == 1:
        return run if run in found else found[0]
    if connection.execute(statements.RUN_OF_ID, {"run_id": run}).first() is not None:
        return run
    shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    raise AmbiguousRun(f"cannot tell which run {run!r} is: {shown} begin so; give more of the id")


def run(connection: Connection, name: str) -> RunView:
    """One run with its strikes in the order they were drawn. Raises NoSuchRun, AmbiguousRun."""
    chosen = run_id(connection, name)
    row = connection.execute(statements.RUN_OF_ID, {"run_id": chosen}).one()
    views = connection.execute(statements.STRIKES_OF_RUN, {"run_id": chosen})
    return rows.run_view(rows.run_of(row), [StrikeView.FromString(view.view) for view in views])


def audit(connection: Connection, limit: int) -> list[AuditEntry]:
    """The newest `limit` entries, oldest first; 0: all."""
    if not limit:
        return [rows.audit_of(row) for row in connection.execute(statements.READ_AUDIT)]
    newest = connection.execute(statements.NEWEST_AUDIT, {"limit": limit})
    return [rows.audit_of(row) for row in newest][::-1]


def verify_audit(connection: Connection, witnessed: Mapping[str, StorePosition]) -> str:
    """Where the chain breaks; empty: nowhere. `witnessed` is what others were shown: who -> position."""
    fleet = connection.execute(statements.READ_FLEET).one()
    recorded = StorePosition(length=fleet.audit_length, head=fleet.audit_head)
    entries = connection.execution_options(yield_per=1000).execute(statements.READ_AUDIT)
    return chain.problem_of((rows.audit_of(row) for row in entries), recorded, witnessed)


def events(connection: Connection, after: int | None, limit: int, wanted: Wanted) -> list[WatchEventsResponse]:
    """Oldest first: the first `limit` after number `after`; without it, the newest `limit`."""
    asked = statements.DEATHS_IN_EVIDENCE if wanted.deaths_only else statements.READ_EVIDENCE
    if wanted.host:
        asked = asked.where(evidence.c.host == wanted.host)
    if wanted.run:
        asked = asked.where(evidence.c.run_id == wanted.run)
    if wanted.since_ms:
        asked = asked.where(evidence.c.received_ms >= wanted.since_ms)
    if wanted.cause:
        asked = asked.where(deaths.c.cause == wanted.cause)
    if after is not None:
        asked = asked.where(evidence.c.number > after)
    asked = asked.order_by(evidence.c.number.desc() if after is None else evidence.c.number)
    if wanted.unit:  # a glob is no SQL: the rows are looked at until there are enough
        read = connection.execution_options(yield_per=1000).execute(asked)
        found = list(islice((row for row in read if wanted.names(row.unit, row.service)), limit))
        read.close()
    else:
        found = list(connection.execute(asked.limit(limit)))
    told = [rows.event_of(row) for row in found]
    return told[::-1] if after is None else told


def sizes(connection: Connection) -> Sizes:
    store_bytes = connection.execute(statements.BYTES_OF[connection.dialect.name]).scalar_one()
    oldest, newest = connection.execute(statements.SPAN_OF_EVIDENCE).one()
    fleet = connection.execute(statements.READ_FLEET).one()
    return Sizes(
        store_bytes=store_bytes,
        evidence_rows=0 if newest is None else newest - oldest + 1,
        evidence_since_ms=connection.scalar(statements.OLDEST_EVIDENCE) or 0,
        audit_length=fleet.audit_length,
    )
