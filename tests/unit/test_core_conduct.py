"""What a run does around its strikes: baseline, gates, abort rules, recovery, load; in a fleet in memory."""

import json
from collections.abc import Callable

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core import words as w
from tests.support.fake_agent import FakeAgent
from tests.support.world import World

FILE = """\
killdeer: 1
name: workers-heal
owner: payments@example.com
environment: staging
hypothesis: Errors stay low.
target:
  process: {{name: worker}}
probes:
  errors: {{prometheus: 'sum(errors)', server: "http://127.0.0.1:9090"}}
  healthy: {{http: "http://127.0.0.1:8080/healthz"}}
baseline: 3s
steady_state: [{steady}]
{abort}
limits: {{in_flight: 1, per_host: 1}}
action: kill
waves: [{waves}]
recovery: {{within: 20s, stable_for: 1s{recovery}}}
{more}
"""


def file(
    *,
    steady: str = "errors < 1%",
    abort: str = "",
    waves: str = "{name: one, strikes: 1}",
    recovery: str = "",
    more: str = "",
) -> str:
    abort = f"abort_when: [{abort}]" if abort else ""
    return FILE.format(steady=steady, abort=abort, waves=waves, recovery=recovery, more=more)


def world(*agents: FakeAgent, errors: float | None = 0.0) -> World:
    made = World(agents or [FakeAgent("a-1", recovers_ms=2_000)]).start()
    made.outside |= {"errors": errors, "healthy": 1.0}
    return made


def begun(world: World, source: str) -> str:
    ask = world.ask(o.RunRequest(source=source, file="f.yaml", seed=7, key="k"), "operator")
    world.run(200)
    return world.answer(ask, o.RunResponse).run_id


def view(world: World, run_id: str) -> o.RunView:
    found = world.core.runs.named(run_id)
    assert found is not None
    return world.core.runs.view(found)


def ended(world: World, run_id: str, ms: int = 200_000) -> o.RunView:
    world.run(ms, lambda: world.store.runs[run_id].state == o.RUN_STATE_ENDED)
    return view(world, run_id)


def struck(world: World, run_id: str) -> int:
    return sum(bool(strike.blows) for strike in view(world, run_id).strikes)


def until_struck(world: World, run_id: str, count: int = 1) -> None:
    world.run(60_000, lambda: struck(world, run_id) >= count)


def verdict(view: o.RunView) -> str:
    return o.RunVerdict.Name(view.verdict).removeprefix("RUN_VERDICT_").lower()


def lines(world: World, run_id: str) -> list[str]:
    found = world.core.runs.named(run_id)
    assert found is not None
    return [line.line for line in found.log]


def test_a_steady_state_that_holds_throughout_holds() -> None:
    w_ = world()
    run_id = begun(w_, file())
    done = ended(w_, run_id)
    assert verdict(done) == "held", done.why
    assert [finding.standing for finding in done.findings.findings] == [probe_pb2.STANDING_MET]
    assert done.findings.baselines[0].probe == "errors"


def test_nothing_is_hit_before_the_baseline_is_over() -> None:
    w_ = world()
    run_id = begun(w_, file())
    w_.run(2_500)
    assert view(w_, run_id).phase == o.RUN_PHASE_BASELINE
    assert not view(w_, run_id).strikes
    assert not w_.store.permits


@pytest.mark.parametrize("errors", [0.5, None])
def test_i10_a_steady_state_that_is_not_met_or_not_known_before_refuses_the_run(errors: float | None) -> None:
    w_ = world(errors=errors)
    done = ended(w_, begun(w_, file()))
    assert verdict(done) == "refused"
    assert "errors < 1%" in done.why
    assert not done.strikes
    assert not w_.store.permits


def test_a_precondition_that_does_not_hold_refuses_the_run() -> None:
    w_ = world()
    w_.outside["healthy"] = 0.0
    done = ended(w_, begun(w_, file(more="preconditions: [healthy]")))
    assert verdict(done) == "refused"
    assert "healthy" in done.why
    assert not done.strikes


def test_an_abort_rule_that_is_true_already_refuses_the_run() -> None:
    w_ = world(errors=0.005)
    done = ended(w_, begun(w_, file(abort="errors > 0.1%")))
    assert verdict(done) == "refused"
    assert not done.strikes


def test_a_steady_state_that_breaks_while_victims_are_struck_deviates() -> None:
    w_ = world()
    run_id = begun(w_, file())
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(2_000)
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert verdict(done) == "deviated", done.why
    assert "'errors < 1%' did not hold" in done.why
    assert done.findings.HasField("detected_after_ms")
    assert done.findings.recovered_after_ms >= 1_000


def test_i8_a_probe_without_an_answer_while_victims_are_struck_makes_the_run_inconclusive() -> None:
    w_ = world()
    run_id = begun(w_, file())
    until_struck(w_, run_id)
    w_.outside["errors"] = None
    w_.run(2_000)
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert verdict(done) == "inconclusive", done.why
    assert "unknown" in done.why


def test_an_abort_rule_that_comes_true_stops_strikes_within_two_seconds_and_nothing_is_struck_after() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    run_id = begun(w_, file(abort="errors > 2%", waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id, 2)
    w_.outside["errors"], true_ms = 0.5, w_.unix_ms
    w_.run(5_000, lambda: w_.store.runs[run_id].state != o.RUN_STATE_RUNNING)
    assert w_.unix_ms - true_ms <= 2_000
    before = struck(w_, run_id)
    w_.run(10_000)
    w_.outside["errors"] = 0.0
    w_.run(30_000)
    assert struck(w_, run_id) == before
    done = ended(w_, run_id)
    assert verdict(done) == "aborted", done.why
    assert "'errors > 2%' came true" in done.why


def test_an_abort_rule_with_a_time_waits_for_it() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    run_id = begun(w_, file(abort="errors > 2% for 5s", waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.5
    w_.run(3_000)
    w_.outside["errors"] = 0.0
    w_.run(5_000)
    assert w_.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w_.outside["errors"] = 0.5
    w_.run(8_000, lambda: w_.store.runs[run_id].state == o.RUN_STATE_ABORTING)


def test_an_oom_kill_in_the_target_aborts_where_the_file_says_so() -> None:
    w_ = world(
        FakeAgent("a-1", workers=6, recovers_ms=500), FakeAgent("b-1", labels={"environment": "development"})
    )
    run_id = begun(w_, file(abort="oom in target", waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id)
    w_.hear("b-1", oom("worker@"))
    w_.hear("a-1", oom("elsewhere.service"))
    w_.run(2_000)
    assert w_.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w_.hear("a-1", oom("worker@"))
    w_.run(2_000, lambda: w_.store.runs[run_id].state != o.RUN_STATE_RUNNING)


def oom(service: str) -> a.ConnectRequest:
    death = p.Death(cause=p.CAUSE_OOM_CGROUP, service=service)
    return a.ConnectRequest(evidence={"events": [p.KernelEvent(death=death)]})


def test_the_next_wave_waits_until_the_steady_state_holds_again() -> None:
    w_ = world()
    run_id = begun(w_, file(waves="{name: one, strikes: 1, hold: 2s}, {name: two, strikes: 1}"))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(60_000, lambda: view(w_, run_id).phase == o.RUN_PHASE_GATE)
    w_.run(5_000)
    assert struck(w_, run_id) == 1
    w_.outside["errors"] = 0.0
    until_struck(w_, run_id, 2)
    assert verdict(ended(w_, run_id)) == "deviated"


def test_no_further_wave_where_the_steady_state_does_not_come_back() -> None:
    w_ = world()
    run_id = begun(w_, file(waves="{name: one, strikes: 1}, {name: two, strikes: 1}"))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert struck(w_, run_id) == 1


def test_a_remedy_counts_only_once_the_steady_state_holds_again() -> None:
    remedies = ', then: [{webhook: "http://127.0.0.1:9/scale"}, {webhook: "http://127.0.0.1:9/restart"}]'
    w_ = world()
    run_id = begun(w_, file(recovery=remedies))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(60_000, lambda: w_.deeds == ["recovery.then[0]", "recovery.then[1]"])
    assert w_.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert "it came back only with recovery.then[1]" in done.why


def test_what_does_not_come_back_is_escalated_loudly() -> None:
    w_ = world()
    run_id = begun(w_, file(recovery=', else: {notify: {webhook: "http://127.0.0.1:9/oncall"}}'))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert len(w_.deeds) == 1
    assert w_.deeds[0].startswith("recovery.else")


def test_a_load_that_does_not_start_refuses_the_run_and_is_stopped_all_the_same() -> None:
    load = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
    w_ = world()
    w_.deeds_fail["load.start"] = "503 Service Unavailable"
    done = ended(w_, begun(w_, file(more=load)))
    assert verdict(done) == "refused"
    assert "load.start: 503 Service Unavailable" in done.why
    assert w_.deeds == ["load.start", "load.stop"]
    assert not done.strikes


def test_the_load_is_stopped_after_the_recovery_and_tried_again_where_that_fails() -> None:
    load = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
    w_ = world()
    w_.deeds_fail["load.stop"] = "no answer"
    done = ended(w_, begun(w_, file(more=load)))
    assert verdict(done) == "held"
    assert w_.deeds == ["load.start"] + ["load.stop"] * 3
    assert "load.stop: no answer" in done.findings.deeds


def test_the_load_of_a_run_whose_coordinator_died_is_stopped_by_the_next_one() -> None:
    load = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
    w_ = world()
    run_id = begun(w_, file(more=load))
    until_struck(w_, run_id)
    w_.restart()
    assert w_.store.runs[run_id].state == o.RUN_STATE_ENDED
    assert w_.deeds == ["load.start", "load.stop"]
    assert probe_pb2.Findings.FromString(w_.store.runs[run_id].findings).deeds == ["load.stop: done"]


HOOKS = "\n".join(f'{key}: {{webhook: "http://127.0.0.1:9/{key}"}}' for key in ("on_start", "on_abort", "on_end"))


def test_who_is_to_hear_of_an_abort_and_of_the_end_hears_it_of_a_run_whose_coordinator_died() -> None:
    w_ = world()
    run_id = begun(w_, file(more=f"{LOAD}\n{HOOKS}"))
    until_struck(w_, run_id)
    w_.restart()
    assert w_.store.runs[run_id].state == o.RUN_STATE_ENDED
    assert w_.deeds == ["on_start", "load.start", "on_abort", "load.stop", "on_end"]
    told = [json.loads(effect.state) for effect in w_.effects if isinstance(effect, w.Perform)][2:]
    assert {(state["verdict"], state["why"]) for state in told} == {("aborted", "the coordinator was restarted")}


def test_stop_always_runs_also_where_its_next_coordinator_dies_before_it_is_done() -> None:
    w_ = world()
    run_id = begun(w_, file(more=LOAD))
    until_struck(w_, run_id)
    slow(w_, "load.stop")
    w_.restart()
    assert w_.deeds == ["load.start", "load.stop"]
    assert w_.store.runs[run_id].state == o.RUN_STATE_ABORTING
    ask = w_.ask(o.WatchRunRequest(run=run_id), "viewer")
    assert not w_.answer(ask, o.WatchRunResponse).HasField("run"), "whoever watches it is told by the store"
    w_.intercept = lambda effect: None
    w_.restart()
    assert w_.deeds == ["load.start", "load.stop", "load.stop"]
    assert w_.store.runs[run_id].state == o.RUN_STATE_ENDED
    assert w_.store.runs[run_id].why == "the coordinator was restarted"
    w_.run(5_000)
    assert len(w_.deeds) == 3


def test_i4_a_halt_ends_a_run_without_its_remedies_and_stops_its_load() -> None:
    load = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
    w_ = world()
    run_id = begun(w_, file(recovery=', then: [{webhook: "http://127.0.0.1:9/scale"}]', more=load))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.ask(o.HaltRequest(reason="enough"))
    done = ended(w_, run_id)
    assert verdict(done) == "halted"
    assert w_.deeds == ["load.start", "load.stop"]


def test_a_halt_in_the_baseline_hits_nothing() -> None:
    w_ = world()
    run_id = begun(w_, file())
    w_.run(1_000)
    w_.ask(o.HaltRequest(reason="enough"))
    done = ended(w_, run_id)
    assert verdict(done) == "halted"
    assert not done.strikes


def test_hooks_hear_what_became_of_the_run() -> None:
    hooks = "\n".join(
        f'{key}: {{webhook: "http://127.0.0.1:9/{key}"}}' for key in ("on_start", "on_abort", "on_end")
    )
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    run_id = begun(w_, file(abort="errors > 2%", waves="{name: many, strikes: 20, over: 60s}", more=hooks))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.5
    w_.run(5_000, lambda: "on_abort" in w_.deeds)
    w_.outside["errors"] = 0.0
    ended(w_, run_id)
    assert w_.deeds == ["on_start", "on_abort", "on_end"]
    states = [json.loads(effect.state) for effect in w_.effects if isinstance(effect, w.Perform)]
    assert [state["run"] for state in states] == [run_id] * 3
    assert [state["state"] for state in states] == ["running", "aborting", "aborting"]
    assert [state["verdict"] for state in states] == ["", "aborted", "aborted"]
    assert all("'errors > 2%' came true" in state["why"] for state in states[1:])


def test_those_who_hear_of_the_end_hear_the_verdict_that_is_stored() -> None:
    hooks = 'on_end: {webhook: "http://127.0.0.1:9/end"}\n' + LOAD
    w_ = world()
    run_id = begun(w_, file(recovery=NOTIFY, more=hooks))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    done = ended(w_, run_id)
    states = {effect.deed.name: json.loads(effect.state) for effect in w_.effects if isinstance(effect, w.Perform)}
    for name in ("recovery.else.notify", "load.stop", "on_end"):
        assert (states[name]["verdict"], states[name]["why"]) == ("not_recovered", done.why), name


def test_a_steady_state_that_does_not_go_on_holding_before_the_strikes_refuses_the_run() -> None:
    w_ = world()
    run_id = begun(w_, file())
    w_.run(500)
    w_.outside["errors"] = 0.2
    w_.run(1_000)
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert verdict(done) == "refused"
    assert "'errors < 1%' held, and then did not, while nothing was hit" in done.why
    assert not done.strikes


def test_what_breaks_while_the_load_is_being_started_is_not_held_against_the_steady_state() -> None:
    w_ = world()
    done_with = slow(w_, "load.start")
    run_id = begun(w_, file(more=LOAD))
    w_.run(1_500)
    w_.outside["errors"] = 0.2
    w_.run(1_500)
    w_.outside["errors"] = 0.0
    w_.run(1_500)
    done_with("")
    assert verdict(ended(w_, run_id)) == "held"


def test_a_factor_of_a_baseline_of_nothing_is_said_to_be_nothing_and_aborts_at_the_first_that_is_not() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    rule = "errors > 2x baseline"
    run_id = begun(w_, file(abort=rule, waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id)
    assert any(line.startswith(f"'{rule}': the baseline is 0") for line in lines(w_, run_id))
    w_.outside["errors"] = 0.001
    assert verdict(ended(w_, run_id)) == "aborted"


def test_a_factor_of_a_baseline_with_a_floor_waits_for_it() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    rule = "errors > 2x baseline at least 0.5%"
    run_id = begun(w_, file(abort=rule, waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id)
    assert not any("the baseline is 0" in line for line in lines(w_, run_id))
    w_.outside["errors"] = 0.001
    w_.run(5_000)
    assert w_.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w_.outside["errors"] = 0.006
    done = ended(w_, run_id)
    assert verdict(done) == "aborted"
    assert "errors 0.6%, aborts when > 2x baseline (at least 0.5%)" in done.why


def test_i9_readings_and_lines_are_on_the_record() -> None:
    w_ = world()
    run_id = begun(w_, file())
    ended(w_, run_id)
    w_.run(1_500)
    kept = [one for one in w_.record if one.run_id == run_id]
    assert {reading.probe for one in kept for reading in one.readings} == {"errors", "healthy"}
    assert [line.line for one in kept for line in one.lines] == lines(w_, run_id)


def failing_record(world: World) -> Callable[[w.Effect], list[w.Input] | None]:
    def intercept(effect: w.Effect) -> list[w.Input] | None:
        return [w.Unrecorded(effect, "disk full")] if isinstance(effect, w.KeepRecord) else None

    return intercept


def test_i9_what_the_store_does_not_keep_at_once_is_kept_later() -> None:
    w_ = world()
    w_.intercept = failing_record(w_)
    run_id = begun(w_, file())
    until_struck(w_, run_id)
    w_.intercept = lambda effect: None
    ended(w_, run_id)
    w_.run(3_000)
    kept = [line.line for one in w_.record for line in one.lines]
    assert sorted(kept) == sorted(lines(w_, run_id))
    first = min(reading.at_unix_ms for one in w_.record for reading in one.readings)
    assert first <= w_.store.runs[run_id].started_ms + 1_000
    assert not any("not on the record" in line for line in kept)


def test_i9_what_the_store_never_keeps_is_said_to_be_missing() -> None:
    w_ = world()
    w_.intercept = failing_record(w_)
    run_id = begun(w_, file(waves="{name: one, strikes: 1, hold: 90s}"))
    w_.run(75_000)
    w_.intercept = lambda effect: None
    ended(w_, run_id)
    w_.run(3_000)
    kept = [line.line for one in w_.record for line in one.lines]
    missing = [line for line in kept if line.startswith("not on the record: ")]
    assert missing
    assert missing[0].endswith(": disk full")
    assert "reading" in missing[0]


def test_each_repetition_has_one_impact_on_each_probe_against_the_baseline() -> None:
    w_ = world(errors=0.001)
    waves = "{name: many, strikes: 1, repeat: 3, every: 20s, hold: 10s}"
    run_id = begun(w_, file(steady="errors < 90%", waves=waves))
    for count, errors in enumerate((0.2, 0.4, 0.6), start=1):
        until_struck(w_, run_id, count)
        w_.outside["errors"] = errors
    done = ended(w_, run_id)
    (usual,) = [one for one in done.findings.baselines if one.probe == "errors"]
    assert usual.mean == pytest.approx(0.001)
    (errors_,) = [one for one in done.findings.impacts if one.probe == "errors"]
    assert errors_.repetitions == 3
    assert errors_.mean == pytest.approx(0.399, abs=0.02)
    assert errors_.deviation == pytest.approx(0.2, abs=0.02)
    assert [errors_.lowest, errors_.highest] == pytest.approx([0.199, 0.599], abs=0.02)
    (healthy,) = [one for one in done.findings.impacts if one.probe == "healthy"]
    assert (healthy.repetitions, healthy.mean, healthy.deviation) == (3, 0.0, 0.0)


def test_a_unit_that_stays_down_is_started_where_the_file_says_so() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=None))
    run_id = begun(w_, file(recovery=", then: [start_unit]"))
    lost(w_, run_id)
    agent = w_.agents["a-1"]
    w_.run(90_000, lambda: any(frame.HasField("start_unit") for frame in agent.got))
    asked = next(frame.start_unit for frame in agent.got if frame.HasField("start_unit"))
    assert asked.service == "worker@"
    w_.hear("a-1", a.ConnectRequest(unit_started={"ask": asked.ask}))
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert any("active" in line for line in done.findings.deeds)


@pytest.mark.parametrize("abort", ["errors > 2%", "errors > 3x baseline"])
def test_i8_an_abort_rule_of_which_nothing_is_known_before_refuses_the_run(abort: str) -> None:
    w_ = world(errors=None)
    done = ended(w_, begun(w_, file(steady="healthy", abort=abort)))
    assert verdict(done) == "refused", done.why
    assert f"'{abort}' guards nothing" in done.why
    assert not done.strikes


def test_i8_nothing_is_struck_under_an_abort_rule_of_which_nothing_has_been_known_for_long() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    run_id = begun(w_, file(steady="healthy", abort="errors > 2%", waves="{name: many, strikes: 20, over: 600s}"))
    until_struck(w_, run_id)
    w_.outside["errors"] = None
    done = ended(w_, run_id)
    assert verdict(done) == "inconclusive", done.why
    assert "'errors > 2%' guards nothing" in done.why
    assert struck(w_, run_id) < 5


def test_what_is_left_of_a_wave_and_of_its_hold_is_told() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    waves = "{name: many, strikes: 4, over: 40s, hold: 20s}, {name: one, strikes: 1}"
    run_id = begun(w_, file(waves=waves))
    assert not view(w_, run_id).last_strike_unix_ms
    until_struck(w_, run_id)
    due_ms = view(w_, run_id).last_strike_unix_ms
    assert due_ms - w_.unix_ms == pytest.approx(30_000, abs=1_000)
    until_struck(w_, run_id, 4)
    w_.run(2_000)
    now = view(w_, run_id)
    assert not now.last_strike_unix_ms
    assert now.phase_ends_unix_ms - w_.unix_ms == pytest.approx(18_000, abs=1_500)


def test_the_last_wave_is_watched_as_long_as_its_hold_says() -> None:
    w_ = world()
    run_id = begun(w_, file(waves="{name: one, strikes: 1, hold: 8s}"))
    until_struck(w_, run_id)
    w_.run(6_000)
    assert w_.store.runs[run_id].state == o.RUN_STATE_RUNNING
    w_.outside["errors"] = 0.2
    w_.run(1_000)
    w_.outside["errors"] = 0.0
    assert verdict(ended(w_, run_id)) == "deviated"


def test_i8_a_steady_state_that_was_never_seen_to_deviate_and_is_unknown_to_the_end_is_inconclusive() -> None:
    w_ = world()
    then = ', then: [{webhook: "http://127.0.0.1:9/scale"}], else: {notify: {webhook: "http://127.0.0.1:9/oncall"}}'
    run_id = begun(w_, file(recovery=then))
    until_struck(w_, run_id)
    w_.outside["errors"] = None
    done = ended(w_, run_id)
    assert verdict(done) == "inconclusive", done.why
    assert "came back" not in done.why
    assert w_.deeds[0] == "recovery.then[0]"
    assert len(w_.deeds) == 2, "and somebody is told"


def test_i8_a_steady_state_that_deviated_and_was_not_seen_to_come_back_is_not_recovered() -> None:
    w_ = world()
    run_id = begun(w_, file())
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(2_000)
    w_.outside["errors"] = None
    assert verdict(ended(w_, run_id)) == "not_recovered"


def test_what_is_out_of_bounds_to_the_end_is_not_recovered_however_patient_its_sentence_is() -> None:
    w_ = world()
    run_id = begun(w_, file(steady="errors < 1% for 5m"))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert "'errors < 1% for 5m': errors" in done.why


def test_an_abort_is_told_where_nothing_is_measured_too_and_the_run_ends_after_it() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    source = file(
        waves="{name: many, strikes: 20, over: 60s}", more='on_abort: {webhook: "http://127.0.0.1:9/abort"}'
    )
    kept = [
        line for line in source.splitlines() if line.split(":")[0] not in ("probes", "baseline", "steady_state")
    ]
    source = "\n".join(line for line in kept if not line.startswith(("  errors", "  healthy")))
    run_id = begun(w_, source)
    until_struck(w_, run_id)
    w_.ask(o.AbortRunRequest(run=run_id, reason="customers call"), "operator")
    done = ended(w_, run_id)
    assert verdict(done) == "aborted"
    assert w_.deeds == ["on_abort"]
    assert done.findings.deeds == ["on_abort: done"]


LOAD = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
NOTIFY = ', else: {notify: {webhook: "http://127.0.0.1:9/oncall"}}'
SCALE = ', then: [{webhook: "http://127.0.0.1:9/scale"}]'


def slow(world: World, name: str) -> Callable[[str], None]:
    """A deed that is not done until that is called, with its problem."""
    tokens: list[int] = []

    def intercept(effect: w.Effect) -> list[w.Input] | None:
        if isinstance(effect, w.Perform) and effect.deed.name == name:
            world.deeds.append(name)
            tokens.append(effect.token)
            return []
        return None

    world.intercept = intercept
    return lambda problem: world.give(w.Performed(tokens[-1], problem))


@pytest.mark.parametrize("problem", ["", "no answer"])
def test_i4_a_halt_while_the_first_deeds_are_done_starts_no_load_after_it(problem: str) -> None:
    w_ = world()
    hook = 'on_start: {webhook: "http://127.0.0.1:9/first"}\n'
    done_with = slow(w_, "on_start")
    run_id = begun(w_, file(more=hook + LOAD))
    w_.ask(o.HaltRequest(reason="enough"))
    w_.run(2_000)
    done_with(problem)
    done = ended(w_, run_id)
    assert verdict(done) == "halted", done.why
    assert w_.deeds == ["on_start", "load.stop"]


def test_a_load_that_is_being_started_as_its_run_is_aborted_is_stopped_once_it_is() -> None:
    w_ = world()
    done_with = slow(w_, "load.start")
    run_id = begun(w_, file(more=LOAD))
    w_.ask(o.AbortRunRequest(run=run_id, reason="not now"), "operator")
    w_.run(2_000)
    assert w_.deeds == ["load.start"]
    done_with("")
    assert verdict(ended(w_, run_id)) == "aborted"
    assert w_.deeds == ["load.start", "load.stop"]


def test_a_deed_that_is_never_answered_keeps_no_run_from_ending() -> None:
    w_ = world()
    slow(w_, "load.start")
    done = ended(w_, begun(w_, file(more=LOAD)))
    assert verdict(done) == "refused"
    assert "load.start: no answer" in done.why


def test_i4_nothing_is_tried_any_more_once_the_fleet_is_halted() -> None:
    """Also not by a run that was aborted before, and not once more what has just failed."""
    w_ = world()
    w_.deeds_fail["recovery.then[0]"] = "no answer"
    run_id = begun(w_, file(recovery=SCALE))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.ask(o.AbortRunRequest(run=run_id, reason="customers call"), "operator")
    w_.run(60_000, lambda: bool(w_.deeds))
    w_.ask(o.HaltRequest(reason="enough"))
    done = ended(w_, run_id, 5_000)
    assert w_.deeds == ["recovery.then[0]"]
    assert "came back" not in done.why


def test_i4_a_halt_in_the_recovery_is_the_runs_end_though_an_effect_is_still_open() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=2_000))
    run_id = begun(w_, file(recovery=SCALE))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(30_000, lambda: view(w_, run_id).phase == o.RUN_PHASE_RECOVERY)
    run = w_.core.runs.named(run_id)
    assert run is not None
    flight = next(iter(run.flights.values()))
    flight.effect_open, flight.sent_ns = True, w_.now_ns
    w_.ask(o.HaltRequest(reason="enough"))
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert verdict(done) == "halted", done.why
    assert w_.deeds == []


def test_nothing_is_struck_once_an_abort_rule_is_true_though_its_permit_is_on_its_way() -> None:
    w_ = world(FakeAgent("a-1", workers=6, recovers_ms=500))
    run_id = begun(w_, file(abort="errors > 2%", waves="{name: many, strikes: 20, over: 60s}"))
    until_struck(w_, run_id)
    w_.store.held = True
    w_.run(6_000)
    before = len(w_.told("a-1", "strike"))
    w_.outside["errors"] = 0.5
    w_.run(2_000)
    w_.release_answers()
    w_.run(1_000)
    assert len(w_.told("a-1", "strike")) == before
    w_.outside["errors"] = 0.0
    assert verdict(ended(w_, run_id)) == "aborted"


def lost(world: World, run_id: str) -> None:
    """The victim's agent says that nobody has come in its place."""
    until_struck(world, run_id)
    command_id = view(world, run_id).strikes[0].command_id
    update = a.StrikeUpdate(command_id=command_id, number=1_000, state=p.STRIKE_STATE_LOST)
    world.hear("a-1", a.ConnectRequest(strike_update=update))


def without_probes(source: str) -> str:
    words = ("probes:", "baseline:", "steady_state:", "  errors", "  healthy")
    return "\n".join(line for line in source.splitlines() if not line.startswith(words))


def test_each_remedy_has_its_time_and_somebody_is_told_where_no_steady_state_is_measured() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=None))
    then = ', then: [{webhook: "http://127.0.0.1:9/scale"}, {webhook: "http://127.0.0.1:9/restart"}]'
    run_id = begun(w_, without_probes(file(recovery=then + NOTIFY)))
    lost(w_, run_id)
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert w_.deeds == ["recovery.then[0]", "recovery.then[1]", "recovery.else.notify"]
    assert "came back" not in done.why


def test_somebody_is_told_of_a_lost_victim_though_the_steady_state_holds() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=None))
    run_id = begun(w_, file(recovery=NOTIFY))
    lost(w_, run_id)
    done = ended(w_, run_id)
    assert verdict(done) == "not_recovered"
    assert w_.deeds == ["recovery.else.notify"]


def test_a_remedy_has_its_time_from_when_it_is_done() -> None:
    w_ = world()
    done_with = slow(w_, "recovery.then[0]")
    run_id = begun(w_, file(recovery=SCALE.replace('/scale"', '/scale", within: 2m') + NOTIFY))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    w_.run(60_000, lambda: bool(w_.deeds))
    w_.run(60_000)
    done_with("")
    w_.run(10_000)
    w_.outside["errors"] = 0.0
    done = ended(w_, run_id)
    assert "it came back only with recovery.then[0]" in done.why
    assert w_.deeds == ["recovery.then[0]"]


def seldom(source: str) -> str:
    return (
        source.replace('9090"}', '9090", every: 5s}')
        .replace("baseline: 3s", "baseline: 15s")
        .replace(", stable_for: 1s", "")
    )


def test_i8_no_run_holds_on_what_was_measured_before_its_strike() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=300))
    run_id = begun(w_, seldom(file()))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    assert verdict(ended(w_, run_id)) in ("deviated", "not_recovered")


def test_i8_no_gate_opens_on_what_was_measured_before_the_wave_was_over() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=300))
    run_id = begun(w_, seldom(file(waves="{name: one, strikes: 1}, {name: two, strikes: 1}")))
    until_struck(w_, run_id)
    w_.outside["errors"] = 0.2
    done = ended(w_, run_id)
    assert struck(w_, run_id) == 1
    assert verdict(done) == "not_recovered"


def test_i8_what_deviates_before_the_store_knows_of_the_strike_counts() -> None:
    w_ = world()
    run_id = begun(w_, file())

    def fails(effect: w.Effect) -> None:
        """As soon as a strike is on its way."""
        if isinstance(effect, w.Tell) and effect.frame.HasField("strike"):
            w_.store.failing = "the disk is full"

    w_.intercept = fails
    w_.run(30_000, lambda: bool(w_.told("a-1", "strike")))
    w_.intercept = lambda _: None
    w_.outside["errors"] = 0.2
    w_.run(5_000)
    w_.outside["errors"] = 0.0
    w_.run(2_000)
    w_.store.failing = ""
    assert verdict(ended(w_, run_id)) == "deviated"


def test_what_is_usual_is_not_measured_before_the_load_is_on() -> None:
    w_ = world(errors=0.0)
    done_with = slow(w_, "load.start")
    run_id = begun(w_, file(more=LOAD))
    w_.run(8_000)
    w_.outside["errors"] = 0.005
    done_with("")
    done = ended(w_, run_id)
    assert done.findings.baselines[0].lowest == 0.005


def test_i8_a_victim_of_which_nobody_has_said_what_became_of_it_is_not_said_to_be_gone() -> None:
    w_ = world(FakeAgent("a-1", recovers_ms=None))
    done = ended(w_, begun(w_, file(recovery=SCALE + NOTIFY)), 400_000)
    assert verdict(done) == "inconclusive", done.why
    assert w_.deeds == ["recovery.then[0]", "recovery.else.notify"]


def test_a_steady_state_that_breaks_while_a_strike_is_refused_is_not_by_it() -> None:
    w_ = world()
    run_id = begun(w_, file())
    refused = a.StrikeUpdate(state=p.STRIKE_STATE_REFUSED, reason=p.REASON_GONE, used_up=True, stopped=True)
    sent: list[str] = []

    def silent(effect: w.Effect) -> list[w.Input] | None:
        if isinstance(effect, w.Tell) and effect.frame.HasField("strike"):
            sent.append(effect.frame.strike.command_id)
            return []
        return None

    w_.intercept = silent
    w_.run(30_000, lambda: bool(sent))
    w_.outside["errors"] = 0.2
    w_.run(3_000)
    refused.command_id, refused.number = sent[0], 1_000
    w_.hear("a-1", a.ConnectRequest(strike_update=refused))
    done = ended(w_, run_id)
    assert verdict(done) == "inconclusive", done.why
    assert "nothing was hit" in done.why
