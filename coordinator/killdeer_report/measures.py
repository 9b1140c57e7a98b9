"""What a run measured: its victims' times, how soon it was noticed and over, and what it did to each probe."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_report import intervals
from killdeer_report.intervals import Interval, Sample, Spread
from killdeer_report.series import Series, first_strike_ms, series
from killdeer_report.victims import Victim, victims

ONE_REPETITION = "one repetition, and an interval needs two: repeat the wave, or run it again"
ALIKE = "each repetition came to the same: there is no spread to tell by"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One kind of length over all victims, or over all runs; milliseconds."""

    what: str
    spread: Spread
    median: Interval | None
    """Of the median; None: too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """What was done to a probe again and again: one value for each repetition, or each run; in the probe's unit."""

    sample: Sample
    interval: Interval | None
    """Of the mean, over what was repeated; None: it was not, or each came to the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What the strikes did to a probe; in the probe's unit."""

    probe: str
    unit: int
    before: Spread | None
    """Its readings before the first strike."""
    during: Spread | None
    """And from then to the end."""
    unknown: int
    """Readings without an answer, in all of the run."""
    baseline: float | None
    """The mean of its values while nothing was hit; None: it has none."""
    repeated: Repeated | None
    """Over the repetitions, each the mean of the probe's values in its time less that of the baseline."""
    why_not: str
    """Why there is none of it, or no interval; empty where there are both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverRuns:
    """A probe's impact in this run and the earlier ones, each run one value: the mean of its repetitions."""

    probe: str
    unit: int
    repeated: Repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """This run and the earlier ones of its experiment that have ended."""

    runs: int
    held: int
    share: Interval | None
    """Of those that held."""
    times: tuple[Times, ...]
    impacts: tuple[OverRuns, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    first_strike_unix_ms: int
    """0: nothing was struck."""
    detected_after_ms: int | None
    """From the first strike to the first probe that deviated from the steady state."""
    recovered_after_ms: int | None
    """From then until the steady state held again for good."""
    victims: tuple[Victim, ...]
    rehearsed: int
    times: tuple[Times, ...]
    term: dict[str, int]
    """How many victims honoured SIGTERM, and so on."""
    series: tuple[Series, ...]
    impacts: tuple[Impact, ...]
    history: History


def measures(report: o.GetReportResponse, units: Mapping[str, int]) -> Measures:
    """`units` is Probe.unit by the probe's name. The same for the same report: draws come from the run's seed."""
    run = report.run
    first_ms = first_strike_ms(run)
    struck = tuple(victims(run))
    taken = tuple(series(report, units))
    answers = [victim.term for victim in struck if victim.term]
    return Measures(
        first_strike_unix_ms=first_ms,
        detected_after_ms=detected_ms(run),
        recovered_after_ms=recovered_ms(run),
        victims=struck,
        rehearsed=sum(strike.dry_run for strike in run.strikes),
        times=tuple(_times(of_victims(struck), run.seed)),
        term={answer: answers.count(answer) for answer in sorted(set(answers))},
        series=taken,
        impacts=tuple(impact(one, run, first_ms) for one in taken),
        history=_history(run, report.earlier, {one.probe: one.unit for one in taken}),
    )


def detected_ms(run: o.RunView) -> int | None:
    return run.findings.detected_after_ms if run.findings.HasField("detected_after_ms") else None


def recovered_ms(run: o.RunView) -> int | None:
    return run.findings.recovered_after_ms if run.findings.HasField("recovered_after_ms") else None


def of_victims(struck: Sequence[Victim]) -> list[tuple[str, list[float]]]:
    """Each kind of length, and those that were seen, in milliseconds; always the same kinds in the same order."""
    kinds = {
        "exit after the signal": [victim.exit_after_ms for victim in struck],
        "successor after the exit": [victim.successor_after_exit_ms for victim in struck],
        "ready after the signal": [victim.ready_after_ms for victim in struck],
        "recovered after the signal": [victim.recovered_after_ms for victim in struck],
    }
    return [(what, [length for length in lengths if length is not None]) for what, lengths in kinds.items()]


def impact(one: Series, run: o.RunView, first_ms: int) -> Impact:
    told = next((found for found in run.findings.impacts if found.probe == one.probe), None)
    over = repeated(_sample(told), one.unit) if told is not None and told.repetitions else None
    return Impact(
        probe=one.probe,
        unit=one.unit,
        before=intervals.spread(one.before(first_ms)),
        during=intervals.spread(one.since(first_ms)),
        unknown=one.unknown(),
        baseline=one.baseline.mean if one.baseline is not None else None,
        repeated=over,
        why_not=_why_not(one, run, first_ms, over),
    )


def repeated(of: Sample, unit: int) -> Repeated:
    found = intervals.of_mean(of)
    if found is not None and unit == m.UNIT_MET:  # a share cannot change by more than all of it
        found = Interval(low=max(found.low, -1.0), high=min(found.high, 1.0), method=found.method)
    return Repeated(sample=of, interval=found)


def _sample(told: m.Impact) -> Sample:
    return Sample(
        count=told.repetitions,
        mean=told.mean,
        deviation=told.deviation,
        lowest=told.lowest,
        highest=told.highest,
    )


def _why_not(one: Series, run: o.RunView, first_ms: int, over: Repeated | None) -> str:
    if over is not None:
        alone = ONE_REPETITION if over.sample.count < 2 else ALIKE
        return "" if over.interval else alone
    if not first_ms:
        return "nothing was struck"
    if run.state != o.RUN_STATE_ENDED:
        return "the run has not ended"
    if not run.findings.baselines:
        return "no baseline is on the record"
    return "it has no baseline" if one.baseline is None else "no value of it is known since the first strike"


def _times(kinds: Iterable[tuple[str, Sequence[float]]], seed: int) -> Iterator[Times]:
    for what, lengths in kinds:
        if (over := intervals.spread(lengths)) is not None:
            yield Times(what=what, spread=over, median=intervals.of_median(lengths, seed))


def _over_runs(ended: Sequence[o.RunView], units: Mapping[str, int]) -> Iterator[OverRuns]:
    """Of the probes of this run that others of these have too."""
    for probe, unit in units.items():
        means = [one.mean for run in ended for one in run.findings.impacts if one.probe == probe]
        if len(means) > 1:
            yield OverRuns(probe=probe, unit=unit, repeated=repeated(intervals.sample(means), unit))


def _history(run: o.RunView, earlier: Sequence[o.RunView], units: Mapping[str, int]) -> History:
    # A run that was refused has hit nothing, so it says nothing about the hypothesis.
    ended = [
        one
        for one in (run, *(one for one in earlier if one.run_id != run.run_id))
        if one.state == o.RUN_STATE_ENDED and one.verdict != o.RUN_VERDICT_REFUSED
    ]
    held = sum(one.verdict == o.RUN_VERDICT_HELD for one in ended)
    detected = [found for one in ended if (found := detected_ms(one)) is not None]
    recovered = [found for one in ended if (found := recovered_ms(one)) is not None]
    kinds = [("detected after the first strike", detected), ("steady again after that", recovered)]
    return History(
        runs=len(ended),
        held=held,
        share=intervals.of_share(held, len(ended)),
        times=tuple(_times(kinds, run.seed)),
        impacts=tuple(_over_runs(ended, units)),
    )
