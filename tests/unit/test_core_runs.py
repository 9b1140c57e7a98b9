"""A run, driven by the core against a fleet in memory: waves, permits, outcomes, verdicts."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from tests.support.fake_agent import FakeAgent
from tests.support.world import MS, World

FILE = """\
killdeer: 1
name: workers-heal
owner: payments@example.com
environment: staging
hypothesis: Workers come back.
target:
  process: {{name: worker}}
limits: {{{limits}}}
action: {action}
waves: [{waves}]
recovery: {{within: 20s, stable_for: 1s}}
"""


def file(
    waves: str = "{name: one, strikes: 1}", limits: str = "in_flight: 1, per_host: 1", action: str = "kill"
) -> str:
    return FILE.format(waves=waves, limits=limits, action=action)


def world(*agents: FakeAgent, limits: dict[str, int] | None = None) -> World:
    return World(agents or [FakeAgent("a-1")], limits).start()


def run(world: World, source: str, **more: object) -> str:
    request = o.RunRequest(source=source, file="f.yaml", seed=7, key=str(more.pop("key", "k")))
    request.MergeFrom(o.RunRequest(**more))  # type: ignore[arg-type]
    ask = world.ask(request, "operator")
    world.run(200)
    return world.answer(ask, o.RunResponse).run_id


def ended(world: World, run_id: str, ms: int = 120_000) -> o.RunView:
    world.run(ms, lambda: world.store.runs[run_id].state == o.RUN_STATE_ENDED)
    found = world.core.runs.named(run_id)
    assert found is not None
    return world.core.runs.view(found)


def states(view: o.RunView) -> list[str]:
    return [p.StrikeState.Name(strike.state).removeprefix("STRIKE_STATE_").lower() for strike in view.strikes]


def refused(world: World, source: str, **more: object) -> str:
    ask = world.ask(o.RunRequest(source=source, file="f.yaml", **more), "operator")  # type: ignore[arg-type]
    world.run(200)
    return world.refusals[ask].message


def test_one_strike_that_heals_holds() -> None:
    w = world()
    view = ended(w, run(w, file()))
    assert o.RunVerdict.Name(view.verdict) == "RUN_VERDICT_HELD", view.why
    assert states(view) == ["recovered"]
    assert view.strikes[0].recovered_after_ns > 0
    assert [entry.what for entry in w.store.audit if entry.what.startswith(("run.", "permit.", "strike."))] == [
        "run.started",
        "permit.granted",
        "permit.released",
        "strike.ended",
        "run.ended",
    ]


def test_i3_thirty_workers_on_three_hosts_never_have_more_than_two_unrecovered() -> None:
    agents = [FakeAgent(f"a-{n}", workers=10, recovers_ms=900) for n in (1, 2, 3)]
    w = world(*agents)
    run_id = run(w, file("{name: all, strikes: 30}", "in_flight: 2, per_host: 2"))
    most, granted = 0, 0

    def over() -> bool:
        nonlocal most, granted
        most = max(most, sum(agent.in_flight for agent in agents), len(w.store.in_flight))
        granted = max(granted, len(w.store.in_flight))
        return w.store.runs[run_id].state == o.RUN_STATE_ENDED

    w.run(120_000, over)
    view = w.core.runs.view(w.core.runs.named(run_id))  # type: ignore[arg-type]
    assert view.verdict == o.RUN_VERDICT_HELD, view.why
    assert states(view).count("recovered") + states(view).count("refused") == 30
    assert most == 2


def test_the_same_seed_draws_the_same_victims_as_its_rehearsal_and_another_run() -> None:
    def drawn(seed: int) -> list[tuple[str, int]]:
        w = world(FakeAgent("a-1", workers=10), FakeAgent("a-2", workers=10))
        source = file("{name: w, strikes: 4, dry_run: true}")
        ask = w.ask(o.RunRequest(source=source, seed=seed, key="k"), "operator")
        w.run(500)
        view = ended(w, w.answer(ask, o.RunResponse).run_id)
        assert not w.told("a-1", "strike") and not w.store.permits
        return [(strike.victim.host, strike.ordinal) for strike in view.strikes]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_the_rehearsal_hits_nothing_and_the_next_wave_does() -> None:
    w = world()
    waves = "{name: rehearsal, dry_run: true, strikes: 1}, {name: one, strikes: 1}"
    view = ended(w, run(w, file(waves)))
    assert view.verdict == o.RUN_VERDICT_HELD
    assert [(strike.wave, strike.dry_run) for strike in view.strikes] == [("rehearsal", True), ("one", False)]
    assert len(w.told("a-1", "strike")) == 1
    assert len(w.store.strikes) == 2


def test_a_named_refusal_stops_nobody_else() -> None:
    agent = FakeAgent("a-1", workers=4, refuses={101: p.REASON_ZOMBIE})
    w = world(agent)
    view = ended(w, run(w, file("{name: all, strikes: 4}")))
    assert sorted(states(view)) == ["recovered", "recovered", "recovered", "refused"]
    assert view.verdict == o.RUN_VERDICT_HELD
    assert "1 zombie" in view.why
    assert not w.store.in_flight


def test_a_run_that_hit_nothing_is_inconclusive() -> None:
    agent = FakeAgent("a-1", workers=1, refuses={100: p.REASON_ZOMBIE})
    w = world(agent)
    view = ended(w, run(w, file()))
    assert view.verdict == o.RUN_VERDICT_INCONCLUSIVE
    assert "zombie" in view.why


def test_a_victim_that_outlives_a_kill_leaves_the_run_inconclusive_and_one_that_outlives_a_pause_does_not() -> None:
    killed = world(FakeAgent("a-1", survives=True))
    assert ended(killed, run(killed, file())).verdict == o.RUN_VERDICT_INCONCLUSIVE
    paused = world(FakeAgent("a-1", survives=True))
    view = ended(paused, run(paused, file(action="{pause: {for: 5s}}")))
    assert view.verdict == o.RUN_VERDICT_HELD, view.why


def test_a_lost_victim_ends_the_run_as_not_recovered_and_keeps_its_permit() -> None:
    agent = FakeAgent("a-1", workers=4, recovers_ms=None)
    w = world(agent)
    run_id = run(w, file("{name: all, strikes: 3}"))
    w.run(500)
    (command,) = agent.strikes
    w.hear("a-1", agent.lost(command))
    view = ended(w, run_id, 2_000)
    assert view.verdict == o.RUN_VERDICT_NOT_RECOVERED
    assert states(view) == ["lost", "expired", "expired"]
    assert len(w.store.in_flight) == 1


def test_no_wave_widens_after_one_that_did_not_end_well() -> None:
    agent = FakeAgent("a-1", workers=4, recovers_ms=None)
    w = world(agent)
    run_id = run(w, file("{name: one, strikes: 1}, {name: two, strikes: 2}"))
    w.hear("a-1", agent.lost(next(iter(agent.strikes))))
    view = ended(w, run_id, 2_000)
    assert view.verdict == o.RUN_VERDICT_NOT_RECOVERED
    assert {strike.wave for strike in view.strikes} == {"one"}


def test_a_process_in_an_open_strike_is_not_drawn_again() -> None:
    w = world(FakeAgent("a-1", workers=5, recovers_ms=None, keeps_victims=True))
    run(w, file("{name: all, strikes: 5, over: 5s}", "in_flight: 5, per_host: 5"))
    w.run(6_000)
    victims = [told.strike.victim.pid for told in w.told("a-1", "strike")]
    assert sorted(victims) == [100, 101, 102, 103, 104]


def test_what_the_guard_denies_is_not_drawn() -> None:
    w = world(FakeAgent("a-1", workers=3, denies={100, 102}))
    view = ended(w, run(w, file("{name: all, strikes: 3}")))
    assert [strike.victim.pid for strike in view.strikes] == [101]


def test_a_permit_that_comes_back_lets_the_next_one_pass_at_once() -> None:
    agent = FakeAgent("a-1", workers=3, recovers_ms=None)
    w = world(agent)
    run(w, file("{name: all, strikes: 2}"))
    (command,) = agent.strikes
    w.hear("a-1", agent._back(command, w.now_ns))
    assert len(w.told("a-1", "strike")) == 2


def test_r7_not_after_counts_from_the_heartbeat_that_was_answered() -> None:
    w = world(FakeAgent("a-1"))
    run(w, file())
    (sent,) = w.told("a-1", "strike")
    renewals = [frame.lease_renewal.heartbeat_boot_ns for frame in w.told("a-1", "lease_renewal")]
    assert sent.strike.not_after_boot_ns - 10_000 * MS in renewals


def test_a_wave_waits_for_a_candidate_that_another_runs_strike_still_holds() -> None:
    w = world(FakeAgent("a-1", workers=1, recovers_ms=8_000, keeps_victims=True))
    first = run(w, file())
    w.run(500)
    w.ask(o.AbortRunRequest(run=first), "operator")
    assert ended(w, first, 5_000).verdict == o.RUN_VERDICT_ABORTED
    assert len(w.store.in_flight) == 1
    view = ended(w, run(w, file(), key="another"))
    assert view.verdict == o.RUN_VERDICT_HELD, view.why
    assert states(view) == ["recovered"]


def test_a_wave_is_as_patient_as_its_victims_one_after_the_other() -> None:
    w = world(FakeAgent("a-1", workers=8, recovers_ms=15_000))
    view = ended(w, run(w, file("{name: all, strikes: 8}")), 200_000)
    assert view.verdict == o.RUN_VERDICT_HELD, view.why


def test_r16_a_silent_agent_makes_the_outcome_unknown_and_the_permit_stays_held() -> None:
    agent = FakeAgent("a-1", deaf_to_strikes=True)
    w = world(agent)
    view = ended(w, run(w, file()), 25_000)
    assert states(view) == ["unknown"]
    assert view.verdict == o.RUN_VERDICT_INCONCLUSIVE
    assert len(w.store.in_flight) == 1
    w.run(120_000)
    assert len(w.store.in_flight) == 1


def test_r16_an_update_for_an_ended_run_releases_its_permit_and_is_acknowledged() -> None:
    agent = FakeAgent("a-1", recovers_ms=None)
    w = world(agent)
    run_id = run(w, file())
    w.run(500)
    (command,) = agent.strikes
    w.hear("a-1", agent.lost(command))
    ended(w, run_id, 2_000)
    assert len(w.store.in_flight) == 1
    w.hear("a-1", agent._back(command, w.now_ns))
    assert not w.store.in_flight
    assert w.told("a-1", "ack")[-1].ack.number == agent.strikes[command].number


def test_a_word_is_acknowledged_only_once_it_is_stored() -> None:
    agent = FakeAgent("a-1", recovers_ms=None)
    w = world(agent)
    run(w, file())
    (command,) = agent.strikes
    acks = len(w.told("a-1", "ack"))
    w.store.failing = "disk full"
    w.hear("a-1", agent._back(command, w.now_ns))
    assert len(w.told("a-1", "ack")) == acks
    w.store.failing = ""
    w.run(1_500)
    assert len(w.told("a-1", "ack")) == acks + 1
    assert not w.store.in_flight


def test_an_agent_cannot_speak_of_another_hosts_strike() -> None:
    one, other = FakeAgent("a-1", recovers_ms=None), FakeAgent("a-2", workers=0)
    w = world(one, other)
    run(w, file())
    (command,) = one.strikes
    lie = a.StrikeUpdate(number=1, command_id=command, state=p.STRIKE_STATE_RECOVERED, settled=True)
    w.hear("a-2", a.ConnectRequest(strike_update=lie))
    assert len(w.store.in_flight) == 1


def test_the_same_key_starts_no_second_run() -> None:
    w = world()
    first = run(w, file(), key="k1")
    assert run(w, file(), key="k1") == first
    ended(w, first)
    w.restart()
    assert run(w, file(), key="k1") == first
    assert len(w.store.runs) == 1


def test_a_plan_that_the_world_has_drifted_from_is_refused() -> None:
    agent = FakeAgent("a-1")
    w = world(agent)
    ask = w.ask(o.PlanRequest(source=file(), file="f.yaml", seed=7), "viewer")
    w.run(200)
    plan = w.answer(ask, o.PlanResponse).plan
    assert not plan.refusals
    agent.pids[9] = 109
    assert "drifted" in refused(w, file(), seed=7, plan_hash=plan.hash)
    del agent.pids[9]
    assert run(w, file(), plan_hash=plan.hash)


def test_a_bad_file_is_refused_by_line_and_changes_nothing() -> None:
    w = world()
    ask = w.ask(o.RunRequest(source=file() + "colour: red\n", file="bad.yaml"), "operator")
    assert w.refusals[ask].code == "INVALID_ARGUMENT"
    assert "bad.yaml:12:1" in w.refusals[ask].message
    assert not w.store.runs


def test_a_selector_that_matches_nothing_is_refused() -> None:
    w = world(FakeAgent("a-1", workers=0))
    assert "matches nothing" in refused(w, file())


def test_an_abort_reverts_what_is_under_way_and_strikes_no_more() -> None:
    agent = FakeAgent("a-1", workers=4, deaf_to_strikes=True)
    w = world(agent)
    run_id = run(w, file("{name: all, strikes: 3}"))
    (sent,) = w.told("a-1", "strike")
    ask = w.ask(o.AbortRunRequest(run=run_id[:4], reason="enough"), "operator")
    assert w.answer(ask, o.AbortRunResponse).run.state != o.RUN_STATE_RUNNING
    view = ended(w, run_id, 1_000)
    assert view.verdict == o.RUN_VERDICT_ABORTED
    assert "ada" in view.why and "enough" in view.why
    assert [revert.revert.command_id for revert in w.told("a-1", "revert")] == [sent.strike.command_id]
    assert states(view) == ["refused", "expired", "expired"]
    assert not w.store.in_flight
    assert len(w.told("a-1", "strike")) == 1


def test_an_abort_takes_a_hold_back_though_its_victim_has_gone() -> None:
    agent = FakeAgent("a-1", workers=2)
    w = world(agent)
    run_id = run(w, file(action="{hold-down: 5m}"))
    (sent,) = w.told("a-1", "strike")
    w.run(10_000)
    assert w.store.in_flight and w.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w.ask(o.AbortRunRequest(run=run_id), "operator")
    assert ended(w, run_id, 5_000).verdict == o.RUN_VERDICT_ABORTED
    assert [revert.revert.command_id for revert in w.told("a-1", "revert")] == [sent.strike.command_id]
    assert len(w.store.in_flight) == 1  # one permit, until recovery is seen


def test_a_hold_counts_once_and_its_permit_is_held_until_it_has_recovered() -> None:
    agent = FakeAgent("a-1", workers=3)
    w = world(agent)
    run_id = run(w, file("{name: all, strikes: 3}", action="{hold-down: 2m}"))
    for _ in range(100):
        w.run(1_000)
        assert len(w.store.in_flight) == 1 and agent.in_flight == 1
    view = ended(w, run_id, 600_000)  # one after the other: the wave is as patient as three holds are long
    assert states(view) == ["recovered"] * 3 and view.verdict == o.RUN_VERDICT_HELD


def test_r11_an_abort_with_a_lost_agent_ends_past_not_after_and_lease_and_holds_the_permit() -> None:
    agent = FakeAgent("a-1", deaf_to_strikes=True)
    w = world(agent)
    run_id = run(w, file())
    w.leave("a-1")
    w.ask(o.AbortRunRequest(run=run_id), "operator")
    w.run(5_000)
    assert w.store.runs[run_id].state == o.RUN_STATE_ABORTING
    assert ended(w, run_id, 60_000).verdict == o.RUN_VERDICT_ABORTED
    assert len(w.store.in_flight) == 1
    w.join("a-1")
    assert not w.store.in_flight  # Welcome has asked: it was never seen there, and is used up


def test_i1_a_process_that_changed_in_the_instant_of_its_signal_aborts_the_run() -> None:
    w = world(FakeAgent("a-1", workers=4, changes=True))
    view = ended(w, run(w, file("{name: all, strikes: 3}")))
    assert view.verdict == o.RUN_VERDICT_ABORTED
    assert "instant" in view.why
    assert len(w.told("a-1", "strike")) == 1


def test_a_permit_that_is_granted_as_the_run_ends_is_never_sent() -> None:
    agent = FakeAgent("a-1")
    w = world(agent)
    w.store.held = True
    ask = w.ask(o.RunRequest(source=file(), seed=7, key="k"), "operator")
    w.run(200)
    while not w.store.permits:  # answer by answer, until a grant is in the store and its answer on its way
        w.give(w.answers.popleft()) if w.answers else w.run(100)
    w.ask(o.AbortRunRequest(run=w.answer(ask, o.RunResponse).run_id), "operator")
    w.release_answers()
    w.run(500)
    assert not w.told("a-1", "strike")
    assert w.told("a-1", "revert")
    assert not w.store.in_flight


def test_a_permit_that_is_granted_as_another_victim_is_lost_is_never_sent() -> None:
    agent = FakeAgent("a-1", workers=4, recovers_ms=None)
    w = world(agent)
    run_id = run(w, file("{name: all, strikes: 2, over: 2s}", "in_flight: 2, per_host: 2"))
    w.store.held = True
    w.run(10_000, lambda: bool(w.answers) and len(w.store.permits) == 2)
    w.hear("a-1", agent.lost(next(iter(agent.strikes))))
    w.give(w.answers.pop())  # the word of the loss overtakes the grant
    w.release_answers()
    view = ended(w, run_id, 2_000)
    assert len(w.told("a-1", "strike")) == 1
    assert states(view) == ["lost", "refused"]
    assert view.verdict == o.RUN_VERDICT_NOT_RECOVERED


def test_r24_a_restart_aborts_what_was_running_and_reverts_it_as_agents_rejoin() -> None:
    agent = FakeAgent("a-1", workers=4, deaf_to_strikes=True)
    w = world(agent)
    run_id = run(w, file("{name: all, strikes: 3}"))
    fence = w.store.runs[run_id].fence
    w.restart(join=False)
    row = w.store.runs[run_id]
    assert (row.state, row.verdict) == (o.RUN_STATE_ENDED, o.RUN_VERDICT_ABORTED)
    assert row.fence == fence + 1
    assert p.STRIKE_STATE_UNKNOWN in {strike.view.state for strike in w.store.strikes.values()}
    assert len(w.store.in_flight) == 1
    w.join("a-1")
    assert w.told("a-1", "revert")
    assert not w.store.in_flight
    w.run(30_000)
    assert len(w.told("a-1", "strike")) == 1


def test_a_host_that_reconnects_goes_on_with_its_strike() -> None:
    agent = FakeAgent("a-1", recovers_ms=3_000)
    w = world(agent)
    run_id = run(w, file())
    w.leave("a-1")
    w.run(500)
    w.join("a-1")
    assert not w.told("a-1", "revert")
    assert ended(w, run_id).verdict == o.RUN_VERDICT_HELD


def test_r23_a_command_is_not_sent_again_after_a_reconnect_only_asked_about() -> None:
    w = world(FakeAgent("a-1", deaf_to_strikes=True))
    run_id = run(w, file())
    w.leave("a-1")
    w.join("a-1")
    assert len(w.told("a-1", "welcome")[-1].welcome.open) == 1
    assert not w.told("a-1", "revert")
    view = ended(w, run_id, 2_000)
    assert states(view) == ["refused"]
    assert len(w.told("a-1", "strike")) == 1


def test_a_host_that_answers_no_scan_does_not_hold_up_the_others() -> None:
    silent = FakeAgent("a-2", answers_scans=False)
    w = world(FakeAgent("a-1", workers=3), silent)
    w_ask = w.ask(o.RunRequest(source=file("{name: all, strikes: 3}"), seed=7, key="k"), "operator")
    w.run(6_000)
    view = ended(w, w.answer(w_ask, o.RunResponse).run_id)
    assert view.verdict == o.RUN_VERDICT_HELD, view.why
    assert {strike.victim.host for strike in view.strikes} == {"a-1"}


def test_a_grant_whose_commit_was_reported_as_failed_is_not_sent_and_its_permit_comes_back() -> None:
    agent = FakeAgent("a-1", workers=3)
    w = world(agent)
    w.store.lies_about_the_next_grant = True
    view = ended(w, run(w, file("{name: all, strikes: 2}")))
    assert not w.store.in_flight
    assert sorted(states(view)) == ["recovered", "refused"]


def test_nothing_is_granted_while_the_store_fails_and_the_run_goes_on_after() -> None:
    w = world(FakeAgent("a-1", workers=3))
    run_id = run(w, file("{name: all, strikes: 3}"))
    w.store.failing = "disk full"
    sent = len(w.told("a-1", "strike"))
    w.run(4_000)
    assert len(w.told("a-1", "strike")) == sent
    w.store.failing = ""
    assert ended(w, run_id).verdict == o.RUN_VERDICT_HELD


def test_a_limit_of_the_fleet_that_never_opens_expires_the_strike_with_the_arithmetic() -> None:
    held = FakeAgent("a-1", workers=2, deaf_to_strikes=True)
    w = world(held, limits={"in_flight": 1})
    ended(w, run(w, file(), key="first"))
    assert len(w.store.in_flight) == 1
    view = ended(w, run(w, file(), key="second"), 300_000)
    assert states(view) == ["expired"]
    assert "1" in view.strikes[0].detail
    assert view.verdict == o.RUN_VERDICT_INCONCLUSIVE


def test_clearing_a_permit_lets_the_next_strike_pass() -> None:
    held = FakeAgent("a-1", workers=3, deaf_to_strikes=True)
    w = world(held, limits={"in_flight": 1})
    ended(w, run(w, file(), key="first"))
    held.deaf_to_strikes = False
    run_id = run(w, file(), key="second")
    (permit,) = w.store.in_flight
    ask = w.ask(o.ClearPermitRequest(permit_id=permit.permit_id, reason="looked at it"), "approver")
    assert w.answer(ask, o.ClearPermitResponse).permit.permit_id == permit.permit_id
    assert ended(w, run_id).verdict == o.RUN_VERDICT_HELD


def test_a_watcher_sees_every_line_once_and_the_end() -> None:
    w = world()
    run_id = run(w, file())
    ask = w.ask(o.WatchRunRequest(run="latest"), "viewer")
    ended(w, run_id)
    w.run(200)
    replies: Sequence[o.WatchRunResponse] = w.replies[ask]  # type: ignore[assignment]
    lines = [line for reply in replies for line in reply.log]
    assert len(lines) == len(set(lines))
    assert replies[-1].run.state == o.RUN_STATE_ENDED
    assert ask in w.ended
    assert any("permit granted" in line for line in lines)


def test_a_run_of_many_strikes_is_told_whole_the_less_often() -> None:
    w = world(FakeAgent("a-1", workers=2_000, recovers_ms=100))
    waves = "{name: rehearsal, dry_run: true}, {name: some, strikes: 20, over: 20s}"
    run_id = run(w, file(waves, limits="in_flight: 20, per_host: 20"))
    ask = w.ask(o.WatchRunRequest(run="latest"), "viewer")
    told: list[int] = []
    for _ in range(80):
        w.run(100)
        told += [w.now_ns // MS] * (len(w.replies[ask]) - len(told))
    assert w.store.runs[run_id].state == o.RUN_STATE_RUNNING
    assert len(told) > 4
    pauses = [after - before for before, after in pairwise(told[2:])]
    assert min(pauses) >= 1_000
    found = w.core.runs.named(run_id)
    assert found is not None
    ended(w, run_id)
    replies: Sequence[o.WatchRunResponse] = w.replies[ask]  # type: ignore[assignment]
    assert [line for reply in replies for line in reply.log] == [line.line for line in found.log]


@pytest.mark.parametrize("environment", ["production", ""])
def test_a_host_of_another_environment_is_no_candidate(environment: str) -> None:
    other = FakeAgent("a-2", labels={"environment": environment} if environment else {})
    w = world(FakeAgent("a-1"), other)
    view = ended(w, run(w, file("{name: all, strikes: 6}")))
    assert {strike.victim.host for strike in view.strikes} == {"a-1"}
