"""One thing that an inspection has found, and how its numbers are said."""

from dataclasses import dataclass

from killdeer.durations import format_duration
from killdeer.v1 import agent_pb2

INFO = agent_pb2.SEVERITY_INFO
WARNING = agent_pb2.SEVERITY_WARNING
PROBLEM = agent_pb2.SEVERITY_PROBLEM


@dataclass(frozen=True, slots=True)
class Finding:
    """As the wire has it (InspectionFinding). Of several of one name and severity, that of the highest `weight`
    is told."""

    severity: agent_pb2.Severity
    name: str
    fact: str
    change: str = ""
    section: str = ""
    directive: str = ""
    units: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    weight: float = 0


def lasting(microseconds: int | None) -> str:
    """As unit files have it: `10s`, `1min 30s` is `1m30s` here; None is `infinity`."""
    return "infinity" if microseconds is None else format_duration(microseconds / 1_000)


def sized(number: int) -> str:
    """Bytes: `640K`, `512M`, `1.5G`, as MemoryMax= takes them."""
    for unit, bits in (("G", 30), ("M", 20), ("K", 10)):
        if number >= 1 << bits:
            return f"{number / (1 << bits):.1f}".removesuffix(".0") + unit
    return str(number)


def percent(part: float) -> str:
    return f"{part * 100:.0f}%"
