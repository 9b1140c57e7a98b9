"""Restarts and restart loops, from what the kernel tells of a real supervisor's processes."""

import signal
import subprocess

import pytest

from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.core.succession import LOOP_FAILURES
from killdeer_agent.core.tally import Tally
from tests.support.kernel_record import KernelRecord, process, strike, target, until

KEEPS_ONE_RUNNING = "while :; do sleep 300 & echo $!; wait $!; done"


def next_one(supervisor: "subprocess.Popen[str]", kernel: KernelRecord) -> int:
    """The pid of the process that it keeps running now, once it runs its program."""
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    until(lambda: bool(kernel.of(pid, "exec")))  # the shell says the number before the exec
    return pid


def end(supervisor: "subprocess.Popen[str]", pid: int) -> None:
    """First the one that would start another."""
    supervisor.kill()
    supervisor.wait()
    strike(pid, signal.SIGKILL)


def counted(kernel: KernelRecord, supervisor: "subprocess.Popen[str]") -> tuple[Tally, list[KernelEvent]]:
    """What the agent makes of all that befell the supervisor's children; and their exits."""
    tally = Tally()
    about = [event for event in kernel.events if target(event).parent_pid == supervisor.pid]
    for event in about:
        tally.event(event)
    return tally, [event for event in about if event.HasField("exit")]


def test_a_process_that_is_killed_again_and_again_is_a_restart_loop(kernel: KernelRecord) -> None:
    with process("sh", "-c", KEEPS_ONE_RUNNING) as supervisor:
        pid = next_one(supervisor, kernel)
        execs = []
        for _ in range(LOOP_FAILURES):
            strike(pid, signal.SIGKILL)
            pid = next_one(supervisor, kernel)
            execs.append(kernel.only(pid, "exec"))
        tally, exits = counted(kernel, supervisor)
        end(supervisor, pid)
    assert tally.restarts.total() == LOOP_FAILURES
    took = [begun.at_boot_ns - ended.at_boot_ns for begun, ended in zip(execs, exits, strict=True)]
    assert tally.to_successor.total == pytest.approx(sum(took) / 1e9)
    told = [tally.succession.of(ended.exit.process, ended.at_boot_ns) for ended in exits]
    assert [one.count for one in told] == list(range(LOOP_FAILURES))
    assert [one.loop for one in told] == [False] * (LOOP_FAILURES - 1) + [True]


def test_a_process_that_is_asked_to_end_again_and_again_is_none(kernel: KernelRecord) -> None:
    with process("sh", "-c", KEEPS_ONE_RUNNING) as supervisor:
        for _ in range(LOOP_FAILURES + 1):
            pid = next_one(supervisor, kernel)
            strike(pid, signal.SIGTERM)
        last = next_one(supervisor, kernel)
        tally, exits = counted(kernel, supervisor)
        end(supervisor, last)
    assert tally.restarts.total() == len(exits) == LOOP_FAILURES + 1
    assert not any(tally.succession.of(one.exit.process, one.at_boot_ns).loop for one in exits)
