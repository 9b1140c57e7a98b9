"""Deaths by the kernel: timers, limits, terminals, parents, pid namespaces."""

import os
import pty
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from killdeer.v1.process_pb2 import Cause
from tests.support.coroner import Coroner
from tests.support.corpus.kinds import ended, killed_by_me, kind, python, says
from tests.support.kernel_record import process, until


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
    input()
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
        parent.communicate("\n")
        wait_for(pidfd)
        return child


def wait_for(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(20_000)
    os.close(pidfd)


def in_terminal(end: Callable[[int], object]) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run under nohup
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
    return in_terminal(lambda terminal: os.write(terminal, b"\x03"))


@contextmanager
def namespace() -> Iterator[tuple[int, int]]:
    """A pid namespace as a container has it: its first process, and one more in it."""
    command = ("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "sleep 300 & echo; wait")
    with process(*command, stderr=subprocess.DEVNULL) as outer:
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
