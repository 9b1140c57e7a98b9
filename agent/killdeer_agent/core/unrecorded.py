"""Deaths on a host without the kernel's record: the exit is all that is sure. What the kernel's log says of the
process is its cause; what counters say of its cgroup is told with it, and leaves the cause unknown (I8)."""

from collections import OrderedDict

from killdeer.v1.process_pb2 import Cause, Death, KernelEvent, OomCounted
from killdeer_agent.core.lives import Key, key_of
from killdeer_agent.core.place import place_at, service_of
from killdeer_agent.core.signals import FAULTS, KILL, name

MOST_KEPT = 1_024


class Unrecorded:
    def __init__(self) -> None:
        self._about: OrderedDict[Key, list[KernelEvent]] = OrderedDict()

    def seen(self, event: KernelEvent) -> KernelEvent | None:
        """The death, for an exit that nobody could read the status of. What bears on it was seen before."""
        match event.WhichOneof("kind"):
            case "oom":
                self._keep(key_of(event.oom.victim), event)
            case "signal" if not event.signal.verdict:
                self._keep(key_of(event.signal.target), event)
            case "oom_counted":
                self._keep(key_of(event.oom_counted.process), event)
            case "exit" if event.exit.unread:
                return _death(event, self._about.pop(key_of(event.exit.process), []))
        return None

    def _keep(self, key: Key, event: KernelEvent) -> None:
        self._about.setdefault(key, []).append(event)
        self._about.move_to_end(key)
        if len(self._about) > MOST_KEPT:
            self._about.popitem(last=False)


def _death(event: KernelEvent, about: list[KernelEvent]) -> KernelEvent:
    process = event.exit.process
    place = place_at(process.cgroup)
    death = Death(
        process=process,
        cause=Cause.CAUSE_UNKNOWN,
        why="it exited; without the kernel's record nothing tells how",
        age_ms=event.exit.age_ms,
        unit=place.unit,
        container=place.container,
        cgroup=place.path,
        service=service_of(place.unit, place.container, process.name),
        evidence=[*about, event],
    )
    for one in about:
        match one.WhichOneof("kind"):
            case "oom":
                _by_oom(death, one)
            case "signal" if one.signal.signal in FAULTS:
                death.cause, death.signal = Cause.CAUSE_FAULT, one.signal.signal
                death.why = f"{name(death.signal)}: {FAULTS[death.signal]}, says the kernel's log"
            case "oom_counted" if death.cause == Cause.CAUSE_UNKNOWN:
                death.why = _counted(one.oom_counted)
    return KernelEvent(at_boot_ns=event.at_boot_ns, host=event.host, death=death, command_id=event.command_id)


def _by_oom(death: Death, event: KernelEvent) -> None:
    mark = event.oom
    death.signal, death.memory_group = KILL, mark.group
    if mark.memory_cgroup:
        limit = f"{mark.limit_cgroup or 'a cgroup that it does not name'} reached its limit"
        death.cause, death.limit_cgroup, death.limit_kb = Cause.CAUSE_OOM_CGROUP, mark.limit_cgroup, mark.limit_kb
    else:
        limit, death.cause = "the machine ran out of memory", Cause.CAUSE_OOM_GLOBAL
    death.why = f"{limit}: the OOM killer chose it, says the kernel's log"


def _counted(counted: OomCounted) -> str:
    limit = f", for the limit of {counted.limit_cgroup} ({counted.limit_kb} kB)" if counted.limit_cgroup else ""
    kills = "a process" if counted.kills == 1 else f"{counted.kills} processes"
    return (
        f"it exited while the OOM killer took {kills} of {counted.cgroup}{limit}: itself perhaps, perhaps another"
    )
