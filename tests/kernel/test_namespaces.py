"""Pids are those of the agent's own pid namespace; what is not in it is none of its business."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from killdeer.v1.process_pb2 import KernelEvent
from tests.support.kernel_record import KernelRecord, process, start_ticks, target

# Prints its child's pid; at the first line read kills the child and prints its events, one a line, in hex.
INSIDE = """
import os, signal, subprocess, sys
from killdeer_agent.kernel.collector import load_collector
events = []
collector = load_collector(sys.argv[1])
collector.start(events.extend)
child = subprocess.Popen(["sleep", "300"])
print(child.pid, flush=True)
input()
child.kill()
child.wait()
collector.flush()
for event in events:
    print(event.SerializeToString().hex())
collector.close()
"""


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a pid namespace and loads BPF in it")
def test_in_a_pid_namespace_pids_are_translated_and_the_outside_is_not_told(way: str, kernel: KernelRecord) -> None:
    command = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", INSIDE, way)
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout
    with started:
        inner_pid = int(started.stdout.readline())
        (first,) = children(started.pid)
        (child,) = children(first)
        ticks = start_ticks(child)
        os.kill(child, signal.SIGCONT)
        with process("sleep", "300") as outside:
            outside.kill()
            outside.wait()
        printed, _ = started.communicate("\n", timeout=60)

    events = [KernelEvent.FromString(bytes.fromhex(line)) for line in printed.splitlines()]
    assert outside.pid not in [target(event).host_pid for event in events]
    assert 0 not in [target(event).pid for event in events]
    ours = [event for event in events if target(event).pid == inner_pid]
    assert {(target(event).host_pid, target(event).start_ticks) for event in ours} == {(child, ticks)}

    continued, killed = [event.signal for event in ours if event.HasField("signal")]
    assert (continued.sender.pid, continued.sender.host_pid) == (0, os.getpid())
    assert (killed.sender.pid, killed.sender.host_pid) == (1, first)
    assert (killed.target.tid, killed.target.parent_pid) == (inner_pid, 1)
    assert [event.exit.signal for event in ours if event.HasField("exit")] == [signal.SIGKILL]

    # The same kill, as the collector in the outer namespace has it.
    assert kernel.of(child, "signal")[-1].signal.sender.pid == first
