"""The facts of one process, read from /proc when they are asked for, each file at most once (see core/facts.py).

What a file's absence means depends on why: the process is gone, or this agent may not look.
"""

# A scan reads thousands of files, and a Path costs as much as the read.
# ruff: noqa: PTH115, PTH116

import os
import pwd
from collections.abc import Callable, Container
from functools import lru_cache
from hashlib import sha256

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.place import service_of
from killdeer_agent.core.selector import SUBJECT_BYTES
from killdeer_agent.kernel.cgroup import Place, place_of
from killdeer_agent.kernel.sockets import ports_of
from killdeer_agent.kernel.stat import PF_KTHREAD, Stat, parse_stat

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

# The kernel cuts comm here.
_COMM_BYTES = 15

# Longer than what patterns see, so that they know that it was cut.
_CMDLINE_BYTES = SUBJECT_BYTES + 1
_FILE_BYTES = 16 * 1024

_DELETED = " (deleted)"

_DEEP = "install the drop-in 10-deep.conf of killdeer-agent.service, or run the agent as the same user"


class Around:
    """What many processes share, kept for one scan: names of parents, sockets of network namespaces."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.listening: dict[str, dict[str, int]] = {}


class ProcFacts:
    """One process by pid, as core/facts.py describes. Made anew for each look.

    FactMissing: REASON_GONE when it has exited; REASON_CANNOT_EVALUATE when this agent may not look;
    REASON_UNREADABLE when the kernel's answer is none of these.
    """

    # Not read yet; in the class, as a scan makes thousands of these and reads little of each.
    _stat: Stat | None = None
    _status: tuple[int, str] | None = None
    _cgroup: Place | None = None
    _cmdline: bytes | None = None
    _exe: str | None = None
    _ports: frozenset[int] | None = None

    def __init__(self, pid: int, root: str = "/proc", around: Around | None = None) -> None:
        self.pid = pid
        self._root = root
        self._around = around

    @property
    def start_ticks(self) -> int:
        return self.stat.start_ticks

    @property
    def state(self) -> str:
        return self.stat.state

    @property
    def threads(self) -> int:
        return self.stat.threads

    @property
    def kernel_thread(self) -> bool:
        return bool(self.stat.flags & PF_KTHREAD)

    @property
    def parent_pid(self) -> int:
        return self.stat.parent_pid

    @property
    def started_boot_ns(self) -> int:
        return self.stat.start_ticks * _TICK_NS

    @property
    def name(self) -> str:
        comm = self.stat.comm
        if len(comm) < _COMM_BYTES or self.kernel_thread:
            return _text(comm)
        first = self._argv().split(b"\0", 1)[0].rpartition(b"/")[2]
        return _text(first if first.startswith(comm) else comm)

    @property
    def cmdline(self) -> str:
        return _text(self._argv().replace(b"\0", b" "))

    @property
    def uid(self) -> int:
        return self._ids()[0]

    @property
    def user(self) -> str:
        uid = self.uid
        try:
            return _user_name(uid)
        except KeyError:
            return str(uid)

    @property
    def parent_name(self) -> str:
        """Empty where there is no parent in this pid namespace."""
        parent = self.parent_pid
        if parent == 0:
            return ""
        if self._around is None:
            return ProcFacts(parent, self._root).name
        if parent not in self._around.names:
            self._around.names[parent] = ProcFacts(parent, self._root).name
        return self._around.names[parent]

    @property
    def cgroup(self) -> str:
        return self._place().path

    @property
    def unit(self) -> str:
        return self._place().unit

    @property
    def container(self) -> str:
        return self._place().container

    @property
    def exe(self) -> str:
        """Empty for a thread of the kernel. A file deleted since is named as when it was there."""
        if self._exe is None:
            try:
                self._exe = _exe_path(os.readlink(f"{self._root}/{self.pid}/exe"))
            except OSError as error:
                if not self.kernel_thread:
                    raise self._missing(error, "exe", _DEEP) from error
                self._exe = ""
        return self._exe

    def runs_any(self, exes: Container[str]) -> bool:
        """Whether its executable is one of these; False where this agent may not read it, or it has none. Costs one
        system call, and no exception for each thread of the kernel."""
        try:
            return _exe_path(os.readlink(f"{self._root}/{self.pid}/exe")) in exes
        except OSError:
            return False

    @property
    def ports(self) -> frozenset[int]:
        if self._ports is None:
            tables = self._around.listening if self._around is not None else {}
            try:
                self._ports = ports_of(f"{self._root}/{self.pid}", tables)
            except OSError as error:
                if not self.kernel_thread:
                    raise self._missing(error, "fd", _DEEP) from error
                self._ports = frozenset()
        return self._ports

    @property
    def program(self) -> str:
        """Who may read its memory map gets a hash of the executable's inode, where its code begins and where its
        stack began: a new program has another stack, drawn at random, and a new title changes none of these.
        (Where address randomisation is off, the same file run again with the same arguments looks the same.)

        Who may not sees 1 and 0 there, as measured on 6.18, and gets a hash of name, command line and size of the
        code: a process that rewrites its title then looks like another program, and is refused.
        """
        stat = self.stat
        if stat.start_stack and stat.start_code > 1:
            try:
                exe = os.stat(f"{self._root}/{self.pid}/exe")
            except OSError as error:
                raise self._missing(error, "exe", _DEEP) from error
            seen = f"map {exe.st_dev} {exe.st_ino} {stat.start_code} {stat.start_stack}".encode()
        else:
            seen = b"title\0%s\0%s\0" % (stat.comm, self._ids()[1].encode()) + self._argv()
        return sha256(seen).hexdigest()[:16]

    @property
    def service(self) -> str:
        """What it belongs to (rule R19). Outside of units and containers: its executable, or its name where this
        agent may not read that."""
        service = service_of(self.unit, self.container, "")
        if service:
            return service
        try:
            return self.exe or self.name
        except FactMissing:
            return self.name

    @property
    def stat(self) -> Stat:
        if self._stat is None:
            raw = self._read("stat", 4096)
            try:
                self._stat = parse_stat(raw)
            except (ValueError, IndexError) as error:
                detail = f"cannot read {self._root}/{self.pid}/stat: {raw[:200]!r}"
                raise FactMissing(Reason.REASON_UNREADABLE, detail) from error
        return self._stat

    def _argv(self) -> bytes:
        """Up to SUBJECT_BYTES + 1 bytes, parted by NULs; empty for zombies and threads of the kernel."""
        if self._cmdline is None:
            self._cmdline = self._read("cmdline", _CMDLINE_BYTES).rstrip(b"\0")
        return self._cmdline

    def _ids(self) -> tuple[int, str]:
        """Real uid, and the size of the program's code (`20 kB`; empty without memory)."""
        if self._status is None:
            raw = self._read("status", _FILE_BYTES)
            lines = dict(line.partition(b":")[::2] for line in raw.splitlines())
            try:
                self._status = int(lines[b"Uid"].split()[0]), lines.get(b"VmExe", b"").strip().decode()
            except (KeyError, ValueError, IndexError) as error:
                detail = f"cannot read {self._root}/{self.pid}/status: it has no Uid"
                raise FactMissing(Reason.REASON_UNREADABLE, detail) from error
        return self._status

    def _place(self) -> Place:
        if self._cgroup is None:
            self._cgroup = place_of(self._read("cgroup", _FILE_BYTES))
        return self._cgroup

    def _read(self, name: str, size: int) -> bytes:
        """One read: these files come whole up to the size asked for."""
        try:
            fd = os.open(f"{self._root}/{self.pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(fd, size)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._missing(error, name, "mount /proc without hidepid for the agent") from error

    def _missing(self, error: OSError, name: str, remedy: str) -> FactMissing:
        file = f"{self._root}/{self.pid}/{name}"
        if isinstance(error, FileNotFoundError | ProcessLookupError):
            return FactMissing(Reason.REASON_GONE, f"pid {self.pid} has no {name}: it has exited")
        if not isinstance(error, PermissionError):
            return FactMissing(Reason.REASON_UNREADABLE, f"cannot read {file}: {error.strerror}")
        # A process of another user that is dying may no longer be looked at, whoever looks.
        if name in ("exe", "fd") and self.state in "ZX":
            return FactMissing(Reason.REASON_GONE, f"pid {self.pid} has no {name}: it has exited")
        return FactMissing(
            Reason.REASON_CANNOT_EVALUATE, f"this agent may not read {file} ({error.strerror}): {remedy}"
        )


def facts_from(root: str = "/proc") -> Callable[[int], ProcFacts]:
    """How the last look gets its facts: read anew, sharing nothing."""
    return lambda pid: ProcFacts(pid, root)


def ancestors(pid: int, root: str = "/proc") -> frozenset[int]:
    """The pid itself and all that started it, as far as this pid namespace shows: the guard's `own`."""
    found = set()
    while pid and pid not in found:
        found.add(pid)
        try:
            pid = ProcFacts(pid, root).parent_pid
        except FactMissing:
            break
    return frozenset(found)


def _exe_path(link: str) -> str:
    path = link if link.isascii() else _text(os.fsencode(link))
    return path.removesuffix(_DELETED)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


# Not remembered when there is none: a directory service may only have failed to answer.
@lru_cache(maxsize=4096)
def _user_name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
