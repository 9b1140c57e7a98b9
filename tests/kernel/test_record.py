"""That it is the kernel's record, in order and whole up to a time that is told, and leaves nothing behind."""

import signal
import threading
import time

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer_agent.kernel.collector import Collector
from tests.support.collectors import held_open, loaded
from tests.support.kernel_record import DEADLINE_S, KernelRecord, process, start_ticks, strike, target


def test_it_is_the_kernels_record(kernel: KernelRecord) -> None:
    assert kernel.collector.level == EvidenceLevel.EVIDENCE_LEVEL_BPF
    assert kernel.collector.detail.startswith("raw tracepoints through ")
    assert "without" not in kernel.collector.detail


def test_times_are_those_of_the_clock_since_boot(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        strike(victim.pid, signal.SIGSTOP)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        event = kernel.only(victim.pid, "signal")
    # One that was told by another clock is converted, by two readings that are a moment apart.
    assert before - 1_000_000_000 < event.at_boot_ns < after + 1_000_000_000


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


def test_closing_takes_all_away(way: str) -> None:
    loaded(way).close()  # what a library opens once and for all is open from here on
    threads = set(threading.enumerate())
    before = held_open()
    collector = loaded(way)
    record = KernelRecord(collector)
    assert held_open() != before
    collector.close()
    assert held_open() == before
    assert set(threading.enumerate()) == threads

    with process("sleep", "300") as victim:
        victim.kill()
        victim.wait()
    assert not [event for event in record.events if target(event).pid == victim.pid]
