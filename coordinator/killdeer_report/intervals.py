"""Spreads of measured values, and how sure a mean, a median or a difference is, by scipy.

Means of repetitions and of runs have Student's t, which is right for few; medians of lengths have the bootstrap,
the same each time for one seed.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
FEWEST = 8
"""Values on each side, below which an interval would promise more than so few can say."""
_RESAMPLES = 1_999
_AT_ONCE = 2_000_000
"""Numbers held at a time while resampling."""
_BCA_UP_TO = 4_000
"""Values; BCa leaves out each of them once, which grows with the square."""

Statistic = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    count: int
    median: float
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Confidence of LEVEL. `method`: t, of means; BCa, or percentile where it has no answer; Wilson, of a share."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is left of values that are themselves means: of repetitions, or of runs. `deviation` is the sample's."""

    count: int
    mean: float
    deviation: float
    lowest: float
    highest: float


def sample(values: Sequence[float]) -> Sample:
    """At least one value."""
    return Sample(
        count=len(values),
        mean=float(np.mean(values)),
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        lowest=min(values),
        highest=max(values),
    )


def of_mean(of: Sample) -> Interval | None:
    """Student's t. None with fewer than two values, and where none differs from another: t would be certain then,
    and two that are equal make nothing so."""
    if of.count < 2 or not of.deviation:
        return None
    return _t(of.mean, of.deviation / math.sqrt(of.count), of.count - 1)


def of_difference_of_means(after: Sample, before: Sample) -> Interval | None:
    """Welch's t, which takes neither as equally spread. None with fewer than two values on either side, and where
    none differs from another on both."""
    if min(after.count, before.count) < 2 or not (after.deviation or before.deviation):
        return None
    parts = [(one.deviation**2 / one.count, one.count - 1) for one in (after, before)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    return _t(after.mean - before.mean, math.sqrt(variance), freedom)


def _t(mean: float, error: float, freedom: float) -> Interval:
    low, high = stats.t.interval(LEVEL, freedom, loc=mean, scale=error)
    return Interval(low=float(low), high=float(high), method="t")


def spread(values: Sequence[float]) -> Spread | None:
    """None where there are no values."""
    if not values:
        return None
    return Spread(
        count=len(values),
        median=float(np.median(values)),
        mean=float(np.mean(values)),
        lowest=min(values),
        highest=max(values),
    )


def of_median(values: Sequence[float], seed: int) -> Interval | None:
    """None with fewer than FEWEST values."""
    return _bootstrap((values,), np.median, seed)


def of_difference(after: Sequence[float], before: Sequence[float], seed: int) -> Interval | None:
    """Of the difference of medians. None with fewer than FEWEST values on either side.

    The values are taken as independent of each other.
    """

    def statistic(one: Any, other: Any, axis: int) -> Any:
        return np.median(one, axis=axis) - np.median(other, axis=axis)

    return _bootstrap((after, before), statistic, seed)


def of_share(count: int, total: int) -> Interval | None:
    """Of `count` in `total`. None where there is none."""
    if not total:
        return None
    found = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return Interval(low=float(found.low), high=float(found.high), method="Wilson")


def _bootstrap(samples: tuple[Sequence[float], ...], statistic: Statistic, seed: int) -> Interval | None:
    if any(len(values) < FEWEST for values in samples):
        return None
    arrays = tuple(np.asarray(values, dtype=float) for values in samples)
    if all(np.ptp(array) == 0 for array in arrays):  # nothing to resample: scipy would say nan
        only = float(statistic(*arrays, axis=-1))
        return Interval(low=only, high=only, method="percentile")
    longest = max(len(array) for array in arrays)
    methods = ("BCa", "percentile") if longest <= _BCA_UP_TO else ("percentile",)
    for method in methods:
        with warnings.catch_warnings():
            # BCa has no answer where leaving out any one value changes nothing, and says so by nan and a warning.
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                arrays,
                statistic,
                n_resamples=_RESAMPLES,
                batch=max(1, _AT_ONCE // longest),
                vectorized=True,
                confidence_level=LEVEL,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite(found.low) and np.isfinite(found.high):
            return Interval(low=float(found.low), high=float(found.high), method=method)
    return None
