"""Who would be hit, who would not, and why (rule R26)."""

from dataclasses import replace

import pytest

from killdeer.v1.operator_pb2 import LabelMatch, PlannedHost, PlanView
from killdeer.v1.process_pb2 import Action, Candidate, Identity, Kill, Pause, Reason, Verdict
from killdeer_coordinator.core.books import Books, HostRow
from killdeer_coordinator.core.intake import Intake, take_in
from killdeer_coordinator.core.labels import matches, zone_of
from killdeer_coordinator.core.plan import HostScan, make_plan
from killdeer_coordinator.core.refusal import Refused
from tests.support.books import books, host

FILE = """
killdeer: 1
name: worker-survives
environment: staging
target:
  hosts: {role: payment}
  process: {unit: worker@*.service}
limits: {in_flight: 2, per_host: 1}
action: kill
waves:
  - {name: rehearsal, dry_run: true}
  - {name: one, strikes: 1}
  - {name: more, strikes: 50%, over: 1m, jitter: 1s}
"""

CLOSED = Verdict(
    reason=Reason.REASON_NOT_ALLOWED, detail="nothing opts it in", remedy='add allow = ["kill"] to x.toml'
)


def taken(source: str = FILE) -> Intake:
    experiment = take_in(source, "x.yaml")
    assert isinstance(experiment, Intake), experiment
    return experiment


def candidate(ordinal: int, *, pid: int = 0, service: str = "worker@", verdict: Verdict | None = None) -> Candidate:
    return Candidate(
        identity=Identity(host="web-1", pid=pid or 100 + ordinal, start_ticks=7),
        service=service,
        ordinal=ordinal,
        name="worker",
        verdict=verdict or Verdict(allowed=True),
        restarts=True,
    )


def scan(name: str = "web-1", count: int = 4, **more: object) -> HostScan:
    found = tuple(candidate(ordinal) for ordinal in range(count))
    return replace(
        HostScan(row=host(name), connected=True, guard_version="g1", candidates=found, ready={"worker@": count}),
        **more,  # type: ignore[arg-type]
    )


FLEET = (scan("web-1"), scan("web-2"))


def plan(
    *hosts: HostScan,
    source: str = FILE,
    seed: int = 1,
    world: Books | None = None,
    experiment: Intake | None = None,
) -> PlanView:
    return make_plan(experiment=experiment or taken(source), seed=seed, hosts=hosts, books=world or books())


def verdict_of(view: PlanView, name: str) -> Verdict:
    found: list[PlannedHost] = [planned for planned in view.hosts if planned.host == name]
    return found[0].verdict


# --- what would be hit -------------------------------------------------------------------------------------


def test_a_plan_shows_each_wave_with_its_victims() -> None:
    view = plan(*FLEET)
    assert not view.refusals and not view.warnings
    rehearsal, one, more = view.waves
    assert (rehearsal.dry_run, rehearsal.strikes, len(rehearsal.victims)) == (True, 8, 8)
    assert (one.strikes, len(one.victims)) == (1, 1)
    assert (more.strikes, len(more.victims), more.spread_ms) == (4, 4, 60_000)
    assert one.victims[0].pid == 100 + one.victims[0].ordinal
    assert (view.production, view.experiment, view.seed) == (False, "worker-survives", 1)


def test_the_same_seed_plans_the_same_victims_and_another_does_not() -> None:
    assert plan(*FLEET, seed=5).waves == plan(*reversed(FLEET), seed=5).waves
    assert plan(*FLEET, seed=5).waves != plan(*FLEET, seed=6).waves


def test_repetitions_are_planned_each_with_victims_of_its_own_draw() -> None:
    source = FILE.replace("strikes: 1}", "strikes: 1, repeat: 6, every: 1m}")
    repeated = [wave for wave in plan(*FLEET, source=source).waves if wave.name == "one"]
    assert [wave.repetition for wave in repeated] == [1, 2, 3, 4, 5, 6]
    assert len({(wave.victims[0].host, wave.victims[0].ordinal) for wave in repeated}) > 1


def test_production_is_flagged_and_production_lite_is_not() -> None:
    for environment, flagged in (("production", True), ("production-lite", False)):
        source = FILE.replace("staging", environment)
        here = scan(row=host("web-1", environment=environment))
        view = plan(here, source=source)
        assert view.production is flagged and not view.refusals


def test_a_plan_of_very_many_strikes_shows_the_first_and_says_so() -> None:
    source = FILE.replace("50%", "9000")
    view = plan(scan(count=40), source=source)
    more = view.waves[-1]
    assert more.strikes == 9000 and 0 < len(more.victims) < 2000
    assert any("draws are shown" in warning for warning in view.warnings)


# --- who would not be hit, and why -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (scan("web-2", row=HostRow(host="web-2", labels={})), Reason.REASON_ENVIRONMENT),
        (scan("web-2", row=host("web-2", environment="production")), Reason.REASON_ENVIRONMENT),
        (scan("web-2", row=replace(host("web-2"), quarantined="a clone")), Reason.REASON_QUARANTINED),
        (scan("web-2", connected=False), Reason.REASON_NOT_CONNECTED),
        (scan("web-2", failure=Reason.REASON_NO_ANSWER), Reason.REASON_NO_ANSWER),
        (scan("web-2", failure=Reason.REASON_CANNOT_EVALUATE), Reason.REASON_CANNOT_EVALUATE),
    ],
)
def test_a_host_that_may_not_be_hit_is_named_with_its_reason(changed: HostScan, reason: Reason) -> None:
    view = plan(scan("web-1"), changed)
    verdict = verdict_of(view, "web-2")
    assert (verdict.allowed, verdict.reason) == (False, reason)
    assert verdict.detail and verdict.remedy
    assert {victim.host for wave in view.waves for victim in wave.victims} == {"web-1"}
    assert verdict_of(view, "web-1").allowed and not view.refusals


def test_what_the_guard_refuses_is_shown_with_its_remedy_and_never_drawn() -> None:
    mixed = scan(
        candidates=(candidate(0), candidate(1, verdict=CLOSED), candidate(2), candidate(3, verdict=CLOSED))
    )
    for seed in range(20):
        view = plan(mixed, seed=seed)
        assert {victim.ordinal for wave in view.waves for victim in wave.victims} <= {0, 2}
    assert [one.verdict.remedy for one in view.hosts[0].candidates] == ["", CLOSED.remedy, "", CLOSED.remedy]


def test_each_wave_is_drawn_from_what_the_guard_allows_for_its_action() -> None:
    source = FILE.replace("{name: one, strikes: 1}", "{name: one, strikes: 1, action: {pause: 30s}}")
    kill, pause = taken(source).actions
    assert (kill, pause) == (Action(kill=Kill(signal=9)), Action(pause=Pause(length_ms=30_000)))
    asked = scan(action=kill)
    answered = scan(
        action=pause, candidates=(candidate(0, verdict=CLOSED), candidate(1), candidate(2), candidate(3))
    )
    for seed in range(20):
        view = plan(asked, answered, source=source, seed=seed)
        assert [victim.ordinal for wave in view.waves if wave.name == "one" for victim in wave.victims] != [0]
    assert any("wave 'one' cannot hit 1 that other waves can" in warning for warning in view.warnings)
    assert len(view.hosts) == 1


def test_a_percentage_is_of_the_candidates_and_those_in_an_open_strike() -> None:
    busy = candidate(0, verdict=Verdict(reason=Reason.REASON_BUSY))
    view = plan(scan(candidates=(busy, candidate(1), candidate(2), candidate(3))))
    assert view.waves[-1].strikes == 2
    assert 0 not in {victim.ordinal for wave in view.waves for victim in wave.victims}


# --- why it cannot be run ----------------------------------------------------------------------------------


def refusals(*hosts: HostScan, source: str = FILE, world: Books | None = None) -> str:
    view = plan(*hosts, source=source, world=world)
    assert view.refusals
    return "\n".join(view.refusals)


def test_nobody_to_hit_is_refused_once_and_says_why() -> None:
    assert "no host has the labels" in refusals()
    assert "none of 1 hosts may be hit; web-1: its agent has no lease" in refusals(scan(connected=False))
    assert "the selector matches nothing on 1 hosts" in refusals(scan(count=0))
    closed = refusals(scan(candidates=(candidate(0, verdict=CLOSED),)))
    assert f"none of the 1 that match may be hit; the first, worker on web-1: {CLOSED.detail}" in closed
    assert CLOSED.remedy not in closed, "several lines, which are shown with the candidate"
    assert len(plan(scan(count=0)).refusals) == 1 and not plan(scan(count=0)).waves


def test_a_wave_that_rounds_to_nothing_is_refused_with_the_arithmetic() -> None:
    said = refusals(scan(count=3), source=FILE.replace("50%", "5%"))
    assert (
        "wave 'more': 5% of 3 candidates is 0.15, rounded down to 0: name a count, or a higher percentage" in said
    )


@pytest.mark.parametrize(
    ("limit", "arithmetic"),
    [
        ("min_healthy: 3", "3 of 3 must be left, and one strike leaves 2"),
        ("min_healthy: 80%", "min_healthy 80% on worker@: 3 of 3 must be left"),
        ("per_service: 10%", "10% of 3 processes is 0.3, rounded down to 0"),
        ("cooldown: 2d", "longer than 24h"),
    ],
)
def test_a_limit_that_nothing_can_pass_is_refused_with_the_arithmetic(limit: str, arithmetic: str) -> None:
    source = FILE.replace("per_host: 1}", f"per_host: 1, {limit}}}")
    assert arithmetic in refusals(scan(count=3), source=source)
    passing = source.replace("80%", "60%").replace(": 3}", ": 2}").replace("10%", "40%").replace("2d", "5m")
    assert not plan(scan(count=3), source=passing).refusals


def test_a_limit_that_one_service_of_two_can_pass_is_a_warning() -> None:
    source = FILE.replace("per_host: 1}", "per_host: 1, min_healthy: 2}")
    two = (candidate(0), candidate(0, service="cache"))
    view = plan(scan(candidates=two, ready={"worker@": 4, "cache": 2}), source=source.replace("50%", "1"))
    assert not view.refusals
    assert any("min_healthy 2 on cache" in warning for warning in view.warnings)


def test_a_halted_fleet_and_a_limit_of_zero_are_refused() -> None:
    assert "killdeer rearm" in refusals(*FLEET, world=books(halt="h1"))
    assert "killdeer limits set in_flight" in refusals(*FLEET, world=books(limits={"in_flight": 0}))


def test_a_rehearsal_alone_needs_no_permit_and_no_limit() -> None:
    source = FILE[: FILE.index("  - {name: one")].replace("per_host: 1}", "per_host: 1, min_healthy: 9}")
    assert not plan(scan(count=3), source=source, world=books(limits={"in_flight": 0})).refusals


# --- what to think of --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("  - {name: rehearsal, dry_run: true}\n", "", "does not begin with a rehearsal"),
        ("worker@*.service}", "worker@*.service, oldest: 2}", "oldest and newest choose"),
        ("strikes: 1}", "strikes: 99}", "asks for 99 strikes at once, and there are 8 candidates: 8 are struck"),
        ("50%", "99", "one that has recovered may be drawn again"),
        ("in_flight: 2", "in_flight: 5", "in_flight 5 is more than the fleet's 3, which holds"),
    ],
)
def test_warnings(old: str, new: str, warning: str) -> None:
    world = books(limits={"in_flight": 3})
    assert not plan(*FLEET, world=world).warnings
    view = plan(*FLEET, source=FILE.replace(old, new), world=world)
    assert [said for said in view.warnings if warning in said] and not view.refusals


def test_a_victim_that_nobody_restarts_is_warned_of_unless_it_is_only_paused() -> None:
    alone = candidate(0)
    alone.restarts = False
    here = scan(candidates=(alone, candidate(1)))
    assert any("nothing is known to restart worker@ on web-1 (1 " in said for said in plan(here).warnings)
    assert not plan(here, source=FILE.replace("action: kill", "action: {pause: 5s}")).warnings


def test_a_hold_is_warned_of_where_nobody_restarts_the_victim_and_where_systemd_gives_up() -> None:
    alone, supervised = candidate(0), candidate(1)
    alone.restarts, supervised.unit = False, "worker@1.service"
    held = FILE.replace("action: kill", "action: {hold-down: 45s}")
    said = plan(scan(candidates=(alone, supervised)), source=held).warnings
    assert any("hold-down has nothing to hold if nothing restarts worker@" in one for one in said)
    assert any("StartLimitBurst=" in one and "a hold of 45s then ends" in one for one in said)
    assert not plan(scan(), source=held).warnings


# --- the hash ----------------------------------------------------------------------------------------------


def test_a_restart_of_the_service_does_not_change_the_hash() -> None:
    """No pids, no times: only what was approved."""
    reborn = tuple(candidate(ordinal, pid=900 + ordinal) for ordinal in range(4))
    same = plan(scan("web-2"), scan("web-1", candidates=reborn[::-1]))
    assert same.hash == plan(*FLEET).hash
    assert len(same.hash) == 64
    assert plan(*FLEET, source="# a comment\n" + FILE).hash == same.hash


def test_everything_that_was_approved_changes_the_hash() -> None:
    web_1, web_2 = FLEET
    closed = (*web_2.candidates[:3], candidate(3, verdict=CLOSED))
    denied = (*web_2.candidates[:3], candidate(3, verdict=Verdict(reason=Reason.REASON_DENIED)))
    hashes = [
        plan(*FLEET).hash,
        plan(*FLEET, seed=2).hash,
        plan(*FLEET, source=FILE.replace("in_flight: 2", "in_flight: 1")).hash,
        plan(*FLEET, source=FILE.replace("strikes: 1", "strikes: 2")).hash,
        plan(*FLEET, world=books(limits={"in_flight": 3})).hash,
        plan(web_1).hash,
        plan(web_1, replace(web_2, guard_version="g2")).hash,
        plan(web_1, replace(web_2, connected=False)).hash,
        plan(web_1, replace(web_2, candidates=web_2.candidates[:3])).hash,
        plan(web_1, replace(web_2, candidates=closed)).hash,
        plan(web_1, replace(web_2, candidates=denied)).hash,
    ]
    assert len(set(hashes)) == len(hashes)


# --- taking the file in ------------------------------------------------------------------------------------


def test_an_experiment_is_taken_in_with_its_waves_and_limits() -> None:
    experiment = taken(FILE.replace("per_host: 1}", "per_host: 1, per_service: 50%, min_healthy: 2, cooldown: 5m}"))
    limits = experiment.limits
    assert (limits.in_flight, limits.per_service, limits.per_service_percent) == (2, None, 50)
    assert (limits.min_healthy, limits.min_healthy_percent, limits.cooldown_ms) == (2, None, 300_000)
    rehearsal, one, more = experiment.waves
    assert (rehearsal.count, rehearsal.percent, rehearsal.dry_run) == (None, None, True)
    assert (one.count, more.percent, more.over_ms, more.jitter_ms) == (1, 50, 60_000, 1_000)
    assert experiment.hosts == (LabelMatch(key="role", values=["payment"]),)


def test_a_faulty_file_is_refused_with_its_place() -> None:
    refused = take_in(FILE.replace("waves:", "wavs:"), "x.yaml")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "source")
    assert "x.yaml:10:1" in refused.message and "waves" in refused.message


# --- labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ([], True),
        ([("role", ["payment"])], True),
        ([("role", ["pay*", "x"]), ("zone", ["b", "a"])], True),
        ([("role", ["payment"]), ("zone", ["b"])], False),
        ([("rack", ["*"])], False),
        ([("host", ["web-?"])], True),
        ([("host", ["WEB-1"])], False),
        ([("role", [])], False),
    ],
)
def test_labels_match_by_globs_and_a_missing_one_matches_nothing(
    wanted: list[tuple[str, list[str]]], held: bool
) -> None:
    labels = {"role": "payment", "zone": "a", "host": "not-this"}
    assert matches("web-1", labels, [LabelMatch(key=key, values=values) for key, values in wanted]) is held


def test_hosts_without_a_zone_are_each_a_zone_of_their_own() -> None:
    assert zone_of("web-1", {"zone": "a"}) == zone_of("web-2", {"zone": "a"})
    assert zone_of("web-1", {}) != zone_of("web-2", {})
    assert zone_of("a", {}) != zone_of("web-1", {"zone": "a"})
