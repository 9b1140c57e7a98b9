"""Wire things in words, the same in every format of a report."""

import datetime
import signal
from typing import Any

from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p

UNITS: dict[int, str] = {
    m.UNIT_UNSPECIFIED: "number",
    m.UNIT_MET: "met",
    m.UNIT_SECONDS: "seconds",
    m.UNIT_FRACTION: "fraction",
}
"""The units of readings, as JSON names them."""

_PARTS: dict[int, str] = {
    m.PART_PRECONDITION: "precondition",
    m.PART_STEADY_STATE: "steady state",
    m.PART_ABORT_WHEN: "abort when",
    m.PART_READY: "ready",
}

# What would steer a terminal, or turn the direction of writing round. Line ends and tabs stay.
_INVISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_INVISIBLE |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_INVISIBLE |= dict.fromkeys((0xFFFE, 0xFFFF), 0xFFFD)  # which XML does not allow


def visible(text: str) -> str:
    """Control characters as pictures: no text from afar can steer what it is shown on."""
    return text if text.isprintable() else text.translate(_INVISIBLE)


def word(enum: Any, value: int) -> str:
    """RUN_VERDICT_NOT_RECOVERED -> `not recovered`; a value newer than this program -> `unknown (99)`."""
    names: list[str] = enum.keys()
    prefix = names[0].removesuffix("UNSPECIFIED")
    known: dict[int, str] = dict(zip(enum.values(), names, strict=True))
    return known[value].removeprefix(prefix).replace("_", " ").lower() if value in known else f"unknown ({value})"


def verdict_word(run: o.RunView) -> str:
    if run.state != o.RUN_STATE_ENDED:
        return word(o.RunState, run.state)
    return word(o.RunVerdict, run.verdict)


def part_word(part: int) -> str:
    return _PARTS.get(part, f"unknown ({part})")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def action_text(action: p.Action) -> str:
    match action.WhichOneof("kind"):
        case "kill":
            return f"kill with {signal_name(action.kill.signal)}"
        case "terminate" if action.terminate.grace_ms:
            return f"terminate, SIGKILL after {format_duration(action.terminate.grace_ms)}"
        case "terminate":
            return "terminate, no SIGKILL"
        case "pause":
            return f"pause for {format_duration(action.pause.length_ms)}"
        case "hold_down":
            return f"hold down for {format_duration(action.hold_down.length_ms)}"
        case _:
            return "an action newer than this program"


def place(strike: o.StrikeView) -> str:
    """As the log has it: `a-1 worker@[3]`."""
    return f"{strike.victim.host} {strike.service}[{strike.ordinal}]"


def length(milliseconds: float | None) -> str:
    """A measured time: `0.09 ms`, `104 ms`, `3.20 s`, `2m5s`; none: `-`."""
    if milliseconds is None:
        return "-"
    sign, size = ("-" if milliseconds < 0 else ""), abs(milliseconds)
    if size < 10:
        return f"{sign}{size:.2g} ms"
    if size < 1_000:
        return f"{sign}{size:.0f} ms"
    if size < 60_000:
        return f"{sign}{size / 1_000:.2f} s"
    return sign + format_duration(size // 1_000 * 1_000)


def amount(value: float | None, unit: int) -> str:
    """A reading, or a difference of two, in its unit; none: `-`."""
    if value is None:
        return "-"
    if unit == m.UNIT_SECONDS:
        return length(value * 1_000)
    if unit in (m.UNIT_FRACTION, m.UNIT_MET):
        return f"{value * 100:.4g}%"
    return f"{value:.4g}"


def difference(value: float | None, unit: int) -> str:
    """`+60 ms`; of shares, in percentage points: `-2.5 points`."""
    text = amount(value, unit)
    if unit in (m.UNIT_FRACTION, m.UNIT_MET):
        text = text.replace("%", " points")
    return f"+{text}" if value is not None and value > 0 else text


def moment(unix_ms: int) -> str:
    """`2026-11-20 14:02:11 UTC`: a report is read elsewhere than where it was made."""
    if not unix_ms:
        return "-"
    return datetime.datetime.fromtimestamp(unix_ms / 1_000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(unix_ms: int) -> str:
    return datetime.datetime.fromtimestamp(unix_ms / 1_000, datetime.UTC).strftime("%H:%M:%S.%f")[:-3]


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 victim`, `1,204 victims`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
