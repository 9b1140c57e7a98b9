"""A host that is removed, as the coordinators' cores go about it: turned away, not served again, and forgotten."""

import pytest

from killdeer.halts import Halts
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import HaltRecord
from killdeer_coordinator.core.books import REMOVED, RemovalRow
from tests.support.fake_agent import FakeAgent
from tests.support.world import LEASE_MS, World
from tests.unit.test_core_far import two


def fleet() -> World:
    return World([FakeAgent("a-1"), FakeAgent("a-2")]).start()


def remove(w: World, host: str = "a-1") -> o.RemoveHostResponse:
    ask = w.ask(o.RemoveHostRequest(host=host, reason="stolen"), "approver")
    return w.answer(ask, o.RemoveHostResponse)


def test_its_stream_ends_at_once_and_no_other_is_served() -> None:
    w = fleet()
    assert remove(w).host.quarantined
    assert "stolen" in w.told("a-1", "dismissal")[-1].dismissal.detail
    welcomes = len(w.told("a-1", "welcome"))
    w.join("a-1")
    assert len(w.told("a-1", "welcome")) == welcomes
    assert "removed by" in w.told("a-1", "dismissal")[-1].dismissal.detail
    assert not w.told("a-2", "dismissal")


def test_it_is_forgotten_once_its_right_to_act_is_over() -> None:
    w = fleet()
    remove(w)
    w.run(LEASE_MS)
    assert w.store.hosts["a-1"].removed
    w.run(LEASE_MS + 10_000)
    assert "a-1" not in w.store.hosts
    assert [entry.subject for entry in w.store.said("host.forgotten")] == ["a-1"]
    ask = w.ask(o.ListHostsRequest(), "viewer")
    assert [host.host for host in w.answer(ask, o.ListHostsResponse).hosts] == ["a-2"]


def test_a_removed_host_is_not_to_be_accepted_it_is_to_join_anew() -> None:
    w = fleet()
    remove(w)
    ask = w.ask(o.AcceptHostRequest(host="a-1", reason="found"), "approver")
    assert "join anew" in w.refusals[ask].message


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_an_approver_removes(role: str) -> None:
    w = fleet()
    ask = w.ask(o.RemoveHostRequest(host="a-1", reason="stolen"), role)
    assert w.refusals[ask].code == "PERMISSION_DENIED"
    assert not w.told("a-1", "dismissal")


def test_no_word_of_a_removed_host_halts_the_fleet() -> None:
    w = fleet()
    remove(w)
    w.agents["a-1"].halts = Halts().engage(HaltRecord(id="h1", by="whoever has its key", reason="drill"))
    w.join("a-1")
    assert not w.store.halts.active


def test_the_coordinator_that_serves_it_turns_it_away_when_another_has_removed_it() -> None:
    one, other, both = two(FakeAgent("a-1"))
    remove(one)
    both.run(3_000)
    assert "stolen" in other.told("a-1", "dismissal")[-1].dismissal.detail


def test_a_coordinator_that_was_cut_off_meanwhile_turns_it_away_as_well() -> None:
    one, other, both = two(FakeAgent("a-1"))
    one.store.removals["a-1"] = RemovalRow(host="a-1", at_ms=0, who="eve", why="stolen")
    del one.store.hosts["a-1"]
    both.run(3_000)
    assert REMOVED in other.told("a-1", "dismissal")[-1].dismissal.detail
