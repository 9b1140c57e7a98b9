"""What a run did to its probes, repetition by repetition, kept small enough for reports of later runs. Pure.

A repetition begins with a strike that falls while no other victim of the run is away, and lasts until the next one
begins: strikes that overlap have one effect between them, and can't be told apart. Its impact is the mean of the
probe's values in its time, less the mean of the baseline. Times are this machine's CLOCK_BOOTTIME, ns.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, stdev

from killdeer.v1.probe_pb2 import Baseline, Impact


@dataclass(frozen=True, slots=True)
class Absence:
    """Of one victim, from its strike until its service was whole again; None: that was not seen."""

    begun_ns: int
    over_ns: int | None


def repetitions(absences: Iterable[Absence]) -> list[int]:
    """When each begins."""
    begun: list[int] = []
    until: float = -math.inf  # the victims of the newest are all back
    for one in sorted(absences, key=lambda one: one.begun_ns):
        if one.begun_ns >= until:
            begun.append(one.begun_ns)
        until = max(until, math.inf if one.over_ns is None else one.over_ns)
    return begun


@dataclass(slots=True)
class Values:
    """The known values of one probe, in time."""

    _at_ns: "array[int]" = field(default_factory=lambda: array("q"))
    _values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, at_ns: int, value: float) -> None:
        if math.isfinite(value):  # of others there is no mean
            self._at_ns.append(at_ns)
            self._values.append(value)

    def means(self, begun: Sequence[int], until_ns: int) -> Iterator[float]:
        """Of each repetition in which there is a value; `begun` is in time."""
        places = [bisect_left(self._at_ns, at_ns) for at_ns in (*begun, until_ns)]
        return (fmean(self._values[first:end]) for first, end in pairwise(places) if first < end)


def impact(baseline: Baseline, values: Values, begun: Sequence[int], until_ns: int) -> Impact | None:
    """None: no repetition has a known value."""
    found = [mean - baseline.mean for mean in values.means(begun, until_ns)]
    if not found:
        return None
    return Impact(
        probe=baseline.probe,
        repetitions=len(found),
        mean=fmean(found),
        deviation=stdev(found) if len(found) > 1 else 0.0,
        lowest=min(found),
        highest=max(found),
    )
