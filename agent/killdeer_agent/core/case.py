"""One death, and all that the record has on it; and what is found of its cause."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Cause, KernelEvent, Party
from killdeer_agent.core.lives import Gaps, Life
from killdeer_agent.core.strike import NS_PER_MS

SIGNALS = frozenset({"signal", "deadly signal", "watched signal"})
DEADLY_SIGNALS = frozenset({"deadly signal", "watched signal"})
WATCHED_SIGNALS = frozenset({"watched signal"})
OOM_KILLS = frozenset({"oom"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`proof`: the events that show it, the exit not among them."""

    cause: Cause
    why: str
    killer: Party | None = None
    proof: tuple[KernelEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One death, and all that the record has on it. `since_ns`: when the record began; `behind`: it has not caught
    up with this exit yet, so that anything may be missing. `before`: the deaths told last, oldest first."""

    exit: KernelEvent
    life: Life
    gaps: Gaps = field(default_factory=Gaps)
    kills: Iterable[KernelEvent] = ()
    before: Sequence[KernelEvent] = ()
    since_ns: int = 0
    forgotten_ns: int = 0
    behind: bool = False

    def missing_since(self, event: KernelEvent) -> str:
        """The victim of a strike is watched, and what befalls it has a ring of its own."""
        return self.missing(event.at_boot_ns, WATCHED_SIGNALS if event.command_id else SIGNALS)

    def missing(self, after_ns: int, kinds: frozenset[str]) -> str:
        """Why events between then and the exit may be missing; empty: none is."""
        if self.behind:
            return "the kernel's record is behind"
        lost = self.gaps.between(after_ns, self.exit.at_boot_ns, kinds)
        return f"{lost} {'event was' if lost == 1 else 'events were'} lost that may bear on it" if lost else ""


def who(party: Party) -> str:
    return f"{party.name} (pid {party.pid})" if party.pid else f"{party.name} (host pid {party.host_pid})"


def later(event: KernelEvent, other: KernelEvent) -> str:
    return duration(other.at_boot_ns - event.at_boot_ns)


def duration(ns: int) -> str:
    return f"{ns / NS_PER_MS:.1f} ms" if ns < 1_000 * NS_PER_MS else f"{ns / (1_000 * NS_PER_MS):.1f} s"
