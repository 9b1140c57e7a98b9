"""Durations as people write them: `500ms`, `10s`, `2m`, `1h`, and sums such as `1m30s`.

The wire carries whole milliseconds; this is their one text form.
"""

import re

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

LONGEST_MS = 30 * _UNITS["d"]


class DurationError(ValueError):
    """The text is no duration; the message says what one looks like."""


def parse_duration(text: str) -> int:
    """`1m30s` -> 90_000 milliseconds. Zero is valid. Raises DurationError."""
    position, total = 0, 0.0
    stripped = text.strip()
    for part in _PART.finditer(stripped):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not stripped or position != len(stripped):
        raise DurationError(
            f"cannot read {text!r} as a duration: write a number and a unit, such as 500ms, 10s, 2m or 1h30m"
        )
    if total > LONGEST_MS:
        raise DurationError(f"cannot accept {text!r}: durations end at 30d")
    return round(total)


def format_duration(milliseconds: float) -> str:
    """Short and exact where it can be: 90_000 -> `1m30s`, 1_500 -> `1.5s`, 12 -> `12ms`."""
    whole = round(milliseconds)
    if whole < 1_000:
        return f"{whole}ms"
    if whole < 60_000:
        return f"{whole / 1_000:g}s"
    text, left = "", whole
    for unit in ("d", "h", "m"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            text += f"{count}{unit}"
    if left:
        text += f"{left / 1_000:g}s"
    return text
