"""Every statement that the store runs, named. What is in SQL is here; what is decided is not."""

from collections.abc import Iterable

from sqlalchemy import (
    ColumnElement,
    Delete,
    Table,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

# Its INSERT ... ON CONFLICT is the same SQL on both; SQLAlchemy compiles this one for SQLite, not the other way.
from sqlalchemy.dialects.postgresql import Insert, insert

from killdeer.v1.operator_pb2 import RUN_STATE_ENDED, RUN_VERDICT_HALTED
from killdeer_coordinator.store.schema import (
    audit,
    certificates,
    coordinators,
    deaths,
    evidence,
    fleet,
    halts,
    hosts,
    letters,
    limits,
    lines,
    notes,
    permits,
    readings,
    removals,
    runs,
    strikes,
    tokens,
)


def _put(table: Table, key: str, columns: Iterable[str], unless: ColumnElement[bool] | None = None) -> Insert:
    """Insert, or set `columns` of the row with that key; no row is touched where `unless` holds."""
    row = insert(table).execution_options(preserve_rowcount=True)  # whether a row was touched
    return row.on_conflict_do_update(
        index_elements=[key],
        set_={column: row.excluded[column] for column in columns},
        where=None if unless is None else ~unless,
    )


def _but(table: Table, *fixed: str) -> list[str]:
    return [column.name for column in table.columns if column.name not in fixed]


def _delete_old(table: Table, time: str) -> Delete:
    """In batches: a long delete would keep decisions waiting."""
    old = select(table.c.number).where(table.c[time] < bindparam("before_ms"))
    return delete(table).where(table.c.number.in_(old.order_by(table.c[time]).limit(bindparam("batch"))))


# --- the fleet row ----------------------------------------------------------------------------------------

# The lock: whoever comes second waits here, as for SELECT ... FOR UPDATE. On SQLite, BEGIN IMMEDIATE has already
# made it wait.
LOCK_FLEET = (
    update(fleet)
    .where(fleet.c.id == 1)
    .values(decisions=fleet.c.decisions + 1)
    .returning(fleet.c.last_decision_ms, fleet.c.audit_length, fleet.c.audit_head)
)
READ_FLEET = select(fleet.c.last_decision_ms, fleet.c.audit_length, fleet.c.audit_head).where(fleet.c.id == 1)
# A clock that ran back does not pull the row with it, or the second decision would not notice (rule R20).
END_DECISION = (
    update(fleet)
    .where(fleet.c.id == 1)
    .values(
        last_decision_ms=case(
            (fleet.c.last_decision_ms > bindparam("now_ms"), fleet.c.last_decision_ms),
            else_=bindparam("now_ms"),
        ),
        audit_length=bindparam("length"),
        audit_head=bindparam("head"),
    )
)

# --- of the database itself -------------------------------------------------------------------------------

SERVER_CLOCK = text("SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)")
SERVER_ENCODING = text("SELECT current_setting('server_encoding')")
LOCK_SCHEMA = text("SELECT pg_advisory_xact_lock(hashtext('killdeer schema'))")
# Migrating may take its time.
NO_TIMEOUTS = text("SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)")
BYTES_OF = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}

# --- the books --------------------------------------------------------------------------------------------

READ_HOSTS = select(hosts)
READ_ACTIVE_RUNS = select(runs).where(runs.c.state != RUN_STATE_ENDED).order_by(runs.c.number)
# The limits of a run bind as long as it holds a permit, also when it has ended (rule R19).
READ_HOLDING_RUNS = select(runs).where(
    runs.c.state == RUN_STATE_ENDED,
    runs.c.run_id.in_(select(permits.c.run_id).where(permits.c.released_ms == 0)),
)
READ_HALTED_RUNS = select(runs).where(
    runs.c.state == RUN_STATE_ENDED,
    runs.c.verdict == RUN_VERDICT_HALTED,
    runs.c.ended_ms >= bindparam("since_ms"),
)
# `since_ms`: released permits count for rate and cooldown for a while.
READ_PERMITS = select(permits).where(
    or_(permits.c.released_ms == 0, permits.c.released_ms >= bindparam("since_ms"))
)
READ_OPEN_STRIKES = (
    select(strikes.c.run_id, strikes.c.permit_id, strikes.c.command_id, strikes.c.view)
    .where(
        or_(
            strikes.c.run_id.in_(select(runs.c.run_id).where(runs.c.state != RUN_STATE_ENDED)),
            strikes.c.permit_id.in_(select(permits.c.permit_id).where(permits.c.released_ms == 0)),
        )
    )
    .order_by(strikes.c.number)
)
READ_HALTS = select(halts)
READ_COORDINATORS = select(coordinators)
READ_LIMITS = select(limits.c.scope, limits.c.most)
HASH_AT = select(audit.c.hash).where(audit.c.number == bindparam("number"))
RUN_OF_KEY = select(runs.c.run_id).where(runs.c.key == bindparam("key"))

# --- changes ----------------------------------------------------------------------------------------------

PUT_HOST = _put(hosts, "host", _but(hosts, "host"))
# An older driver of the run changes nothing (rule R24).
PUT_RUN = _put(
    runs, "run_id", _but(runs, "number", "run_id", "key"), unless=insert(runs).excluded.fence < runs.c.fence
)
# What was released is not held again, and whom it was granted for stays (rule R16).
PUT_PERMIT = _put(
    permits,
    "permit_id",
    ("not_after_ms", "struck_ms", "never_sent", "released_ms", "released_why"),
    unless=(permits.c.released_ms > 0) & (insert(permits).excluded.released_ms == 0),
)
PUT_STRIKE = _put(strikes, "command_id", ("permit_id", "state", "view"))
# The first record of a halt stays; a release that came before it stays too (rule R10).
PUT_HALT = _put(halts, "halt_id", ("record",), unless=halts.c.record.is_not(None))
RELEASE_HALT = _put(halts, "halt_id", ("released",))
SET_LIMIT = _put(limits, "scope", _but(limits, "scope"))
APPEND_AUDIT = insert(audit)
PUT_COORDINATOR = _put(coordinators, "coordinator", _but(coordinators, "coordinator"))
# Whoever delivers a strike after its time uses its id up.
END_STRIKES_OF = (
    update(letters).where(letters.c.sender == bindparam("coordinator"), letters.c.until_ms > 0).values(until_ms=1)
)
DROP_ANSWERS_TO = delete(letters).where(letters.c.recipient == bindparam("coordinator"), letters.c.told == b"")

# --- who may join -----------------------------------------------------------------------------------------

TOKEN_OF = select(tokens).where(tokens.c.token_hash == bindparam("token_hash"))
CERTIFICATES_OF = (
    select(certificates)
    .where(certificates.c.host == bindparam("host"))
    .order_by(certificates.c.issued_ms, certificates.c.serial)
)
READ_REMOVALS = select(removals)
REMOVAL_OF = select(removals).where(removals.c.host == bindparam("host"))
# What was used stays used.
PUT_TOKEN = _put(tokens, "token_hash", ("used_ms", "used_for"), unless=tokens.c.used_ms > 0)
APPEND_CERTIFICATE = insert(certificates)
# Those that have ended are told by their dates.
DROP_ENDED_CERTIFICATES = delete(certificates).where(
    certificates.c.host == bindparam("of_host"), certificates.c.ends_ms < bindparam("now_ms")
)
DROP_CERTIFICATES = delete(certificates).where(certificates.c.host == bindparam("of_host"))
PUT_REMOVAL = _put(removals, "host", _but(removals, "host"))
FORGET_HOST = delete(hosts).where(hosts.c.host == bindparam("of_host"))

# --- letters ----------------------------------------------------------------------------------------------

APPEND_LETTERS = insert(letters)
COLLECT_LETTERS = delete(letters).where(letters.c.recipient == bindparam("recipient")).returning(letters)
# One word for all: whoever hears it looks. It goes out with the commit.
WAKE = text("SELECT pg_notify('killdeer', '')")
LISTEN = "LISTEN killdeer"

# --- evidence ---------------------------------------------------------------------------------------------

RUNS_OF_COMMANDS = select(strikes.c.command_id, strikes.c.run_id).where(
    strikes.c.command_id.in_(bindparam("command_ids", expanding=True))
)
APPEND_EVIDENCE = insert(evidence).returning(evidence.c.number, sort_by_parameter_order=True)
DELETE_OLD_EVIDENCE = _delete_old(evidence, "received_ms")
READ_EVIDENCE = select(evidence)
APPEND_DEATHS = insert(deaths)
DEATHS_IN_EVIDENCE = select(evidence, deaths.c.unit, deaths.c.service).join_from(evidence, deaths)
DEATHS_OF_HOST = select(deaths).where(deaths.c.host == bindparam("host")).order_by(deaths.c.number.desc())
COUNT_DEATHS = (
    select(func.count())
    .select_from(deaths)
    .where(
        deaths.c.host == bindparam("host"),
        deaths.c.service == bindparam("service"),
        deaths.c.at_ms.between(bindparam("since_ms"), bindparam("until_ms")),
    )
)
EVIDENCE_OF_NUMBER = select(evidence).where(evidence.c.number == bindparam("number"))
_NEARBY = select(evidence).where(evidence.c.host == bindparam("host")).limit(bindparam("limit"))
EVIDENCE_BEFORE = _NEARBY.where(evidence.c.number < bindparam("number")).order_by(evidence.c.number.desc())
EVIDENCE_AFTER = _NEARBY.where(evidence.c.number > bindparam("number")).order_by(evidence.c.number)
OLDEST_OF_HOST = (
    select(evidence.c.received_ms).where(evidence.c.host == bindparam("host")).order_by(evidence.c.number).limit(1)
)
SPAN_OF_EVIDENCE = select(func.min(evidence.c.number), func.max(evidence.c.number))
OLDEST_EVIDENCE = select(func.min(evidence.c.received_ms))

# --- the record of a run ----------------------------------------------------------------------------------

APPEND_READINGS = insert(readings)
APPEND_LINES = insert(lines)
APPEND_NOTE = insert(notes)
DELETE_OLD_READINGS = _delete_old(readings, "at_ms")
DELETE_OLD_LINES = _delete_old(lines, "at_ms")
COUNT_READINGS = (
    select(readings.c.probe, func.count().label("taken"))
    .where(readings.c.run_id == bindparam("run_id"))
    .group_by(readings.c.probe)
)
READINGS_OF_RUN = (
    select(readings).where(readings.c.run_id == bindparam("run_id")).order_by(readings.c.at_ms, readings.c.number)
)
_IN_TURN = (
    select(readings, (func.row_number().over(order_by=(readings.c.at_ms, readings.c.number)) - 1).label("turn"))
    .where(readings.c.run_id == bindparam("run_id"), readings.c.probe == bindparam("probe"))
    .subquery()
)
# Of the `taken` readings of a probe, `kept`, as far from each other as that allows; the first is one of them.
THINNED_READINGS = select(_IN_TURN).where(
    (_IN_TURN.c.turn * bindparam("kept")) % bindparam("taken") < bindparam("kept")
)
LINES_OF_RUN = select(lines).where(lines.c.run_id == bindparam("run_id")).order_by(lines.c.number)
NOTES_OF_RUN = select(notes).where(notes.c.run_id == bindparam("run_id")).order_by(notes.c.number)
EARLIER_RUNS = (
    select(runs)
    .where(runs.c.experiment == bindparam("experiment"), runs.c.number < bindparam("number"))
    .order_by(runs.c.number.desc())
    .limit(bindparam("limit"))
)

# --- for people -------------------------------------------------------------------------------------------

NEWEST_RUNS = select(runs).order_by(runs.c.number.desc()).limit(bindparam("limit"))
RUN_OF_ID = select(runs).where(runs.c.run_id == bindparam("run_id"))
# A range, not LIKE: it uses the index and knows no wildcards.
RUNS_OF_PREFIX = (
    select(runs.c.run_id)
    .where(runs.c.run_id >= bindparam("prefix"), runs.c.run_id < bindparam("end"))
    .order_by(runs.c.number.desc())
    .limit(4)
)
STRIKE_OF_COMMAND = select(strikes.c.view).where(strikes.c.command_id == bindparam("command_id"))
STRIKES_OF_RUN = select(strikes.c.view).where(strikes.c.run_id == bindparam("run_id")).order_by(strikes.c.number)
READ_AUDIT = select(audit).order_by(audit.c.number)
NEWEST_AUDIT = select(audit).order_by(audit.c.number.desc()).limit(bindparam("limit"))
