"""The readings of one probe over time, and the one value that they come to now. Pure.

A probe without an answer is unknown, and so is a value that says less than it seems to: one of too few readings, of
more unknown readings than known ones, or one that is too old (I8). Times are this machine's CLOCK_BOOTTIME, ns.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2
from killdeer.v1.probe_pb2 import Probe

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

MOST_READINGS = 10_000
"""Of one probe: a reading a second for nearly three hours. A longer window says how much of it is left."""

QUANTILES = {probe_pb2.SUMMARY_P50: 0.5, probe_pb2.SUMMARY_P95: 0.95, probe_pb2.SUMMARY_P99: 0.99}

# One reading is its own median and its own p99, and no rate at all.
LEAST_KNOWN = {
    probe_pb2.SUMMARY_P50: 2,
    probe_pb2.SUMMARY_P95: 2,
    probe_pb2.SUMMARY_P99: 2,
    probe_pb2.SUMMARY_MAX: 1,
    probe_pb2.SUMMARY_RATE: 2,
}


@dataclass(frozen=True, slots=True)
class Value:
    """What a probe comes to, in its unit. Where that is unknown, `value` is what it comes to at least, or NaN, and
    `detail` says why; of a known value `detail` says where it is from, if that is worth a word."""

    known: bool
    value: float
    detail: str = ""


def known(value: float, detail: str = "") -> Value:
    return Value(True, value, detail)


def unknown(why: str, at_least: float = math.nan) -> Value:
    return Value(False, at_least, why)


@dataclass(frozen=True, slots=True)
class _Taken:
    at_ns: int
    value: float | None
    detail: str
    at_least: float


class Series:
    """`add` readings in the order in which they came; `now` is asked at the time of the newest, or later."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._windowed = probe.summary in LEAST_KNOWN
        self._taken: deque[_Taken] = deque(maxlen=MOST_READINGS if self._windowed else 1)
        self._left_out_ns: int | None = None  # when the newest of those was taken that there was no room for

    @property
    def readings(self) -> int:
        """How many are kept."""
        return len(self._taken)

    def add(self, at_ns: int, value: float | None, detail: str = "", at_least: float = math.nan) -> None:
        """`value` None: unknown, `detail` says why, and `at_least` what is certain of it all the same. A reading
        that is no number is unknown too."""
        if value is not None and math.isnan(value):
            value, detail = None, detail or "it is not a number"
        while self._windowed and self._taken and self._taken[0].at_ns <= self._since_ns(at_ns):
            self._taken.popleft()
        if len(self._taken) == self._taken.maxlen:
            self._left_out_ns = self._taken[0].at_ns
        self._taken.append(_Taken(at_ns, value, detail, at_least))

    def now(self, at_ns: int) -> Value:
        """The newest reading; with a summary, that of the readings of the last `over_ms`.

        A window with unknown readings in it is summarised as long as at least half of them are known: one answer
        that did not come is no outage of the measurement, and its absence is not the best case either.
        """
        if not self._taken:
            return unknown("not measured yet")
        return self._window(at_ns) if self._windowed else self._newest(at_ns)

    def _newest(self, at_ns: int) -> Value:
        last = self._taken[-1]
        if last.value is None:
            return self._stale(last, at_ns) or unknown(last.detail, last.at_least)
        return self._stale(last, at_ns) or known(last.value, last.detail)

    def _stale(self, newest: _Taken, at_ns: int) -> Value | None:
        age_ms, most_ms = (at_ns - newest.at_ns) // NS_PER_MS, self._probe.fresh_within_ms
        if not most_ms or age_ms <= most_ms:
            return None
        return unknown(f"measured last {_age(age_ms)} ago, and must be so within {format_duration(most_ms)}")

    def _window(self, at_ns: int) -> Value:
        over = format_duration(self._probe.over_ms)
        inside = self._inside(at_ns)
        if not inside:
            age_ms = (at_ns - self._taken[-1].at_ns) // NS_PER_MS
            return unknown(f"not measured in the last {over}: the newest reading is {_age(age_ms)} old")
        answered = [one for one in inside if one.value is not None]
        if 2 * len(answered) < len(inside):
            why = next(one.detail for one in reversed(inside) if one.value is None)
            return unknown(f"{len(inside) - len(answered)} of {len(inside)} readings in {over} are unknown: {why}")
        if len(answered) < LEAST_KNOWN[self._probe.summary]:
            return unknown(f"too few readings in {over}: {len(answered)}")
        return self._stale(answered[-1], at_ns) or self._summary(answered, at_ns)

    def _inside(self, at_ns: int) -> list[_Taken]:
        since_ns = self._since_ns(at_ns)
        return [one for one in self._taken if one.at_ns > since_ns]

    def _since_ns(self, at_ns: int) -> int:
        return at_ns - self._probe.over_ms * NS_PER_MS

    def _summary(self, answered: Sequence[_Taken], at_ns: int) -> Value:
        values = [one.value for one in answered if one.value is not None]
        if self._probe.summary == probe_pb2.SUMMARY_RATE:
            span_ns = answered[-1].at_ns - answered[0].at_ns
            if span_ns <= 0:
                return unknown("all readings were taken at the same time: they have no rate")
            found = increase(values) / (span_ns / NS_PER_S)
        elif self._probe.summary == probe_pb2.SUMMARY_MAX:
            found = max(values)
        else:
            found = quantile(values, QUANTILES[self._probe.summary])
        if math.isnan(found):
            return unknown("its readings have no such number: they are infinite")
        cut = self._left_out_ns is not None and self._left_out_ns > self._since_ns(at_ns)
        return known(found, f"of the newest {MOST_READINGS} readings alone" if cut else "")


def increase(values: Sequence[float]) -> float:
    """By how much a counter has grown. One that is lower than before has begun again at 0, as Prometheus takes it:
    what it had counted between its last reading and the reset is lost."""
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def quantile(values: Sequence[float], share: float) -> float:
    """Between two readings in proportion, as Prometheus's quantile_over_time does it. At least one value."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high else low + (high - low) * (place - math.floor(place))


def _age(age_ms: int) -> str:
    """Whole seconds from one on: an age is for people."""
    return format_duration(age_ms if age_ms < 1_000 else age_ms // 1_000 * 1_000)
