"""What a run measured: its victims' times, how soon it was noticed and over, and what it did to each probe."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_report import intervals
from killdeer_report.intervals import FEWEST, Interval, Spread
from killdeer_report.series import Series, first_strike_ms, series
from killdeer_report.victims import Victim, victims


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One kind of length over all victims, or over all runs; milliseconds."""

    what: str
    spread: Spread
    median: Interval | None
    """Of the median; None: too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """A probe from the first strike to the end, against its readings before; in the probe's unit."""

    probe: str
    unit: int
    statistic: str
    """median; mean for what is met or not, which is then the share of readings that met it."""
    before: Spread | None
    during: Spread | None
    unknown: int
    """Readings without an answer, in all of the run."""
    difference: float | None
    interval: Interval | None
    no_interval: str
    """Why there is none; empty where there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """This run and the earlier ones of its experiment that have ended."""

    runs: int
    held: int
    share: Interval | None
    """Of those that held."""
    times: tuple[Times, ...]


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
        impacts=tuple(impact(one, first_ms, run.seed) for one in taken),
        history=_history(run, report.earlier),
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


def impact(one: Series, first_ms: int, seed: int) -> Impact:
    means = one.unit == m.UNIT_MET
    before, during = one.before(first_ms), one.since(first_ms)
    low, high = intervals.spread(before), intervals.spread(during)
    found = intervals.of_difference(during, before, seed, means=means) if before and during else None
    return Impact(
        probe=one.probe,
        unit=one.unit,
        statistic="mean" if means else "median",
        before=low,
        during=high,
        unknown=one.unknown(),
        difference=None if low is None or high is None else centre(high, means) - centre(low, means),
        interval=found,
        no_interval="" if found else _too_few(len(before), len(during), first_ms),
    )


def centre(of: Spread, means: bool) -> float:
    return of.mean if means else of.median


def _too_few(before: int, during: int, first_ms: int) -> str:
    if not first_ms:
        return "nothing was struck"
    if min(before, during) >= FEWEST:
        return "resampling gives no answer"
    return f"too few readings: {before} before and {during} after the first strike, {FEWEST} of each are needed"


def _times(kinds: Iterable[tuple[str, Sequence[float]]], seed: int) -> Iterator[Times]:
    for what, lengths in kinds:
        if (over := intervals.spread(lengths)) is not None:
            yield Times(what=what, spread=over, median=intervals.of_median(lengths, seed))


def _history(run: o.RunView, earlier: Sequence[o.RunView]) -> History:
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
    )
