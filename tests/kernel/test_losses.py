"""What does not fit is counted, and the loss is an event; what matters most has a ring or buffer of its own."""

import signal
import sys

import pytest

from killdeer_agent.kernel.collector import Collector
from tests.support.collectors import FLOOD, loaded
from tests.support.kernel_record import KernelRecord, process, start_ticks, strike, until


def flood(pid: int) -> None:
    for _ in range(FLOOD):
        strike(pid, signal.SIGCONT)


def test_a_flood_beyond_the_rings_is_counted_and_told(stalled: Collector) -> None:
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


def test_what_is_passed_over_in_the_kernel_is_counted_and_is_no_loss(stalled: Collector) -> None:
    before = stalled.filtered()
    with process("sleep", "300") as passed_over:
        for _ in range(1_000):
            strike(passed_over.pid, signal.SIGCHLD)
    with process("true") as ordinary:
        ordinary.wait()
    after = stalled.filtered()
    assert after["signal"] - before.get("signal", 0) >= 1_000
    assert after["exit"] - before.get("exit", 0) >= 1
    assert stalled.lost() == {}


def test_nothing_lost_is_nothing_told(stalled: Collector) -> None:
    with process("sleep", "300") as victim:
        record = KernelRecord(stalled)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        record.only(victim.pid, "exit")
    assert stalled.lost() == {}
    assert not any(event.HasField("lost") for event in record.events)


def test_the_ring_read_through_libbpf_has_the_same_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.ring.ORDERED", frozenset())
    collector = loaded("core")
    try:
        with process("sleep", "300") as victim:
            record = KernelRecord(collector)
            collector.watch(victim.pid, start_ticks(victim.pid))
            strike(victim.pid, signal.SIGKILL)
            victim.wait()
            assert record.only(victim.pid, "signal").signal.verdict == "delivered"
            assert record.only(victim.pid, "exit").exit.signal == signal.SIGKILL
    finally:
        collector.close()
