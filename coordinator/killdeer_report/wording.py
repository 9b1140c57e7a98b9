"""Wire things in words, the same in every format of a report."""

import datetime

from killdeer import wording
from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer.wording import IN_LINES, word

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

_INVISIBLE = IN_LINES | dict.fromkeys((0xFFFE, 0xFFFF), 0xFFFD)  # and what XML does not allow


def visible(text: str) -> str:
    """Control characters as pictures: no text from afar can steer what it is shown on."""
    return text if text.isprintable() else text.translate(_INVISIBLE)


def verdict_word(run: o.RunView) -> str:
    if run.state != o.RUN_STATE_ENDED:
        return word(o.RunState, run.state)
    return word(o.RunVerdict, run.verdict)


def part_word(part: int) -> str:
    return _PARTS.get(part, f"unknown ({part})")


def action_text(action: p.Action) -> str:
    return wording.action_text(action, "this program")


def place(strike: o.StrikeView) -> str:
    """As the log has it: `a-1 worker@[3]`."""
    return wording.process_text(strike.victim.host, strike.service, strike.ordinal)


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
