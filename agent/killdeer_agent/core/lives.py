"""What is known of processes before they die: the signals that reached them, the OOM killer's word, and when the
record had gaps. All of it bounded."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import KernelEvent, Party
from killdeer_agent.core.signals import ABRT, ASK_TO_END

Key = tuple[int, int]  # host pid, start_ticks: host pids, since a sender may be in no namespace of ours

MOST_LIVES = 8_192
MOST_GAPS = 256
MOST_KILLS = 64

# CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH: no process dies of them.
HARMLESS = frozenset({17, 18, 19, 20, 21, 22, 23, 28})
# What a service manager begins with, before it kills: as a stop has it, or a watchdog.
STOPS = ASK_TO_END | {ABRT}
# "delivered" means queued: the kernel makes no difference to a handler's and a deadly one.
_TOOK = ("delivered", "lost_info")


def key_of(party: Party) -> Key:
    return (party.host_pid, party.start_ticks)


@dataclass(slots=True)
class Life:
    """One process. Of each signal number only the last that reached it counts: whatever came of the earlier
    ones, it outlived them. Its own are kept apart from those of others."""

    signals: dict[tuple[int, bool], KernelEvent] = field(default_factory=dict)
    ignored: dict[int, KernelEvent] = field(default_factory=dict)
    """Of those by which a stop begins: nothing came of it, but more may follow."""
    oom: KernelEvent | None = None

    def last(self, number: int) -> KernelEvent | None:
        both = (self.signals.get((number, own)) for own in (True, False))
        return max((one for one in both if one), key=_order, default=None)

    def by_others(self) -> list[KernelEvent]:
        """Oldest first."""
        found = (event for (_, own), event in self.signals.items() if not own)
        return sorted(found, key=lambda one: one.at_boot_ns)

    def asked(self) -> list[KernelEvent]:
        """By others, to end in good order, whether or not it listened. Oldest first."""
        heard = [event for event in self.by_others() if event.signal.signal in STOPS]
        return sorted([*heard, *self.ignored.values()], key=lambda one: one.at_boot_ns)


def _order(event: KernelEvent) -> tuple[bool, int]:
    """After the one that the kernel ended the process for comes no other."""
    return event.signal.fatal, event.at_boot_ns


class Lives:
    def __init__(self) -> None:
        self._lives: OrderedDict[Key, Life] = OrderedDict()
        self.kills: deque[KernelEvent] = deque(maxlen=MOST_KILLS)
        """The OOM killer's last victims."""
        self.forgotten_ns = 0
        """What happened to a process before this may have been given up, for want of room."""

    def signalled(self, event: KernelEvent) -> None:
        signal = event.signal
        if signal.verdict == "ignored" and signal.signal in STOPS and signal.HasField("sender"):
            self._of(key_of(signal.target)).ignored[signal.signal] = event
        if signal.signal in HARMLESS or signal.verdict not in _TOOK:
            return
        own = signal.HasField("sender") and key_of(signal.sender) == key_of(signal.target)
        signals, slot = self._of(key_of(signal.target)).signals, (signal.signal, own)
        # Two rings may be read in another order than they were written in.
        if slot not in signals or _order(signals[slot]) <= _order(event):
            signals[slot] = event

    def marked(self, event: KernelEvent) -> None:
        self._of(key_of(event.oom.victim)).oom = event
        self.kills.append(event)

    def ended(self, key: Key) -> Life:
        return self._lives.pop(key, None) or Life()

    def _of(self, key: Key) -> Life:
        life = self._lives.setdefault(key, Life())
        self._lives.move_to_end(key)
        if len(self._lives) > MOST_LIVES:
            _, old = self._lives.popitem(last=False)
            seen = [event.at_boot_ns for event in old.signals.values()]
            self.forgotten_ns = max([self.forgotten_ns, *seen, old.oom.at_boot_ns if old.oom else 0])
        return life


@dataclass(slots=True)
class _Gap:
    after_ns: int
    until_ns: int
    lost: dict[str, int]


class Gaps:
    """When events were lost, by kind. A count says that it happened since the last look, not when."""

    def __init__(self) -> None:
        self._gaps: deque[_Gap] = deque()

    def lost(self, kind: str, count: int, after_ns: int, until_ns: int) -> None:
        self._gaps.append(_Gap(after_ns, until_ns, {kind: count}))
        if len(self._gaps) > MOST_GAPS:  # a coarser memory of the oldest errs on the side of `unknown`
            first, second = self._gaps.popleft(), self._gaps.popleft()
            counts = {kind: first.lost.get(kind, 0) + second.lost.get(kind, 0) for kind in first.lost | second.lost}
            merged = _Gap(min(first.after_ns, second.after_ns), max(first.until_ns, second.until_ns), counts)
            self._gaps.appendleft(merged)

    def between(self, begin_ns: int, end_ns: int, kinds: frozenset[str]) -> int:
        """How many events of these kinds may have been lost in this time."""
        touching = (gap for gap in self._gaps if gap.until_ns >= begin_ns and gap.after_ns <= end_ns)
        return sum(count for gap in touching for kind, count in gap.lost.items() if kind in kinds)
