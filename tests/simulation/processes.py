"""The processes of one simulated host, and what signals do to them, as the kernel has it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from killdeer.v1 import process_pb2 as p
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.place import service_of
from tests.simulation.clock import MS

HUP, KILL, USR1, TERM, CONT, STOP = 1, 9, 10, 15, 18, 19
TICK_NS = 10 * MS  # the unit of a start time

# How a process takes TERM: it dies of it at once, after a while, or not at all.
IGNORES = -1


@dataclass(slots=True, eq=False, kw_only=True)
class Proc:
    """One process. `key` tells it apart from every other on its host for as long as that is up."""

    pid: int
    start_ticks: int
    boot_id: str
    born_ns: int  # true time
    service: str
    unit: str
    cgroup: str
    name: str
    exe: str
    user: str
    uid: int
    program: str
    slot: int = -1  # its place in its service; -1: nobody restarts it
    protected: bool = False  # what is never struck on any host
    kernel_thread: bool = False
    threads: int = 1
    state: str = "S"
    term_ns: int = 0  # how long it outlives TERM; IGNORES
    ignored: frozenset[int] = frozenset()
    stopped_by_agent: bool = False
    pending: list[tuple[int, int]] = field(default_factory=list)  # signals that wait, with their senders
    unreadable: bool = False
    dead_ns: int = 0  # true time of its exit; 0: it lives
    died_of: int = 0  # the signal; 0: it exited by itself
    code: int = 0
    dying: bool = False  # a TERM that it outlives is under way

    @property
    def key(self) -> tuple[int, int]:
        return (self.pid, self.start_ticks)

    @property
    def alive(self) -> bool:
        return not self.dead_ns

    @property
    def ready(self) -> bool:
        return not self.dead_ns and self.state not in "TtZX"

    def __str__(self) -> str:
        return f"pid {self.pid}/{self.start_ticks} {self.unit or self.name} ({self.state})"


def told_service(proc: Proc) -> str:
    """As agents work it out; `service` of a process is the truth."""
    return service_of(proc.unit, "", proc.service)


class ProcFacts:
    """The facts port, over a simulated process. `now` facts: each is read when it is asked for."""

    __slots__ = ("_boot_ns_of", "_proc")

    def __init__(self, proc: Proc, boot_ns_of: Callable[[int], int]) -> None:
        self._proc = proc
        self._boot_ns_of = boot_ns_of

    @property
    def pid(self) -> int:
        return self._proc.pid

    @property
    def start_ticks(self) -> int:
        return self._proc.start_ticks

    @property
    def state(self) -> str:
        return "Z" if self._proc.dead_ns else self._proc.state

    @property
    def threads(self) -> int:
        return self._proc.threads

    @property
    def kernel_thread(self) -> bool:
        return self._proc.kernel_thread

    @property
    def name(self) -> str:
        return self._proc.name

    @property
    def cmdline(self) -> str:
        self._readable("cmdline")
        return f"{self._proc.exe} --serve"

    @property
    def uid(self) -> int:
        self._readable("uid")
        return self._proc.uid

    @property
    def user(self) -> str:
        self._readable("user")
        return self._proc.user

    @property
    def parent_pid(self) -> int:
        return 1

    @property
    def parent_name(self) -> str:
        return "systemd"

    @property
    def cgroup(self) -> str:
        self._readable("cgroup")
        return self._proc.cgroup

    @property
    def unit(self) -> str:
        self._readable("unit")
        return self._proc.unit

    @property
    def container(self) -> str:
        return ""

    @property
    def service(self) -> str:
        self._readable("service")
        return told_service(self._proc)

    @property
    def exe(self) -> str:
        self._readable("exe")
        return self._proc.exe

    @property
    def ports(self) -> frozenset[int]:
        self._readable("ports")
        return frozenset()

    @property
    def program(self) -> str:
        self._readable("program")
        return self._proc.program

    @property
    def started_boot_ns(self) -> int:
        return self._boot_ns_of(self._proc.start_ticks)

    def _readable(self, what: str) -> None:
        if self._proc.unreadable:
            raise FactMissing(p.REASON_UNREADABLE, f"cannot read its {what}")


class Table:
    """What runs on a host now, by pid; the dead that nobody has reaped yet are in it too."""

    def __init__(self) -> None:
        self._by_pid: dict[int, Proc] = {}

    def __iter__(self) -> Iterator[Proc]:
        return iter(list(self._by_pid.values()))

    def add(self, proc: Proc) -> None:
        self._by_pid[proc.pid] = proc

    def reap(self, proc: Proc) -> None:
        if self._by_pid.get(proc.pid) is proc:
            del self._by_pid[proc.pid]

    def at(self, pid: int) -> Proc | None:
        return self._by_pid.get(pid)

    def free(self, pid: int) -> bool:
        return pid not in self._by_pid

    def ready_of(self, service: str) -> list[Proc]:
        """By start time, ties by pid."""
        found = [one for one in self._by_pid.values() if told_service(one) == service and one.ready]
        return sorted(found, key=lambda one: (one.start_ticks, one.pid))


def party_of(proc: Proc) -> p.Party:
    return p.Party(
        pid=proc.pid,
        host_pid=proc.pid,
        tid=proc.pid,
        start_ticks=proc.start_ticks,
        name=proc.name,
        uid=proc.uid,
        parent_pid=1,
        cgroup=proc.cgroup,
    )
