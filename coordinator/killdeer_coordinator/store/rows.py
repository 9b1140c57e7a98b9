"""Rows of the tables and the nouns they are: both ways, in one place."""

import json
import math
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from sqlalchemy import Result, Row

from killdeer.v1.operator_pb2 import (
    RUN_STATE_ENDED,
    AuditEntry,
    LogLine,
    RunNote,
    RunView,
    StrikeView,
    WatchEventsResponse,
)
from killdeer.v1.probe_pb2 import Findings, Reading
from killdeer.v1.process_pb2 import HaltRecord, KernelEvent
from killdeer_coordinator.core.books import (
    CertificateRow,
    CoordinatorRow,
    HostRow,
    Letter,
    Permit,
    RemovalRow,
    RunLimits,
    RunRow,
    StrikeRow,
    TokenRow,
)
from killdeer_coordinator.store.chain import canonical, without_nul

# A time that every column can hold.
LATEST_MS = 2**63 - 1

Values = dict[str, Any]
AnyRow = Row[*tuple[Any, ...]]

_RUN_FIELDS = tuple(f.name for f in fields(RunRow))
_PERMIT_FIELDS = tuple(f.name for f in fields(Permit))
_HOST_FIELDS = tuple(f.name for f in fields(HostRow))
_LETTER_FIELDS = tuple(f.name for f in fields(Letter))


def host_values(row: HostRow) -> Values:
    return {**{name: getattr(row, name) for name in _HOST_FIELDS}, "labels": canonical(row.labels)}


def hosts_of(found: Result[Any]) -> dict[str, HostRow]:
    """By name. All hosts of the fleet are read each second: thousands, with labels that are much alike."""
    names = tuple(found.keys())
    labels = names.index("labels")
    hosts = {}
    for row in found:
        values = dict(zip(names, row, strict=True))
        values["labels"] = dict(_labels_of(row[labels]))
        hosts[values["host"]] = HostRow(**values)
    return hosts


@lru_cache(maxsize=1_024)
def _labels_of(text: str) -> dict[str, str]:
    labels: dict[str, str] = json.loads(text)
    return labels


def run_values(row: RunRow) -> Values:
    return {
        **{name: getattr(row, name) for name in _RUN_FIELDS},
        "key": row.key or None,
        "seed": str(row.seed),
        "limits": canonical(asdict(row.limits)),
        "findings": row.findings or None,
    }


def run_of(row: AnyRow) -> RunRow:
    columns = row._mapping
    values: Values = {name: columns[name] for name in _RUN_FIELDS}
    values["key"] = values["key"] or ""
    values["seed"] = int(values["seed"])
    values["limits"] = RunLimits(**json.loads(values["limits"]))
    values["findings"] = values["findings"] or b""
    return RunRow(**values)


def permit_values(row: Permit) -> Values:
    values = {name: getattr(row, name) for name in _PERMIT_FIELDS}
    if row.released_ms:
        # Where the clock ran back, a release would lie before its grant. It is still a release.
        values["released_ms"] = max(row.released_ms, row.granted_ms)
    return values


def permit_of(row: AnyRow) -> Permit:
    return Permit(**row._mapping)


def strike_values(row: StrikeRow) -> Values:
    return {
        "command_id": row.view.command_id,
        "run_id": row.run_id,
        "permit_id": row.permit_id or None,
        "host": row.view.victim.host,
        "state": row.view.state,
        "view": row.view.SerializeToString(deterministic=True),
    }


def strike_of(row: AnyRow) -> StrikeRow:
    return StrikeRow(run_id=row.run_id, view=StrikeView.FromString(row.view), permit_id=row.permit_id or "")


def halt_of(record: bytes) -> HaltRecord:
    return HaltRecord.FromString(record)


def coordinator_values(row: CoordinatorRow) -> Values:
    return asdict(row)


def coordinator_of(row: AnyRow) -> CoordinatorRow:
    return CoordinatorRow(**row._mapping)


def token_values(row: TokenRow) -> Values:
    return asdict(row)


def token_of(row: AnyRow) -> TokenRow:
    return TokenRow(**row._mapping)


def certificate_values(row: CertificateRow) -> Values:
    return asdict(row)


def certificate_of(row: AnyRow) -> CertificateRow:
    return CertificateRow(**row._mapping)


def removal_values(row: RemovalRow) -> Values:
    return asdict(row)


def removal_of(row: AnyRow) -> RemovalRow:
    return RemovalRow(**row._mapping)


def letter_values(letter: Letter, at_ms: int) -> Values:
    return {**asdict(letter), "at_ms": at_ms}


def letter_of(row: AnyRow) -> Letter:
    return Letter(**{name: row._mapping[name] for name in _LETTER_FIELDS})


def audit_values(entry: AuditEntry) -> Values:
    return {
        "number": entry.number,
        "at_ms": entry.at_unix_ms,
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "why": entry.why,
        "details": entry.details,
        "hash": entry.hash,
    }


def audit_of(row: AnyRow) -> AuditEntry:
    return AuditEntry(
        number=row.number,
        at_unix_ms=row.at_ms,
        who=row.who,
        what=row.what,
        subject=row.subject,
        why=row.why,
        details=row.details,
        hash=row.hash,
    )


def event_of(row: AnyRow) -> WatchEventsResponse:
    return WatchEventsResponse(
        number=row.number,
        event=KernelEvent.FromString(row.event),
        run_id=row.run_id or "",
        received_unix_ms=row.received_ms,
    )


def reading_values(run_id: str, reading: Reading) -> Values:
    # Of no number, SQLite makes NULL and PostgreSQL a value; here it is unknown.
    known = reading.HasField("value") and not math.isnan(reading.value)
    unsaid = "not a number" if reading.HasField("value") and not known else ""
    return {
        "run_id": run_id,
        "at_ms": min(reading.at_unix_ms, LATEST_MS),
        "probe": without_nul(reading.probe),
        "value": reading.value if known else None,
        "detail": without_nul(reading.detail) or unsaid,
    }


def reading_of(row: AnyRow) -> Reading:
    return Reading(probe=row.probe, at_unix_ms=row.at_ms, value=row.value, detail=row.detail)


def line_values(run_id: str, line: LogLine) -> Values:
    return {"run_id": run_id, "at_ms": min(line.at_unix_ms, LATEST_MS), "line": without_nul(line.line)}


def line_of(row: AnyRow) -> LogLine:
    return LogLine(at_unix_ms=row.at_ms, line=row.line)


def note_values(run_id: str, note: RunNote) -> Values:
    return {
        "run_id": run_id,
        "at_ms": note.at_unix_ms,
        "who": without_nul(note.who),
        "text": without_nul(note.text),
        "action": without_nul(note.action),
    }


def note_of(row: AnyRow) -> RunNote:
    return RunNote(at_unix_ms=row.at_ms, who=row.who, text=row.text, action=row.action)


def run_view(run: RunRow, strikes: list[StrikeView]) -> RunView:
    """The run as people see it. The wave under way is named by the strike drawn last."""
    return RunView(
        run_id=run.run_id,
        experiment=run.experiment,
        environment=run.environment,
        owner=run.owner,
        started_by=run.started_by,
        seed=run.seed,
        state=run.state,  # type: ignore[arg-type]
        verdict=run.verdict,  # type: ignore[arg-type]
        why=run.why,
        started_unix_ms=run.started_ms,
        ended_unix_ms=run.ended_ms,
        wave=strikes[-1].wave if strikes and run.state != RUN_STATE_ENDED else "",
        strikes=strikes,
        hypothesis=run.hypothesis,
        plan_hash=run.plan_hash,
        waves_done=run.wave,
        waves_total=run.waves_total,
        findings=Findings.FromString(run.findings) if run.findings else None,
    )
