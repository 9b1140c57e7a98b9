"""The moments of a run that its plots mark. All in Unix ms."""

from collections.abc import Sequence
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_report.victims import Victim

_ENDED_EARLY = (o.RUN_VERDICT_ABORTED, o.RUN_VERDICT_HALTED)
_ENDING = "ending: "
"""How the log says that a run strikes no more before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    zero_ms: int
    """What plots count from: the first strike, else the start."""
    struck_ms: int
    """The first strike; 0: none."""
    end_ms: int
    strikes_ms: tuple[float, ...]
    deaths_ms: tuple[float, ...]
    recoveries_ms: tuple[float, ...]
    aborts_ms: tuple[float, ...]

    def seconds(self, unix_ms: float) -> float:
        return (unix_ms - self.zero_ms) / 1_000


def marks(report: o.GetReportResponse, victims: Sequence[Victim]) -> Marks:
    run = report.run
    steps = [step for victim in victims for step in victim.steps()]

    def moments(what: str) -> tuple[float, ...]:
        return tuple(sorted(at for name, at in steps if name == what))

    struck = moments("struck")
    newest = max((reading.at_unix_ms for reading in report.readings), default=run.started_unix_ms)
    first = int(struck[0]) if struck else 0
    return Marks(
        zero_ms=first or run.started_unix_ms,
        struck_ms=first,
        end_ms=run.ended_unix_ms or newest,
        strikes_ms=struck,
        deaths_ms=moments("gone"),
        recoveries_ms=moments("recovered"),
        aborts_ms=_aborts(report),
    )


def _aborts(report: o.GetReportResponse) -> tuple[float, ...]:
    """When a rule came true, else when the log says that the run was ended."""
    run = report.run
    rules = [
        float(one.unmet_unix_ms)
        for one in run.findings.findings
        if one.part == m.PART_ABORT_WHEN and one.standing == m.STANDING_MET and one.unmet_unix_ms
    ]
    if rules:
        return tuple(sorted(rules))
    if run.verdict not in _ENDED_EARLY and run.state != o.RUN_STATE_ABORTING:
        return ()
    return tuple(float(line.at_unix_ms) for line in report.log if line.line.startswith(_ENDING))[:1]
