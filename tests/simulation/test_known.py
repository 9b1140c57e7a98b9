"""What the simulation knows of the store's books, and how it finds out that it does not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from killdeer_coordinator.core.books import Books, Decision, FleetLimits, PutHost
from tests.simulation.clock import Clock
from tests.simulation.ground import Ground
from tests.simulation.known import Known
from tests.simulation.store import FaultyStore
from tests.simulation.trace import Trace
from tests.support.books import T0, host


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    clock = Clock()
    ground = Ground(seed=1, clock=clock, trace=Trace(clock, None))
    opened = FaultyStore(ground, FleetLimits(limits={}), lambda: T0, lambda: None)
    yield opened
    opened.close()


def joined(name: str) -> Decision:
    return Decision((PutHost(host(name)),))


def test_a_decision_sees_what_the_one_before_has_changed(store: FaultyStore) -> None:
    store.decide("c1", store.real, lambda books: joined("h1"))
    seen: list[Books] = []

    def decide(books: Books) -> Decision:
        seen.append(books)
        return joined("h2")

    store.decide("c2", store.opened(), decide)
    assert list(seen[0].hosts) == ["h1"]
    assert list(store.read().hosts) == ["h1", "h2"]
    store.copy()


def test_what_is_known_and_not_so_is_found_with_the_next_backup(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.decide("c1", store.real, lambda books: joined("h1"))
    monkeypatch.setattr(Known, "decided", lambda known, changes: None)
    store.decide("c1", store.real, lambda books: Decision((PutHost(replace(host("h1"), heard=True)),)))
    with pytest.raises(AssertionError, match="hosts in the store"):
        store.copy()
