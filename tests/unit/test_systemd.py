"""systemctl as the agent uses it: what it says of a unit, and the order to start one (R15)."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from killdeer_agent import systemd
from killdeer_agent.core.unit import UnitState
from killdeer_agent.core.words import StartUnit
from killdeer_agent.systemd import Systemd

FAILED = """LoadState=loaded
ActiveState=failed
Result=start-limit-hit
ExecMainPID=4711
ExecMainCode=2
ExecMainStatus=9
"""

Make = Callable[..., Systemd]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def systemctl(tmp_path: Path, calls: Path) -> Make:
    """One that keeps how it was called, and says what a test has it say."""

    def make(
        says: str = "", *, code: int = 0, complains: str = "", sleeps: bool = False, jobs: str = ""
    ) -> Systemd:
        program = tmp_path / "systemctl.py"
        program.write_text(
            "import sys, time\n"
            f"with open({str(calls)!r}, 'a') as file: print(*sys.argv[1:], file=file)\n"
            f"print({complains!r}, file=sys.stderr)\n"
            f"sys.stdout.write({jobs!r} if sys.argv[1] == 'list-jobs' else {says!r})\n"
            + ("sys.stdout.flush(); time.sleep(600)\n" if sleeps else "")
            + f"sys.exit({code})\n"
        )
        return Systemd((sys.executable, str(program)))

    return make


def test_r15_it_says_whether_the_unit_failed_and_by_whose_death(systemctl: Make) -> None:
    state = systemctl(FAILED).look("w.service")
    assert state == UnitState(
        name="w.service", loaded=True, active="failed", result="start-limit-hit", main_pid=4711, main_signal=9
    )
    assert state.failed_by({4711}) and not state.failed_by({4712}) and not state.runs


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("ActiveState=failed", "ActiveState=inactive"),  # somebody has stopped it
        ("ActiveState=failed", "ActiveState=activating"),  # it is about to be restarted
        ("LoadState=loaded", "LoadState=masked"),
        ("ExecMainCode=2", "ExecMainCode=1"),  # it exited, with status 9
        ("ExecMainStatus=9", "ExecMainStatus=11"),
    ],
)
def test_r15_any_other_unit_has_not_failed_by_our_blows(systemctl: Make, line: str, instead: str) -> None:
    assert not systemctl(FAILED.replace(line, instead)).look("w.service").failed_by({4711})


DEACTIVATING = FAILED.replace("=failed", "=deactivating")


@pytest.mark.parametrize(
    ("job", "jobs", "ordered"),
    [
        ("Job=\n", "", False),
        ("", "", False),  # an older systemctl keeps quiet about what is empty
        ("Job=7\n", "6 v.service start running\n7 w.service stop waiting\n", True),
        ("Job=7\n", "6 v.service stop running\n7 w.service restart waiting\n", False),
        ("Job=7\n", "7 w.service start waiting\n", False),
        ("Job=7\n", "", True),  # done by now
    ],
)
def test_r15_a_stop_that_waits_while_it_deactivates_is_somebody_s(
    systemctl: Make, job: str, jobs: str, ordered: bool
) -> None:
    assert systemctl(DEACTIVATING + job, jobs=jobs).look("w.service").stop_ordered is ordered


def test_r15_jobs_are_asked_for_only_of_a_unit_that_deactivates(systemctl: Make, calls: Path) -> None:
    assert not systemctl(FAILED + "Job=7\n", jobs="7 w.service stop waiting\n").look("w.service").stop_ordered
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("active", "on_its_way"), [("activating", True), ("deactivating", True), ("failed", False)]
)
def test_i6_what_activates_or_deactivates_is_neither_up_nor_down(
    systemctl: Make, active: str, on_its_way: bool
) -> None:
    assert systemctl(FAILED.replace("=failed", f"={active}")).look("w.service").on_its_way is on_its_way


def test_a_unit_that_is_active_runs_and_a_scope_has_nobody_to_start_it(systemctl: Make) -> None:
    active = FAILED.replace("=failed", "=active")
    assert systemctl(active).look("w.service").runs
    assert not systemctl(active).look("docker-1.scope").runs


def test_r15_a_start_forgets_the_start_limit_first_and_waits_for_nothing(systemctl: Make, calls: Path) -> None:
    systemctl().start("w.service")
    assert calls.read_text().splitlines() == ["reset-failed -- w.service", "start --no-block -- w.service"]


def test_i10_what_it_does_not_say_is_not_guessed(systemctl: Make) -> None:
    with pytest.raises(OSError, match="says nothing of Result"):
        systemctl(FAILED.replace("Result=start-limit-hit\n", "")).look("w.service")


def test_r13_a_refusal_is_told_in_its_own_words(systemctl: Make, calls: Path) -> None:
    with pytest.raises(OSError, match="Access denied"):
        systemctl(code=1, complains="Access denied").start("w.service")
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "denied"),
    [
        ("Failed to start w.service: Access denied", True),
        ("Failed to start w.service: Interactive authentication required.", True),
        (
            "Failed to start w.service: Access denied as the requested operation requires interactive "
            "authentication. However, interactive authentication has not been enabled by the calling program.",
            True,
        ),
        ("Failed to start w.service: Unit w.service not found.", False),
        ("Failed to connect to bus: Connection refused", False),
        ("Failed to connect to bus: Permission denied", False),
    ],
)
@pytest.mark.parametrize("verb", ["reset-failed", "start"])
def test_r13_a_start_that_the_agent_has_no_right_to_is_told_as_that(
    tmp_path: Path, verb: str, said: str, denied: bool
) -> None:
    program = tmp_path / "systemctl.py"
    program.write_text(f"import sys; sys.exit({said!r} if sys.argv[1] == {verb!r} else 0)\n")
    answer = systemd.unit_started(
        Systemd((sys.executable, str(program))), StartUnit(command_id="c1", unit="w.service")
    )
    assert (answer.denied, answer.reset) == (denied, verb == "start") and said in answer.problem


def test_r13_a_unit_that_is_reset_and_not_started_is_told_as_that(tmp_path: Path) -> None:
    program = tmp_path / "systemctl.py"
    program.write_text("import sys; sys.exit('Connection timed out' if sys.argv[1] == 'start' else 0)\n")
    answer = systemd.unit_started(
        Systemd((sys.executable, str(program))), StartUnit(command_id="c1", unit="w.service")
    )
    assert answer.reset and "Connection timed out" in answer.problem


def test_a_host_without_systemctl_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Systemd((str(tmp_path / "none"),)).look("w.service")


def test_one_that_hangs_is_given_up(systemctl: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "PATIENCE_S", 0.5)
    with pytest.raises(OSError, match="has not answered"):
        systemctl(sleeps=True).look("w.service")
