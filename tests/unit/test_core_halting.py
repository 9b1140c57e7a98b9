"""The emergency stop, as the coordinator's core holds it (rules R9 to R14, R28, R30)."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core import words as w_
from tests.support.fake_agent import FakeAgent
from tests.support.world import LEASE_MS, World

FILE = """\
killdeer: 1
name: workers-heal
environment: staging
hypothesis: Workers come back.
target: {process: {name: worker}}
limits: {in_flight: 3, per_host: 1}
action: kill
waves: [{name: all, strikes: 6}]
recovery: {within: 20s}
"""


def fleet(*agents: FakeAgent) -> World:
    return World(agents or [FakeAgent("a-1"), FakeAgent("a-2")]).start()


def run(w: World, key: str = "k") -> str:
    ask = w.ask(o.RunRequest(source=FILE, seed=1, key=key), "operator")
    w.run(300)
    return w.answer(ask, o.RunResponse).run_id


def halt(w: World, halt_id: str = "h1", role: str = "viewer") -> int:
    return w.ask(o.HaltRequest(reason="drill", id=halt_id), role, name="grace")


def refusal(w: World) -> w_.Refuse:
    ask = w.ask(o.RunRequest(source=FILE, seed=1, key="again"), "operator")
    w.run(300)
    return w.refusals[ask]


def test_a_halt_is_told_before_it_is_kept_or_stored() -> None:
    w = fleet()
    before = len(w.effects)
    halt(w)
    made = [type(effect) for effect in w.effects[before:]]
    assert made[0] is w_.Broadcast
    assert made.index(w_.Broadcast) < made.index(w_.Keep) < made.index(w_.Transact)


def test_a_halt_goes_first_to_hosts_with_an_open_strike() -> None:
    w = fleet(FakeAgent("a-1", workers=0), FakeAgent("a-2", recovers_ms=None))
    run(w)
    halt(w)
    (told,) = [effect for effect in w.effects if isinstance(effect, w_.Broadcast)]
    assert told.links[0] == w.agents["a-2"].link
    assert len(told.links) == 2


def test_any_role_may_halt_and_each_host_acknowledges() -> None:
    w = fleet()
    ask = halt(w)
    w.run(300)
    answer = w.answer(ask, o.HaltResponse)
    assert (answer.complete, answer.stopped, answer.reverted, answer.total, answer.stored) == (True, 2, 2, 2, True)
    assert ask in w.ended
    (entry,) = w.store.said("halt.engaged")
    assert (entry.who, entry.why) == ("grace", "drill")
    assert entry.details["done_unix_ms"]


def test_i4_nothing_is_sent_after_a_halt_and_runs_end_as_halted() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=2_000), FakeAgent("a-2", recovers_ms=2_000))
    run_id = run(w)
    strikes = sum(len(w.told(host, "strike")) for host in w.agents)
    assert strikes
    halt(w)
    w.run(60_000)
    assert sum(len(w.told(host, "strike")) for host in w.agents) == strikes
    row = w.store.runs[run_id]
    assert (row.state, row.verdict) == (o.RUN_STATE_ENDED, o.RUN_VERDICT_HALTED)
    outcomes = {strike.view.state for strike in w.store.strikes.values()}
    assert p.STRIKE_STATE_HALTED in outcomes
    assert not w.store.in_flight


def test_a_run_while_halted_is_refused_with_who_and_how_to_rearm() -> None:
    w = fleet()
    halt(w)
    no = refusal(w)
    assert no.code == "FAILED_PRECONDITION"
    assert "grace" in no.message and "drill" in no.message and "h1" in no.message
    assert "killdeer rearm" in no.remedy


def test_a_halt_holds_over_a_restart_of_the_coordinator_and_of_the_agents() -> None:
    w = fleet()
    halt(w)
    w.restart()
    assert refusal(w).code == "FAILED_PRECONDITION"
    assert all(agent.halts.active for agent in w.agents.values())


def test_a_halt_goes_out_while_the_store_is_down_and_is_stored_when_it_can_be() -> None:
    w = fleet()
    w.store.failing = "disk full"
    ask = halt(w)
    w.run(300)
    answer = w.answer(ask, o.HaltResponse)
    assert (answer.complete, answer.stopped, answer.stored) == (True, 2, False)
    assert "h1" in w.kept[-1][0].engaged
    w.store.failing = ""
    w.run(2_000)
    assert "h1" in w.store.halts.engaged
    assert w.answer(ask, o.HaltResponse).stored


def test_a_halt_that_was_never_stored_is_known_after_a_restart_from_outside_the_store() -> None:
    w = fleet()
    w.store.failing = "disk full"
    halt(w)
    w.store.failing = ""
    w.restart()
    assert "h1" in w.store.halts.engaged
    assert refusal(w).code == "FAILED_PRECONDITION"


def test_two_halts_at_once_merge_by_id() -> None:
    w = fleet()
    one, other = halt(w, "h1"), halt(w, "h1", "operator")
    w.run(300)
    assert w.answer(one, o.HaltResponse).halt_id == w.answer(other, o.HaltResponse).halt_id == "h1"
    assert len(w.store.said("halt.engaged")) == 1


def test_a_second_halt_while_the_first_is_being_acknowledged_is_a_halt_of_its_own() -> None:
    w = fleet()
    w.agents["a-2"].mute = True
    one = halt(w, "h1")
    w.run(300)
    other = w.ask(o.HaltRequest(reason="me too"), "operator", name="bo")
    w.run(300)
    halts = {record.id: record.by for record in w.core.roster.halts.active}
    assert len(halts) == 2 and set(halts.values()) == {"grace", "bo"}
    assert [w.answer(ask, o.HaltResponse).stopped for ask in (one, other)] == [1, 1]
    assert all(len(w.told(host, "halt")) == 2 for host in w.agents)
    w.run(15_000, lambda: {one, other} <= w.ended)
    for ask in (one, other):
        late = next(host for host in w.answer(ask, o.HaltResponse).hosts if host.host == "a-2")
        assert late.bound_passed and not late.stage


def test_halting_once_more_tells_the_agents_again_and_keeps_who_was_first() -> None:
    w = fleet()
    halt(w)
    w.run(300)
    ask = w.ask(o.HaltRequest(reason="again", id="h1"), "operator", name="bo")
    w.run(300)
    assert w.answer(ask, o.HaltResponse).complete
    (record,) = w.core.roster.halts.active
    assert (record.by, record.reason) == ("grace", "drill")
    assert all(len(w.told(host, "halt")) == 2 for host in w.agents)


def test_i4_a_run_that_a_halt_has_stopped_never_resumes() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=2_000), FakeAgent("a-2", recovers_ms=2_000))
    run_id = run(w)
    halt(w)
    w.run(300)
    w.ask(o.RearmRequest(reason="drill over"), "approver", name="bo")
    assert not w.core.roster.halts.active
    strikes = sum(len(w.told(host, "strike")) for host in w.agents)
    w.run(60_000)
    assert sum(len(w.told(host, "strike")) for host in w.agents) == strikes
    row = w.store.runs[run_id]
    assert (row.state, row.verdict) == (o.RUN_STATE_ENDED, o.RUN_VERDICT_HALTED)
    w.restart()
    w.run(10_000)
    assert sum(len(w.told(host, "strike")) for host in w.agents) == strikes
    ask = w.ask(o.RunRequest(source=FILE, seed=1, key="k"), "operator")
    w.run(10_000)
    assert w.answer(ask, o.RunResponse).run_id == run_id, "the same wish starts no second run"
    assert sum(len(w.told(host, "strike")) for host in w.agents) == strikes


def test_a_halt_as_a_permit_is_being_granted_lets_no_strike_out() -> None:
    w = fleet()
    w.store.held = True
    w.ask(o.RunRequest(source=FILE, seed=1, key="k"), "operator")
    while not w.store.in_flight:  # until the grant is what the store has not answered
        while w.answers and not w.store.in_flight:
            w.give(w.answers.popleft())
        w.run(100)
    assert w.store.in_flight and not any(w.told(host, "strike") for host in w.agents)
    halt(w)
    w.release_answers()
    w.run(15_000)
    assert not any(w.told(host, "strike") for host in w.agents)
    assert not w.store.in_flight, "the permit comes back: the agent has used the id up"


def test_a_released_id_does_not_make_a_new_halt_void() -> None:
    w = fleet()
    halt(w)
    w.ask(o.RearmRequest(reason="over"), "approver")
    ask = halt(w)
    assert w.answer(ask, o.HaltResponse).halt_id != "h1"
    assert w.core.roster.halts.active


def test_a_host_that_is_away_is_named_with_the_time_by_which_it_has_stopped() -> None:
    w = fleet()
    w.leave("a-2")
    ask = halt(w)
    answer = w.answer(ask, o.HaltResponse)
    away = next(host for host in answer.hosts if host.host == "a-2")
    assert not answer.complete and not away.connected
    assert w.unix_ms < away.stops_by_unix_ms <= w.unix_ms + LEASE_MS * 101 // 100 + 1_000
    w.run(15_000, lambda: ask in w.ended)
    last = w.answer(ask, o.HaltResponse)
    assert last.complete and last.stopped == 1
    assert next(host for host in last.hosts if host.host == "a-2").bound_passed


def test_a_host_that_said_goodbye_has_stopped_already() -> None:
    w = fleet()
    w.hear("a-2", a.ConnectRequest(goodbye=a.Goodbye(reason="stop")))
    w.leave("a-2")
    answer = w.answer(halt(w), o.HaltResponse)
    assert next(host for host in answer.hosts if host.host == "a-2").bound_passed


def test_a_host_last_seen_by_the_coordinator_before_is_bounded_by_the_longest_lease_stored() -> None:
    w = fleet()
    w.restart(join=False)
    early = w.answer(halt(w), o.HaltResponse)
    assert not early.complete
    w.run(15_000)
    assert w.answer(halt(w, "h2"), o.HaltResponse).complete


def test_a_host_that_owes_a_halt_its_acknowledgement_gets_no_renewal_so_its_bound_stands() -> None:
    w = fleet()
    w.agents["a-2"].mute = True
    ask = halt(w)
    bound = next(host for host in w.answer(ask, o.HaltResponse).hosts if host.host == "a-2").stops_by_unix_ms
    renewals = len(w.told("a-2", "lease_renewal"))
    link = w.agents["a-2"].link
    while w.unix_ms < bound:
        beat = a.Heartbeat(stamp_boot_ns=w.now_ns)
        w.give(w_.Heard(link, a.ConnectRequest(heartbeat=beat)))
        w.run(500)
    assert len(w.told("a-2", "lease_renewal")) == renewals
    assert w.answer(ask, o.HaltResponse).complete
    ack = a.ConnectRequest(halt_ack=a.HaltAck(halt_id="h1", stage=a.HALT_STAGE_STOPPED))
    w.give(w_.Heard(link, ack))
    w.give(w_.Heard(link, a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=w.now_ns))))
    assert len(w.told("a-2", "lease_renewal")) == renewals + 1


def test_a_host_that_joins_learns_the_halts_first() -> None:
    w = fleet(FakeAgent("a-1"))
    halt(w)
    w.agents["a-3"] = FakeAgent("a-3")
    w.join("a-3")
    first, second = w.agents["a-3"].got[:2]
    assert first.HasField("halt")
    assert [record.id for record in second.welcome.halts.engaged] == ["h1"]
    assert w.agents["a-3"].halts.active


def test_a_host_that_joins_while_the_store_hangs_learns_the_halts_and_may_acknowledge() -> None:
    w = fleet(FakeAgent("a-1"))
    w.store.held = True
    halt(w)
    w.agents["a-3"] = FakeAgent("a-3")
    link = w.join("a-3")
    assert w.agents["a-3"].halts.active
    assert not w.told("a-3", "welcome")
    assert "h1" in w.core.roster.links[link].stopped


def cut_off(w: World, session: str) -> int:
    """The store hangs, a-2 is cut off, the fleet is halted, and somebody comes as a-2 with that session."""
    w.leave("a-2")
    w.store.held = True
    ask = halt(w)
    w.agents["a-2"].session = session
    link = w.join("a-2")
    assert "h1" in w.core.roster.links[link].stopped, "on this link it has acknowledged"
    return ask


def test_r23_a_clone_does_not_acknowledge_for_a_host_that_is_cut_off() -> None:
    w = fleet()
    ask = cut_off(w, "of a clone")
    w.run(300)
    line = next(host for host in w.answer(ask, o.HaltResponse).hosts if host.host == "a-2")
    assert not line.stage and not line.connected
    assert w.unix_ms < line.stops_by_unix_ms <= w.unix_ms + LEASE_MS * 101 // 100 + 1_000
    w.release_answers()
    w.run(300)
    assert w.store.hosts["a-2"].quarantined
    assert not w.answer(ask, o.HaltResponse).complete
    w.run(15_000, lambda: ask in w.ended)
    last = w.answer(ask, o.HaltResponse)
    assert last.complete and last.stopped == 1


def test_a_host_that_presents_its_own_session_acknowledges_also_while_the_store_hangs() -> None:
    w = fleet()
    ask = cut_off(w, w.agents["a-2"].session)
    w.run(300)
    answer = w.answer(ask, o.HaltResponse)
    assert answer.complete and answer.stopped == 2


def test_r23_a_session_that_is_over_is_no_longer_known() -> None:
    w = fleet()
    over = w.agents["a-2"].session
    w.leave("a-2")
    w.join("a-2")
    w.reads = False  # the books are as they were before it came again
    w.run(1_500)
    ask = cut_off(w, over)
    w.run(300)
    assert w.answer(ask, o.HaltResponse).stopped == 1


def test_a_halt_that_an_agent_knows_halts_the_fleet() -> None:
    w = fleet(FakeAgent("a-1"))
    stranger = FakeAgent("a-3")
    stranger.halts = stranger.halts.engage(p.HaltRecord(id="h9", by="another coordinator"))
    w.agents["a-3"] = stranger
    w.join("a-3")
    assert "h9" in w.store.halts.engaged
    assert "h9" in w.agents["a-1"].halts.engaged
    assert "h9" in w.kept[-1][0].engaged


def test_an_agent_cannot_release_a_halt() -> None:
    w = fleet(FakeAgent("a-1"))
    halt(w)
    rogue = FakeAgent("a-3")
    rogue.halts = rogue.halts.release(["h1"])
    w.agents["a-3"] = rogue
    w.join("a-3")
    assert [record.id for record in w.core.roster.halts.active] == ["h1"]
    assert not w.store.halts.released


def test_a_rearm_is_stored_first_then_told_and_opens_the_fleet() -> None:
    w = fleet()
    halt(w)
    before = len(w.effects)
    ask = w.ask(o.RearmRequest(reason="drill over"), "approver")
    assert [record.id for record in w.answer(ask, o.RearmResponse).released] == ["h1"]
    made = [type(effect) for effect in w.effects[before:]]
    assert made.index(w_.Transact) < made.index(w_.Keep) < made.index(w_.Broadcast)
    assert not any(agent.halts.active for agent in w.agents.values())
    assert w.store.said("halt.released")[0].why == "drill over"
    run(w)


def test_a_rearm_that_cannot_be_stored_leaves_the_fleet_halted() -> None:
    w = fleet()
    halt(w)
    w.store.failing = "disk full"
    ask = w.ask(o.RearmRequest(reason="drill over"), "approver")
    assert w.refusals[ask].code == "UNAVAILABLE"
    assert all(agent.halts.active for agent in w.agents.values())
    assert w.core.roster.halts.active


def test_a_halt_that_crosses_a_rearm_stands() -> None:
    w = fleet()
    halt(w, "h1")
    w.store.held = True
    w.ask(o.RearmRequest(reason="drill over"), "approver")
    halt(w, "h2")
    w.release_answers()
    assert [record.id for record in w.core.roster.halts.active] == ["h2"]
    assert [record.id for record in w.store.halts.active] == ["h2"]


def test_a_rearm_releases_no_halt_that_this_coordinator_has_not_shown() -> None:
    w = fleet()
    halt(w, "h1")
    w.store.halts = w.store.halts.engage(p.HaltRecord(id="h7", by="elsewhere"))
    w.ask(o.RearmRequest(reason="drill over"), "approver")
    assert [record.id for record in w.store.halts.active] == ["h7"]


def test_only_an_approver_rearms_and_only_with_a_reason() -> None:
    w = fleet()
    halt(w)
    assert w.refusals[w.ask(o.RearmRequest(reason="x"), "viewer", "operator")].code == "PERMISSION_DENIED"
    assert w.refusals[w.ask(o.RearmRequest(), "approver")].code == "INVALID_ARGUMENT"
    assert w.core.roster.halts.active


def mixed(run_environment: str, other_host: str) -> World:
    """A run of ada's is halted; it has ended, and nothing of it is held any more."""
    w = fleet(
        FakeAgent("a-1", labels={"environment": run_environment}),
        FakeAgent("a-2", labels={"environment": other_host}),
    )
    source = FILE.replace("environment: staging", f"environment: {run_environment}\nowner: payments")
    w.ask(o.RunRequest(source=source, seed=1, key="k"), "operator", name="ada")
    w.run(300)
    halt(w)
    w.run(5_000)
    (row,) = w.store.runs.values()
    assert (row.state, row.verdict) == (o.RUN_STATE_ENDED, o.RUN_VERDICT_HALTED)
    assert not w.store.in_flight
    return w


@pytest.mark.parametrize("owner", ["ada", "payments"])
@pytest.mark.parametrize(
    ("run_environment", "other_host", "refused"),
    [
        ("production", "production", True),
        ("production", "staging", True),
        ("staging", "production", True),  # a rearm opens the whole fleet
        ("staging", "production-lite", False),
        ("staging", "staging", False),
    ],
)
def test_r30_in_production_the_owner_of_a_run_that_a_halt_stopped_does_not_rearm(
    run_environment: str, other_host: str, refused: bool, owner: str
) -> None:
    w = mixed(run_environment, other_host)
    ask = w.ask(o.RearmRequest(reason="drill over"), "approver", name=owner)
    assert (ask in w.refusals) is refused
    assert bool(w.core.roster.halts.active) is refused
    if refused:
        assert w.refusals[ask].code == "PERMISSION_DENIED" and "another approver" in w.refusals[ask].remedy
        assert not w.store.said("halt.released")
    w.ask(o.RearmRequest(reason="drill over"), "approver", name="bo")
    assert not w.core.roster.halts.active


def test_r30_who_owns_no_run_that_was_stopped_may_rearm_production_their_own_halt_too() -> None:
    w = mixed("production", "production")
    w.ask(o.RearmRequest(reason="drill over"), "approver", name="grace")  # who engaged it
    assert not w.core.roster.halts.active
    halt(w, "h2")
    w.ask(o.RearmRequest(reason="drill over"), "approver", name="bo")
    assert not w.core.roster.halts.active


def test_r30_the_owner_of_a_run_that_is_still_being_stopped_does_not_rearm() -> None:
    w = fleet(FakeAgent("a-1", labels={"environment": "production"}))
    source = FILE.replace("staging", "production").replace("strikes: 6", "strikes: 1")
    w.ask(o.RunRequest(source=source, seed=1, key="k"), "operator", name="ada")
    w.run(300)
    w.agents["a-1"].mute = True
    halt(w)
    (row,) = w.store.runs.values()
    assert row.state == o.RUN_STATE_ABORTING
    ask = w.ask(o.RearmRequest(reason="drill over"), "approver", name="ada")
    assert w.refusals[ask].code == "PERMISSION_DENIED"


def test_a_halt_that_another_coordinator_stored_is_learned_from_the_store() -> None:
    w = fleet()
    w.store.halts = w.store.halts.engage(p.HaltRecord(id="h7", by="elsewhere"))
    w.run(1_500)
    assert all("h7" in agent.halts.engaged for agent in w.agents.values())
    w.store.halts = w.store.halts.release(["h7"])
    w.run(1_500)
    assert not any(agent.halts.active for agent in w.agents.values())


def test_a_halt_as_a_run_is_being_started_ends_it_before_its_first_strike() -> None:
    w = fleet()
    w.store.held = True
    w.ask(o.RunRequest(source=FILE, seed=1, key="k"), "operator")
    w.run(300)
    halt(w)
    w.release_answers()
    w.run(1_000)
    assert not w.told("a-1", "strike") and not w.told("a-2", "strike")
    (row,) = w.store.runs.values()
    assert (row.state, row.verdict) == (o.RUN_STATE_ENDED, o.RUN_VERDICT_HALTED)


def test_a_halt_that_only_the_store_knows_refuses_a_run() -> None:
    w = fleet()
    w.store.halts = w.store.halts.engage(p.HaltRecord(id="h7", by="elsewhere"))
    ask = w.ask(o.RunRequest(source=FILE, seed=1, key="k"), "operator")
    assert "elsewhere" in w.refusals[ask].message
    assert not w.store.runs


def test_a_link_that_renewed_nothing_leaves_standing_what_the_one_before_it_gave() -> None:
    w = fleet()
    w.leave("a-2")
    w.agents["a-2"].mute = True
    w.join("a-2")
    w.run(300)
    w.leave("a-2")
    answer = w.answer(halt(w), o.HaltResponse)
    away = next(host for host in answer.hosts if host.host == "a-2")
    assert not away.bound_passed and away.stops_by_unix_ms > w.unix_ms
