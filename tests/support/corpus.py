"""The kinds of death, each made for real: a function that makes one and gives the pid of who died.

What this machine's cgroups can't make is not in KINDS here, and is in it in a guest that can.
"""

import ctypes
import os
import pty
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from killdeer.v1.process_pb2 import Cause, Death
from tests.support import memory_cgroups
from tests.support.coroner import Coroner
from tests.support.kernel_record import process, stat_fields, strike, until

TGKILL = {"x86_64": 234, "aarch64": 131}[os.uname().machine]
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
STRIKE = "c1"
IN_GUEST = "KILLDEER_GUEST" in os.environ  # a machine of the tests' own, which may run out of memory

Make = Callable[[Coroner], int]
Check = Callable[[Death], bool]


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    cause: Cause
    make: Make
    check: Check
    cheap: bool  # quick enough for the flood


KINDS: list[Kind] = []


def kind(
    cause: Cause, check: Check = lambda _death: True, *, where: bool = True, cheap: bool = True
) -> Callable[[Make], Make]:
    """`check`: of what else the death must say."""

    def listed(make: Make) -> Make:
        if where:
            name = make.__name__.replace("_", " ")
            KINDS.append(Kind(name=name, cause=cause, make=make, check=check, cheap=cheap))
        return make

    return listed


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


def ended(*command: str) -> int:
    with process(*command) as victim:
        victim.wait()
        return victim.pid


@contextmanager
def ready(program: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that has printed its first line."""
    with process(*python(program, *arguments)) as started:
        assert started.stdout and started.stdout.readline()
        yield started


def struck(number: signal.Signals) -> int:
    with process("sleep", "300") as victim:
        strike(victim.pid, number)
        victim.wait()
        return victim.pid


def by_shell(pid: int, number: str) -> None:
    subprocess.run(("sh", "-c", f"kill -{number} {pid}"), check=True)


def killed_by_me(number: int) -> Check:
    return lambda death: death.signal == number and death.killer.pid == os.getpid()


def killed_by(name: str) -> Check:
    return lambda death: death.killer.name == name


def says(*words: str) -> Check:
    return lambda death: all(one in death.why for one in words)


# --- a signal by another process ------------------------------------------------------------------------------


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def kill_9_by_a_shell(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        by_shell(victim.pid, "KILL")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def kill_15_by_a_shell(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        by_shell(victim.pid, "TERM")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def kill_through_a_pidfd(_: Coroner) -> int:
    return struck(signal.SIGKILL)


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGUSR2))
def a_signal_out_of_the_usual(_: Coroner) -> int:
    return struck(signal.SIGUSR2)


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGRTMIN + 3))
def a_real_time_signal(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        os.kill(victim.pid, signal.SIGRTMIN + 3)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def tgkill_of_a_thread(_: Coroner) -> int:
    with ready("import threading; threading.Thread(target=input).start(); print(1, flush=True)") as victim:
        thread = max(int(task.name) for task in Path(f"/proc/{victim.pid}/task").iterdir())
        assert ctypes.CDLL(None).syscall(TGKILL, victim.pid, thread, signal.SIGTERM) == 0
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def sigqueue(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        assert ctypes.CDLL(None).sigqueue(victim.pid, signal.SIGTERM, ctypes.c_void_p(7)) == 0
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def kill_of_its_process_group(_: Coroner) -> int:
    with process("sleep", "300", start_new_session=True) as victim:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL), where=memory_cgroups.UNIFIED)
def cgroup_kill(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, process("sleep", "300") as victim:
        (cgroup.inner / "cgroup.procs").write_text(str(victim.pid))
        (cgroup.inner / "cgroup.kill").write_text("1")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def a_signal_ignored_then_killed(_: Coroner) -> int:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); input()"
    with ready(program) as victim:
        by_shell(victim.pid, "TERM")
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def a_signal_already_pending(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGSTOP)
        until(lambda: stat_fields(victim.pid)[0] == "T")
        by_shell(victim.pid, "TERM")
        strike(victim.pid, signal.SIGTERM)
        strike(victim.pid, signal.SIGCONT)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def a_blocked_signal_that_is_let_through_later(_: Coroner) -> int:
    program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(1, flush=True)
input()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
"""
    with ready(program) as victim:
        strike(victim.pid, signal.SIGTERM)
        victim.communicate("\n")
        return victim.pid


LEADER_EXITS = f"""
import ctypes, os, signal, threading
def other():
    input()
    os._exit(7)
threading.Thread(target=other).start()
print(1, flush=True)
ctypes.CDLL(None).syscall({EXIT}, 3)
"""


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def killed_after_its_first_thread_had_exited(_: Coroner) -> int:
    with ready(LEADER_EXITS) as victim:
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, lambda death: death.process.name == "sleep" and killed_by_me(signal.SIGTERM)(death))
def killed_after_a_thread_has_become_another_program(_: Coroner) -> int:
    become = "import os, threading; threading.Thread(target=os.execlp, args=('sleep', 'sleep', '300')).start()"
    with process(*python(become)) as victim:
        until(lambda: Path(f"/proc/{victim.pid}/comm").read_text() == "sleep\n")
        strike(victim.pid, signal.SIGTERM)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, says("exited with code 3", "after SIGTERM of sh"))
def a_signal_by_another_that_it_answers_with_an_exit(deaths: Coroner) -> int:
    with ready(ANSWERS.format(code=3)) as victim:
        deaths.watch(victim.pid)
        by_shell(victim.pid, "TERM")
        victim.wait()
        return victim.pid


# --- a strike of ours -----------------------------------------------------------------------------------------

ANSWERS = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit({code}))
print(1, flush=True)
while True: signal.pause()
"""
AGAIN = """
import os, signal
def handler(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
signal.signal(signal.SIGTERM, handler)
print(1, flush=True)
while True: signal.pause()
"""


def by_strike(deaths: Coroner, victim: "subprocess.Popen[str]", number: signal.Signals) -> int:
    deaths.watch(victim.pid)
    deaths.strikes[victim.pid] = STRIKE
    strike(victim.pid, number)
    victim.wait()
    return victim.pid


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "SIGKILL"))
def a_strike_that_kills(deaths: Coroner) -> int:
    with process("sleep", "300") as victim:
        return by_strike(deaths, victim, signal.SIGKILL)


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "exited with code 0", "SIGTERM"))
def a_strike_that_it_answers_with_an_exit(deaths: Coroner) -> int:
    with ready(ANSWERS.format(code=0)) as victim:
        return by_strike(deaths, victim, signal.SIGTERM)


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "put SIGTERM on itself"))
def a_strike_that_it_answers_with_the_same_signal(deaths: Coroner) -> int:
    with ready(AGAIN) as victim:
        return by_strike(deaths, victim, signal.SIGTERM)


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def a_strike_that_it_outlives_and_another_that_kills(deaths: Coroner) -> int:
    program = "import signal; signal.signal(15, lambda *_: None); print(1, flush=True); signal.pause(); input()"
    with ready(program) as victim:
        deaths.watch(victim.pid)
        deaths.strikes[victim.pid] = STRIKE
        strike(victim.pid, signal.SIGTERM)
        by_shell(victim.pid, "KILL")
        victim.wait()
        return victim.pid


# --- its own doing --------------------------------------------------------------------------------------------


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 0 and death.signal == 0)
def an_exit_with_code_0(deaths: Coroner) -> int:
    return exit_of(deaths, "read line; exit 0")


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 7)
def an_exit_with_code_7(deaths: Coroner) -> int:
    return exit_of(deaths, "read line; exit 7")


def exit_of(deaths: Coroner, program: str) -> int:
    with process("sh", "-c", program) as victim:
        deaths.watch(victim.pid)
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 7)
def an_exit_of_the_first_thread_before_the_others(deaths: Coroner) -> int:
    with ready(LEADER_EXITS) as victim:
        deaths.watch(victim.pid)
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 0)
def a_zombie_that_is_killed(deaths: Coroner) -> int:
    with process("sh", "-c", "read line; exit 0") as victim:
        deaths.watch(victim.pid)
        assert victim.stdin
        victim.stdin.write("\n")
        victim.stdin.flush()
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        os.kill(victim.pid, signal.SIGKILL)
        return victim.pid


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGKILL)
def a_process_that_kills_itself(_: Coroner) -> int:
    return ended("sh", "-c", "kill -KILL $$")


def aborted(limit: int) -> int:
    with process(*python("input(); import os; os.abort()"), cwd="/tmp") as victim:
        resource.prlimit(victim.pid, resource.RLIMIT_CORE, (limit, limit))
        victim.communicate("\n")
        for left in Path("/tmp").glob(f"core*{victim.pid}"):
            left.unlink()
        Path("/tmp/core").unlink(missing_ok=True)
        return victim.pid


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGABRT and not death.core_dumped)
def an_abort_without_core(_: Coroner) -> int:
    return aborted(0)


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGABRT, cheap=False)
def an_abort_with_core(_: Coroner) -> int:
    return aborted(resource.RLIM_INFINITY)


def faults(number: int) -> Check:
    return lambda death: death.signal == number and not death.HasField("killer")


@kind(Cause.CAUSE_FAULT, faults(signal.SIGSEGV))
def a_memory_fault(_: Coroner) -> int:
    return ended(*python("import ctypes; ctypes.string_at(0)"))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGSEGV), cheap=False)
def a_stack_overflow(_: Coroner) -> int:
    endless = (
        "import sys; sys.setrecursionlimit(10**9)\nclass A:\n def __add__(self, o): return self + o\nA() + A()"
    )
    return ended(*python(endless))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGBUS))
def a_mapped_file_that_was_cut(_: Coroner) -> int:
    cut = """
import mmap, tempfile
file = tempfile.TemporaryFile()
file.truncate(4096)
mapped = mmap.mmap(file.fileno(), 4096)
file.truncate(0)
mapped[0]
"""
    return ended(*python(cut))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGILL))
def an_instruction_that_is_none(_: Coroner) -> int:
    code = {"x86_64": b"\x0f\x0b", "aarch64": b"\0\0\0\0"}[os.uname().machine]
    run = (
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
        f"m.write({code!r})\nctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    )
    return ended(*python(run))


@kind(Cause.CAUSE_FAULT, lambda death: death.signal == signal.SIGSYS and "seccomp" in death.why)
def a_system_call_that_seccomp_forbids(_: Coroner) -> int:
    forbid = """
import ctypes, struct
rule = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x80000000))
program = ctypes.create_string_buffer(struct.pack("<H6xQ", 1, ctypes.addressof(rule)))
prctl = ctypes.CDLL(None).prctl
prctl(38, 1, 0, 0, 0)
prctl(22, 2, program, 0, 0)
"""
    return ended(*python(forbid))


# --- the kernel, for other reasons ----------------------------------------------------------------------------


@kind(Cause.CAUSE_KERNEL, says("seccomp"))
def seccomp_in_its_strict_mode(_: Coroner) -> int:
    return ended(*python("import ctypes, os; ctypes.CDLL(None).prctl(22, 1, 0, 0, 0); os.getpid()"))


@kind(Cause.CAUSE_KERNEL, says("timer"))
def a_timer(_: Coroner) -> int:
    return ended(*python("import signal; signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()"))


@kind(Cause.CAUSE_KERNEL, says("SIGXCPU", "processor time"), cheap=False)
def a_soft_limit_of_processor_time(_: Coroner) -> int:
    return ended(*python("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 9))\nwhile True: pass"))


@kind(Cause.CAUSE_KERNEL, says("SIGKILL"), cheap=False)
def a_hard_limit_of_processor_time(_: Coroner) -> int:
    return ended(*python("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"))


@kind(Cause.CAUSE_KERNEL, says("SIGXFSZ", "file size"))
def a_limit_of_file_size(_: Coroner) -> int:
    write = """
import os, resource, signal, tempfile
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
file = tempfile.TemporaryFile(buffering=0)
file.write(b"x" * 10)
file.write(b"x")
"""
    return ended(*python(write))


@kind(Cause.CAUSE_KERNEL, says("SIGPIPE"))
def a_pipe_that_nobody_reads(_: Coroner) -> int:
    with process("yes") as victim:
        assert victim.stdout
        victim.stdout.close()
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_KERNEL, says("end of its parent"))
def a_parents_death(_: Coroner) -> int:
    bound = """
import ctypes, os, signal, time
read, write = os.pipe()
if os.fork():
    os.read(read, 1)
    os._exit(0)
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
print(os.getpid(), flush=True)
os.write(write, b"x")
time.sleep(300)
"""
    with process(*python(bound)) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        pidfd = os.pidfd_open(child)
        parent.wait()
        wait_for(pidfd)
        return child


def wait_for(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(20_000)
    os.close(pidfd)


def in_terminal(end: Callable[[int], None]) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execlp("sleep", "sleep", "300")
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    end(terminal)
    os.waitpid(pid, 0)
    with suppress(OSError):
        os.close(terminal)
    return pid


@kind(Cause.CAUSE_KERNEL, says("SIGHUP", "terminal"))
def a_terminal_that_hangs_up(_: Coroner) -> int:
    return in_terminal(os.close)


@kind(Cause.CAUSE_KERNEL, says("SIGINT", "terminal"))
def an_interrupt_from_the_terminal(_: Coroner) -> int:
    return in_terminal(lambda terminal: os.write(terminal, b"\x03") and None)


# --- its pid namespace ----------------------------------------------------------------------------------------


@contextmanager
def namespace() -> Iterator[tuple[int, int]]:
    """A pid namespace as a container has it: its first process, and one more in it."""
    command = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "sleep 300 & echo; wait")
    with process(*command) as outer:
        assert outer.stdout and outer.stdout.readline()
        (first,) = children(outer.pid)
        until(lambda: len(children(first)) == 1)
        (member,) = children(first)
        until(lambda: Path(f"/proc/{member}/comm").read_text() == "sleep\n")
        yield first, member
        outer.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@kind(Cause.CAUSE_NAMESPACE, lambda death: death.killer.name == "sh" and death.process.name == "sleep")
def the_end_of_its_pid_namespace(_: Coroner) -> int:
    with namespace() as (first, member):
        os.kill(first, signal.SIGKILL)
    return member


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def the_first_process_of_a_pid_namespace_killed(_: Coroner) -> int:
    with namespace() as (first, _member):
        os.kill(first, signal.SIGKILL)
    return first


# --- out of memory --------------------------------------------------------------------------------------------

GREEDY = """
import os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
open("/proc/self/oom_score_adj", "w").write(sys.argv[2])
most = int(sys.argv[3]) << 10
taken = [bytearray(b"x") * (1 << 20) for _ in range(most >> 20)]
print(1, flush=True)
input()
while True:
    taken.append(bytearray(b"x") * (1 << 20))
"""
HAS_LIMITS = memory_cgroups.obstacle() == ""


def limit_is(name: str) -> Check:
    return lambda death: death.limit_cgroup.endswith(name) and death.limit_kb == memory_cgroups.LIMIT_KB


OUTER, INNER = f"/killdeer-test-{os.getpid()}", f"/killdeer-test-{os.getpid()}/inner"


def greedy(folder: Path) -> int:
    with ready(GREEDY, str(folder), "0", "0") as victim:
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_OOM_CGROUP, limit_is(INNER), where=HAS_LIMITS, cheap=False)
def out_of_memory_by_its_own_limit(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup:
        memory_cgroups.limit(cgroup.inner, memory_cgroups.LIMIT_KB)
        memory_cgroups.limit(cgroup.outer, 4 * memory_cgroups.LIMIT_KB)
        return greedy(cgroup.inner)


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.cgroup.endswith(INNER) and not death.memory_group,
    where=HAS_LIMITS,
)
def out_of_memory_by_a_parents_limit(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup:
        return greedy(cgroup.inner)


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.killer.pid not in (0, death.process.pid),
    where=HAS_LIMITS,
)
def out_of_memory_for_what_another_asked(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "900", "16384") as victim:
        with ready(GREEDY, str(cgroup.inner), "0", "0") as other:
            assert other.stdin
            other.stdin.write("\n")
            other.stdin.flush()
            victim.wait()
        return victim.pid


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.memory_group and "memory.oom.group" in death.why,
    where=HAS_LIMITS and memory_cgroups.UNIFIED,
)
def out_of_memory_with_all_of_its_cgroup(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, process("sleep", "300") as bystander:
        (cgroup.outer / "memory.oom.group").write_text("1")
        (cgroup.inner / "cgroup.procs").write_text(str(bystander.pid))
        greedy(cgroup.inner)
        bystander.wait()
        return bystander.pid


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: death.limit_cgroup.endswith(OUTER) and death.limit_kb == memory_cgroups.LIMIT_KB // 4,
    where=HAS_LIMITS and memory_cgroups.UNIFIED,
)
def out_of_memory_as_the_limit_was_lowered(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "0", "16384") as victim:
        memory_cgroups.limit(cgroup.outer, memory_cgroups.LIMIT_KB // 4)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_OOM_GLOBAL, lambda death: death.limit_cgroup == "", where=IN_GUEST, cheap=False)
def out_of_memory_of_the_whole_machine(_: Coroner) -> int:
    with ready(GREEDY, "/sys/fs/cgroup", "1000", "0") as victim:
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_OOM_GLOBAL, lambda death: death.limit_cgroup == "", where=IN_GUEST, cheap=False)
def out_of_memory_of_the_whole_machine_in_a_cgroup_full_of_caches(_: Coroner) -> int:
    """The victim's cgroup is at its limit too, and that is not what killed it."""
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "1000", "16384") as victim:
        with ready(GREEDY, "/sys/fs/cgroup", "0", "0") as other:
            used = int((cgroup.outer / "memory.current").read_text())
            memory_cgroups.limit(cgroup.outer, used // 1024 + 64)
            assert other.stdin
            other.stdin.write("\n")
            other.stdin.flush()
            victim.wait()
        return victim.pid
