"""Recovery against the truth of a world in which each successor knows whose place it takes (R18, I3)."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killdeer_agent.core.facts import Process
from killdeer_agent.core.recovery import Key, Recovery, Wait, key_of


@dataclass
class Workers:
    """`count` places, each held by one process or empty."""

    count: int
    now: int = 0
    places: list[Key | None] = field(default_factory=list)
    stopped: set[Key] = field(default_factory=set)
    down: dict[int, int] = field(default_factory=dict)  # place -> when it comes back

    def __post_init__(self) -> None:
        self.places = [(100 + place, 0) for place in range(self.count)]
        self._pid = 1_000

    def end(self, key: Key, back_after: int) -> None:
        place = self.places.index(key)
        self.places[place] = None
        self.down[place] = self.now + back_after

    def pass_time(self) -> None:
        self.now += 1
        for place, at in list(self.down.items()):
            if at <= self.now:
                del self.down[place]
                self._pid += 1
                self.places[place] = (self._pid, self.now)

    @property
    def ready(self) -> list[Process]:
        alive = [key for key in self.places if key is not None and key not in self.stopped]
        return [Process(boot_id="b", pid=pid, start_ticks=ticks) for pid, ticks in alive]


def begin(recovery: Recovery, workers: Workers, command_id: str, victim: Key, stable: int = 0) -> Wait:
    wait = Wait(command_id=command_id, victim=victim, since_ticks=workers.now, stable_ns=stable)
    recovery.wait(wait)
    wait.before = frozenset(key_of(one) for one in workers.ready) | {victim}
    return wait


def count(recovery: Recovery, workers: Workers) -> set[str]:
    _, recovered = recovery.counted(workers.ready, workers.now)
    return {wait.command_id for wait in recovered}


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 5), stable=st.sampled_from([0, 0, 3]), natural=st.booleans())
def test_r18_one_successor_for_one_victim_whatever_dies_and_comes_back(
    seed: int, size: int, stable: int, natural: bool
) -> None:
    lots = random.Random(seed)
    workers, recovery = Workers(size), Recovery()
    waiting: dict[str, Wait] = {}
    claimed: list[Key] = []
    for step in range(60):
        workers.pass_time()
        busy = {wait.victim for wait in waiting.values()}
        free = [one for one in workers.ready if key_of(one) not in busy]
        if free and lots.random() < 0.3:
            victim = key_of(lots.choice(free))
            wait = begin(recovery, workers, f"c{step}", victim, stable)
            end = lots.choice(["killed", "killed", "killed", "refused", "paused"])
            if end == "refused":
                recovery.forget(wait.command_id)
            else:
                waiting[wait.command_id] = wait
            if end == "paused":
                workers.stopped.add(victim)
            if end == "killed":
                workers.end(victim, lots.randint(1, 6))
                wait.gone = True
        for wait in [one for one in waiting.values() if one.victim in workers.stopped and lots.random() < 0.2]:
            workers.stopped.discard(wait.victim)
            recovery.forget(waiting.pop(wait.command_id).command_id)
        if natural and workers.ready and lots.random() < 0.1:
            workers.end(key_of(lots.choice(workers.ready)), lots.randint(1, 6))
        if lots.random() < 0.7:
            for command_id in count(recovery, workers):
                wait = waiting.pop(command_id)
                assert wait.successor is not None
                claimed.append(key_of(wait.successor))
                assert wait.successor.start_ticks >= wait.since_ticks
        assert len(set(claimed)) == len(claimed), "a successor was claimed twice"
        if not natural:
            missing = workers.places.count(None)
            assert missing <= sum(wait.gone for wait in waiting.values()), "recovered while its place is empty"
    workers.stopped.clear()
    for command_id in [wait.command_id for wait in waiting.values() if not wait.gone]:
        recovery.forget(waiting.pop(command_id).command_id)
    for _ in range(20):
        workers.pass_time()
        for command_id in count(recovery, workers):
            del waiting[command_id]
    assert not waiting, "everything is back, and a strike still waits"
    assert not recovery.waits


def test_r18_a_late_successor_recovers_a_strike_that_was_lost_long_ago() -> None:
    workers, recovery = Workers(2), Recovery()
    begin(recovery, workers, "c1", (100, 0)).gone = True
    workers.end((100, 0), 5_000)
    assert recovery.waiting and count(recovery, workers) == set()
    for _ in range(5_000):
        workers.pass_time()
    assert count(recovery, workers) == {"c1"} and not recovery.waiting


def test_r18_a_spare_that_was_there_before_the_blow_is_no_successor() -> None:
    workers, recovery = Workers(2, now=9), Recovery()
    wait = begin(recovery, workers, "c1", (100, 0))
    workers.end((100, 0), 3)
    wait.gone = True
    workers.places.append((50, 0))  # was stopped when they were counted, and runs again
    workers.pass_time()
    assert count(recovery, workers) == set()
    workers.pass_time()
    workers.pass_time()
    assert count(recovery, workers) == {"c1"}


def test_r18_a_successor_that_came_while_the_next_strike_was_opened_is_still_the_first_ones() -> None:
    workers, recovery = Workers(2), Recovery()
    begin(recovery, workers, "c1", (100, 0)).gone = True
    workers.end((100, 0), 1)
    workers.pass_time()
    begin(recovery, workers, "c2", (101, 0)).gone = True  # counts the successor as there before
    workers.end((101, 0), 5)
    assert count(recovery, workers) == {"c1"}
    for _ in range(5):
        workers.pass_time()
    assert count(recovery, workers) == {"c2"}


@pytest.mark.parametrize("stable", [0, 2])
def test_r18_the_successor_of_one_strike_that_is_the_victim_of_the_next_stands_for_both(stable: int) -> None:
    workers, recovery = Workers(2), Recovery()
    begin(recovery, workers, "c1", (100, 0), 50).gone = True
    workers.end((100, 0), 1)
    workers.pass_time()
    assert count(recovery, workers) == set()  # found, and not stable yet
    successor = workers.places[0]
    assert successor is not None
    begin(recovery, workers, "c2", successor, stable).gone = True
    workers.end(successor, 1)
    assert count(recovery, workers) == set()
    ended: set[str] = set()
    for _ in range(60):
        workers.pass_time()
        ended |= count(recovery, workers)
    assert ended == {"c1", "c2"} and not recovery.waits


def test_r18_a_successor_that_one_count_misses_is_not_replaced_yet() -> None:
    workers, recovery = Workers(2), Recovery()
    wait = begin(recovery, workers, "c1", (100, 0), 50)
    workers.end((100, 0), 1)
    wait.gone = True
    workers.pass_time()
    count(recovery, workers)
    successor = wait.successor
    assert successor is not None
    workers.stopped.add(key_of(successor))  # by somebody else
    count(recovery, workers)
    assert wait.successor == successor
    workers.stopped.clear()
    count(recovery, workers)
    workers.end(key_of(successor), 1)
    workers.pass_time()
    for _ in range(2):
        count(recovery, workers)
    assert wait.successor is not None and wait.successor != successor
