"""The running kernel's own description of its types, as far as offsets of named fields go.

Format: https://docs.kernel.org/bpf/btf.html. Little-endian, like all of the agent's kernel evidence.
"""

from collections.abc import Iterator
from struct import Struct, unpack_from

ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT, DATASEC = 3, 4, 5, 6, 8, 9, 10, 11, 15
INT, POINTER, FUNC_PROTO, VAR, DECL_TAG, ENUM64 = 1, 2, 13, 14, 17, 19
_HEAD = Struct("<III")
_MEMBER = Struct("<III")
# Bytes after the common header, per member and in all.
_PER_MEMBER = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
_IN_ALL = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_QUALIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT}


class KernelBtf:
    """Fields are named as in C, also through nested and anonymous structs: `mem_cgroup.memory.max`.

    Raises KeyError, with the field's name, for what this kernel does not have.
    """

    def __init__(self, data: bytes) -> None:
        """`data`: the content of /sys/kernel/btf/vmlinux."""
        header, types_at, types_length, strings_at = unpack_from("<4xIIII", data)
        self._data = data
        self._strings = header + strings_at
        self._at = list(_positions(data, header + types_at, header + types_at + types_length))
        self._found: dict[tuple[str, frozenset[int]], int | None] = {}

    def offset(self, field: str) -> int:
        """In bytes from the start of the struct."""
        return self._field(field)[0]

    def size(self, name: str) -> int:
        """Of a struct, or of a field of it, in bytes."""
        return self._size(self._field(name)[1]) if "." in name else self._size(self._struct(name))

    def has(self, field: str) -> bool:
        try:
            self._field(field)
        except KeyError:
            return False
        return True

    def enumerator(self, enum: str, name: str) -> int | None:
        """The value that this enum gives the name; None: it has no such name."""
        found = self._named(enum, frozenset({ENUM}))
        if found is None:
            return None
        at = self._at[found]
        for index in range(self._members(at)):
            name_at, value = unpack_from("<Ii", self._data, at + _HEAD.size + 8 * index)
            if self._text(name_at) == name:
                return int(value)
        return None

    def _field(self, field: str) -> tuple[int, int]:
        """Offset and type."""
        struct, *path = field.split(".")
        kind = self._struct(struct, field)
        offset = 0
        for name in path:
            found = self._member(kind, name)
            if found is None:
                raise KeyError(field)
            offset += found[0]
            kind = self._plain(found[1])
        return offset, kind

    def _member(self, kind: int, name: str) -> tuple[int, int] | None:
        at = self._at[kind]
        if self._kind(at) not in (STRUCT, UNION):
            return None
        mask = 0xFFFFFF if unpack_from("<I", self._data, at + 4)[0] >> 31 else 0xFFFFFFFF  # bit fields have a size
        for index in range(self._members(at)):
            name_at, of, bits = _MEMBER.unpack_from(self._data, at + _HEAD.size + _MEMBER.size * index)
            offset = (bits & mask) // 8
            if name_at:
                if self._text(name_at) == name:
                    return offset, of
                continue
            inner = self._member(self._plain(of), name)
            if inner is not None:
                return offset + inner[0], inner[1]
        return None

    def _struct(self, name: str, field: str = "") -> int:
        found = self._named(name, frozenset({STRUCT, UNION}))
        if found is None:
            raise KeyError(field or name)
        return found

    def _named(self, name: str, kinds: frozenset[int]) -> int | None:
        if (name, kinds) not in self._found:
            self._found[name, kinds] = self._search(name, kinds)
        return self._found[name, kinds]

    def _search(self, name: str, kinds: frozenset[int]) -> int | None:
        data = self._data
        before = data.find(b"\0" + name.encode() + b"\0", self._strings)
        if before < 0:
            return None
        wanted = (before + 1 - self._strings).to_bytes(4, "little")
        for number, at in enumerate(self._at):
            if number and data[at : at + 4] == wanted and self._kind(at) in kinds:
                return number
        return None

    def _size(self, kind: int) -> int:
        kind = self._plain(kind)
        at = self._at[kind]
        if self._kind(at) == POINTER:
            return 8
        if self._kind(at) == ARRAY:
            of, _, count = unpack_from("<III", self._data, at + _HEAD.size)
            return self._size(of) * int(count)
        return int(unpack_from("<I", self._data, at + 8)[0])

    def _plain(self, kind: int) -> int:
        """The type behind typedefs and qualifiers."""
        while kind and self._kind(self._at[kind]) in _QUALIFIERS:
            kind = unpack_from("<I", self._data, self._at[kind] + 8)[0]
        return kind

    def _kind(self, at: int) -> int:
        return int(self._data[at + 7] & 31)

    def _members(self, at: int) -> int:
        return int(unpack_from("<H", self._data, at + 4)[0])

    def _text(self, name_at: int) -> str:
        start = self._strings + name_at
        return self._data[start : self._data.index(b"\0", start)].decode()


def _positions(data: bytes, at: int, end: int) -> Iterator[int]:
    """Where each type stands, by its number; number 0 is void and stands nowhere."""
    yield 0
    members = Struct("<H").unpack_from
    while at < end:
        yield at
        kind = data[at + 7] & 31
        per_member = _PER_MEMBER.get(kind, 0)
        at += _HEAD.size + _IN_ALL.get(kind, 0) + (per_member * members(data, at + 4)[0] if per_member else 0)
