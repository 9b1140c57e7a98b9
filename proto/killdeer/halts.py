"""The halts that somebody knows: engaged and released ones, by id, merged by union (rule R10).

Agents and coordinators hold the same noun, so that both compute the same digest of what they know.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import HaltRecord, HaltSet


@dataclass(frozen=True, slots=True)
class Halts:
    """Immutable; `engaged` maps an id to its record, `released` holds ids. An id stays known for ever."""

    engaged: dict[str, HaltRecord] = field(default_factory=dict)
    released: frozenset[str] = frozenset()

    @classmethod
    def from_wire(cls, message: HaltSet) -> "Halts":
        return cls({halt.id: halt for halt in message.engaged}, frozenset(message.released))

    def to_wire(self) -> HaltSet:
        return HaltSet(
            engaged=[self.engaged[halt_id] for halt_id in sorted(self.engaged)],
            released=sorted(self.released),
        )

    def union(self, other: "Halts") -> "Halts":
        return Halts({**other.engaged, **self.engaged}, self.released | other.released)

    def engage(self, record: HaltRecord) -> "Halts":
        return self.union(Halts({record.id: record}))

    def release(self, halt_ids: Iterable[str]) -> "Halts":
        return Halts(self.engaged, self.released | frozenset(halt_ids))

    @property
    def active(self) -> tuple[HaltRecord, ...]:
        """Engaged and not released by its id, oldest id first. Not empty: the fleet is halted."""
        return tuple(self.engaged[i] for i in sorted(self.engaged) if i not in self.released)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all known ids and their releases; equal exactly when the same is known."""
        known = sorted(set(self.engaged) | self.released)
        text = "\n".join(f"{halt_id} {'released' if halt_id in self.released else 'engaged'}" for halt_id in known)
        return hashlib.sha256(text.encode()).hexdigest()
