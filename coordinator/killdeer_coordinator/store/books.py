"""Loading the books of one transaction, and writing what a decision made of them."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from killdeer.halts import Halts
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import (
    Books,
    CertificateRow,
    Change,
    Decision,
    FleetLimits,
    ForgetHost,
    PutCertificate,
    PutCoordinator,
    PutHalt,
    PutHost,
    PutNote,
    PutPermit,
    PutRemoval,
    PutRun,
    PutStrike,
    PutToken,
    ReleaseHalts,
    RemovalRow,
    RunRow,
    SetLimit,
    TokenRow,
    VoidLetters,
)
from killdeer_coordinator.store import chain, rows, statements
from killdeer_coordinator.store.errors import StoreFailure

# Rate and cooldown look at permits released not longer ago than this.
RELEASED_KEPT_MS = 24 * 3_600_000
# A halt's time is by the clock of who engaged it, a run's end by the store's. One run too many asks only for
# another approver.
CLOCKS_DIFFER_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What a decision may ask beyond what is loaded for each, as in Books."""

    position_known: Callable[[StorePosition], bool]
    run_of_key: Callable[[str], str]
    token_of: Callable[[str], TokenRow | None]
    certificates_of: Callable[[str], tuple[CertificateRow, ...]]
    removal_of: Callable[[str], RemovalRow | None]


def position_of(fleet: rows.AnyRow) -> StorePosition:
    return StorePosition(length=fleet.audit_length, head=fleet.audit_head)


def load(
    connection: Connection,
    fleet: rows.AnyRow,
    now_ms: int,
    configured: FleetLimits,
    questions: Questions,
) -> Books:
    """`fleet` is its row, already read or locked. Limits that operators set go before those configured."""
    set_limits = {row.scope: row.most for row in connection.execute(statements.READ_LIMITS)}
    halts = _halts(connection)
    permits = connection.execute(statements.READ_PERMITS, {"since_ms": now_ms - RELEASED_KEPT_MS})
    strikes = [rows.strike_of(row) for row in connection.execute(statements.READ_OPEN_STRIKES)]
    return Books(
        now_ms=now_ms,
        last_decision_ms=fleet.last_decision_ms,
        position=position_of(fleet),
        halts=halts,
        limits=FleetLimits(
            limits={**configured.limits, **set_limits},
            sources={**configured.sources, **dict.fromkeys(set_limits, "operator")},
        ),
        hosts=rows.hosts_of(connection.execute(statements.READ_HOSTS)),
        runs={row.run_id: rows.run_of(row) for row in connection.execute(statements.READ_ACTIVE_RUNS)},
        permits={row.permit_id: rows.permit_of(row) for row in permits},
        strikes={strike.view.command_id: strike for strike in strikes},
        position_known=questions.position_known,
        run_of_key=questions.run_of_key,
        ended={row.run_id: rows.run_of(row) for row in connection.execute(statements.READ_HOLDING_RUNS)},
        halted=_halted(connection, halts, now_ms),
        coordinators={
            row.coordinator: rows.coordinator_of(row) for row in connection.execute(statements.READ_COORDINATORS)
        },
        token_of=questions.token_of,
        certificates_of=questions.certificates_of,
        removal_of=questions.removal_of,
    )


def position_known(connection: Connection, position: StorePosition) -> bool:
    """Is it a place in the audit chain? An empty one is in every chain."""
    if not position.length:
        return not position.head
    fleet = connection.execute(statements.READ_FLEET).one()
    if position.length > fleet.audit_length:
        return False
    return bool(connection.scalar(statements.HASH_AT, {"number": position.length}) == position.head)


def run_of_key(connection: Connection, key: str) -> str:
    return (connection.scalar(statements.RUN_OF_KEY, {"key": key}) or "") if key else ""


def token_of(connection: Connection, token_hash: str) -> TokenRow | None:
    row = connection.execute(statements.TOKEN_OF, {"token_hash": token_hash}).one_or_none()
    return rows.token_of(row) if row is not None else None


def certificates_of(connection: Connection, host: str) -> tuple[CertificateRow, ...]:
    return tuple(map(rows.certificate_of, connection.execute(statements.CERTIFICATES_OF, {"host": host})))


def removal_of(connection: Connection, host: str) -> RemovalRow | None:
    row = connection.execute(statements.REMOVAL_OF, {"host": host}).one_or_none()
    return rows.removal_of(row) if row is not None else None


def _halted(connection: Connection, halts: Halts, now_ms: int) -> dict[str, RunRow]:
    """Runs that the halts in force have stopped."""
    if not halts.active:
        return {}
    since_ms = min(now_ms, *(halt.at_unix_ms for halt in halts.active)) - CLOCKS_DIFFER_MS
    found = connection.execute(statements.READ_HALTED_RUNS, {"since_ms": since_ms})
    return {row.run_id: rows.run_of(row) for row in found}


def write(connection: Connection, books: Books, decision: Decision) -> StorePosition:
    """Changes, audit entries and the fleet row; returns the new position."""
    for change in decision.changes:
        try:
            _write(connection, change, books.now_ms)
        except (OverflowError, DataError) as cause:  # a number that fits no column
            raise StoreFailure(f"cannot write {type(change).__name__}: {getattr(cause, 'orig', cause)}") from cause
    entries = chain.append(books.position, decision.audit, books.now_ms)
    if entries:
        connection.execute(statements.APPEND_AUDIT, [rows.audit_values(entry) for entry in entries])
    length, head = books.position.length + len(entries), entries[-1].hash if entries else books.position.head
    connection.execute(statements.END_DECISION, {"now_ms": books.now_ms, "length": length, "head": head})
    return StorePosition(length=length, head=head)


def _write(connection: Connection, change: Change, now_ms: int) -> None:
    match change:
        case PutHost(row=host):
            connection.execute(statements.PUT_HOST, rows.host_values(host))
        case PutRun(row=run):
            if not connection.execute(statements.PUT_RUN, rows.run_values(run)).rowcount:
                raise StoreFailure(
                    f"cannot write run {run.run_id}: a driver with a later fence than {run.fence} has"
                )
        case PutPermit(row=permit):
            if not connection.execute(statements.PUT_PERMIT, rows.permit_values(permit)).rowcount:
                raise StoreFailure(f"cannot hold permit {permit.permit_id} again: it has been released")
        case PutStrike(row=strike):
            connection.execute(statements.PUT_STRIKE, rows.strike_values(strike))
        case PutHalt(record=record):
            values = {
                "halt_id": record.id,
                "record": record.SerializeToString(deterministic=True),
                "released": False,
            }
            connection.execute(statements.PUT_HALT, values)
        case ReleaseHalts(halt_ids=halt_ids):
            for halt_id in halt_ids:
                connection.execute(statements.RELEASE_HALT, {"halt_id": halt_id, "released": True})
        case PutNote(run_id=run_id, note=note):
            connection.execute(statements.APPEND_NOTE, rows.note_values(run_id, note))
        case PutCoordinator(row=coordinator):
            connection.execute(statements.PUT_COORDINATOR, rows.coordinator_values(coordinator))
        case VoidLetters(coordinator=name):
            connection.execute(statements.END_STRIKES_OF, {"coordinator": name})
            connection.execute(statements.DROP_ANSWERS_TO, {"coordinator": name})
        case PutToken(row=token):
            if not connection.execute(statements.PUT_TOKEN, rows.token_values(token)).rowcount:
                raise StoreFailure(f"cannot use the token {token.name}: it has been used")
        case PutCertificate(row=certificate):
            values = {"of_host": certificate.host, "now_ms": now_ms}
            connection.execute(statements.DROP_ENDED_CERTIFICATES, values)
            connection.execute(statements.APPEND_CERTIFICATE, rows.certificate_values(certificate))
        case PutRemoval(row=removal):
            connection.execute(statements.DROP_CERTIFICATES, {"of_host": removal.host})
            connection.execute(statements.PUT_REMOVAL, rows.removal_values(removal))
        case ForgetHost(host=name):
            connection.execute(statements.FORGET_HOST, {"of_host": name})
        case SetLimit(scope=scope, limit=most, by=by):
            connection.execute(statements.SET_LIMIT, {"scope": scope, "most": most, "set_by": by, "set_ms": now_ms})


def _halts(connection: Connection) -> Halts:
    found = connection.execute(statements.READ_HALTS).all()
    return Halts(
        engaged={row.halt_id: rows.halt_of(row.record) for row in found if row.record is not None},
        released=frozenset(row.halt_id for row in found if row.released),
    )
