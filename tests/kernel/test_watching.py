"""Of a watched process all is told; it is one process, not a pid."""

import os
import signal
import sys

import pytest

from killdeer_agent.kernel.collector import Collector
from tests.support.kernel_record import KernelRecord, process, start_ticks, strike


def test_other_signals_are_told_only_of_watched_processes_and_only_by_others(kernel: KernelRecord) -> None:
    program = "import os, signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print(flush=True); input();"
    itself = program + "os.kill(os.getpid(), signal.SIGUSR1)"
    with process(sys.executable, "-c", itself) as watched, process(sys.executable, "-c", program) as other:
        for started in (watched, other):
            assert started.stdout
            started.stdout.readline()
        kernel.collector.watch(watched.pid, start_ticks(watched.pid))
        for started in (watched, other):
            strike(started.pid, signal.SIGUSR1)
            started.communicate("\n")

        assert kernel.only(watched.pid, "signal").signal.sender.pid == os.getpid()
        assert kernel.of(other.pid, "signal") == []


def test_a_watch_is_for_one_process_and_not_for_the_next_with_its_pid(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid) - 1)
        strike(victim.pid, signal.SIGURG)
        assert kernel.of(victim.pid, "signal") == []


def test_after_unwatch_nothing_more_is_told_than_of_anybody(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        kernel.collector.unwatch(victim.pid)
        kernel.collector.unwatch(victim.pid)
        strike(victim.pid, signal.SIGURG)
        assert kernel.of(victim.pid, "signal") == []


def test_more_watches_than_the_kernel_holds_are_an_error(stalled: Collector) -> None:
    with pytest.raises(OSError, match="cannot fill a BPF map"):
        for pid in range(1, 1026):
            stalled.watch(pid, 0)
