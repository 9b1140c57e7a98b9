"""Without BPF: exits by pidfd, OOM kills by the counters of cgroups, and what the kernel's log has; never more."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import Cause, Death, KernelEvent
from killdeer_agent.core.unrecorded import Unrecorded
from killdeer_agent.kernel.filter import Filter
from killdeer_agent.kernel.kernellog import DEVICE, REMEDY, KernelLog, obstacle_to
from killdeer_agent.kernel.unrecorded import PidfdCollector
from tests.support.kernel_record import process, start_ticks, strike, until
from tests.support.memory_cgroups import LIMIT_KB, UNIFIED, limited, obstacle

NO_LOG = Path("/nowhere/kmsg")
GREEDY = """
input()
taken = []
while True:
    taken.append(b"x" * (1 << 20))
"""


class Watch:
    """What the collector told, and the deaths that the agent tells by it."""

    def __init__(self, device: Path) -> None:
        self.collector = PidfdCollector("because", device)
        self.events: list[KernelEvent] = []
        self.collector.start(self.events.extend)

    def death(self, pid: int) -> Death:
        self.collector.flush()
        unrecorded = Unrecorded()
        told = [death for event in list(self.events) if (death := unrecorded.seen(event)) is not None]
        (found,) = [one.death for one in told if one.death.process.pid == pid]
        return found

    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("kind") for event in self.events]


@contextmanager
def watching(device: Path = DEVICE) -> Iterator[Watch]:
    if device is DEVICE and (problem := obstacle_to(device)):
        pytest.skip(problem)
    watch = Watch(device)
    try:
        yield watch
    finally:
        watch.collector.close()


@contextmanager
def out_of_memory(watch: Watch) -> Iterator[int]:
    """A watched process that has run into its cgroup's limit; its pid."""
    if reason := obstacle():
        pytest.skip(reason)
    with limited() as cgroup, process(sys.executable, "-c", GREEDY) as victim:
        (cgroup.inner / "cgroup.procs").write_text(str(victim.pid))
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        victim.communicate("\n")
        assert victim.returncode == -signal.SIGKILL
        yield victim.pid


def test_an_exit_is_told_once_with_who_it_was_and_without_code_or_cause() -> None:
    with watching(NO_LOG) as watch, process("sh", "-c", "read line; exit 7") as victim:
        ticks = start_ticks(victim.pid)
        watch.collector.watch(victim.pid, ticks)
        victim.communicate("\n")
        death = watch.death(victim.pid)
        watch.collector.flush()
    (event,) = watch.events
    assert (event.exit.process.start_ticks, event.exit.process.name) == (ticks, "sh")
    assert (event.exit.unread, event.exit.code, event.exit.signal) == (True, 0, 0)
    assert (death.cause, death.why) == (
        Cause.CAUSE_UNKNOWN,
        "it exited; without the kernel's record nothing tells how",
    )


def test_an_exit_is_told_without_being_asked_for() -> None:
    with watching(NO_LOG) as watch, process("sleep", "300") as victim:
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        until(lambda: watch.kinds() == ["exit"])


def test_the_next_process_with_the_pid_is_not_watched() -> None:
    with watching(NO_LOG) as watch, process("sleep", "300") as other:
        watch.collector.watch(other.pid, start_ticks(other.pid) - 1)
        other.kill()
        other.wait()
        watch.collector.watch(other.pid, 0)  # gone
        watch.collector.flush()
    assert watch.events == []


def test_after_unwatch_nothing_is_told() -> None:
    with watching(NO_LOG) as watch, process("sleep", "300") as victim:
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        watch.collector.unwatch(victim.pid)
        watch.collector.unwatch(victim.pid)
        victim.kill()
        victim.wait()
        watch.collector.flush()
    assert watch.events == []


def test_an_oom_kill_that_the_log_names_has_its_cause_limit_and_numbers() -> None:
    with watching() as watch, out_of_memory(watch) as pid:
        death = watch.death(pid)
        mark = next(event.oom for event in watch.events if event.oom.victim.pid == pid)
    assert (death.cause, death.signal) == (Cause.CAUSE_OOM_CGROUP, signal.SIGKILL)
    assert death.limit_cgroup.endswith(f"/killdeer-test-{os.getpid()}")
    assert (death.limit_kb, mark.limit_kb) == (LIMIT_KB, LIMIT_KB)
    assert LIMIT_KB // 2 < mark.anon_rss_kb < mark.total_vm_kb
    assert [event.WhichOneof("kind") for event in death.evidence][-1] == "exit"


def test_counters_alone_tell_of_the_oom_kill_and_not_that_it_was_this_one() -> None:
    with watching(NO_LOG) as watch, out_of_memory(watch) as pid:
        death = watch.death(pid)
    assert watch.kinds() == ["oom_counted", "exit"]
    counted = watch.events[0].oom_counted
    assert counted.kills == 1
    assert counted.cgroup.endswith(f"/killdeer-test-{os.getpid()}/inner")
    assert (counted.process.pid, death.cause, death.signal) == (pid, Cause.CAUSE_UNKNOWN, 0)
    assert death.why.startswith("it exited while the OOM killer took a process of ")
    # Only cgroup v2 counts where the limit was.
    assert counted.limit_kb == (LIMIT_KB if UNIFIED else 0)


def test_an_oom_kill_just_before_a_death_is_told_also_where_the_counters_were_read_between() -> None:
    with watching(NO_LOG) as watch, process("sleep", "300") as other:
        if reason := obstacle():
            pytest.skip(reason)
        with limited() as cgroup, process(sys.executable, "-c", GREEDY) as victim:
            for one in (other, victim):
                (cgroup.inner / "cgroup.procs").write_text(str(one.pid))
            watch.collector.watch(other.pid, start_ticks(other.pid))
            victim.communicate("\n")
            watch.collector.flush()
            assert watch.kinds() == []
            other.kill()
            other.wait()
            assert watch.death(other.pid).cause == Cause.CAUSE_UNKNOWN
    assert watch.kinds() == ["oom_counted", "exit"]


def test_a_death_with_no_oom_kill_around_it_counts_none() -> None:
    with watching(NO_LOG) as watch, out_of_memory(watch) as pid, process("sleep", "300") as other:
        watch.death(pid)
        watch.collector.watch(other.pid, start_ticks(other.pid))
        other.kill()
        other.wait()
        watch.death(other.pid)
    assert watch.kinds() == ["oom_counted", "exit", "exit"]


def test_a_fault_that_the_log_names_is_the_cause() -> None:
    program = "import ctypes; input(); ctypes.string_at(0)"
    with watching() as watch, process(sys.executable, "-c", program) as victim:
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        victim.communicate("\n")
        death = watch.death(victim.pid)
    assert (death.cause, death.signal) == (Cause.CAUSE_FAULT, signal.SIGSEGV)
    assert death.why.endswith("says the kernel's log")


def test_an_exit_is_told_where_the_log_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(log: KernelLog) -> list[object]:
        raise OSError(5, "Input/output error")

    with watching() as watch, process("sleep", "300") as victim:
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        monkeypatch.setattr(KernelLog, "read", failing)
        victim.kill()
        victim.wait()
        assert watch.death(victim.pid).cause == Cause.CAUSE_UNKNOWN
    assert watch.kinds() == ["exit"]
    assert watch.collector.detail.endswith("the kernel's log, until it failed: Input/output error")


def test_what_a_process_writes_into_the_log_is_not_believed() -> None:
    with watching() as watch, process("sleep", "300") as victim:
        watch.collector.watch(victim.pid, start_ticks(victim.pid))
        line = f"Out of memory: Killed process {victim.pid} (sleep) total-vm:1kB, anon-rss:1kB, file-rss:1kB, "
        Path("/dev/kmsg").write_text(f"<3>{line}shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0")
        victim.kill()
        victim.wait()
        assert watch.death(victim.pid).cause == Cause.CAUSE_UNKNOWN
    assert watch.kinds() == ["exit"]


def test_it_says_what_it_is_instead_of() -> None:
    with watching(NO_LOG) as watch:
        assert watch.collector.level == EvidenceLevel.EVIDENCE_LEVEL_PIDFD
        assert watch.collector.detail.startswith(
            "because; instead: exits of victims, the OOM counters of their cgroups"
        )
        assert watch.collector.detail.endswith(f"not the kernel's log: there is no {NO_LOG}; {REMEDY}")
        watch.collector.choose(Filter())
        assert watch.collector.lost() == {}
