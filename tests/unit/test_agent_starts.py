"""StartUnit: only what is down by this very strike is started, and told once systemd calls it active (R15)."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.unit import UnitFacts, UnitState
from killdeer_agent.systemd import Systemd, unit_seen
from tests.support import host as h

UNIT = "worker@1.service"


def in_unit(kind: str = "kill", **changed: object) -> h.Host:
    """A host whose one worker was struck, and whose unit systemd has given up by that."""
    host = h.Host()
    host.world.gives_up_after = 0
    host.world.restart_after_ns = -1
    host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first, kind, **changed)
    host.run(h.SECOND)
    return host


def ask(host: h.Host, command_id: str = "c1", name: str = "a1", service: str = "worker@") -> None:
    host.coordinator.say(start_unit=a.StartUnit(command_id=command_id, service=service, ask=name))


def answers(host: h.Host, name: str = "a1") -> list[str]:
    return [f.unit_started.problem for f in host.sent if f.HasField("unit_started") and f.unit_started.ask == name]


def unit_now(host: h.Host, **changed: object) -> None:
    host.world.units[UNIT] = replace(host.world.units[UNIT], **changed)  # type: ignore[arg-type]


@pytest.fixture
def host() -> h.Host:
    return in_unit()


# --- it is started --------------------------------------------------------------------------------------------


def test_a_unit_that_failed_by_the_blow_is_started_and_told_once_it_is_active(host: h.Host) -> None:
    assert host.world.units[UNIT].active == "failed"
    host.stalled = {w.StartUnit}
    ask(host)
    assert answers(host) == []
    host.release()
    host.run(2 * h.SECOND)
    assert answers(host) == [""] and host.world.units[UNIT].active == "active"
    assert host.coordinator.updates["c1"].state == p.STRIKE_STATE_RECOVERED


def test_one_that_is_on_its_way_is_waited_for_and_told_when_it_is_there(host: h.Host) -> None:
    unit_now(host, active="activating")
    ask(host)
    host.run(5 * h.SECOND)
    assert answers(host) == []
    unit_now(host, active="active", main_pid=9_999, main_signal=0)
    host.run(1 * h.SECOND)
    assert answers(host) == [""]


def test_one_that_runs_already_is_left_alone(host: h.Host) -> None:
    host.world.start(UNIT)
    before = len(host.world.processes)
    ask(host)
    assert answers(host) == [""] and len(host.world.processes) == before


def test_one_whose_end_systemd_has_not_heard_of_yet_is_not_called_active(host: h.Host) -> None:
    (victim,) = {fell.victim[0] for fell in host.world.log}
    unit_now(host, active="active", main_pid=victim, main_signal=0)
    ask(host)
    assert answers(host) == []
    unit_now(host, active="failed", main_signal=9)
    host.run(2 * h.SECOND)
    assert answers(host) == [""]


def test_the_same_ask_twice_is_one(host: h.Host) -> None:
    host.stalled = {w.LookUnit}
    ask(host)
    ask(host)
    host.release()
    host.run(2 * h.SECOND)
    assert answers(host) == [""] and len(host.world.processes) == 1


@pytest.mark.parametrize(
    ("restart", "started"),
    [("no", True), ("on-failure", True), ("always", False), ("on-success", False), ("", False)],
)
def test_r15_after_a_clean_end_it_is_started_only_where_systemd_leaves_it_down(restart: str, started: bool) -> None:
    host = in_unit("terminate")
    unit_now(host, active="inactive", result="success", main_signal=15, restart=restart)
    ask(host)
    host.run(2 * h.SECOND)
    assert (answers(host) == [""]) == started and bool(host.world.processes) == started


def test_a_start_that_came_no_further_than_a_reset_is_tried_again(host: h.Host) -> None:
    host.stalled = {w.StartUnit}
    ask(host)
    host.late.clear()
    host.world.processes.clear()
    unit_now(host, active="inactive", result="success", main_pid=host.world.log[0].victim[0], main_signal=9)
    host.inputs.append(w.UnitStarted(command_id="c1", problem="timed out", reset=True, ask="a1"))
    host.release()
    host.run(2 * h.SECOND)
    assert answers(host) == [""] and host.world.units[UNIT].active == "active"


# --- it is left alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instead",
    [
        {"active": "inactive", "result": "signal"},  # somebody has stopped it
        {"active": "deactivating", "stop_ordered": True},
        {"main_pid": 4_711},  # another run of it, which failed by itself
        {"loaded": False},  # masked
    ],
)
def test_r15_what_is_down_for_another_reason_is_left_as_it_is(host: h.Host, instead: dict[str, object]) -> None:
    unit_now(host, **instead)
    ask(host)
    host.run(2 * h.SECOND)
    (problem,) = answers(host)
    assert "not by this strike alone" in problem and not host.world.processes


def test_r15_nothing_outlives_a_reboot() -> None:
    host = in_unit()
    host.crash()
    host.world.boot_id = "boot-2"
    host.start()
    host.coordinator.link()
    ask(host)
    host.run(2 * h.SECOND)
    assert len(answers(host)) == 1 and answers(host)[0] and not host.world.processes


def halt(host: h.Host) -> None:
    host.coordinator.halt()


def halt_here(host: h.Host) -> None:
    host.give(w.LocalHalt(engaged=True))


def end_the_lease(host: h.Host) -> None:
    host.coordinator.renews = False
    host.run(16 * h.SECOND)


def stop(host: h.Host) -> None:
    host.give(w.Stop("SIGTERM"))


@pytest.mark.parametrize("befalls", [halt, halt_here, end_the_lease, stop])
@pytest.mark.parametrize("midway", [False, True])
def test_i4_i5_nothing_is_started_without_the_right_to_act(befalls: object, midway: bool) -> None:
    host = in_unit()
    assert callable(befalls)
    host.stalled = {w.LookUnit} if midway else set()
    if midway:
        ask(host)
    befalls(host)
    if not midway:
        ask(host)
    host.release()
    host.run(h.SECOND)
    assert len(answers(host)) == 1 and answers(host)[0] and not host.world.processes


def test_i10_a_strike_that_this_host_does_not_know_starts_nothing(host: h.Host) -> None:
    ask(host, "c2", service=UNIT)
    assert "knows no strike c2" in answers(host)[0] and not host.world.processes


def test_i10_a_strike_that_was_refused_starts_nothing(host: h.Host) -> None:
    host.coordinator.acknowledges = False  # it stays open
    host.coordinator.order("c2", h.Proc(1, 1), not_after_boot_ns=1)
    ask(host, "c2", service=UNIT)
    assert answers(host) == ["nothing was hit by c2"] and not host.world.processes


def test_an_order_that_nobody_could_tell_the_answer_of_starts_nothing(host: h.Host) -> None:
    ask(host, name="")
    assert answers(host, "") and not host.world.processes


def test_i10_what_is_in_no_unit_is_started_by_nobody_here() -> None:
    host = h.leased(1)
    host.world.restart_after_ns = -1
    host.coordinator.order("c1", host.world.first)
    ask(host)
    assert "is no service of systemd" in answers(host)[0]


def test_a_hold_that_goes_on_is_not_undone_by_a_start() -> None:
    host = h.Host()
    host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first, "hold-down")
    ask(host)
    assert answers(host) == ["it is being held down"]


def test_a_strike_that_is_over_starts_nothing_but_says_what_runs() -> None:
    host = h.Host()
    unit = "payments.service"
    host.world.spawn("payments.service", unit=unit)
    host.world.pass_time(h.SECOND)
    allow = Rule(matcher=Matcher(naming(p.FIELD_UNIT, unit)), source="t.toml", actions=frozenset({"kill"}))
    host.start(guard=Guard(allow=(allow,), version="1"))
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first)
    host.run(2 * h.SECOND)
    assert host.coordinator.updates["c1"].settled and "c1" not in host.core._strikes.open
    ask(host, service=unit)
    assert answers(host) == [""]
    host.world.restart_after_ns = -1
    host.world.end(host.world.first, 9)
    host.world.units[unit] = replace(host.world.units[unit], active="failed")
    ask(host, name="a2", service=unit)
    host.run(h.SECOND)
    assert "not by this strike alone" in answers(host, "a2")[0] and not host.world.processes
    ask(host, name="a3", service="other.service")
    assert "the guard would not let other.service be hit" in answers(host, "a3")[0]


# --- the guard ----------------------------------------------------------------------------------------------


def naming(field: p.Field, value: str) -> p.Selector:
    return p.Selector(terms=[p.Term(field=field, match=p.MATCH_GLOB, values=[value])])


def guarded(version: str = "2", **rules: object) -> w.Configured:
    return w.Configured(guard=Guard(version=version, **rules))  # type: ignore[arg-type]


BY_UNIT = Rule(matcher=Matcher(naming(p.FIELD_UNIT, "worker@*")), source="u.toml", actions=frozenset({"kill"}))
BY_NAME = Rule(matcher=Matcher(naming(p.FIELD_NAME, "worker")), source="n.toml", actions=frozenset({"kill"}))


@pytest.mark.parametrize(
    ("configured", "started"),
    [
        (guarded(allow=(BY_UNIT,)), True),
        (guarded(allow=(BY_NAME,)), False),  # nobody of that name is there to be asked
        (guarded(allow=(BY_UNIT,), deny=(BY_UNIT,)), False),
        (guarded(allow=(BY_UNIT,), deny=(BY_NAME,)), False),  # cannot be evaluated: it denies
        (guarded(), False),
        (guarded("1", problem="cannot read guard.d"), False),
    ],
)
def test_i7_a_guard_that_has_changed_is_asked_about_the_unit_by_its_name(
    host: h.Host, configured: w.Configured, started: bool
) -> None:
    host.give(configured)
    ask(host)
    host.run(2 * h.SECOND)
    assert (answers(host) == [""]) == started and bool(host.world.processes) == started


@pytest.mark.parametrize("unit", ["sshd.service", "systemd-resolved.service", "killdeer-coordinator.service"])
def test_i7_what_is_never_hit_is_never_started(unit: str) -> None:
    host = in_unit()
    (strike,) = host.core._strikes.open.values()
    strike.unit = unit
    ask(host)
    assert answers(host) == [f"{unit} is never touched"]


def test_of_a_unit_without_a_process_nothing_is_known_but_its_name() -> None:
    facts = UnitFacts(UNIT, "worker@")
    assert (facts.unit, facts.service) == (UNIT, "worker@")
    for fact in ("pid", "name", "cmdline", "user", "exe", "ports", "cgroup", "container", "state"):
        with pytest.raises(FactMissing):
            getattr(facts, fact)


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_start_that_is_refused_is_told_in_systemd_s_own_words(host: h.Host) -> None:
    host.start_problem = "Access denied"
    ask(host)
    assert answers(host) == [f"cannot start {UNIT}: Access denied"]


def test_a_unit_that_cannot_be_told_is_not_started(host: h.Host) -> None:
    host.unit_problem = "Failed to connect to bus"
    ask(host)
    assert answers(host) == [f"cannot tell how {UNIT} is: Failed to connect to bus"]
    assert not host.world.processes


def test_one_that_fails_again_is_told_as_that(host: h.Host) -> None:
    host.stalled = {w.StartUnit}
    ask(host)
    host.world.end(host.world.first, 9)
    host.release()
    host.run(h.SECOND)
    (problem,) = answers(host)
    assert "was started, and failed again" in problem


def test_one_that_does_not_become_active_in_time_is_told_as_that(host: h.Host) -> None:
    unit_now(host, active="activating")
    ask(host)
    host.run(31 * h.SECOND)
    assert answers(host) == [f"{UNIT} is activating (start-limit-hit) 30 s after it was asked for"]


def test_the_unit_is_known_after_a_restart_of_the_agent(host: h.Host) -> None:
    host.crash()
    host.start(guard=Guard(allow=(BY_UNIT,), version="1"))
    host.coordinator.link()
    ask(host)
    host.run(2 * h.SECOND)
    assert answers(host) == [""]


def test_a_scope_is_no_service() -> None:
    assert not UnitState(name="a.scope", loaded=True, active="failed").ended_by({1})


def test_systemd_is_asked_how_it_restarts_the_unit(tmp_path: Path) -> None:
    said = (
        "LoadState=loaded\nActiveState=inactive\nResult=success\nExecMainPID=7\nExecMainCode=2\nExecMainStatus=15\n"
    )
    program = tmp_path / "systemctl.py"
    program.write_text(
        f"import sys\nassert 'Restart' in sys.argv[3].split(',')\nprint({said!r} + 'Restart=on-failure')"
    )
    answer = unit_seen(
        Systemd((sys.executable, str(program))), w.LookUnit(command_id="c1", unit="w.service", ask="a1")
    )
    assert answer.ask == "a1" and answer.state is not None
    assert answer.state.restart == "on-failure" and answer.state.ended_by({7})
