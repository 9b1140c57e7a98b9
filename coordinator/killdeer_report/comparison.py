"""Two runs of one experiment side by side, as before and after a fix: what differs, and how sure that is."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_report import intervals
from killdeer_report.account import Account
from killdeer_report.intervals import FEWEST, Interval
from killdeer_report.measures import ALIKE, Impact, of_victims

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value of both runs: the impact on a probe, in its unit; or a length, in milliseconds."""

    what: str
    unit: int
    first: float | None
    second: float | None
    difference: float | None
    """Of the second to the first."""
    interval: Interval | None
    no_interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    first: Account
    second: Account
    differs: tuple[str, ...]
    """What makes the two less comparable, a sentence each."""
    probes: tuple[Change, ...]
    """The impact of a repetition on each, against its own run's baseline."""
    lengths: tuple[Change, ...]
    file_changes: tuple[str, ...]
    """Lines of a unified diff."""

    @property
    def stamp(self) -> str:
        return f"killdeer comparison of runs {self.first.run.run_id} and {self.second.run.run_id}"


def compare(first: Account, second: Account) -> Comparison:
    names = [name or "file" for name in (first.report.file, second.report.file)]
    sources = [told.report.source.splitlines() for told in (first, second)]
    return Comparison(
        first=first,
        second=second,
        differs=tuple(_differs(first, second)),
        probes=tuple(_probes(first, second)),
        lengths=tuple(_lengths(first, second)),
        file_changes=tuple(difflib.unified_diff(sources[0], sources[1], names[0], names[1], lineterm="")),
    )


def _differs(first: Account, second: Account) -> Iterator[str]:
    one, other = first.run, second.run
    for run in (one, other):
        if run.state != o.RUN_STATE_ENDED:
            yield f"Run {run.run_id} has not ended."
    if one.run_id == other.run_id:
        yield "Both are the same run."
    if one.experiment != other.experiment:
        yield f"They are runs of two experiments: {one.experiment} and {other.experiment}."
    if one.environment != other.environment:
        yield f"The environments differ: {one.environment} and {other.environment}."
    if one.seed != other.seed:
        yield f"The seeds differ, {one.seed} and {other.seed}: other victims are drawn."
    same_file = first.report.source == second.report.source
    if not same_file:
        yield "The files differ: see below how."
    if same_file and one.seed == other.seed and one.plan_hash != other.plan_hash:
        yield "The plans differ though file and seed are the same: candidates, limits or the guard have changed."
    hit = [{victim.place for victim in told.measured.victims if victim.signals} for told in (first, second)]
    if only := sorted(hit[0] - hit[1]):
        yield f"Only run {one.run_id} hit {_listed(only)}."
    if only := sorted(hit[1] - hit[0]):
        yield f"Only run {other.run_id} hit {_listed(only)}."


def _listed(places: list[str]) -> str:
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return ", ".join(places[:_NAMED]) + more


def _probes(first: Account, second: Account) -> Iterator[Change]:
    others = {one.probe: one for one in second.measured.impacts}
    for one in first.measured.impacts:
        if one.probe in others:
            yield _impact(one, others[one.probe])


def _impact(first: Impact, second: Impact) -> Change:
    one, other = (each.repeated.sample if each.repeated else None for each in (first, second))
    found = intervals.of_difference_of_means(other, one) if one and other else None
    counts = " and ".join(str(each.count) if each else "no" for each in (one, other))
    few = f"too few: {counts} repetitions, two of each are needed"
    alike = one is not None and other is not None and min(one.count, other.count) > 1
    return Change(
        what=first.probe,
        unit=first.unit,
        first=one.mean if one else None,
        second=other.mean if other else None,
        difference=other.mean - one.mean if one and other else None,
        interval=found,
        no_interval="" if found else ALIKE if alike else few,
    )


def _lengths(first: Account, second: Account) -> Iterator[Change]:
    for what, before, after in (
        ("detected after the first strike", first.measured.detected_after_ms, second.measured.detected_after_ms),
        ("steady again after that", first.measured.recovered_after_ms, second.measured.recovered_after_ms),
    ):
        if before is not None or after is not None:
            apart = float(after - before) if before is not None and after is not None else None
            yield Change(
                what=what,
                unit=m.UNIT_UNSPECIFIED,
                first=before,
                second=after,
                difference=apart,
                interval=None,
                no_interval="one of each",
            )
    for one, other in zip(of_victims(first.measured.victims), of_victims(second.measured.victims), strict=True):
        if one[1] or other[1]:
            yield _change(f"{one[0]}, median", one[1], other[1], first.run.seed)


def _change(what: str, first: list[float], second: list[float], seed: int) -> Change:
    one, other = intervals.spread(first), intervals.spread(second)
    found = intervals.of_difference(second, first, seed) if first and second else None
    few = f"too few: {len(first)} and {len(second)}, {FEWEST} of each are needed"
    return Change(
        what=what,
        unit=m.UNIT_UNSPECIFIED,
        first=one.median if one else None,
        second=other.median if other else None,
        difference=other.median - one.median if one and other else None,
        interval=found,
        no_interval="" if found else few,
    )
