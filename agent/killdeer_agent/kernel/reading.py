"""From the records of one drain to events, whichever collector drained them."""

from collections import deque
from collections.abc import Iterable

from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import evidence
from killdeer_agent.kernel.cgroups import Cgroups


class Reading:
    """Learns of new cgroups on the way, and tells an exit once that the kernel may have recorded twice."""

    def __init__(self, units: evidence.Units) -> None:
        self._units = units
        self._cgroups = Cgroups()
        self._recent_exits: deque[tuple[int, int]] = deque(maxlen=64)

    def events(self, records: Iterable[bytes]) -> list[KernelEvent]:
        """In the order of time, cgroups named."""
        events = [
            evidence.to_wire(record, self._units)
            for record in records
            if not self._made(record) and self._first_time(record)
        ]
        events.sort(key=_at)
        for event in events:
            self._cgroups.name(event)
        return events

    def _made(self, record: bytes) -> bool:
        made = evidence.new_cgroup(record)
        if made is not None:
            self._cgroups.made(*made)
        return made is not None

    def _first_time(self, record: bytes) -> bool:
        process = evidence.doubtful_exit(record)
        if process is None:
            return True
        if process in self._recent_exits:
            return False
        self._recent_exits.append(process)
        return True


def _at(event: KernelEvent) -> int:
    return event.at_boot_ns
