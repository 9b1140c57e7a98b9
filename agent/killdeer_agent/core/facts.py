"""What the core may ask about a process. The kernel port answers from /proc; the simulation from its world."""

from dataclasses import dataclass
from typing import Protocol

from killdeer.v1.process_pb2 import Reason


class FactMissing(Exception):
    """A fact cannot be had. `reason` is REASON_GONE, REASON_UNREADABLE or REASON_CANNOT_EVALUATE."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Facts(Protocol):
    """One process, now. Each fact may be read when it is asked for; any may raise FactMissing.

    What cannot be read is never an empty value: a selector that needs it refuses (I10).
    """

    @property
    def pid(self) -> int: ...
    @property
    def start_ticks(self) -> int:
        """/proc/PID/stat field 22."""

    @property
    def state(self) -> str:
        """One letter of /proc/PID/stat: R S D T t Z X I."""

    @property
    def threads(self) -> int:
        """Threads that have not exited. A leader in state Z with others alive is dead, its process is not."""

    @property
    def kernel_thread(self) -> bool: ...
    @property
    def name(self) -> str:
        """comm; completed from argv[0] where the kernel cut it at 15 bytes."""

    @property
    def cmdline(self) -> str:
        """argv joined by single spaces; not redacted."""

    @property
    def uid(self) -> int:
        """Real uid."""

    @property
    def user(self) -> str:
        """Name of the real uid, or its number as text."""

    @property
    def parent_pid(self) -> int: ...
    @property
    def parent_name(self) -> str: ...
    @property
    def cgroup(self) -> str:
        """Path in the unified hierarchy, else in name=systemd; `/` at the root."""

    @property
    def unit(self) -> str:
        """The systemd unit (.service, .scope): the first after the slices of the cgroup path; empty: in none."""

    @property
    def container(self) -> str:
        """Container id from the cgroup path; empty: in none."""

    @property
    def service(self) -> str:
        """What it belongs to (rule R19)."""

    @property
    def exe(self) -> str:
        """Path of the executable."""

    @property
    def ports(self) -> frozenset[int]:
        """TCP and UDP ports it listens on."""

    @property
    def program(self) -> str:
        """Fingerprint of the program it runs: changes with an exec. Hex."""

    @property
    def started_boot_ns(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The identity of one process on this host, and the program it ran when it was seen."""

    boot_id: str
    pid: int
    start_ticks: int
    program: str = ""


@dataclass(frozen=True, slots=True)
class Now:
    """`boot_ns` is CLOCK_BOOTTIME; `rtc_ns` the real-time clock chip, None where there is none (rule R8)."""

    boot_ns: int
    rtc_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A named no. `remedy` is the line to add and the file to add it to, where there is one."""

    reason: Reason
    detail: str
    remedy: str = ""
