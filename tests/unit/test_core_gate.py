"""Admission is paced: a storm of agents keeps nobody waiting but itself (section 4; rules R9, R11, R23)."""

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.core import gate
from killdeer_coordinator.core import words as w_
from tests.support.fake_agent import FakeAgent
from tests.support.world import World

MANY = 3 * gate.TOGETHER


def storm(w: World, count: int = MANY) -> list[str]:
    """That many agents come while the store takes its time."""
    w.store.held = True
    hosts = [f"s-{number:04}" for number in range(count)]
    for host in hosts:
        w.agents[host] = FakeAgent(host, workers=0)
        w.join(host)
    return hosts


def transacts(w: World, since: int = 0) -> int:
    return sum(isinstance(effect, w_.Transact) for effect in w.effects[since:])


def served(w: World) -> set[str]:
    return {link.host for link in w.core.roster.served()}


def settle(w: World) -> None:
    """The store goes on taking its time, until all are served and known to beat."""
    for _ in range(40):
        answers = list(w.answers)
        w.answers.clear()
        for answer in answers:
            w.give(answer)
        w.run(100)
    w.release_answers()


def test_a_storm_is_admitted_many_at_once_and_one_decision_is_under_way_at_a_time() -> None:
    w = World([FakeAgent("a-1")]).start()
    before = len(w.effects)
    hosts = storm(w)
    assert transacts(w, before) == 1
    settle(w)
    assert set(hosts) <= served(w)
    assert len({w.store.hosts[host].session for host in hosts}) == MANY
    assert all(w.told(host, "lease_renewal") for host in hosts)
    # The first goes alone, for it was alone; then as many as may; and the same again for their first heartbeats.
    assert transacts(w, before) <= 2 * (2 * MANY // gate.TOGETHER)


def test_i4_a_halt_is_told_and_recorded_without_waiting_for_a_storm() -> None:
    w = World([FakeAgent("a-1")]).start()
    hosts = storm(w)
    before = len(w.effects)
    ask = w.ask(o.HaltRequest(id="h1"), "viewer")
    made = [type(effect) for effect in w.effects[before:]]
    assert made[0] is w_.Broadcast and w_.Transact in made
    assert all("h1" in w.agents[host].halts.engaged for host in ("a-1", *hosts)), "also to those who wait"
    w.release_answers()
    w.run(100)
    assert w.answer(ask, o.HaltResponse).stored
    assert all(w.told(host, "welcome") for host in hosts)
    assert w.answer(ask, o.HaltResponse).stopped == w.answer(ask, o.HaltResponse).total


def test_r9_leases_are_renewed_while_a_storm_waits() -> None:
    w = World([FakeAgent("a-1")]).start()
    storm(w)
    renewals = len(w.told("a-1", "lease_renewal"))
    w.run(3_000)
    assert len(w.told("a-1", "lease_renewal")) >= renewals + 2


def test_who_finds_no_room_comes_back_at_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WAITING_MOST", 100)
    w = World([FakeAgent("a-1")]).start()
    w.ask(o.HaltRequest(id="h1"), "viewer")
    hosts = storm(w, 400)
    away = [host for host in hosts if w.told(host, "dismissal")]
    assert len(away) == 400 - 100 - 1
    assert all(w.agents[host].got[0].HasField("halt") for host in away), "a halt is told to them too, and first"
    times = sorted(w.told(host, "dismissal")[0].dismissal.retry_after_ms for host in away)
    assert times[0] >= 1 and times[-1] <= gate.SPREAD_MS
    quarters = [sum(at * 4 // (gate.SPREAD_MS + 1) == quarter for at in times) for quarter in range(4)]
    assert min(quarters) > len(away) // 8
    assert len(w.core.roster.links) == 1 + 101
    settle(w)
    for host in away:
        w.join(host)
    w.run(300)
    assert set(hosts) <= served(w)


def test_what_cannot_be_stored_of_one_keeps_the_others_out_only_once() -> None:
    w = World([FakeAgent("a-1")]).start()
    hosts = storm(w, 50)
    w.store.held = False
    w.store.failing = "a label cannot be stored"
    w.release_answers()
    assert not served(w) & set(hosts[1:]), "all of the batch"
    w.store.failing = ""
    before = len(w.effects)
    w.store.held = True
    for host in hosts[1:]:
        w.join(host)
    settle(w)
    assert set(hosts) <= served(w)
    assert transacts(w, before) >= 6, "the first alone, then two, four, …"


def test_two_links_of_one_host_in_one_batch_are_decided_one_after_the_other() -> None:
    w = World([FakeAgent("a-1")]).start()
    storm(w, 2)
    older, newer = w.join("a-1"), w.join("a-1")
    settle(w)
    assert [link.number for link in w.core.roster.served() if link.host == "a-1"] == [newer]
    assert older not in w.core.roster.links
    assert w.store.hosts["a-1"].session == f"token-{newer}"
    assert not w.store.hosts["a-1"].quarantined


def test_who_leaves_while_it_waits_is_not_admitted() -> None:
    w = World([FakeAgent("a-1")]).start()
    hosts = storm(w, 10)
    w.leave(hosts[-1])
    settle(w)
    assert hosts[-1] not in w.store.hosts
    assert set(hosts[:-1]) <= served(w)
