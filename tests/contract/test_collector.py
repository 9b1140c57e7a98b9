"""What a collector promises, held by both ways to the kernel's record, core and bcc; and they tell the same."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import kerneltypes
from killdeer_agent.kernel.bcc import PROGRAMS
from killdeer_agent.kernel.collector import Collector, CollectorUnavailable, load_collector, open_collector
from killdeer_agent.kernel.kernelbtf import KernelBtf
from tests.support.kernel_record import (
    DEADLINE_S,
    KernelRecord,
    process,
    start_ticks,
    stat_fields,
    strike,
    target,
    until,
)
from tests.support.memory_cgroups import LIMIT_KB, limited, obstacle

# bcc brings a compiler, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(120, method="thread")

WAYS = ("core", "bcc")
FLOOD = 5_000

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

# Prints its child's pid; at the first line read kills the child and prints its events, one a line, in hex.
INSIDE_A_NAMESPACE = """
import sys
from subprocess import Popen
from killdeer_agent.kernel.collector import load_collector
events = []
collector = load_collector(sys.argv[1])
collector.start(events.extend)
child = Popen(["sleep", "300"])
print(child.pid, flush=True)
input()
child.kill()
child.wait()
collector.flush()
for event in events:
    print(event.SerializeToString().hex())
collector.close()
"""


def loaded(way: str) -> Collector:
    try:
        return load_collector(way)
    except CollectorUnavailable as unavailable:
        # Where bcc is installed, that it has something against the programs is a fault of theirs.
        if unavailable.cause.startswith(("bcc cannot compile", "bcc cannot load", "what bcc's programs tell")):
            raise
        pytest.skip(str(unavailable))


@pytest.fixture(scope="module", params=WAYS)
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelRecord]:
    """The kernel's record of what the tests of this module do."""
    collector = loaded(request.param)
    try:
        yield KernelRecord(collector)
    finally:
        collector.close()


@pytest.fixture(params=WAYS)
def stalled(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """A collector that reads nothing until it is started."""
    collector = loaded(request.param)
    try:
        yield collector
    finally:
        collector.close()


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[KernelRecord, KernelRecord]]:
    """Both at once, which see the same deeds."""
    with ExitStack() as opened:
        records = []
        for way in WAYS:
            collector = loaded(way)
            opened.callback(collector.close)
            records.append(KernelRecord(collector))
        yield records[0], records[1]


def test_it_is_the_kernels_record(kernel: KernelRecord) -> None:
    assert kernel.collector.level == EvidenceLevel.EVIDENCE_LEVEL_BPF
    assert kernel.collector.detail.startswith("raw tracepoints through ")
    assert "without" not in kernel.collector.detail


def test_a_kill_through_a_pidfd_names_sender_target_and_verdict(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        ticks = start_ticks(victim.pid)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        sent, died = kernel.only(victim.pid, "signal"), kernel.only(victim.pid, "exit")

    seen = sent.signal
    assert (seen.signal, seen.code, seen.group, seen.verdict) == (signal.SIGKILL, 0, True, "delivered")
    assert (seen.fatal, seen.internal, seen.exiting, seen.namespace_init) == (True, False, False, False)
    assert (seen.sender.pid, seen.sender.start_ticks) == (os.getpid(), start_ticks(os.getpid()))
    assert (seen.sender.uid, seen.sender.parent_pid) == (os.getuid(), os.getppid())
    assert (seen.target.start_ticks, seen.target.name, seen.target.tid) == (ticks, "sleep", victim.pid)
    assert seen.target.parent_pid == os.getpid()
    assert (died.exit.signal, died.exit.code, died.exit.core_dumped) == (signal.SIGKILL, 0, False)
    assert died.exit.process.start_ticks == ticks
    assert died.at_boot_ns > sent.at_boot_ns


def test_times_are_those_of_the_clock_since_boot(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        strike(victim.pid, signal.SIGSTOP)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        event = kernel.only(victim.pid, "signal")
    # One that was told by another clock is converted, by two readings that are a moment apart.
    assert before - 1_000_000_000 < event.at_boot_ns < after + 1_000_000_000


def test_a_term_that_the_process_ignores_has_the_verdict_ignored(kernel: KernelRecord) -> None:
    with process("sh", "-c", "trap '' TERM; echo ready; read line") as victim:
        assert victim.stdout
        victim.stdout.readline()
        strike(victim.pid, signal.SIGTERM)
        seen = kernel.only(victim.pid, "signal").signal
        assert (seen.verdict, seen.fatal) == ("ignored", False)
        assert victim.poll() is None


def test_a_second_signal_before_the_first_was_taken_is_already_pending(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGSTOP)
        until(lambda: stat_fields(victim.pid)[0] == "T")
        strike(victim.pid, signal.SIGTERM)
        strike(victim.pid, signal.SIGTERM)
        seen = [event.signal for event in kernel.of(victim.pid, "signal")]
    assert [one.verdict for one in seen if one.signal == signal.SIGTERM] == ["delivered", "already_pending"]


def test_a_kill_of_a_zombie_has_the_verdict_ignored(kernel: KernelRecord) -> None:
    with process("true") as victim:
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        os.kill(victim.pid, signal.SIGKILL)
        assert kernel.only(victim.pid, "signal").signal.verdict == "ignored"


def test_a_fault_has_no_sender(kernel: KernelRecord) -> None:
    with process(sys.executable, "-c", "import ctypes; ctypes.string_at(0)") as victim:
        victim.wait()
        event = kernel.only(victim.pid, "signal")
    assert (event.signal.signal, event.signal.HasField("sender")) == (signal.SIGSEGV, False)
    assert event.signal.code > 0
    assert kernel.only(victim.pid, "exit").exit.signal == signal.SIGSEGV


def test_a_watched_process_that_exits_by_itself_shows_its_code(kernel: KernelRecord) -> None:
    with process("sh", "-c", "read line; exit 7") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        victim.communicate("\n")
        event = kernel.only(victim.pid, "exit")
    assert (event.exit.code, event.exit.signal) == (7, 0)


def test_the_leaders_exit_is_not_the_process_s(kernel: KernelRecord) -> None:
    with process(sys.executable, "-c", LEADER_EXITS_FIRST) as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        assert kernel.of(victim.pid, "exit") == []

        victim.communicate("\n")
        event = kernel.only(victim.pid, "exit")
    assert victim.returncode == event.exit.code == 7


def test_an_exec_is_told_with_the_identity_that_stays(kernel: KernelRecord) -> None:
    with process("sh", "-c", "read line; exec sleep 300") as changing:
        ticks = start_ticks(changing.pid)
        kernel.collector.watch(changing.pid, ticks)
        assert changing.stdin
        changing.stdin.write("\n")
        changing.stdin.flush()
        until(lambda: len(kernel.of(changing.pid, "exec")) == 2)
        before, after = kernel.of(changing.pid, "exec")
    assert before.exec.process.start_ticks == after.exec.process.start_ticks == ticks
    assert (after.exec.process.name, Path(after.exec.file).name) == ("sleep", "sleep")


def test_harmless_signals_are_told_only_of_watched_processes(kernel: KernelRecord) -> None:
    with process("sleep", "300") as watched, process("sleep", "300") as other:
        kernel.collector.watch(watched.pid, start_ticks(watched.pid))
        for started in (watched, other):
            strike(started.pid, signal.SIGWINCH)
        assert kernel.only(watched.pid, "signal").signal.sender.pid == os.getpid()
        assert kernel.of(other.pid, "signal") == []


def test_a_watch_is_for_one_process_and_not_for_the_next_with_its_pid(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid) - 1)
        strike(victim.pid, signal.SIGWINCH)
        assert kernel.of(victim.pid, "signal") == []
        kernel.collector.unwatch(victim.pid)


def test_after_unwatch_nothing_more_is_told_than_of_anybody(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        kernel.collector.unwatch(victim.pid)
        kernel.collector.unwatch(victim.pid)
        strike(victim.pid, signal.SIGWINCH)
        assert kernel.of(victim.pid, "signal") == []


def test_more_watches_than_the_kernel_holds_are_an_error(stalled: Collector) -> None:
    with pytest.raises(OSError, match="cannot fill a BPF map"):
        for pid in range(1, 1026):
            stalled.watch(pid, 0)


def test_it_says_how_far_its_record_is_whole(stalled: Collector) -> None:
    told, later = [], threading.Event()
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def keep(whole_ns: int) -> None:
        told.append(whole_ns)
        if whole_ns > began:
            later.set()

    stalled.start(lambda _events: None, keep)
    assert later.wait(DEADLINE_S)
    assert told == sorted(told)
    assert told[-1] <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_what_came_before_the_start_is_told_at_the_start(stalled: Collector) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        assert KernelRecord(stalled).only(victim.pid, "exit").exit.signal == signal.SIGKILL


def flood(pid: int) -> None:
    for _ in range(FLOOD):
        strike(pid, signal.SIGCONT)


def test_a_flood_beyond_the_buffers_is_counted_and_told(stalled: Collector) -> None:
    with process("sleep", "300") as flooded:
        flood(flooded.pid)
        record = KernelRecord(stalled)
        seen = len(record.of(flooded.pid, "signal"))
    told = sum(event.lost.count for event in record.events if event.lost.kind == "signal")
    assert 0 < seen < FLOOD
    assert seen + told >= FLOOD
    assert stalled.lost()["signal"] == told


def test_a_flood_does_not_push_out_what_befalls_a_watched_process(stalled: Collector) -> None:
    with process("sleep", "300") as flooded, process("sleep", "300") as victim:
        stalled.watch(victim.pid, start_ticks(victim.pid))
        flood(flooded.pid)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        record = KernelRecord(stalled)
        assert record.only(victim.pid, "signal").signal.verdict == "delivered"
        assert record.only(victim.pid, "exit").exit.signal == signal.SIGKILL


def test_a_flood_upon_a_watched_process_is_a_loss_of_its_own(stalled: Collector) -> None:
    with process("sleep", "300") as victim:
        stalled.watch(victim.pid, start_ticks(victim.pid))
        flood(victim.pid)
        record = KernelRecord(stalled)
        seen = len(record.of(victim.pid, "signal"))
    told = sum(event.lost.count for event in record.events if event.lost.kind == "watched signal")
    assert seen + told == FLOOD
    assert told > 0


def test_a_flood_that_does_not_end_holds_nobody_up(stalled: Collector) -> None:
    endless = "import os, sys\nwhile True: os.kill(int(sys.argv[1]), 18)"
    with process("sleep", "300") as victim, process("sleep", "300") as flooded:
        record = KernelRecord(stalled)
        with process(sys.executable, "-c", endless, str(flooded.pid)):
            until(lambda: bool(stalled.lost()))
            stalled.watch(victim.pid, start_ticks(victim.pid))
            strike(victim.pid, signal.SIGKILL)
            victim.wait()
            assert record.only(victim.pid, "exit").exit.signal == signal.SIGKILL
            del record.events[:]  # else they are as many as fit


def test_what_bcc_can_be_told_during_one_drain_is_bounded() -> None:
    (bound,) = re.findall(r"#define KD_MOST_IN_A_DRAIN (\d+)", PROGRAMS.read_text())
    collector = loaded("bcc")
    everywhere = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(
            0, {min(everywhere)}
        )  # each processor has a buffer of its own, which holds more than that
        with process("sleep", "300") as flooded:
            flood(flooded.pid)
            assert 0 < len(KernelRecord(collector).of(flooded.pid, "signal")) <= int(bound)
    finally:
        os.sched_setaffinity(0, everywhere)
        collector.close()


def test_events_come_in_the_order_of_time(stalled: Collector) -> None:
    with process("sleep", "300") as plain, process("sleep", "300") as watched:
        stalled.watch(watched.pid, start_ticks(watched.pid))
        for pid in (plain.pid, watched.pid, plain.pid, watched.pid):
            strike(pid, signal.SIGCONT)
        record = KernelRecord(stalled)
        stalled.flush()
    continued = [event.signal.target.pid for event in record.events if event.signal.signal == signal.SIGCONT]
    ours = [pid for pid in continued if pid in (plain.pid, watched.pid)]
    assert ours == [plain.pid, watched.pid, plain.pid, watched.pid]


@pytest.mark.parametrize("way", WAYS)
def test_closing_takes_all_away(way: str) -> None:
    loaded(way).close()  # what a library opens once and for all is open from here on
    threads = set(threading.enumerate())
    before = of_the_kernel()
    collector = loaded(way)
    record = KernelRecord(collector)
    assert of_the_kernel() != before
    collector.close()
    assert of_the_kernel() == before
    assert set(threading.enumerate()) == threads

    with process("sleep", "300") as victim:
        victim.kill()
        victim.wait()
    assert not [event for event in record.events if target(event).pid == victim.pid]


def of_the_kernel() -> list[str]:
    """The BPF programs, maps, links, perf buffers and the like that this process holds open."""
    return sorted(name for fd in Path("/proc/self/fd").iterdir() if (name := end_of(fd)).startswith("anon_inode:"))


def end_of(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the listing's own
        return ""


@pytest.mark.parametrize("field", ["task_struct_start", "signal_struct_group_exit_code", "linux_binprm_filename"])
def test_bcc_is_refused_where_its_idea_of_the_kernel_is_wrong(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("bcc").close()
    before = of_the_kernel()
    right = kerneltypes.from_btf

    def shifted(types: KernelBtf) -> str:
        return re.sub(rf"(?m)^(#define AT_{field}) (\d+)$", r"\1 (\2 + 16)", right(types))

    monkeypatch.setattr(kerneltypes, "from_btf", shifted)
    with pytest.raises(CollectorUnavailable, match=r"of a process is not so: .*; install the headers of exactly"):
        load_collector("bcc")
    assert of_the_kernel() == before


def test_without_libbpf_it_is_bcc_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("bcc").close()
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    collector = open_collector()
    collector.close()
    assert collector.level == EvidenceLevel.EVIDENCE_LEVEL_BPF
    assert "through bcc" in collector.detail
    assert collector.detail.endswith(", for libbpf is not installed")


def test_what_is_configured_is_not_replaced_by_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    monkeypatch.setattr("killdeer_agent.kernel.obstacle.look", lambda: None)
    assert open_collector("core").level == EvidenceLevel.EVIDENCE_LEVEL_PIDFD
    assert open_collector("pidfd").detail == "configured: pidfd"


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a pid namespace and loads BPF in it")
def test_in_a_pid_namespace_pids_are_translated_and_the_outside_is_not_told(way: str) -> None:
    loaded(way).close()
    command = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", INSIDE_A_NAMESPACE, way)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        inner = int(started.stdout.readline())
        with process("sleep", "300") as outside:
            outside.kill()
            outside.wait()
        printed, _ = started.communicate("\n", timeout=60)

    events = [KernelEvent.FromString(bytes.fromhex(line)) for line in printed.splitlines()]
    assert outside.pid not in [target(event).host_pid for event in events]
    assert 0 not in [target(event).pid for event in events]
    killed = next(event.signal for event in events if event.signal.target.pid == inner)
    assert (killed.sender.pid, killed.target.tid, killed.target.parent_pid) == (1, inner, 1)
    assert killed.target.host_pid != inner
