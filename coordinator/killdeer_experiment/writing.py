"""Plain values -> YAML text that reads back as the same values."""

import io
import re

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
_TAKEN = ("true", "false", "null")


def to_yaml(values: dict[str, object]) -> str:
    """YAML 1.2, in the order given; text goes in quotes unless it is a plain word."""
    writer = YAML(typ="rt", pure=True)
    writer.default_flow_style = False
    writer.width = 100_000
    text = io.StringIO()
    writer.dump(_quoted(values), text)
    return text.getvalue()


def _quoted(value: object) -> object:
    match value:
        case dict():
            return {_quoted(key): _quoted(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_quoted(item) for item in value]
        case str() if _PLAIN.fullmatch(value) is None or value.lower() in _TAKEN:
            return DoubleQuotedScalarString(value)
        case _:
            return value
