"""layout.py's records as C for bcc, so that what the programs write is what the agent reads. Pure.

A record's head stands in the record itself; of a field's meaning agent/bpf/events.h tells.
"""

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final

from killdeer_agent.kernel import layout

NAMES: Final = [name.removesuffix("_RECORD") for name in vars(layout) if name.endswith("_RECORD")]
RECORDS: Final[dict[str, tuple[type, Struct]]] = {
    f"kd_{name.lower()}": (getattr(layout, name.title()), getattr(layout, f"{name}_RECORD")) for name in NAMES
}
CONFIG: Final = "kd_config"  # the only one that goes the other way
PARTY: Final = "kd_party"

SIZES: Final[dict[int, int]] = {
    getattr(layout, name): getattr(layout, f"{name}_RECORD").size for name in NAMES if hasattr(layout, name)
}
"""Bytes of each kind of record: perf buffers pad what they carry."""

_TYPES = {"Q": "u64", "q": "s64", "I": "u32", "i": "s32"}
_CODE = re.compile(r"(\d*)([a-zA-Z])")


def declarations() -> str:
    """The constants and structs of layout.py, in C."""
    constants = [f"#define KD_{name} {value}" for name, value in _constants().items()]
    parties = {name: _party(record, packed) for name, (record, packed) in RECORDS.items()}
    (party,) = {text for text in parties.values() if text}
    structs = [_struct(name, record, packed) for name, (record, packed) in RECORDS.items()]
    return "\n".join([*constants, party, *structs, ""])


def untold(programs: str) -> list[str]:
    """Fields and flags of the layouts that the programs never write: the events have them empty."""
    records = [record for name, (record, _) in RECORDS.items() if name != CONFIG]
    fields = dict.fromkeys(field for record in (*records, layout.Party) for field in record.__annotations__)
    flags = [name for name in _constants() if not name.startswith("LOST_")]
    return [field for field in fields if not re.search(rf"->{field}\b", programs)] + [
        name.lower() for name in flags if not re.search(rf"\bKD_{name}\b", programs)
    ]


def _constants() -> dict[str, int]:
    return {name: value for name, value in vars(layout).items() if name.isupper() and isinstance(value, int)}


def _struct(name: str, record: type, packed: Struct) -> str:
    return f"struct {name} {{\n{''.join(_members(record, _codes(packed)))}}};"


def _party(record: type, packed: Struct) -> str:
    """The party within this record, as a struct of its own; empty: the record has none."""
    codes = _codes(packed)
    for kind in record.__annotations__.values():
        if kind is layout.Party:
            return f"struct {PARTY} {{\n{''.join(_members(layout.Party, codes))}}};"
        _take(codes, "", [])
    return ""


def _members(record: type, codes: list[tuple[str, str]]) -> Iterator[str]:
    for field, kind in record.__annotations__.items():
        lines: list[str] = []
        if kind is layout.Party:
            list(_members(layout.Party, codes))
            lines.append(f"\tstruct {PARTY} {field};\n")
        else:
            _take(codes, field, lines)
        yield from lines


def _take(codes: list[tuple[str, str]], field: str, lines: list[str]) -> None:
    """One field off the front of the format, and the padding that follows it."""
    count, code = codes.pop(0)
    lines.append(f"\tu8 {field}[{count}];\n" if code == "s" else f"\t{_TYPES[code]} {field};\n")
    while codes and codes[0][1] == "x":
        lines.append(f"\tu8 pad_{field}[{codes.pop(0)[0] or 1}];\n")


def _codes(packed: Struct) -> list[tuple[str, str]]:
    """The format's codes one by one: `4x` and `16s` stay, `IIQ` and `3I` come apart."""
    apart: list[tuple[str, str]] = []
    for count, code in _CODE.findall(packed.format):
        apart += [(count, code)] if code in "sx" else [("", code)] * int(count or 1)
    return apart
