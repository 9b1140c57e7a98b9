"""What has died, of what; and what has become another program."""

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from tests.support.kernel_record import KernelRecord, process, start_ticks, stat_fields, strike, until

# Its first thread exits alone with 3; the other ends the process with 7 once the input ends.
LEADER_EXITS_FIRST = """
import ctypes, os, platform, sys, threading
def last():
    sys.stdin.readline()
    os._exit(7)
threading.Thread(target=last).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 3)
"""

# Eight threads that exit as nearly together as they can.
ALL_EXIT_AT_ONCE = """
import ctypes, platform, sys, threading
ready = threading.Barrier(8)
exit_thread = ctypes.CDLL(None).syscall, {"x86_64": 60, "aarch64": 93}[platform.machine()]
def last():
    ready.wait()
    exit_thread[0](exit_thread[1], 3)
for _ in range(7):
    threading.Thread(target=last).start()
sys.stdin.readline()
last()
"""


def test_an_exit_by_a_signal_says_which_and_when(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        ticks = start_ticks(victim.pid)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        sent, died = kernel.only(victim.pid, "signal"), kernel.only(victim.pid, "exit")
    assert (died.exit.signal, died.exit.code, died.exit.core_dumped) == (signal.SIGKILL, 0, False)
    assert died.exit.process.start_ticks == ticks
    assert died.at_boot_ns > sent.at_boot_ns


def test_a_watched_process_that_exits_by_itself_shows_its_code(kernel: KernelRecord) -> None:
    with process("sh", "-c", "read line; exit 7") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        victim.communicate("\n")
        event = kernel.only(victim.pid, "exit")
    assert (event.exit.code, event.exit.signal) == (7, 0)


def test_an_ordinary_exit_of_a_process_not_watched_is_not_told(kernel: KernelRecord) -> None:
    with process("sh", "-c", "exit 7") as other:
        other.wait()
        assert kernel.of(other.pid, "exit") == []


@pytest.mark.parametrize("limit", [0, resource.RLIM_INFINITY])
def test_the_core_flag_is_the_one_that_wait_gives(kernel: KernelRecord, tmp_path: Path, limit: int) -> None:
    with process(sys.executable, "-c", "input(); import os; os.abort()", cwd=tmp_path) as victim:
        assert victim.stdin
        resource.prlimit(victim.pid, resource.RLIMIT_CORE, (limit, limit))
        victim.stdin.write("\n")
        victim.stdin.flush()
        _, status = os.waitpid(victim.pid, 0)
        victim.returncode = os.waitstatus_to_exitcode(status)
        event = kernel.only(victim.pid, "exit")
    assert event.exit.signal == signal.SIGABRT
    assert event.exit.core_dumped == os.WCOREDUMP(status)


def test_the_leaders_exit_is_not_the_process_s(kernel: KernelRecord) -> None:
    with process(sys.executable, "-c", LEADER_EXITS_FIRST) as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        assert kernel.of(victim.pid, "exit") == []

        victim.communicate("\n")
        event = kernel.only(victim.pid, "exit")
    assert victim.returncode == event.exit.code == 7
    assert event.exit.process.tid != event.exit.process.pid


def test_threads_that_exit_together_are_one_exit(kernel: KernelRecord) -> None:
    # Before Linux 6.16 several can find themselves the last: in some of these processes they do.
    for _ in range(8):
        with process(sys.executable, "-c", ALL_EXIT_AT_ONCE) as victim:
            kernel.collector.watch(victim.pid, start_ticks(victim.pid))
            victim.communicate("\n")
            assert kernel.only(victim.pid, "exit").exit.code == 3


def test_an_exec_is_told_with_the_start_that_proc_shows(kernel: KernelRecord) -> None:
    with process("sleep", "300") as started:
        until(lambda: kernel.of(started.pid, "exec") != [])
        event = kernel.only(started.pid, "exec")
        assert event.exec.process.start_ticks == start_ticks(started.pid)
        assert event.exec.process.parent_pid == os.getpid()
        assert event.exec.process.name == "sleep"
        assert Path(event.exec.file).name == "sleep"


def test_a_process_that_becomes_another_program_keeps_its_identity(kernel: KernelRecord) -> None:
    with process("sh", "-c", "read line; exec sleep 300") as changing:
        kernel.collector.watch(changing.pid, start_ticks(changing.pid))
        assert changing.stdin
        changing.stdin.write("\n")
        changing.stdin.flush()
        until(lambda: len(kernel.of(changing.pid, "exec")) == 2)
        before, after = kernel.of(changing.pid, "exec")
    assert before.exec.process.start_ticks == after.exec.process.start_ticks
    assert after.exec.process.name == "sleep"
