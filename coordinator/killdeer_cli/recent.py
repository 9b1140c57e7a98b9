"""What a run's probes measured of late, kept from one update to the next. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_cli.findings import probe_of, unit_of
from killdeer_cli.text import amount_text

KEPT = 40
"""Readings of each probe that its sparkline is drawn from."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What the updates of a run have brought so far, beyond what the newest says."""

    readings: Mapping[str, tuple[m.Reading, ...]] = field(default_factory=dict)
    """By probe, the newest last; at most KEPT."""
    units: Mapping[str, m.Unit] = field(default_factory=dict)
    """By probe, of those that a sentence is about."""
    ahead_ms: int | None = None
    """How far the coordinator's clock is ahead of this one; None: there is nothing to tell by."""

    def heard(self, run: o.RunView, now_ms: int) -> "Recent":
        readings, units, ahead_ms = dict(self.readings), dict(self.units), self.ahead_ms
        for reading in run.latest:
            before = readings.get(reading.probe, ())
            if before and before[-1].at_unix_ms == reading.at_unix_ms:
                continue
            readings[reading.probe] = (*before, reading)[-KEPT:]
            if before:  # taken between two updates: just now, or shortly before
                ahead_ms = max(reading.at_unix_ms - now_ms, -(1 << 62) if ahead_ms is None else ahead_ms)
        for finding in run.findings.findings:
            probe = probe_of(finding.sentence, readings)
            unit = unit_of(finding, probe)
            if probe and probe not in units and unit is not None:
                units[probe] = unit
        return Recent(readings=readings, units=units, ahead_ms=ahead_ms)

    def there_ms(self, now_ms: int) -> int:
        """The time by the coordinator's clock."""
        return now_ms + (self.ahead_ms or 0)

    def newest(self, probe: str) -> str:
        """In its unit; empty: not known."""
        last = self.readings.get(probe, ())[-1:]
        if not last or not last[0].HasField("value"):
            return ""
        return amount_text(last[0].value, self.units.get(probe, m.UNIT_UNSPECIFIED))


def spark(values: Sequence[float | None]) -> str:
    """A bar for each, from 0 or the lowest below it up to the highest; `?`: unknown."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    low = min(low, 0.0)

    def bar(value: float | None) -> str:
        if value is None or math.isnan(value):
            return "?"
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.0
        return _BARS[round(share * (len(_BARS) - 1))]

    return "".join(map(bar, values))
