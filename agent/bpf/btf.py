"""Reads struct layouts and enums out of the BTF of a BPF object: what the compiler really laid out.

Format: https://docs.kernel.org/bpf/btf.html. Only little-endian 64-bit ELF, which is what build.py makes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, unpack_from

INT, ARRAY, STRUCT, UNION, ENUM = 1, 3, 4, 5, 6
_QUALIFIERS = {8, 9, 10, 11}  # typedef, volatile, const, restrict
_TYPE = Struct("<III")
# Bytes after the common header, per member (enum, struct, union, function, section) or in all.
_PER_MEMBER = {STRUCT: 12, UNION: 12, ENUM: 8, 13: 8, 15: 12, 19: 12}
_IN_ALL = {INT: 4, ARRAY: 12, 14: 4, 17: 4}
_SIGNED = 1 << 24


@dataclass(frozen=True, slots=True)
class Type:
    kind: int
    name: str
    length: int  # bytes, or the id of the type it stands for
    body: bytes
    members: int


@dataclass(frozen=True, slots=True)
class Member:
    """`code` is its struct-module format where it is a number or bytes; `struct` its name where it is one."""

    name: str
    offset: int
    size: int
    code: str
    struct: str = ""


class Btf:
    """Every type of one object, by name.

    Raises ValueError where the object has no BTF or holds what no event may hold (bit fields, pointers).
    """

    def __init__(self, elf: bytes) -> None:
        data = _section(elf, ".BTF")
        header, types_at, types_length, strings_at = unpack_from("<4xIIII", data)
        self._data = data
        self._strings = header + strings_at
        self._types = list(self._read(header + types_at, types_length))

    def _read(self, start: int, length: int) -> Iterator[Type]:
        yield Type(0, "void", 0, b"", 0)
        at = start
        while at < start + length:
            name, packed, size = _TYPE.unpack_from(self._data, at)
            kind, members = packed >> 24 & 31, packed & 0xFFFF
            at += _TYPE.size
            body = _PER_MEMBER.get(kind, 0) * members + _IN_ALL.get(kind, 0)
            yield Type(kind, self._text(name), size, self._data[at : at + body], members)
            at += body

    def _text(self, offset: int) -> str:
        begin = self._strings + offset
        return self._data[begin : self._data.index(b"\0", begin)].decode()

    def _named(self, kind: int, name: str) -> Type:
        for found in self._types:
            if found.kind == kind and found.name == name:
                return found
        raise ValueError(f"cannot find {name} in the object's BTF: nothing that is compiled in refers to it")

    def enum(self, name: str) -> dict[str, int]:
        found = self._named(ENUM, name)
        pairs = [unpack_from("<Ii", found.body, 8 * i) for i in range(found.members)]
        return {self._text(text): value for text, value in pairs}

    def size(self, name: str) -> int:
        return self._named(STRUCT, name).length

    def struct(self, name: str) -> list[Member]:
        found = self._named(STRUCT, name)
        triples = [unpack_from("<III", found.body, 12 * i) for i in range(found.members)]
        return [self._member(self._text(text), type_id, bits) for text, type_id, bits in triples]

    def _member(self, name: str, type_id: int, bits: int) -> Member:
        found = self._bare(type_id)
        if found.kind == STRUCT:
            return Member(name, bits // 8, found.length, "", found.name)
        if found.kind == ENUM:
            return Member(name, bits // 8, found.length, "I")
        if found.kind == INT:
            letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[found.length]
            signed = unpack_from("<I", found.body)[0] & _SIGNED
            return Member(name, bits // 8, found.length, letter.lower() if signed else letter)
        if found.kind == ARRAY:
            element, _, count = unpack_from("<III", found.body)
            if self._bare(element).length == 1:
                return Member(name, bits // 8, count, f"{count}s")
        raise ValueError(f"cannot lay out {name}: neither number, bytes nor struct")

    def _bare(self, type_id: int) -> Type:
        found = self._types[type_id]
        return self._bare(found.length) if found.kind in _QUALIFIERS else found


def _section(elf: bytes, wanted: str) -> bytes:
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("cannot read the object: not a little-endian 64-bit ELF file")
    (table,) = unpack_from("<Q", elf, 40)
    size, count, names = unpack_from("<HHH", elf, 58)
    headers = [unpack_from("<IIQQQQ", elf, table + size * i) for i in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, length in headers:
        begin = strings + name
        if elf[begin : elf.index(b"\0", begin)].decode() == wanted:
            return elf[offset : offset + length]
    raise ValueError(f"cannot read the object: it has no section {wanted}")
