"""What does not fit in the rings is counted, and the loss is an event; what matters most has a ring of its own."""

import signal
from collections.abc import Iterator

import pytest

from killdeer_agent.kernel.collector import CollectorUnavailable, CoreCollector
from tests.support.kernel_record import KernelRecord, process, start_ticks, strike

FLOOD = 5_000


@pytest.fixture
def stalled() -> Iterator[CoreCollector]:
    """A collector that reads nothing until it is started."""
    try:
        collector = CoreCollector()
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))
    try:
        yield collector
    finally:
        collector.close()


def flood(pid: int) -> None:
    for _ in range(FLOOD):
        strike(pid, signal.SIGCONT)


def test_a_flood_beyond_the_ring_is_counted_and_told(stalled: CoreCollector) -> None:
    with process("sleep", "300") as flooded:
        flood(flooded.pid)
        record = KernelRecord(stalled)
        seen = len(record.of(flooded.pid, "signal"))
    told = sum(event.lost.count for event in record.events if event.lost.kind == "signal")
    assert 0 < seen < FLOOD
    assert seen + told >= FLOOD
    assert stalled.lost()["signal"] == told


def test_a_flood_does_not_push_out_what_befalls_a_watched_process(stalled: CoreCollector) -> None:
    with process("sleep", "300") as flooded, process("sleep", "300") as victim:
        stalled.watch(victim.pid, start_ticks(victim.pid))
        flood(flooded.pid)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        record = KernelRecord(stalled)
        assert record.only(victim.pid, "signal").signal.verdict == "delivered"
        assert record.only(victim.pid, "exit").exit.signal == signal.SIGKILL


def test_a_flood_upon_a_watched_process_is_a_loss_of_its_own(stalled: CoreCollector) -> None:
    with process("sleep", "300") as victim:
        stalled.watch(victim.pid, start_ticks(victim.pid))
        flood(victim.pid)
        record = KernelRecord(stalled)
        seen = len(record.of(victim.pid, "signal"))
    told = sum(event.lost.count for event in record.events if event.lost.kind == "watched signal")
    assert seen + told == FLOOD
    assert told > 0


def test_nothing_lost_is_nothing_told(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        kernel.only(victim.pid, "exit")
    assert kernel.collector.lost() == {}
    assert not any(event.HasField("lost") for event in kernel.events)


def test_events_come_in_the_order_of_time_across_both_rings(stalled: CoreCollector) -> None:
    with process("sleep", "300") as plain, process("sleep", "300") as watched:
        stalled.watch(watched.pid, start_ticks(watched.pid))
        for pid in (plain.pid, watched.pid, plain.pid, watched.pid):
            strike(pid, signal.SIGCONT)
        record = KernelRecord(stalled)
        stalled.flush()
    continued = [event.signal for event in record.events if event.signal.signal == signal.SIGCONT]
    ours = [seen.target.pid for seen in continued if seen.target.pid in (plain.pid, watched.pid)]
    assert ours == [plain.pid, watched.pid, plain.pid, watched.pid]


def test_the_ring_read_through_libbpf_has_the_same_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.ring.ORDERED", frozenset())
    try:
        collector = CoreCollector()
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))
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
