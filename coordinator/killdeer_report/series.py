"""Each probe's readings in time: those before the first strike, those after, and where there is no answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Of one probe. `points`: (Unix ms, value; None: unknown), in time."""

    probe: str
    unit: int
    points: tuple[tuple[int, float | None], ...]
    reasons: tuple[str, ...]
    """Why readings are unknown, the most frequent first."""
    baseline: m.Baseline | None
    """As the coordinator took it; None: it took none."""

    def before(self, unix_ms: int) -> list[float]:
        """The known readings before then; 0: all."""
        return [value for at, value in self.points if value is not None and (not unix_ms or at < unix_ms)]

    def since(self, unix_ms: int) -> list[float]:
        """The known readings from then on; 0: none."""
        return [value for at, value in self.points if value is not None and unix_ms and at >= unix_ms]

    def unknown(self) -> int:
        return sum(value is None for _, value in self.points)

    def gaps(self, end_ms: int) -> list[tuple[int, int]]:
        """From the first unknown reading to the next known one, or the end, in Unix ms."""
        found: list[tuple[int, int]] = []
        begun: int | None = None
        for at, value in self.points:
            if value is None and begun is None:
                begun = at
            elif value is not None and begun is not None:
                found.append((begun, at))
                begun = None
        if begun is not None:
            found.append((begun, max(end_ms, self.points[-1][0])))
        return found


def first_strike_ms(run: o.RunView) -> int:
    """When the first victim was struck, Unix ms; 0: none was."""
    return min((strike.struck_unix_ms for strike in run.strikes if strike.struck_unix_ms), default=0)


def series(report: o.GetReportResponse, units: Mapping[str, int]) -> list[Series]:
    """One for each probe, in the order of their first readings. A probe without a known unit is a plain number."""
    points: dict[str, list[tuple[int, float | None]]] = {}
    reasons: dict[str, dict[str, int]] = {}
    for reading in report.readings:
        # What is no number cannot be compared with one.
        value = reading.value if reading.HasField("value") and math.isfinite(reading.value) else None
        points.setdefault(reading.probe, []).append((reading.at_unix_ms, value))
        if value is None:
            said = reasons.setdefault(reading.probe, {})
            said[reading.detail or "no answer"] = said.get(reading.detail or "no answer", 0) + 1
    baselines = {baseline.probe: baseline for baseline in report.run.findings.baselines}
    return [
        Series(
            probe=probe,
            unit=units.get(probe, m.UNIT_UNSPECIFIED),
            points=tuple(sorted(taken, key=lambda point: point[0])),
            reasons=tuple(sorted(reasons.get(probe, {}), key=lambda why: -reasons[probe][why])),
            baseline=baselines.get(probe),
        )
        for probe, taken in points.items()
    ]
