"""What is told of processes that nobody watches can be changed while the record runs; of deaths it cannot."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from killdeer_agent.kernel.collector import Collector
from killdeer_agent.kernel.filter import Filter
from tests.support.collectors import held_open, loaded
from tests.support.kernel_record import KernelRecord, process, start_ticks, strike, until
from tests.support.memory_cgroups import ROOT

NARROWEST = Filter(signals=frozenset(), verdicts=frozenset())
IGNORES = "trap '' TERM; echo ready; read line; exit 7"
# Prints how often it was sent TERM, once nothing more comes.
COUNTS = """
import signal
count = 0
def one_more(*_):
    global count
    count += 1
signal.signal(signal.SIGTERM, one_more)
print("ready", flush=True)
input()
"""
MOVES = 'echo $$ > "$0/cgroup.procs"; echo ready; read line; exit 3'

needs_cgroups = pytest.mark.skipif(
    os.geteuid() != 0 or not ROOT.is_dir(), reason="needs root and a cgroup hierarchy: it makes cgroups"
)


@pytest.fixture(autouse=True)
def _as_before(kernel: KernelRecord) -> Iterator[None]:
    yield
    kernel.collector.choose(Filter())


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    folder = ROOT / f"killdeer-filter-{os.getpid()}" / name
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        for one in (folder, folder.parent):
            until(lambda one=one: removed(one))  # type: ignore[misc]


def removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def signals_of(kernel: KernelRecord, pid: int) -> list[int]:
    return [event.signal.signal for event in kernel.of(pid, "signal")]


def test_a_signal_that_is_not_chosen_is_not_told_until_it_is(kernel: KernelRecord) -> None:
    with process("sleep", "300") as other:
        kernel.collector.choose(NARROWEST)
        strike(other.pid, signal.SIGSTOP)
        strike(other.pid, signal.SIGCONT)
        assert signals_of(kernel, other.pid) == []
        kernel.collector.choose(Filter(signals=frozenset({signal.SIGWINCH})))
        strike(other.pid, signal.SIGSTOP)
        strike(other.pid, signal.SIGWINCH)
        assert signals_of(kernel, other.pid) == [signal.SIGWINCH]


def test_a_verdict_that_is_not_chosen_is_not_told_until_it_is(kernel: KernelRecord) -> None:
    with process("sh", "-c", IGNORES) as other:
        assert other.stdout
        other.stdout.readline()
        kernel.collector.choose(NARROWEST)
        strike(other.pid, signal.SIGTERM)
        assert kernel.of(other.pid, "signal") == []
        kernel.collector.choose(Filter(verdicts=frozenset({"ignored"})))
        strike(other.pid, signal.SIGTERM)
        assert kernel.only(other.pid, "signal").signal.verdict == "ignored"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU, signal.SIGALRM])
def test_no_filter_keeps_a_death_by_a_signal_or_what_it_was_of(
    kernel: KernelRecord, number: signal.Signals
) -> None:
    kernel.collector.choose(NARROWEST)
    with process("sleep", "300") as victim:
        strike(victim.pid, number)
        victim.wait()
        assert kernel.only(victim.pid, "signal").signal.sender.pid == os.getpid()
        assert kernel.only(victim.pid, "exit").exit.signal == number


def test_no_filter_keeps_a_request_to_end_that_a_handler_takes(kernel: KernelRecord) -> None:
    kernel.collector.choose(NARROWEST)
    with process(sys.executable, "-c", COUNTS) as other:
        assert other.stdout
        other.stdout.readline()
        strike(other.pid, signal.SIGTERM)
        assert signals_of(kernel, other.pid) == [signal.SIGTERM]


def test_no_filter_keeps_anything_that_befalls_a_watched_process(kernel: KernelRecord) -> None:
    with process("sh", "-c", IGNORES) as victim:
        assert victim.stdout
        victim.stdout.readline()
        kernel.collector.watch(victim.pid, start_ticks(victim.pid))
        kernel.collector.choose(NARROWEST)
        for number in (signal.SIGTERM, signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT):
            strike(victim.pid, number)
        victim.communicate("\n")
        seen = [(event.signal.signal, event.signal.verdict) for event in kernel.of(victim.pid, "signal")]
        kernel.collector.unwatch(victim.pid)
    assert seen[0] == (signal.SIGTERM, "ignored")
    assert [number for number, _ in seen[1:]] == [signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT]
    assert kernel.only(victim.pid, "exit").exit.code == 7


@needs_cgroups
def test_of_processes_in_a_chosen_cgroup_and_below_all_is_told(kernel: KernelRecord) -> None:
    with cgroup("worker@3.service") as folder, process("sh", "-c", MOVES, str(folder)) as worker:
        assert worker.stdout
        worker.stdout.readline()
        kernel.collector.choose(Filter(cgroups=(f"/killdeer-filter-{os.getpid()}",)))
        strike(worker.pid, signal.SIGWINCH)
        worker.communicate("\n")
        assert signals_of(kernel, worker.pid) == [signal.SIGWINCH]
        assert kernel.only(worker.pid, "exit").exit.code == 3


@needs_cgroups
def test_a_cgroup_that_is_made_later_is_chosen_as_well(kernel: KernelRecord) -> None:
    kernel.collector.choose(Filter(cgroups=("/killdeer-filter-*/worker@*.service",)))
    with cgroup("worker@4.service") as folder:
        kernel.collector.flush()
        with process("sh", "-c", MOVES, str(folder)) as worker:
            assert worker.stdout
            worker.stdout.readline()
            worker.communicate("\n")
            assert kernel.only(worker.pid, "exit").exit.code == 3


@needs_cgroups
def test_a_cgroup_that_is_chosen_no_more_is_told_of_like_any(kernel: KernelRecord) -> None:
    with cgroup("worker@5.service") as folder, process("sh", "-c", MOVES, str(folder)) as worker:
        kernel.collector.choose(Filter(cgroups=("/killdeer-filter-*",)))
        kernel.collector.choose(Filter())
        assert worker.stdout
        worker.stdout.readline()
        worker.communicate("\n")
        assert kernel.of(worker.pid, "exit") == []


@needs_cgroups
def test_what_there_is_no_room_for_changes_nothing(kernel: KernelRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.collector.choose(Filter(signals=frozenset({signal.SIGWINCH})))
    monkeypatch.setattr("killdeer_agent.kernel.chosen.MOST_CHOSEN", 1)
    with cgroup("worker@6.service") as folder, process("sh", "-c", MOVES, str(folder)) as worker:
        assert worker.stdout
        worker.stdout.readline()
        with pytest.raises(OSError, match="there is room for 1"):
            kernel.collector.choose(Filter(signals=frozenset(), cgroups=("/killdeer-filter-*",)))
        strike(worker.pid, signal.SIGWINCH)
        worker.communicate("\n")
        assert signals_of(kernel, worker.pid) == [signal.SIGWINCH]
        assert kernel.of(worker.pid, "exit") == []


def test_a_change_loads_nothing_anew_and_loses_nothing_that_both_let_through(stalled: Collector) -> None:
    record = KernelRecord(stalled)
    before = held_open()
    with process(sys.executable, "-c", COUNTS) as other:
        assert other.stdout
        other.stdout.readline()
        for turn in range(400):
            strike(other.pid, signal.SIGTERM)
            if turn % 4 == 0:
                stalled.choose(NARROWEST if turn % 8 else Filter(verdicts=frozenset(), cgroups=("/no-such",)))
        seen = [event.signal.verdict for event in record.of(other.pid, "signal")]
    # One that is pending already adds nothing, and both filters leave that verdict out.
    assert set(seen) == {"delivered"}
    assert held_open() == before
    assert stalled.lost() == {}


def test_a_filter_holds_from_the_first_event_on(way: str) -> None:
    collector = loaded(way, NARROWEST)
    try:
        with process("sleep", "300") as other:
            strike(other.pid, signal.SIGSTOP)
            strike(other.pid, signal.SIGKILL)
            other.wait()
            assert signals_of(KernelRecord(collector), other.pid) == [signal.SIGKILL]
    finally:
        collector.close()
