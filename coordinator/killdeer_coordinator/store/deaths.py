"""Deaths as they are looked for: by host, unit, cause and time, or by the words of somebody who asks why. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from killdeer.v1.operator_pb2 import WatchEventsResponse
from killdeer.v1.process_pb2 import Death
from killdeer_coordinator.store.rows import AnyRow, Values

# The kernel cuts a process's name after so many bytes.
NAME_MOST = 15
# A shorter piece of a container's id could be any word.
CONTAINER_LEAST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events are asked for; empty and 0: any. With `unit` or `cause`, deaths alone."""

    host: str = ""
    run: str = ""  # an id
    unit: str = ""  # glob, of the unit or the service
    cause: int = 0  # process_pb2.Cause
    since_ms: int = 0

    @property
    def deaths_only(self) -> bool:
        return bool(self.unit or self.cause)

    def names(self, unit: str, service: str) -> bool:
        return not self.unit or fnmatchcase(unit, self.unit) or fnmatchcase(service, self.unit)

    def fits(self, one: WatchEventsResponse) -> bool:
        """The same as the store's own search, for an event that has just come."""
        event = one.event
        if self.host not in ("", event.host) or self.run not in ("", one.run_id):
            return False
        if one.received_unix_ms < self.since_ms:
            return False
        if not self.deaths_only:
            return True
        death = event.death
        return (
            event.HasField("death") and self.cause in (0, death.cause) and self.names(death.unit, service_of(death))
        )


ANY = Wanted()


def service_of(death: Death) -> str:
    """What it belongs to; where that is nothing, its name."""
    return death.service or death.unit or death.container or death.process.name


def death_values(numbered: Sequence[WatchEventsResponse]) -> list[Values]:
    """The rows of those events of one batch that are deaths.

    An agent without a session keeps its events, so a batch may come long after the deaths in it. Its newest
    event is taken to have happened just now; the others lie before it by the host's own clock.
    """
    newest_ns = max((one.event.at_boot_ns for one in numbered), default=0)
    return [
        {
            "number": one.number,
            "at_ms": max(0, one.received_unix_ms - (newest_ns - one.event.at_boot_ns) // 1_000_000),
            "host": one.event.host,
            **_values(one.event.death),
        }
        for one in numbered
        if one.event.HasField("death")
    ]


def _values(death: Death) -> Values:
    return {
        "cause": death.cause,
        "pid": death.process.pid,
        "host_pid": death.process.host_pid,
        "name": death.process.name,
        "unit": death.unit,
        "container": death.container,
        "service": service_of(death),
    }


def is_meant(row: AnyRow, process: str) -> bool:
    """Does somebody who says `process` mean this death? A pid, or a name, unit or service; globs."""
    if process.isdecimal() and int(process) == (row.pid or row.host_pid):
        return True
    if row.name and row.name == process.encode()[:NAME_MOST].decode(errors="ignore"):
        return True
    if len(process) >= CONTAINER_LEAST and row.container.startswith(process):
        return True
    return any(fnmatchcase(name, process) for name in _names(row))


def _names(row: AnyRow) -> Iterator[str]:
    """`worker@3.service` is also `worker@3`, and a service that is an executable also its file's name."""
    for name in (row.name, row.unit, row.service, row.container):
        if name:
            yield name
            yield name.removesuffix(".service")
            yield name.rpartition("/")[2]
