"""The facts port, on a /proc in a folder and on the kernel's own: one suite, so that the folder tells the truth."""

import os
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing, Facts
from killdeer_agent.core.warrant import unstruck
from killdeer_agent.kernel.proc import ProcFacts, ancestors
from killdeer_agent.kernel.stat import parse_stat
from tests.support.proc import HIDDEN_CODE, HIDDEN_STACK, KERNEL_THREAD, FakeProc
from tests.support.rights import as_nobody
from tests.support.strikes import LEADER_DIES_ON_COMMAND, command, running, until

SLEEP = os.path.realpath("/bin/sleep")
ODD_NAMES = ["a b", ") R 1 1 (", "((", "a) (b", "tab\there", "new\nline", "é", ""]


class Host(ABC):
    """Where processes run."""

    root: str

    @abstractmethod
    def start(self, *argv: str, comm: str = "sleep") -> int:
        """A process of the sleep program that calls itself `comm`; its parent is this test."""

    @abstractmethod
    def rename(self, pid: int, comm: str, title: str) -> None:
        """The process gives itself another name and another command line of the same length or less."""

    @abstractmethod
    def exec(self, pid: int) -> None:
        """The process runs another program from now on."""

    @abstractmethod
    def exit(self, pid: int) -> None:
        """It exits, and nobody reaps it yet."""

    @abstractmethod
    def reap(self, pid: int) -> None:
        """It has been reaped."""

    @abstractmethod
    def listen(self) -> tuple[int, frozenset[int]]:
        """A process with a TCP, a TCP6 and a UDP port, and which these are."""

    def facts(self, pid: int) -> ProcFacts:
        return ProcFacts(pid, self.root)


@dataclass
class FolderHost(Host):
    proc: FakeProc
    next_pid: int = 1000
    comms: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = str(self.proc.root)
        self.proc.add(os.getpid(), "pytest", comm="pytest", uid=os.getuid(), exe=sys.executable)

    def start(self, *argv: str, comm: str = "sleep") -> int:
        self.next_pid += 1
        self._add(self.next_pid, *(argv or ("sleep", "300")), comm=comm)
        return self.next_pid

    def rename(self, pid: int, comm: str, title: str) -> None:
        self._add(pid, title, comm=comm)

    def exec(self, pid: int) -> None:
        self._add(pid, "sleep", "301", comm="sleep", stack=0x7F_AA00_0000)

    def exit(self, pid: int) -> None:
        self.proc.add(pid, state="Z", parent=os.getpid(), start_code=0, start_stack=0, uid=os.getuid())

    def reap(self, pid: int) -> None:
        self.proc.remove(pid)

    def listen(self) -> tuple[int, frozenset[int]]:
        self.next_pid += 1
        self.proc.add(self.next_pid, "web", ports={8080: "tcp", 8081: "tcp6", 8082: "udp"})
        return self.next_pid, frozenset({8080, 8081, 8082})

    def _add(self, pid: int, *argv: str, comm: str, stack: int = 0x7F_FF00_0000) -> None:
        self.proc.add(
            pid,
            *argv,
            comm=comm.encode()[:15].decode(errors="ignore"),
            parent=os.getpid(),
            uid=os.getuid(),
            exe=SLEEP,
            start_stack=stack,
        )


# A program that gives itself names and titles, and becomes another one, as it is told line by line.
_BECOMES = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
rest = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
start, end = int(rest[45]), int(rest[46])
print("ready", flush=True)
for line in sys.stdin:
    word, _, arg = line.rstrip("\\n").partition(" ")
    arg = eval(arg) if arg else ""
    if word == "name":
        libc.prctl(15, arg.encode(), 0, 0, 0)
    elif word == "title":
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, arg.encode(), len(arg.encode()))
    elif word == "again":
        os.execv(sys.executable, sys.orig_argv)
    elif word == "exec":
        os.execv("/bin/sleep", ["sleep", "301"])
    print("done", flush=True)
"""


@dataclass
class KernelHost(Host):
    root: str = "/proc"
    children: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)

    def start(self, *argv: str, comm: str = "sleep", exe: str = "/bin/sleep") -> int:
        child = self._popen(list(argv or ("sleep", "300")), exe)
        until(lambda: self.facts(child.pid).state == "S")
        return child.pid

    def start_named(self, comm: str) -> int:
        child = self._popen([sys.executable, "-c", _BECOMES], sys.executable)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        self._tell(child, f"name {comm!r}")
        return child.pid

    def rename(self, pid: int, comm: str, title: str) -> None:
        self._tell(self.children[pid], f"name {comm!r}")
        self._tell(self.children[pid], f"title {title!r}")

    def exec(self, pid: int) -> None:
        child = self.children[pid]
        assert child.stdin is not None
        child.stdin.write("exec\n")
        child.stdin.flush()
        until(lambda: self.facts(pid).cmdline == "sleep 301" and self.facts(pid).state == "S")

    def exec_again(self, pid: int) -> None:
        """The process runs its own program anew, with the same arguments."""
        child = self.children[pid]
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write("again\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"

    def exit(self, pid: int) -> None:
        self.children[pid].kill()
        until(lambda: self.facts(pid).state == "Z")

    def reap(self, pid: int) -> None:
        self.children[pid].kill()
        self.children[pid].wait()

    def listen(self) -> tuple[int, frozenset[int]]:
        ports = set()
        for family, kind in (
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_DGRAM),
        ):
            opened = socket.socket(family, kind)
            opened.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                opened.listen()
            os.set_inheritable(opened.fileno(), True)
            self.sockets.append(opened)
            ports.add(opened.getsockname()[1])
        child = self._popen(["sleep", "300"], "/bin/sleep", tuple(one.fileno() for one in self.sockets))
        for one in self.sockets:
            one.close()
        until(lambda: self.facts(child.pid).state == "S")
        return child.pid, frozenset(ports)

    def end(self) -> None:
        for child in self.children.values():
            child.kill()
            child.communicate()

    def _popen(self, argv: list[str], exe: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            argv,
            executable=exe,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
        )
        self.children[child.pid] = child
        return child

    def _tell(self, child: subprocess.Popen[str], line: str) -> None:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"


@pytest.fixture(params=["folder", "kernel"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "folder":
        yield FolderHost(FakeProc(tmp_path / "proc"))
        return
    real = KernelHost()
    yield real
    real.end()


@pytest.fixture
def kernel() -> Iterator[KernelHost]:
    real = KernelHost()
    yield real
    real.end()


@pytest.fixture
def folder(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def named(host: Host, comm: str) -> int:
    return host.start_named(comm) if isinstance(host, KernelHost) else host.start("python", comm=comm)


def reason_of(facts: Facts, name: str) -> int:
    with pytest.raises(FactMissing) as caught:
        getattr(facts, name)
    assert caught.value.detail
    return caught.value.reason


def test_the_facts_of_a_plain_process(host: Host) -> None:
    facts = host.facts(host.start("sleep", "300", "0"))

    assert facts.name == "sleep"
    assert facts.cmdline == "sleep 300 0"
    assert facts.exe == SLEEP
    assert facts.uid == os.getuid()
    assert facts.user
    assert facts.parent_pid == os.getpid()
    assert facts.parent_name == ProcFacts(os.getpid(), host.root).name
    assert facts.state == "S"
    assert facts.threads == 1
    assert facts.start_ticks > 0
    assert facts.started_boot_ns == facts.start_ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert facts.kernel_thread is False
    assert facts.ports == frozenset()
    assert facts.cgroup.startswith("/")
    assert unstruck(facts) is None


@pytest.mark.parametrize("comm", ODD_NAMES)
def test_a_name_may_hold_anything(host: Host, comm: str) -> None:
    facts = host.facts(named(host, comm))

    assert facts.name == comm
    assert facts.parent_pid == os.getpid()
    assert facts.state in "SR"


def test_a_name_cut_by_the_kernel_is_completed_from_argv(host: Host) -> None:
    pid = named(host, "payment-worker-with-a-long-name")
    assert host.facts(pid).name == "payment-worker-"

    host.rename(pid, "payment-worker-with-a-long-name", "/opt/payment-worker-with-a-long-name")
    assert host.facts(pid).name == "payment-worker-with-a-long-name"


def test_a_process_that_has_gone_has_no_facts(host: Host) -> None:
    pid = host.start()
    host.reap(pid)

    for name in ("state", "cmdline", "exe", "uid", "unit", "program", "ports", "parent_name"):
        assert reason_of(host.facts(pid), name) == Reason.REASON_GONE


def test_each_fact_is_read_once_a_look(host: Host) -> None:
    pid = host.start()
    facts = host.facts(pid)
    before = (facts.state, facts.cmdline, facts.uid, facts.exe, facts.cgroup, facts.program)
    host.reap(pid)

    assert (facts.state, facts.cmdline, facts.uid, facts.exe, facts.cgroup) == before[:-1]


def test_r5_a_zombie_is_told_by_name(host: Host) -> None:
    pid = host.start()
    host.exit(pid)
    facts = host.facts(pid)
    refusal = unstruck(facts)

    assert refusal is not None
    assert refusal.reason == Reason.REASON_ZOMBIE
    assert facts.cmdline == ""
    assert reason_of(facts, "exe") == Reason.REASON_GONE
    assert facts.program


def test_i1_an_exec_changes_the_program_and_nothing_of_the_identity(host: Host) -> None:
    pid = named(host, "worker")
    before = host.facts(pid)
    seen = (before.start_ticks, before.program)
    host.exec(pid)
    after = host.facts(pid)

    assert after.start_ticks == seen[0]
    assert after.program != seen[1]


def test_a_new_title_is_not_a_new_program_to_who_may_read_its_memory_map(host: Host) -> None:
    pid = named(host, "worker")
    before = host.facts(pid).program
    host.rename(pid, "idle", "worker: waiting")

    assert host.facts(pid).name == "idle"
    assert host.facts(pid).cmdline == "worker: waiting"
    assert host.facts(pid).program == before


def test_the_ports_of_a_process_are_those_it_listens_on(host: Host) -> None:
    pid, ports = host.listen()

    assert host.facts(pid).ports == ports


def test_ancestors_begin_with_the_process_itself_and_end_where_the_namespace_does(host: Host) -> None:
    pid = host.start()

    assert {pid, os.getpid()} <= ancestors(pid, host.root)


def test_i1_an_exec_of_the_same_file_with_the_same_arguments_is_a_new_program(kernel: KernelHost) -> None:
    if Path("/proc/sys/kernel/randomize_va_space").read_text().strip() == "0":
        pytest.skip("needs address randomisation")
    pid = kernel.start_named("python")
    before = kernel.facts(pid)
    seen = (before.cmdline, before.exe, before.program)
    kernel.exec_again(pid)
    after = kernel.facts(pid)

    assert (after.cmdline, after.exe) == seen[:2]
    assert after.program != seen[2]


def test_i1_another_file_is_another_program_wherever_its_stack_begins(folder: FakeProc) -> None:
    programs = set()
    for exe in (SLEEP, os.path.realpath("/bin/cat")):
        folder.add(7, "web", exe=exe)
        programs.add(ProcFacts(7, str(folder.root)).program)

    assert len(programs) == 2


@given(comm=st.binary(max_size=63), pid=st.integers(1, 4_194_304))
def test_a_name_of_any_bytes_tears_no_stat_line(comm: bytes, pid: int) -> None:
    numbers = list(range(4, 53))
    stat = parse_stat(b"%d (%s) S %s\n" % (pid, comm, " ".join(map(str, numbers)).encode()))

    assert stat == (comm, "S", 4, 9, 20, 22, 26, 28)


def test_an_upgrade_that_replaces_the_file_is_not_a_new_program(kernel: KernelHost, tmp_path: Path) -> None:
    copy = tmp_path / "worker"
    shutil.copy(SLEEP, copy)
    child = kernel.start("worker", "300", exe=str(copy))
    before = kernel.facts(child).program
    copy.unlink()
    shutil.copy("/bin/cat", copy)

    assert kernel.facts(child).program == before
    assert kernel.facts(child).exe == str(copy)
    assert kernel.facts(child).runs_any({str(copy)})


def test_i1_without_rights_an_exec_changes_the_program_too(kernel: KernelHost) -> None:
    pid = named(kernel, "worker")
    before = as_nobody(lambda: ProcFacts(pid).program)
    again = as_nobody(lambda: ProcFacts(pid).program)
    kernel.exec(pid)
    after = as_nobody(lambda: ProcFacts(pid).program)

    assert before == again
    assert before != after
    assert before != kernel.facts(pid).program


def test_without_rights_the_map_is_hidden_and_a_new_title_is_a_new_program(folder: FakeProc) -> None:
    programs = set()
    for title, comm, code_kb in (
        ("web: idle", "web", 20),
        ("web: busy", "web", 20),
        ("web: idle", "other", 20),
        ("web: idle", "web", 24),
    ):
        folder.add(7, title, comm=comm, code_kb=code_kb, start_code=HIDDEN_CODE, start_stack=HIDDEN_STACK)
        programs.add(ProcFacts(7, str(folder.root)).program)

    assert len(programs) == 4


def test_without_rights_the_kernel_hides_what_the_folder_says_it_hides(kernel: KernelHost) -> None:
    pid = kernel.start()

    def seen() -> tuple[int, int]:
        stat = ProcFacts(pid).stat
        return stat.start_code, stat.start_stack

    assert as_nobody(seen) == (HIDDEN_CODE, HIDDEN_STACK)
    assert kernel.facts(pid).stat.start_stack > 0


def test_without_rights_what_needs_them_is_not_evaluated_and_says_what_to_do(kernel: KernelHost) -> None:
    pid = kernel.start()

    def told(name: str) -> tuple[int, str]:
        try:
            getattr(ProcFacts(pid), name)
        except FactMissing as missing:
            return missing.reason, missing.detail
        return 0, ""

    for name in ("exe", "ports"):
        reason, detail = as_nobody(lambda name=name: told(name))  # type: ignore[misc]
        assert reason == Reason.REASON_CANNOT_EVALUATE
        assert "10-deep.conf" in detail
    assert as_nobody(lambda: told("cmdline")) == (0, "")
    assert as_nobody(lambda: told("unit")) == (0, "")


def test_without_rights_a_process_outside_of_units_belongs_to_its_name(kernel: KernelHost) -> None:
    pid = kernel.start()
    if kernel.facts(pid).unit or kernel.facts(pid).container:
        pytest.skip("needs to run outside of units and containers")

    assert kernel.facts(pid).service == SLEEP
    assert as_nobody(lambda: ProcFacts(pid).service) == "sleep"


def test_r5_a_dead_leader_with_living_threads_is_no_plain_zombie(kernel: KernelHost) -> None:
    with running(*LEADER_DIES_ON_COMMAND) as child:
        command(child)
        until(lambda: ProcFacts(child.pid).state == "Z")
        refusal = unstruck(ProcFacts(child.pid))

    assert refusal is not None
    assert refusal.reason == Reason.REASON_LEADER_DEAD


def test_a_kernel_thread_is_one_by_its_flag() -> None:
    try:
        facts = ProcFacts(2)
        parent = facts.parent_pid
        name = facts.name
    except FactMissing:
        pytest.skip("needs the host's own pid namespace")
    if parent != 0 or name != "kthreadd":
        pytest.skip("needs the host's own pid namespace")

    assert facts.kernel_thread
    assert facts.cmdline == ""
    assert facts.exe == ""


def test_pid_2_of_a_pid_namespace_is_a_process_like_any_other(folder: FakeProc) -> None:
    folder.add(1, "init", comm="init", parent=0)
    folder.add(2, "agent", comm="agent", parent=0)
    folder.add(3, "worker", parent=2)
    folder.add(9, comm="kworker/0:1", parent=2, flags=KERNEL_THREAD)
    root = str(folder.root)

    assert [pid for pid in (1, 2, 3, 9) if ProcFacts(pid, root).kernel_thread] == [9]
    assert ProcFacts(2, root).parent_name == ""


@pytest.mark.parametrize("file", ["stat", "status"])
@pytest.mark.parametrize("text", ["", "7 (x", "7 (x) S 1", "Uid:\n"])
def test_i10_a_torn_file_is_unreadable_and_never_a_value(folder: FakeProc, file: str, text: str) -> None:
    folder.add(7, "web")
    (folder.root / "7" / file).write_text(text)

    name = "state" if file == "stat" else "uid"
    assert reason_of(ProcFacts(7, str(folder.root)), name) == Reason.REASON_UNREADABLE


CONTAINER = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "cgroup", "unit", "container"),
    [
        ("0::/\n", "/", "", ""),
        ("0::/system.slice/nginx.service\n", "/system.slice/nginx.service", "nginx.service", ""),
        ("0::/system.slice/a.service/sub\n", "/system.slice/a.service/sub", "a.service", ""),
        ("0::/user.slice/user@0.service/app.slice/b.service\n", None, "user@0.service", ""),
        # v1: only systemd's own hierarchy tells
        ("9:name=systemd:/system.slice/a.service\n4:memory:/x\n0::/\n", "/system.slice/a.service", "a.service", ""),
        ("9:name=systemd:/system.slice/a.service\n4:memory:/x\n", "/system.slice/a.service", "a.service", ""),
        # hybrid: both tell
        ("1:name=systemd:/a.slice/b.service\n0::/a.slice/b.service\n", "/a.slice/b.service", "b.service", ""),
        (f"0::/system.slice/docker-{CONTAINER}.scope\n", None, f"docker-{CONTAINER}.scope", CONTAINER),
        (f"0::/machine.slice/libpod-{CONTAINER}.scope/container\n", None, f"libpod-{CONTAINER}.scope", CONTAINER),
        (f"0::/kubepods.slice/p.slice/cri-containerd-{CONTAINER}.scope\n", None, None, CONTAINER),
        (f"9:name=systemd:/docker/{CONTAINER}\n", f"/docker/{CONTAINER}", "", CONTAINER),
        (f"0::/kubepods/burstable/pod1/{CONTAINER}\n", None, "", CONTAINER),
        (f"0::/machine.slice/libpod-conmon-{CONTAINER}.scope\n", None, None, ""),
        ("0::/a.slice/b:c.service\n", "/a.slice/b:c.service", "b:c.service", ""),
        ("0::/a.slice/b.service (deleted)\n", "/a.slice/b.service", "b.service", ""),
    ],
)
def test_unit_and_container_come_from_the_cgroup_path(
    folder: FakeProc, text: str, cgroup: str | None, unit: str | None, container: str
) -> None:
    folder.add(7, "web", cgroup=text)
    facts = ProcFacts(7, str(folder.root))

    assert cgroup is None or facts.cgroup == cgroup
    assert unit is None or facts.unit == unit
    assert facts.container == container


def test_a_file_replaced_by_an_upgrade_is_the_same_executable(folder: FakeProc) -> None:
    folder.add(7, "nginx", exe="/usr/sbin/nginx (deleted)")
    facts = ProcFacts(7, str(folder.root))

    assert facts.exe == "/usr/sbin/nginx"
    assert facts.runs_any({"/usr/sbin/nginx"})


def test_text_that_is_not_utf_8_stays_text(folder: FakeProc) -> None:
    folder.add(7, "web")
    (folder.root / "7/cmdline").write_bytes(b"web\0\xff\xfe\0")
    (folder.root / "7/exe").symlink_to(os.fsdecode(b"/opt/\xff"))
    facts = ProcFacts(7, str(folder.root))

    assert facts.cmdline == "web ��"
    assert facts.exe == "/opt/�"
    assert facts.runs_any({facts.exe})
