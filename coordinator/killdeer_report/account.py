"""All that a report says, whatever its format: the wire's own parts, what was measured, what to look at next."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from killdeer.v1 import operator_pb2 as o
from killdeer_report.advice import advice
from killdeer_report.marks import Marks, marks
from killdeer_report.measures import Measures, measures
from killdeer_report.wording import verdict_word


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a sentence of the file compares a probe's readings with."""

    probe: str
    sentence: str
    value: float
    """In the probe's unit; with `of_baseline`, a factor of its median."""
    of_baseline: bool
    floor: float | None = None
    """Of such a factor, what it is at least."""

    def against(self, median: float | None) -> float | None:
        """In the probe's unit; None: it is of a baseline that there is none of."""
        if not self.of_baseline:
            return self.value
        if median is None:
            return None
        return max(self.value * median, self.value * median if self.floor is None else self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the experiment's file means, as far as its reader can tell."""

    units: Mapping[str, int] = field(default_factory=dict)
    """Probe.unit by the probe's name; one that is missing is a plain number."""
    bounds: tuple[Bound, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """(key, text) of the file's own notes: runbook, ticket, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    report: o.GetReportResponse
    asked: Asked
    measured: Measures
    marks: Marks
    advice: tuple[str, ...]

    def bounds(self, probe: str) -> list[tuple[str, float]]:
        """(sentence, value in the probe's unit) of each that is known."""
        medians = {one.probe: one.median for one in self.run.findings.baselines}
        return [
            (one.sentence, value)
            for one in self.asked.bounds
            if one.probe == probe and (value := one.against(medians.get(probe))) is not None
        ]

    @property
    def run(self) -> o.RunView:
        return self.report.run

    @property
    def verdict(self) -> str:
        return verdict_word(self.run)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        fallback = "it has not ended" if self.run.state != o.RUN_STATE_ENDED else "the run does not say why"
        return self.run.why or fallback

    @property
    def stamp(self) -> str:
        """What each format has among its first lines, so that a file is known again as this run's."""
        return f"killdeer report of run {self.run.run_id}"

    @property
    def replay(self) -> str:
        """The command that draws the same victims from the same candidates."""
        return f"killdeer run {shlex.quote(self.report.file or 'FILE')} --seed {self.run.seed}"


def account(report: o.GetReportResponse, asked: Asked) -> Account:
    measured = measures(report, asked.units)
    return Account(
        report=report,
        asked=asked,
        measured=measured,
        marks=marks(report, measured.victims),
        advice=tuple(advice(report, measured)),
    )
