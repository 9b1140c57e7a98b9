"""From the records of one drain to events, whichever way they came."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import evidence, layout
from killdeer_agent.kernel.cgroups import Cgroups
from killdeer_agent.kernel.executables import Executables


class Reading:
    """Learns of new cgroups and programs on the way; tells an exit once that the kernel may have recorded twice.

    `on_cgroup`: told the id and path of each cgroup that is made.
    """

    def __init__(self, units: evidence.Units, on_cgroup: Callable[[int, str], None]) -> None:
        self._executables = Executables()
        self._units = replace(units, executable=self._executables.path_of)
        self._on_cgroup = on_cgroup
        self.cgroups = Cgroups()
        self._recent_exits: deque[tuple[int, int]] = deque(maxlen=64)

    def events(self, records: Iterable[bytes]) -> list[KernelEvent]:
        """In the order of time, cgroups and programs named."""
        self._executables.begin()
        kept = [record for record in records if self._is_told(record)]
        events = [evidence.to_wire(record, self._units) for record in kept]
        events.sort(key=_at)
        for event in events:
            self.cgroups.name(event)
        return events

    def _is_told(self, record: bytes) -> bool:
        """Learns on the way: what an exec names may bear on signals that stand before it here."""
        match evidence.kind_of(record):
            case layout.EXEC:
                self._executables.executed(*evidence.executed(record))
            case layout.EXIT:
                return self._first_time(evidence.doubtful_exit(record))
            case layout.CGROUP:
                cgroup_id, path = evidence.new_cgroup(record)
                self.cgroups.made(cgroup_id, path)
                self._on_cgroup(cgroup_id, self.cgroups.path(cgroup_id))
                return False
        return True

    def _first_time(self, process: tuple[int, int] | None) -> bool:
        if process is None:
            return True
        if process in self._recent_exits:
            return False
        self._recent_exits.append(process)
        return True


def _at(event: KernelEvent) -> int:
    return event.at_boot_ns
