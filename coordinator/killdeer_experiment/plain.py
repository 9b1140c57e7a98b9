"""What a scalar without quotes is, by YAML 1.2's core schema, and how messages name a value."""

import re
from dataclasses import dataclass
from typing import Any

from killdeer_experiment.faults import short

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_NUMBER = re.compile(
    r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+"
    r"|[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A plain scalar that is neither text nor a whole number, a yes or no: never a valid value."""

    kind: str
    written: str

    def __str__(self) -> str:
        return f"the {self.kind} {short(self.written)[1:-1]}"


Value = dict[str, Any] | list[Any] | str | int | bool | Odd | None


def resolve(plain: str) -> str | int | bool | Odd | None:
    """A scalar without quotes, by YAML 1.2's core schema; dates and odd numbers are told from text."""
    if plain in _NULL:
        return None
    if plain in _TRUE or plain in _FALSE:
        return plain in _TRUE
    if _WHOLE.fullmatch(plain):
        return int(plain)
    if _NUMBER.fullmatch(plain):
        return Odd(kind="number", written=plain)
    return Odd(kind="date", written=plain) if _DATE.fullmatch(plain) else plain


def found(value: object) -> str:
    """A value in a message: `the text 'x'`, `the number 3`, `a list`, `nothing`."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"the number {value}"
        case str():
            return f"the text {short(value)}"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case Odd():
            return str(value)
        case _:
            return "nothing"
