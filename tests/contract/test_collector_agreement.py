"""Both ways to the kernel's record, core and bcc, tell the same of the same deeds, field by field."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from killdeer.v1.process_pb2 import KernelEvent
from tests.support.collectors import loaded
from tests.support.kernel_record import KernelRecord, process, start_ticks, strike, target
from tests.support.memory_cgroups import LIMIT_KB, limited, obstacle

# bcc brings a compiler, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(120, method="thread")

LEADER_EXITS_FIRST = """
import ctypes, os, platform, sys, threading
def last():
    sys.stdin.readline()
    os._exit(7)
threading.Thread(target=last).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 3)
"""

GREEDY = """
import sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
taken = []
while True:
    taken.append(b"x" * (1 << 20))
"""


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[KernelRecord, KernelRecord]]:
    """Both at once, which see the same deeds."""
    with ExitStack() as opened:
        records = []
        for way in ("core", "bcc"):
            collector = loaded(way)
            opened.callback(collector.close)
            records.append(KernelRecord(collector))
        yield records[0], records[1]


# What is done to a process that waits for a line, or by it once it has one.
DEEDS: dict[str, tuple[tuple[str, ...], Callable[[subprocess.Popen[str]], object]]] = {
    "kill": (("sleep", "300"), lambda victim: strike(victim.pid, signal.SIGKILL)),
    "terminate": (("sleep", "300"), lambda victim: strike(victim.pid, signal.SIGTERM)),
    "tkill": (
        (sys.executable, "-c", "import signal, threading; signal.pthread_kill(threading.get_ident(), 15)"),
        lambda victim: None,
    ),
    "fault": ((sys.executable, "-c", "import ctypes; ctypes.string_at(0)"), lambda victim: None),
    "abort": ((sys.executable, "-c", "import os; os.abort()"), lambda victim: None),
    "alarm": (
        (sys.executable, "-c", "import signal; signal.setitimer(0, 0.01); signal.pause()"),
        lambda victim: None,
    ),
    "exec and exit": (("sh", "-c", "read line; exec sh -c 'exit 3'"), lambda victim: victim.communicate("\n")),
    "leader first": ((sys.executable, "-c", LEADER_EXITS_FIRST), lambda victim: victim.communicate("\n")),
    "parent's death": (
        (
            sys.executable,
            "-c",
            "import ctypes, os, signal\nif os.fork() == 0:\n"
            " ctypes.CDLL(None).prctl(1, 9)\n os.kill(os.getppid(), 9)\n signal.pause()",
        ),
        lambda victim: None,
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_core_and_bcc_tell_the_same_of_the_same_deed(both: tuple[KernelRecord, KernelRecord], deed: str) -> None:
    command, do = DEEDS[deed]
    with process(*command) as victim:
        for record in both:
            record.collector.watch(victim.pid, start_ticks(victim.pid))
        do(victim)
        victim.wait()
        assert_the_same(both, victim.pid)


def test_core_and_bcc_tell_the_same_of_a_memory_cgroups_victim(both: tuple[KernelRecord, KernelRecord]) -> None:
    if reason := obstacle():
        pytest.skip(reason)
    with limited() as cgroup, process(sys.executable, "-c", GREEDY, str(cgroup.inner)) as victim:
        victim.wait()
        oom = both[1].only(victim.pid, "oom").oom
        assert (oom.memory_cgroup, oom.limit_kb) == (True, LIMIT_KB)
        assert oom.limit_cgroup_id == cgroup.outer.stat().st_ino
        assert oom.trigger.pid == victim.pid
        assert_the_same(both, victim.pid)


def assert_the_same(both: tuple[KernelRecord, KernelRecord], pid: int) -> None:
    """Of this process and its children, apart from the time, which each reads for itself."""
    core, bcc = ([timeless(event) for event in about(record, pid)] for record in both)
    assert bcc == core
    assert [event.WhichOneof("kind") for event in core][-1] == "exit"


def about(record: KernelRecord, pid: int) -> list[KernelEvent]:
    record.collector.flush()
    return [event for event in record.events if pid in (target(event).pid, target(event).parent_pid)]


def timeless(event: KernelEvent) -> KernelEvent:
    copy = KernelEvent()
    copy.CopyFrom(event)
    copy.ClearField("at_boot_ns")
    copy.exit.ClearField("age_ms") if copy.HasField("exit") else None
    return copy
