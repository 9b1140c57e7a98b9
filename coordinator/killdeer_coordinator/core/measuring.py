"""Which probes are to be asked now, what they answered, and what is usual for each. Pure.

A probe is never asked twice at once. An answer that does not come in its time is an unknown reading; should it come
later all the same, it is of nobody's turn any more. Times in ns are this machine's CLOCK_BOOTTIME.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2
from killdeer.v1.agent_pb2 import Heartbeat
from killdeer.v1.probe_pb2 import Baseline, HostMetric, Impact, Probe, Reading
from killdeer_coordinator.core.impact import Values, impact
from killdeer_coordinator.core.series import NS_PER_MS, Series, Value, known, unknown

# Where a file's reader has set none.
EVERY_MS = 1_000
# An answer may wait for a place among others as long as it may take, and has then still to come here.
WAITS = 2
MARGIN_MS = 2_000

# What a window of readings comes to is worked out again after so long for each, so that however many probes there
# are, and however long their windows, a tick has time for the rest: 10,000 readings, each second. Few of them are
# summed up with each new reading.
NS_PER_READING = 100_000
FEW = 1_000

# Fewer say nothing of what is usual.
LEAST_OF_BASELINE = 3


def taken_here(probe: Probe) -> bool:
    """Whether the core answers it itself, from heartbeats and evidence; all others the shell takes (rule R30)."""
    return probe.WhichOneof("source") in ("host", "events")


@dataclass(slots=True, kw_only=True, eq=False)
class _Measured:
    probe: Probe
    series: Series
    due_ns: int | None = None  # None: at once
    turn: int = 0  # of the ask that is not answered yet; 0: none is
    asked_ns: int = 0
    taken_ns: int | None = None  # when the newest reading was asked for
    summed: Value | None = None  # what it came to when it was last worked out
    summed_ns: int = 0
    latest: Reading | None = None
    seen: list[float | None] = field(default_factory=list)  # values, None if unknown, while the baseline is open
    baseline: Baseline | None = None
    since: Values = field(default_factory=Values)  # from when the baseline was closed


class Measuring:
    """The baseline is open from the start until it is closed."""

    def __init__(self, probes: Sequence[Probe], ask: Callable[[Probe, int], None]) -> None:
        """`ask(probe, turn)` has one reading taken; its answer is for `measured` with the same turn. Only probes
        that the shell takes are asked; the readings of the others are told with `taken`."""
        self._probes = {probe.name: _Measured(probe=probe, series=Series(probe)) for probe in probes}
        self._ask = ask
        self._turns = 0
        self._open = True
        self._fresh: list[Reading] = []

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._probes)

    def tick(self, now_ns: int, unix_ms: int) -> None:
        """Asks the probes that are due, and waits no longer for answers that are overdue."""
        for one in self._probes.values():
            if taken_here(one.probe):
                continue
            waited_ms = (now_ns - one.asked_ns) // NS_PER_MS
            if one.turn and waited_ms >= WAITS * one.probe.within_ms + MARGIN_MS:
                within = format_duration(one.probe.within_ms)
                self._keep(one, None, f"no answer within {within}", now_ns, unix_ms)
                one.turn, one.taken_ns = 0, one.asked_ns
            if not one.turn and (one.due_ns is None or now_ns >= one.due_ns):
                self._turns += 1
                one.turn, one.asked_ns = self._turns, now_ns
                one.due_ns = now_ns + (one.probe.every_ms or EVERY_MS) * NS_PER_MS
                self._ask(one.probe, one.turn)

    def hurry(self, names: Collection[str]) -> None:
        """These are asked at the next tick or, where an answer is still to come, right after it."""
        for name in names:
            self._probes[name].due_ns = None

    def measured_since(self, names: Collection[str], ns: int) -> bool:
        """Does each have a reading, known or not, that was asked for later than that?"""
        taken = [self._probes[name].taken_ns for name in names]
        return all(one is not None and one > ns for one in taken)

    def measured(self, name: str, turn: int, reading: Reading, now_ns: int) -> None:
        """The answer to an ask; one that nobody waits for any more is passed over."""
        one = self._probes.get(name)
        if one is None or not turn or one.turn != turn:
            return
        one.turn, one.taken_ns = 0, one.asked_ns
        value = reading.value if reading.HasField("value") else None
        self._keep(one, value, reading.detail, now_ns, reading.at_unix_ms)

    def taken(
        self,
        name: str,
        value: float | None,
        detail: str,
        now_ns: int,
        unix_ms: int,
        at_least: float = math.nan,
    ) -> None:
        """A reading of a probe that the core answers. `value` None: unknown, but `at_least` so much, NaN if that is
        not known either."""
        if (one := self._probes.get(name)) is not None:
            one.taken_ns = now_ns
            self._keep(one, value, detail, now_ns, unix_ms, at_least)

    def value(self, name: str, now_ns: int) -> Value:
        """What the probe comes to now: see Series.now."""
        one = self._probes.get(name)
        if one is None:
            return unknown(f"no probe {name!r} is measured here")
        # A long window costs milliseconds, and each sentence asks for it ten times a second.
        costly_ns = one.series.readings * NS_PER_READING
        if one.summed is None or not 0 <= now_ns - one.summed_ns < costly_ns:
            one.summed, one.summed_ns = one.series.now(now_ns), now_ns
        return one.summed

    def begin_baseline(self) -> None:
        """Anew: what was seen so far is left out of it."""
        for one in self._probes.values():
            one.seen.clear()

    def close_baseline(self, now_ns: int) -> None:
        """What was usual is what was seen until now; the second close changes nothing.

        A probe has no baseline with less than three known values, or with more unknown values than known ones:
        what is unknown half of the time may be anything the other half.
        """
        self._open = False
        for one in self._probes.values():
            values = [value for value in one.seen if value is not None]
            usual = median(values) if values else math.nan  # which infinite ones do not have
            if len(values) >= LEAST_OF_BASELINE and 2 * len(values) >= len(one.seen) and math.isfinite(usual):
                one.baseline = Baseline(
                    probe=one.probe.name,
                    median=usual,
                    readings=len(values),
                    lowest=min(values),
                    highest=max(values),
                    mean=fmean(values),
                )
            one.seen.clear()

    def baseline(self, name: str) -> float | None:
        """The median of the probe's values while the baseline was open; None until it is closed, and where what
        was seen does not make one."""
        one = self._probes.get(name)
        return one.baseline.median if one is not None and one.baseline is not None else None

    def baselines(self) -> tuple[Baseline, ...]:
        return tuple(one.baseline for one in self._probes.values() if one.baseline is not None)

    def impacts(self, begun: Sequence[int], until_ns: int) -> tuple[Impact, ...]:
        """Of each probe with a baseline, over the repetitions that began then (see impact.py); asked once, as what
        they rest on is let go. What is counted from the first strike on has nothing to be held against."""
        found = [
            impact(one.baseline, one.since, begun, until_ns)
            for one in self._probes.values()
            if one.baseline is not None and (one.probe.over_ms or not one.probe.HasField("events"))
        ]
        for one in self._probes.values():
            one.since = Values()
        return tuple(told for told in found if told is not None)

    def fresh(self) -> tuple[Reading, ...]:
        """The readings since the last call, for the record."""
        fresh, self._fresh = tuple(self._fresh), []
        return fresh

    def latest(self) -> tuple[Reading, ...]:
        """The newest reading of each probe that has one."""
        return tuple(one.latest for one in self._probes.values() if one.latest is not None)

    def _keep(
        self,
        one: _Measured,
        value: float | None,
        detail: str,
        now_ns: int,
        unix_ms: int,
        at_least: float = math.nan,
    ) -> None:
        if value is not None and math.isnan(value):
            value, detail = None, detail or "it is not a number"
        one.series.add(now_ns, value, detail, at_least)
        if one.series.readings < FEW:
            one.summed = None
        one.latest = Reading(probe=one.probe.name, at_unix_ms=unix_ms, value=value, detail=detail)
        self._fresh.append(one.latest)
        now = self.value(one.probe.name, now_ns)
        if self._open:
            one.seen.append(now.value if now.known else None)
        elif now.known:
            one.since.add(now_ns, now.value)


def host_value(metric: HostMetric, heartbeats: Mapping[str, Heartbeat | None]) -> Value:
    """The highest of these hosts, which the detail names; what a heartbeat tells in percent as a fraction. None: a
    host whose heartbeat is missing or too old. What is unknown of one host is unknown of all, but never less than
    the highest that is known."""
    values = {host: _of(metric, beat) for host, beat in heartbeats.items()}
    if not values:
        return unknown("no host of the target is connected")
    told = {host: value for host, value in values.items() if not isinstance(value, str)}
    highest = max(told, key=lambda host: told[host], default="")
    silent = [f"{host} {why}" for host, why in sorted(values.items()) if isinstance(why, str)]
    if silent:
        more = f", and {len(silent) - 1} more" if len(silent) > 1 else ""
        return unknown(silent[0] + more, told[highest] if told else math.nan)
    return known(told[highest], highest)


def _of(metric: HostMetric, beat: Heartbeat | None) -> float | str:
    """Or why it is unknown."""
    if beat is None:
        return "has sent no heartbeat"
    match metric:
        case probe_pb2.HOST_METRIC_CPU_PERCENT:
            value = beat.cpu_percent / 100
        case probe_pb2.HOST_METRIC_MEMORY_PERCENT:
            value = beat.memory_percent / 100
        case probe_pb2.HOST_METRIC_MEMORY_PRESSURE:
            if beat.memory_pressure < 0:
                return "has a kernel that keeps no memory pressure (PSI)"
            value = beat.memory_pressure / 100
        case probe_pb2.HOST_METRIC_LOAD:
            value = beat.load_1m
        case _:
            return f"tells nothing of a metric {metric}"
    return "sent what is not a number" if math.isnan(value) else value
