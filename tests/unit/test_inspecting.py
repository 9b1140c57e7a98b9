"""What facts of a service mean for a strike: severities, numbers, and the line to change. Pure."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer_agent.core.finding import INFO, PROBLEM, WARNING, Finding
from killdeer_agent.core.inspecting import findings, subject
from killdeer_agent.core.preparedness import CgroupFacts, ProcessFacts, ServiceFacts, Share, UnitSettings
from killdeer_agent.core.signals import CHLD, INT, KILL, QUIT, TERM

CORE = Path(__file__).parents[2] / "agent/killdeer_agent/core"
DECISION = Path(__file__).parents[2] / "docs/decisions/0028-inspect.md"
S = 1_000_000
M = 1 << 20
UNIT = "worker.service"
SOUND = UnitSettings(
    name=UNIT,
    main_pid=70,
    kind="notify",
    restart="always",
    restart_us=S,
    stop_us=30 * S,
    watchdog_us=30 * S,
    start_interval_us=0,
    state="running",
)
PROCESS = ProcessFacts(
    pid=70,
    name="worker",
    user="worker",
    unit=UNIT,
    caught=frozenset({TERM}),
    effective_uid=990,
    open_files=14,
    files_soft=1_024,
    files_hard=524_288,
    oom_score_adj=0,
)
CGROUP = CgroupFacts(
    path=f"/system.slice/{UNIT}",
    read=True,
    memory_used=100 * M,
    memory=Share(cgroup=f"/system.slice/{UNIT}", used=100 * M, most=512 * M),
    tasks=Share(cgroup=f"/system.slice/{UNIT}", used=4, most=512),
)
SERVICE = ServiceFacts(
    service=UNIT, processes=(PROCESS,), units=(SOUND,), unit_names=(UNIT,), cgroups=(CGROUP,), members=2
)


def of_unit(**changed: object) -> dict[str, Finding]:
    return named(replace(SERVICE, units=(replace(SOUND, **changed),)))  # type: ignore[arg-type]


def of_process(**changed: object) -> dict[str, Finding]:
    return named(replace(SERVICE, processes=(replace(PROCESS, **changed),)))  # type: ignore[arg-type]


def of_cgroup(**changed: object) -> dict[str, Finding]:
    return named(replace(SERVICE, cgroups=(replace(CGROUP, **changed),)))  # type: ignore[arg-type]


def named(service: ServiceFacts) -> dict[str, Finding]:
    found = findings(service)
    assert len({(one.name, one.severity, one.directive) for one in found}) == len(found), "each is said once"
    assert all(bool(one.section) == bool(one.directive) for one in found)
    return {one.name: one for one in found}


def test_a_service_that_is_well_prepared_has_facts_and_nothing_to_change() -> None:
    found = findings(SERVICE)
    assert {one.severity for one in found} == {INFO}
    assert {one.name for one in found} >= {"term-caught", "restart", "stop", "watchdog", "files", "memory-limit"}
    assert [one.directive for one in found if one.directive] == []


def test_the_gravest_come_first() -> None:
    service = replace(SERVICE, units=(replace(SOUND, restart="no", watchdog_us=None, stop_us=None),))
    severities = [one.severity for one in findings(service)]
    assert severities == sorted(severities, reverse=True)
    assert severities[0] == PROBLEM


@pytest.mark.parametrize(
    ("changed", "severity", "name", "number", "directive"),
    [
        ({"restart": "no"}, PROBLEM, "restart-never", "Restart=no", "Restart=on-failure"),
        ({"restart": ""}, PROBLEM, "restart-never", "Restart=no", "Restart=on-failure"),
        ({"restart": "on-watchdog"}, PROBLEM, "restart-not-after-kill", "SIGKILL", "Restart=on-failure"),
        ({"restart": "on-success"}, PROBLEM, "restart-not-after-kill", "SIGKILL", "Restart=on-failure"),
        ({"restart": "on-failure"}, WARNING, "restart-not-after-term", "SIGTERM", "Restart=always"),
        ({"unrestarted_signals": {KILL}}, PROBLEM, "restart-prevented", "SIGKILL", "RestartPreventExitStatus="),
        (
            {"restart": "on-failure", "clean_signals": {KILL}},
            PROBLEM,
            "restart-prevented",
            "Success",
            "Restart=always",
        ),
        ({"restart_us": 90 * S}, WARNING, "restart-slow", "RestartSec=1m30s", "RestartSec=1s"),
        ({"restart_us": None}, WARNING, "restart-slow", "RestartSec=infinity", "RestartSec=1s"),
        ({"stop_us": None}, WARNING, "stop-endless", "TimeoutStopSec=infinity", "TimeoutStopSec=90s"),
        ({"stop_us": 0}, WARNING, "stop-endless", "TimeoutStopSec=infinity", "TimeoutStopSec=90s"),
        ({"stop_us": 2 * S}, WARNING, "stop-short", "2s after", "TimeoutStopSec=30s"),
        ({"stop_us": 900 * S}, WARNING, "stop-long", "15m", "TimeoutStopSec=90s"),
        ({"stop_us": 10 * S}, INFO, "stop", "10s", ""),
        ({"sends_kill": False}, PROBLEM, "stop-without-kill", "SendSIGKILL=no", "SendSIGKILL=yes"),
        ({"kill_mode": "process"}, WARNING, "kill-mode", "KillMode=process", "KillMode=control-group"),
        ({"kill_mode": "none"}, WARNING, "kill-mode", "KillMode=none", "KillMode=control-group"),
        ({"kill_signal": INT}, INFO, "kill-signal", "SIGINT", ""),
        ({"final_signal": QUIT}, WARNING, "final-signal", "SIGQUIT", "FinalKillSignal=SIGKILL"),
        ({"failure_action": "reboot-force"}, PROBLEM, "failure-reboots", "reboot-force", "FailureAction=none"),
        ({"watchdog_us": None}, INFO, "no-watchdog", "pause", "WatchdogSec=30s"),
        ({"watchdog_us": 5 * S}, INFO, "watchdog", "5s", ""),
        ({"main_pid": 0, "kind": "forking"}, WARNING, "no-main-process", "MainPID=0", "PIDFile=/run/NAME.pid"),
        ({"oom_policy": "continue"}, INFO, "oom-policy", "OOMPolicy=continue", "OOMPolicy=stop"),
        ({"restarts": 7}, WARNING, "restarted", "7 times", ""),
        ({"result": "oom-kill"}, WARNING, "last-result", "oom-kill", ""),
        ({"result": "start-limit-hit"}, WARNING, "last-result", "left dead", ""),
        ({"state": "auto-restart"}, PROBLEM, "down-now", "auto-restart", ""),
        ({"reload_needed": True}, WARNING, "daemon-reload", "changed", ""),
    ],
)
def test_what_systemd_would_do(
    changed: dict[str, object], severity: a.Severity, name: str, number: str, directive: str
) -> None:
    changed = {key: frozenset(value) if isinstance(value, set) else value for key, value in changed.items()}
    finding = of_unit(**changed)[name]
    assert (finding.severity, finding.directive) == (severity, directive)
    assert number in finding.fact
    assert finding.units == (UNIT,)
    assert bool(finding.section) == bool(directive)
    assert not directive or finding.section == ("Unit" if name.endswith("reboots") else "Service")


def test_a_forced_restart_goes_before_one_that_is_prevented() -> None:
    both = of_unit(unrestarted_signals=frozenset({KILL}), restarted_signals=frozenset({KILL}))
    assert "restart-prevented" not in both
    assert "restart-not-after-term" not in of_unit(restart="on-failure", restarted_signals=frozenset({TERM}))


def test_one_kill_more_than_the_burst_leaves_it_dead() -> None:
    """systemd counts starts: the burst of them is let through, and the next within the interval is not."""
    found = of_unit(start_burst=5, start_interval_us=10 * S, restart_us=100_000)
    assert found["start-limit"].severity == WARNING
    assert (
        found["start-limit"].fact
        == "6 kills within 10s leave it dead (StartLimitBurst=5, StartLimitIntervalSec=10s)"
    )
    assert found["start-limit"].directive == "RestartSec=3s"


@pytest.mark.parametrize("interval_s", [1, 7, 10, 30])
@pytest.mark.parametrize("burst", [1, 3, 5])
def test_the_pause_it_names_keeps_starts_below_the_limit(burst: int, interval_s: int) -> None:
    found = of_unit(start_burst=burst, start_interval_us=interval_s * S, restart_us=0)["start-limit"]
    pause = re.fullmatch(r"RestartSec=(\d+)s", found.directive)
    assert pause is not None
    again = of_unit(start_burst=burst, start_interval_us=interval_s * S, restart_us=int(pause[1]) * S)
    assert again["start-limit"].severity == INFO


def test_a_start_limit_that_reboots_is_a_problem_only_where_it_can_be_reached() -> None:
    reached = of_unit(start_burst=5, start_interval_us=10 * S, start_action="reboot")
    assert reached["start-limit-reboots"].severity == PROBLEM
    assert "start-limit-reboots" not in of_unit(start_action="reboot")
    assert "start-limit-off" in of_unit()


@pytest.mark.parametrize(
    ("changed", "severity", "name", "number"),
    [
        ({"caught": set(), "ignored": {TERM}}, PROBLEM, "term-ignored", "SIGTERM"),
        ({"caught": set()}, WARNING, "term-not-caught", "dies at once"),
        ({"caught": set(), "blocked": {TERM}}, WARNING, "term-blocked", "blocks SIGTERM"),
        ({"caught": set(), "blocked": {TERM}, "heard": {TERM}}, INFO, "term-caught", "signalfd"),
        ({"caught": set(), "held_back": {TERM}}, INFO, "term-waited-for", "sigwait"),
        ({"caught": set(), "first_of_namespace": True}, PROBLEM, "term-dropped", "pid 1"),
        ({"first_of_namespace": True}, INFO, "no-reaper", "SIGCHLD"),
        ({"zombies": (71, 72)}, WARNING, "zombies", "2 children"),
        ({"zombies": (71,), "first_of_namespace": True}, PROBLEM, "zombies", "1 child of it has exited"),
        ({"effective_uid": 0, "capabilities": 1 << 21 | 1}, WARNING, "root", "2 capabilities, CAP_SYS_ADMIN"),
        ({"effective_uid": 0, "capabilities": 1}, INFO, "root", "1 capability"),
        ({"capabilities": 1 << 19}, INFO, "capabilities", "CAP_SYS_PTRACE"),
        ({"open_files": 800}, WARNING, "files", "800 of 1,024 files"),
        ({"open_files": 1_000}, PROBLEM, "files", "1,000 of 1,024 files"),
        ({"open_files": None}, INFO, "files", "1,024 files; this agent may not count"),
        ({"oom_score_adj": -1000}, WARNING, "oom-never", "-1000"),
        ({"oom_score_adj": -900}, INFO, "oom-order", "-900"),
        ({"oom_score_adj": 800}, INFO, "oom-order", "800"),
    ],
)
def test_what_the_process_itself_would_do(
    changed: dict[str, object], severity: a.Severity, name: str, number: str
) -> None:
    changed = {key: frozenset(value) if isinstance(value, set) else value for key, value in changed.items()}
    finding = of_process(**changed)[name]
    assert finding.severity == severity
    assert number in finding.fact
    assert finding.pids == (70,)


def test_who_ignores_term_and_handles_another_signal_is_given_that_line_unless_it_has_it() -> None:
    told = {"caught": frozenset({INT}), "ignored": frozenset({TERM})}
    assert of_process(**told)["term-ignored"].directive == "KillSignal=SIGINT"
    service = replace(SERVICE, processes=(replace(PROCESS, **told),), units=(replace(SOUND, kill_signal=INT),))  # type: ignore[arg-type]
    assert named(service)["term-ignored"].directive == ""


def test_a_first_process_that_handles_sigchld_is_taken_for_one_that_reaps() -> None:
    assert "no-reaper" not in of_process(first_of_namespace=True, caught=frozenset({TERM, CHLD}))


def test_what_cannot_be_had_is_concluded_from_in_no_way() -> None:
    found = of_process(open_files=None, files_soft=None, oom_score_adj=None, heard=None)
    assert not {"files", "oom-order", "oom-never"} & found.keys()
    assert not {"memory-limit", "memory-unlimited", "tasks"} & of_cgroup(read=False, memory=None, tasks=None).keys()
    without_systemd = named(replace(SERVICE, units=(), unasked="pid 1 of this host is bash"))
    assert not {name for name in without_systemd if name.startswith(("restart", "stop", "start-limit"))}


@pytest.mark.parametrize(
    ("used", "severity", "directive"),
    [(100, INFO, ""), (400, WARNING, "MemoryMax=1G"), (500, PROBLEM, "MemoryMax=1G")],
)
def test_memory_is_told_against_its_nearest_limit(used: int, severity: a.Severity, directive: str) -> None:
    share = Share(cgroup=CGROUP.path, used=used * M, most=512 * M)
    finding = of_cgroup(memory_used=used * M, memory=share)["memory-limit"]
    assert (finding.severity, finding.directive) == (severity, directive)
    assert f"{used}M of MemoryMax=512M" in finding.fact


def test_a_limit_of_a_slice_above_is_named_and_is_no_line_for_the_unit() -> None:
    finding = of_cgroup(memory=Share(cgroup="/system.slice", used=500 * M, most=512 * M))["memory-limit"]
    assert "of /system.slice" in finding.fact
    assert (finding.severity, finding.directive) == (PROBLEM, "")


def test_memory_without_a_limit_is_given_one_with_room() -> None:
    finding = of_cgroup(memory=None)["memory-unlimited"]
    assert (finding.severity, finding.directive) == (WARNING, "MemoryMax=256M")
    assert "it uses 100M" in finding.fact


def test_tasks_and_the_brake_on_memory_are_told_when_they_are_near() -> None:
    near = of_cgroup(tasks=Share(cgroup=CGROUP.path, used=500, most=512))["tasks"]
    assert (near.severity, near.directive) == (PROBLEM, "TasksMax=1024")
    braked = of_cgroup(throttle=Share(cgroup=CGROUP.path, used=255 * M, most=256 * M))["memory-high"]
    assert braked.severity == WARNING
    assert "MemoryHigh=256M" in braked.fact


def test_one_process_alone_is_a_single_point_of_failure() -> None:
    assert named(replace(SERVICE, members=1))["one-instance"].severity == WARNING
    assert "one-instance" not in named(SERVICE)
    assert "ends 1 other process with it" in named(SERVICE)["one-unit"].fact


def test_outside_of_units_nobody_is_known_to_start_it_again() -> None:
    bare = replace(SERVICE, service="/usr/bin/worker", unit_names=(), units=())
    alone = named(replace(bare, processes=(replace(PROCESS, unit="", parent="bash (pid 12)"),)))
    assert alone["restart-nobody"].severity == WARNING
    assert "bash (pid 12)" in alone["restart-nobody"].fact
    assert named(replace(bare, container="ab" * 32))["restart-by-runtime"].severity == INFO


def test_a_scope_is_started_again_by_nobody_that_systemd_knows() -> None:
    scope = UnitSettings(name="run-7.scope")
    found = named(replace(SERVICE, units=(scope,), unit_names=("run-7.scope",)))
    assert found["restart-scope"].severity == WARNING
    assert not {"restart-never", "stop"} & found.keys()


def test_what_is_the_same_of_many_is_said_once_as_of_the_worst() -> None:
    many = tuple(
        replace(PROCESS, pid=pid, open_files=opened) for pid, opened in ((70, 950), (71, 1_000), (72, 940))
    )
    found = named(replace(SERVICE, processes=many, members=3))["files"]
    assert found.pids == (70, 71, 72)
    assert found.fact.startswith("1,000 of")
    instances = tuple(replace(SOUND, name=f"w@{number}.service", restart="no") for number in (1, 2))
    assert named(replace(SERVICE, units=instances))["restart-never"].units == ("w@1.service", "w@2.service")


def test_on_the_wire_the_main_process_is_marked() -> None:
    many = (PROCESS, replace(PROCESS, pid=71))
    told = subject(replace(SERVICE, processes=many, left_out=3))
    assert [(one.pid, one.main) for one in told.processes] == [(70, True), (71, False)]
    assert (told.service, list(told.units), told.left_out) == (UNIT, [UNIT], 3)
    assert told.findings[0].severity >= told.findings[-1].severity


def test_names_are_the_closed_list_of_the_decision() -> None:
    used: set[str] = set()
    for module in ("inspecting", "supervised", "bounds"):
        text = (CORE / f"{module}.py").read_text()
        used |= set(re.findall(r'(?:Finding|finding)\(\s*(?:INFO|WARNING|PROBLEM|severity),\s*"([a-z-]+)"', text))
    listed = set(re.findall(r"^\| `([a-z-]+)`", DECISION.read_text(), re.MULTILINE))
    assert used == listed


def test_times_to_stop_and_to_restart_are_the_longest_of_its_units_and_none_that_has_no_end() -> None:
    slow = replace(SOUND, name="worker-2.service", stop_us=90 * S, restart_us=None)
    told = subject(replace(SERVICE, units=(SOUND, slow)))
    assert (told.stop_ms, told.restart_ms) == (90_000, 1_000)
    assert subject(replace(SERVICE, units=(replace(SOUND, stop_us=None),))).stop_ms == 0
    assert subject(replace(SERVICE, units=())).stop_ms == 0
