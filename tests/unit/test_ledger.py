"""Permits (rules R16 to R21): what is granted, withheld, released, cleared. Histories: test_ledger_history.py."""

from dataclasses import replace

import pytest

from killdeer.v1.operator_pb2 import LimitView, PermitView, RunState, StrikeView
from killdeer.v1.process_pb2 import Action, Exit, HoldDown, Identity, Kill, StrikeState, Successor
from killdeer_coordinator.core.books import Books, Permit, PutPermit, PutStrike, RunLimits, SetLimit, StrikeRow
from killdeer_coordinator.core.labels import zone_of
from killdeer_coordinator.core.ledger import (
    Granted,
    GrantRequest,
    Standing,
    Withheld,
    clear,
    grant,
    limit_views,
    permit_views,
    release,
    set_limit,
    struck,
    update,
)
from killdeer_coordinator.core.refusal import Refused
from tests.support.books import T0, books, decided, host, later, run

STRUCK = StrikeState.STRIKE_STATE_STRUCK
FREE = RunLimits(in_flight=None, per_host=None)
WIDE = (host("web-1", zone="a"), host("web-2", zone="a"), host("web-3"))


def standing(ready: int = 10, *, begun_ms: int = T0, service: str = "worker@", boot_ns: int = 1_000) -> Standing:
    return Standing(
        service=service,
        ready_by_host={"web-1": ready},
        begun_ms=begun_ms,
        begun_boot_ns=dict.fromkeys(("web-1", "web-2", "web-3"), boot_ns),
    )


def ask(name: str = "c1", on: str = "web-1", limits: RunLimits = FREE, **more: object) -> GrantRequest:
    number = int(name[1:])
    request = GrantRequest(
        permit_id=f"p-{name}",
        command_id=name,
        run_id="r1",
        host=on,
        service="worker@",
        zone="a",
        not_after_ms=T0 + 10_000,
        limits=limits,
        standing=standing(),
        view=StrikeView(
            command_id=name,
            victim=Identity(host=on, boot_id="b", pid=number, start_ticks=number),
            action=Action(kill=Kill(signal=9)),
            state=StrikeState.STRIKE_STATE_PLANNED,
        ),
        who="ada",
    )
    return replace(request, **more)  # type: ignore[arg-type]


def fleet(limits: dict[str, int] | None = None, own: RunLimits = FREE, other: RunLimits = FREE) -> Books:
    return books(hosts=WIDE, runs=(run("r1", own), run("r2", other)), limits=limits)


def given(before: Books, request: GrantRequest) -> Books:
    after, decision = decided(before, grant(request))
    assert isinstance(decision.answer, Granted), decision.answer
    return after


def withheld(before: Books, request: GrantRequest) -> Withheld:
    after, decision = decided(before, grant(request))
    assert isinstance(decision.answer, Withheld), decision.answer
    assert not decision.changes and not decision.audit
    assert after.permits == before.permits
    return decision.answer


def view_of(name: str, state: StrikeState, on: str = "web-1") -> StrikeView:
    return StrikeView(command_id=name, victim=Identity(host=on, boot_id="b", pid=1, start_ticks=1), state=state)


# --- granting ----------------------------------------------------------------------------------------------


def test_a_grant_stores_permit_and_strike_as_sent_before_anything_is_sent() -> None:
    _, decision = decided(fleet(), grant(ask()))
    permit, strike = decision.changes
    assert isinstance(permit, PutPermit) and isinstance(strike, PutStrike)
    assert decision.answer == Granted(permit.row)
    assert (permit.row.granted_ms, permit.row.released_ms, permit.row.struck_ms) == (T0, 0, 0)
    assert strike.row.view.state == StrikeState.STRIKE_STATE_SENT
    assert strike.row.permit_id == permit.row.permit_id
    (entry,) = decision.audit
    assert (entry.what, entry.who, entry.subject) == ("permit.granted", "ada", "p-c1")


def test_nothing_is_granted_while_the_fleet_is_halted() -> None:
    halted = books(hosts=WIDE, runs=(run(),), halt="h1")
    said = withheld(halted, ask())
    assert (said.scope, said.hopeless) == ("halted", True)
    assert "ada" in said.detail and "drill" in said.detail


@pytest.mark.parametrize("state", [RunState.RUN_STATE_ABORTING, RunState.RUN_STATE_ENDED])
def test_nothing_is_granted_to_a_run_that_is_over(state: int) -> None:
    assert withheld(books(hosts=WIDE, runs=(run(state=state),)), ask()).scope == "run"


def test_nothing_is_granted_to_an_old_driver_of_a_run() -> None:
    newer = books(hosts=WIDE, runs=(run(fence=2),))
    assert withheld(newer, ask(fence=1)).scope == "run"
    given(newer, ask(fence=2))


def test_nothing_is_granted_on_a_host_that_is_unknown_or_quarantined() -> None:
    assert withheld(fleet(), ask(on="web-9")).scope == "host"
    bad = books(hosts=(replace(host("web-1"), quarantined="a clone"),), runs=(run(),))
    assert "a clone" in withheld(bad, ask()).detail


def test_nothing_is_granted_when_the_clock_ran_back() -> None:
    back = replace(fleet(), last_decision_ms=T0 + 1)
    assert withheld(back, ask()).scope == "clock"
    given(replace(back, now_ms=T0 + 1), ask())


def test_an_id_is_granted_once() -> None:
    after = given(fleet(), ask())
    assert withheld(after, ask()).scope == "command"
    assert withheld(after, ask("c2", permit_id="p-c1")).scope == "command"


def test_one_open_permit_for_one_process() -> None:
    after = given(fleet(), ask())
    same = ask("c2", view=ask("c1").view)
    assert withheld(after, same).scope == "busy"
    freed, _ = decided(after, release("c1", "refused", never_sent=True))
    given(freed, same)


@pytest.mark.parametrize(
    ("scope", "where", "apart"),
    [
        ("in_flight", "the fleet", None),
        ("per_host", "web-1", {"on": "web-2"}),
        ("per_zone", "a", {"on": "web-3", "zone": zone_of("web-3", {})}),
        ("per_service", "worker@", {"service": "cache", "standing": standing(service="cache")}),
    ],
)
def test_the_fleets_limits_hold_each_in_its_scope(scope: str, where: str, apart: dict[str, object] | None) -> None:
    after = given(fleet({scope: 1}), ask())
    said = withheld(after, ask("c2"))
    assert (said.scope, said.limit, said.used, said.where) == (scope, 1, 1, where)
    if apart is not None:
        given(after, ask("c2", **apart))  # type: ignore[arg-type]


def test_a_limit_of_zero_is_hopeless() -> None:
    assert withheld(fleet({"in_flight": 0}), ask()).hopeless
    assert not withheld(given(fleet({"in_flight": 1}), ask()), ask("c2")).hopeless


def test_a_runs_in_flight_counts_its_own_victims() -> None:
    one = RunLimits(in_flight=1, per_host=None)
    after = given(fleet(own=one), ask(limits=one))
    assert withheld(after, ask("c2", limits=one)).where == "run r1"
    given(after, ask("c2", run_id="r2"))


@pytest.mark.parametrize(
    "limits", [RunLimits(in_flight=None, per_host=1), RunLimits(in_flight=None, per_service=1)]
)
def test_on_a_host_and_service_the_strictest_run_with_a_victim_there_counts(limits: RunLimits) -> None:
    """R19: two runs never add up past the limit of either, whoever asks first."""
    strict_first = given(fleet(own=limits), ask(limits=limits))
    assert "run r1's" in withheld(strict_first, ask("c2", run_id="r2")).detail
    free_first = given(fleet(other=limits), ask())
    assert "run r2's" in withheld(free_first, ask("c2", run_id="r2", limits=limits)).detail


def test_a_runs_limits_bind_after_its_end_while_it_holds_a_victim() -> None:
    strict = RunLimits(in_flight=None, per_host=1)
    after = given(fleet(own=strict), ask(limits=strict))
    over = replace(after, runs={"r2": after.runs["r2"]}, ended={"r1": after.runs["r1"]})
    assert withheld(over, ask("c2", run_id="r2")).scope == "per_host"
    unknown = replace(over, ended={})
    assert "permits clear p-c1" in withheld(unknown, ask("c2", run_id="r2")).detail


# --- rate and cooldown (R20) -------------------------------------------------------------------------------


def test_the_rate_counts_from_the_reported_signal() -> None:
    after, _ = decided(later(given(fleet({"per_minute": 1}), ask()), 2_000), struck("c1", view_of("c1", STRUCK)))
    after, _ = decided(after, release("c1", "recovered"))
    said = withheld(later(after, 60_000), ask("c2"))
    assert (said.scope, said.again_ms) == ("per_minute", T0 + 62_000)
    given(later(after, 60_001), ask("c2"))


def test_r20_a_hold_down_counts_for_the_rate_until_its_last_blow_could_fall() -> None:
    holding = view_of("c1", STRUCK)
    holding.action.CopyFrom(Action(hold_down=HoldDown(length_ms=600_000)))
    after, _ = decided(given(fleet({"per_minute": 1}), ask()), struck("c1", holding))
    assert withheld(later(after, 600_000 + 59_000), ask("c2", "web-2")).scope == "per_minute"
    ended, _ = decided(later(after, 70_000), release("c1", "recovered", view=holding))
    assert withheld(later(ended, 59_000), ask("c2", "web-2")).scope == "per_minute"
    assert isinstance(grant(ask("c2", "web-2"))(later(ended, 61_000)).answer, Granted)


def test_the_rate_counts_from_not_after_while_the_signal_is_unknown() -> None:
    after, _ = decided(given(fleet({"per_minute": 1}), ask()), clear("p-c1", "eve", "lost"))
    assert withheld(later(after, 70_000), ask("c2")).scope == "per_minute"
    given(later(after, 70_001), ask("c2"))


def test_a_strike_of_which_nothing_was_sent_does_not_count_for_the_rate() -> None:
    after, _ = decided(given(fleet({"per_minute": 1}), ask()), release("c1", "refused", never_sent=True))
    given(after, ask("c2"))


def test_a_services_cooldown_binds_whoever_struck_it() -> None:
    cool = RunLimits(in_flight=None, per_host=None, cooldown_ms=300_000)
    after = given(fleet(own=cool), ask(limits=cool))
    after, _ = decided(later(after, 1_000), struck("c1", view_of("c1", STRUCK)))
    after, _ = decided(after, release("c1", "recovered"))
    said = withheld(later(after, 299_999), ask("c2", run_id="r2"))
    assert (said.scope, said.again_ms, said.hopeless) == ("cooldown", T0 + 301_000, False)
    given(later(after, 300_000), ask("c2", run_id="r2"))
    given(after, ask("c2", service="cache", standing=standing(service="cache")))


# --- percentages and the least healthy (R19, R21) ----------------------------------------------------------


def test_a_percentage_that_rounds_to_nothing_is_named_with_its_arithmetic() -> None:
    said = withheld(fleet(), ask(limits=replace(FREE, per_service_percent=10), standing=standing(3)))
    assert (said.scope, said.hopeless, said.limit) == ("per_service", True, 0)
    assert "10% of 3 processes is 0.3, rounded down to 0" in said.detail


def test_a_victim_that_is_down_still_counts_as_one_of_the_service() -> None:
    half = replace(FREE, per_service_percent=50)
    after = given(fleet(own=half), ask(limits=half, standing=standing(4)))
    down = view_of("c1", StrikeState.STRIKE_STATE_GONE)
    down.exit.CopyFrom(Exit(at_boot_ns=500))
    after, _ = decided(later(after, 10), update(down))
    given(after, ask("c2", limits=half, standing=standing(3, begun_ms=T0 + 5)))


@pytest.mark.parametrize("seen", ["nothing", "exit after the scan", "successor"])
def test_a_victim_that_the_scan_may_have_counted_is_not_counted_twice(seen: str) -> None:
    """Five processes, 40%: two, and never three, however the two in flight stand."""
    limits = replace(FREE, per_service_percent=40)
    after = given(fleet(own=limits), ask(limits=limits, standing=standing(5)))
    after = given(later(after, 10), ask("c2", limits=limits, standing=standing(5, begun_ms=T0 + 5)))
    for name in ("c1", "c2"):
        view = view_of(name, StrikeState.STRIKE_STATE_GONE)
        if seen != "nothing":
            view.exit.CopyFrom(Exit(at_boot_ns=2_000 if seen == "exit after the scan" else 500))
        if seen == "successor":
            view.successor.CopyFrom(Successor(at_boot_ns=600))
        after, _ = decided(after, update(view))
    said = withheld(later(after, 10), ask("c3", limits=limits, standing=standing(5, begun_ms=T0 + 15)))
    assert (said.scope, said.limit, said.used, said.hopeless) == ("per_service", 2, 2, False)


def test_min_healthy_counts_victims_that_may_go_at_any_moment() -> None:
    limits = replace(FREE, min_healthy=3)
    after = given(fleet(own=limits), ask(limits=limits, standing=standing(4)))
    said = withheld(later(after, 10), ask("c2", limits=limits, standing=standing(4, begun_ms=T0 + 5)))
    assert (said.scope, said.limit, said.used, said.hopeless) == ("min_healthy", 3, 2, False)


def test_min_healthy_that_nothing_can_pass_is_hopeless() -> None:
    said = withheld(fleet(), ask(limits=replace(FREE, min_healthy=3), standing=standing(3)))
    assert said.hopeless and "one more would leave 2" in said.detail


def test_min_healthy_in_percent_rounds_up() -> None:
    assert withheld(fleet(), ask(limits=replace(FREE, min_healthy_percent=67), standing=standing(3))).limit == 3
    given(fleet(), ask(limits=replace(FREE, min_healthy_percent=66), standing=standing(3)))


@pytest.mark.parametrize("limits", [replace(FREE, min_healthy=1), replace(FREE, per_service_percent=50)])
def test_scans_under_5_seconds_begun_after_the_last_grant(limits: RunLimits) -> None:
    begun = standing(10, begun_ms=T0)
    assert withheld(later(fleet(), 5_000), ask(limits=limits, standing=begun)).scope == "stale scan"
    assert withheld(
        replace(fleet(), now_ms=T0 - 1, last_decision_ms=0), ask(limits=limits, standing=begun)
    ).scope == ("stale scan")
    after = given(later(fleet(own=limits), 4_999), ask(limits=limits, standing=begun))
    same_moment = standing(10, begun_ms=T0 + 4_999)
    assert withheld(later(after, 1), ask("c2", limits=limits, standing=same_moment)).scope == "stale scan"
    given(later(after, 2), ask("c2", limits=limits, standing=standing(10, begun_ms=T0 + 5_000)))


def test_without_limits_on_a_service_no_scan_is_asked_for() -> None:
    given(later(fleet(), 60_000), ask())


# --- outcome and permit (R16) ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", StrikeState.values())
def test_no_outcome_releases_a_permit(state: StrikeState) -> None:
    after, _ = decided(given(fleet({"in_flight": 1}), ask()), update(view_of("c1", state)))
    assert [permit.permit_id for permit in permit_views(after)] == ["p-c1"]
    assert withheld(after, ask("c2")).scope == "in_flight"


def test_a_release_frees_once_and_is_on_the_record_once() -> None:
    after = later(given(fleet({"in_flight": 1}), ask()), 5)
    after, first = decided(
        after, release("c1", "recovered", struck_ms=T0 + 3, view=view_of("c1", StrikeState.STRIKE_STATE_RECOVERED))
    )
    assert isinstance(first.answer, Permit)
    assert (first.answer.released_ms, first.answer.released_why) == (T0 + 5, "recovered")
    assert first.answer.struck_ms == T0 + 3
    assert [entry.what for entry in first.audit] == ["permit.released", "strike.ended"]
    again, second = decided(
        later(after, 5), release("c1", "recovered", view=view_of("c1", StrikeState.STRIKE_STATE_RECOVERED))
    )
    assert again.permits == after.permits and not second.audit
    given(after, ask("c2"))


def test_the_signals_time_is_taken_once() -> None:
    after, _ = decided(later(given(fleet(), ask()), 7), struck("c1", view_of("c1", STRUCK)))
    again, _ = decided(later(after, 100), struck("c1", view_of("c1", STRUCK)))
    assert after.permits["p-c1"].struck_ms == again.permits["p-c1"].struck_ms == T0 + 7


def test_a_better_known_outcome_replaces_unknown() -> None:
    after, first = decided(given(fleet(), ask()), update(view_of("c1", StrikeState.STRIKE_STATE_UNKNOWN)))
    after, second = decided(after, update(view_of("c1", StrikeState.STRIKE_STATE_RECOVERED)))
    assert [entry.details["outcome"] for entry in (*first.audit, *second.audit)] == ["unknown", "recovered"]
    assert after.strikes["c1"].view.state == StrikeState.STRIKE_STATE_RECOVERED


def test_a_rehearsed_victim_has_a_strike_and_no_permit() -> None:
    after, decision = decided(fleet(), update(view_of("d1", StrikeState.STRIKE_STATE_PLANNED), run_id="r1"))
    assert isinstance(decision.answer, StrikeRow)
    assert decision.answer.permit_id == "" and not permit_views(after)


@pytest.mark.parametrize(
    "verb", [release("c9", "recovered"), struck("c9", view_of("c9", STRUCK)), update(view_of("c9", STRUCK))]
)
def test_an_unknown_command_is_refused_and_changes_nothing(verb: object) -> None:
    _, decision = decided(fleet(), verb)  # type: ignore[arg-type]
    assert isinstance(decision.answer, Refused) and decision.answer.code == "NOT_FOUND"
    assert not decision.changes


# --- clearing ----------------------------------------------------------------------------------------------


def test_a_clear_is_by_name_and_on_the_record() -> None:
    after, decision = decided(later(given(fleet({"in_flight": 1}), ask()), 9), clear("p-c1", "eve", "seen well"))
    assert isinstance(decision.answer, PermitView)
    assert (decision.answer.held_ms, decision.answer.why) == (9, "cleared by eve")
    (entry,) = decision.audit
    assert (entry.what, entry.who, entry.why, entry.subject) == ("permit.cleared", "eve", "seen well", "p-c1")
    assert not permit_views(after)
    _, again = decided(after, clear("p-c1", "eve", "again"))
    assert isinstance(again.answer, Refused) and again.answer.code == "NOT_FOUND"


def test_a_clear_wants_a_reason() -> None:
    _, decision = decided(given(fleet(), ask()), clear("p-c1", "eve", " "))
    assert isinstance(decision.answer, Refused) and decision.answer.field == "reason"


@pytest.mark.parametrize("who", ["ada", "payments"])
def test_in_production_a_runs_owner_does_not_clear_its_permits(who: str) -> None:
    after = given(books(hosts=WIDE, runs=(run(environment="production"),)), ask())
    refused, decision = decided(after, clear("p-c1", who, "well"))
    assert isinstance(decision.answer, Refused) and decision.answer.code == "PERMISSION_DENIED"
    assert permit_views(refused)
    _, other = decided(after, clear("p-c1", "eve", "well"))
    assert isinstance(other.answer, PermitView)


# --- limits as operators see them --------------------------------------------------------------------------


def views(of: Books) -> dict[str, LimitView]:
    return {view.scope: view for view in limit_views(of)}


def test_limits_show_the_most_used_of_each_scope() -> None:
    after = given(given(fleet({"in_flight": 3, "per_host": 2}), ask()), ask("c2"))
    after = given(after, ask("c3", on="web-2"))
    seen = views(after)
    assert list(seen) == ["in_flight", "per_host", "per_zone", "per_service", "per_minute"]
    assert (seen["in_flight"].used, seen["in_flight"].limit) == (3, 3)
    assert (seen["per_host"].used, seen["per_host"].where, seen["per_host"].source) == (
        2,
        "web-1",
        "coordinator.toml",
    )
    assert (seen["per_zone"].used, seen["per_zone"].source) == (3, "not limited")


def test_a_limit_is_set_with_a_reason_and_holds_at_once() -> None:
    after, decision = decided(given(fleet(), ask()), set_limit("in_flight", 1, "eve", "a bad day"))
    assert decision.changes == (SetLimit("in_flight", 1, "eve"),)
    assert isinstance(decision.answer, LimitView)
    assert (decision.answer.limit, decision.answer.used, decision.answer.source) == (1, 1, "operator")
    (entry,) = decision.audit
    assert (entry.what, entry.subject, entry.why) == ("limit.set", "in_flight", "a bad day")
    assert withheld(after, ask("c2")).scope == "in_flight"


@pytest.mark.parametrize(
    ("scope", "limit", "reason", "field"),
    [("in_fligth", 1, "x", "scope"), ("in_flight", -1, "x", "limit"), ("in_flight", 1, "", "reason")],
)
def test_a_limit_that_means_nothing_is_refused(scope: str, limit: int, reason: str, field: str) -> None:
    _, decision = decided(fleet(), set_limit(scope, limit, "eve", reason))
    assert isinstance(decision.answer, Refused)
    assert (decision.answer.field, decision.answer.code) == (field, "INVALID_ARGUMENT")
    assert not decision.changes
    if field == "scope":
        assert "did you mean in_flight?" in decision.answer.remedy and "per_minute" in decision.answer.remedy
