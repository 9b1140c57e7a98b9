"""Numbers in their unit, as people read them: `2.3%`, `310 ms`, `met`. Pure."""

import math

from killdeer.durations import format_duration
from killdeer.v1.probe_pb2 import UNIT_FRACTION, UNIT_MET, UNIT_SECONDS, Unit

# Three digits are enough to see how large a number is; more are shown where two would read the same.
_DIGITS = (3, 6, 17)
_LONG_S = 120


def shown(value: float, unit: Unit, digits: int = _DIGITS[0]) -> str:
    """`value` is in the wire's terms: seconds, and fractions of one."""
    if unit == UNIT_MET and value in (0, 1):
        return "met" if value else "not met"
    if unit == UNIT_FRACTION:
        return f"{_short(value * 100, digits)}%"
    if unit == UNIT_SECONDS and math.isfinite(value):
        return _seconds(value, digits)
    return _short(value, digits)


def shown_apart(one: float, other: float, unit: Unit) -> tuple[str, str]:
    """Both, with so many digits that they differ where the numbers do: `0.1004% wanted < 0.1%`, not `0.1%`."""
    for digits in _DIGITS:
        texts = shown(one, unit, digits), shown(other, unit, digits)
        if texts[0] != texts[1] or one == other:
            break
    return texts


def _seconds(value: float, digits: int) -> str:
    if abs(value) < 1:
        return f"{_short(value * 1_000, digits)} ms"
    if value < _LONG_S or digits > _DIGITS[0]:
        return f"{_short(value, digits)} s"
    return format_duration(round(value) * 1_000)


def _short(number: float, digits: int) -> str:
    if not math.isfinite(number):
        return str(number)
    if number == round(number) and abs(number) < 1e15:
        return str(round(number))
    if abs(number) >= 10**digits:
        return f"{number:.0f}"
    return f"{number:.{digits}g}"
