"""Every death on the host that the kernel tells of, once, with its cause: late, when all that bears on it is known.

The kernel sends the SIGKILL of an OOM kill before it says that there is one, and losses are counted, not timed.
"""

from collections import OrderedDict, deque

from killdeer.v1.process_pb2 import Death, KernelEvent
from killdeer_agent.core.case import Case
from killdeer_agent.core.causes import find
from killdeer_agent.core.lives import Gaps, Key, Lives, key_of
from killdeer_agent.core.place import place_at, service_of
from killdeer_agent.core.strike import NS_PER_MS

NS_PER_TICK = 10 * NS_PER_MS

# The record is told in whole several times a second; a death that waits for longer is told as far as it is known.
PATIENCE_NS = 2_000 * NS_PER_MS
MOST_WAITING = 4_096
MOST_TOLD = 64


class Deaths:
    """Events come in the order they were handed over, whoever they are about. Which exits are told the kernel side
    filters: those by a signal, and those of watched processes.

    A signal of our own is known by its `command_id`; it may be set until the death is told.
    """

    def __init__(self) -> None:
        self._lives = Lives()
        self._gaps = Gaps()
        self._dying: OrderedDict[Key, tuple[KernelEvent, int]] = OrderedDict()  # exit, when it came
        self._last: deque[KernelEvent] = deque(maxlen=MOST_TOLD)
        self._since_ns = 0  # the record is whole from here on, up to `_told_ns`
        self._told_ns = 0

    def seen(self, event: KernelEvent, now_ns: int) -> None:
        match event.WhichOneof("kind"):
            case "signal":
                self._lives.signalled(event)
            case "oom":
                self._lives.marked(event)
            case "lost":
                self._gaps.lost(event.lost.kind, event.lost.count, self._told_ns, event.at_boot_ns)
            case "exit" if not event.exit.unread:
                self._dying.setdefault(key_of(event.exit.process), (event, now_ns))

    def tick(self, now_ns: int, told_ns: int) -> list[KernelEvent]:
        """The deaths that can be told now. `told_ns`: all that happened before was seen, losses among it."""
        self._told_ns = max(self._told_ns, told_ns)
        self._since_ns = self._since_ns or told_ns
        told = []
        while self._dying:
            event, came_ns = next(iter(self._dying.values()))
            whole = event.at_boot_ns < self._told_ns
            if not whole and now_ns - came_ns < PATIENCE_NS and len(self._dying) <= MOST_WAITING:
                break
            self._dying.popitem(last=False)
            told.append(self._death(event, behind=not whole))
            self._last.append(told[-1])
        return told

    def _death(self, event: KernelEvent, *, behind: bool) -> KernelEvent:
        exited, process = event.exit, event.exit.process
        life = self._lives.ended(key_of(process))
        case = Case(
            exit=event,
            life=life,
            gaps=self._gaps,
            kills=self._lives.kills,
            before=self._last,
            since_ns=self._since_ns,
            forgotten_ns=self._lives.forgotten_ns,
            behind=behind,
        )
        found = find(case, process.start_ticks * NS_PER_TICK)
        place = place_at(process.cgroup)
        death = Death(
            process=process,
            cause=found.cause,
            why=found.why,
            killer=found.killer,
            code=exited.code,
            signal=exited.signal,
            core_dumped=exited.core_dumped,
            age_ms=exited.age_ms,
            unit=place.unit,
            container=place.container,
            cgroup=place.path,
            service=service_of(place.unit, place.container, process.name),
            evidence=_by_time([*found.proof, event]),
        )
        for proof in found.proof:
            if proof.HasField("oom"):
                death.limit_cgroup, death.limit_kb = proof.oom.limit_cgroup, proof.oom.limit_kb
                death.memory_group = proof.oom.group
        command_ids = [one.command_id for one in (event, *found.proof) if one.command_id]
        return KernelEvent(
            at_boot_ns=event.at_boot_ns, host=event.host, death=death, command_id=next(iter(command_ids), "")
        )


def _by_time(events: list[KernelEvent]) -> list[KernelEvent]:
    return sorted(events, key=lambda event: event.at_boot_ns)
