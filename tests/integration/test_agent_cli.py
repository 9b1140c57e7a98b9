"""`killdeer-agent` as an operator of the host meets it: doctor, guard test, halt, rearm, revert."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Action, Identity, Pause
from killdeer_agent.config import Config
from killdeer_agent.core.memory import intent_record
from killdeer_agent.guardtest import TrialError, trial
from killdeer_agent.journal import Journal
from killdeer_agent.kernel.proc import ProcFacts
from tests.support.rights import as_nobody
from tests.support.strikes import SLEEP, identity, running, stopped, until

CLI = [sys.executable, "-c", "from killdeer_agent.cli import main; main()"]
DEADLINE_S = 60  # against hanging only

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: guard files must be root's")
Ran = subprocess.CompletedProcess[str]


class Host:
    """A host's folders and its configuration."""

    def __init__(self, folder: Path) -> None:
        self.state, self.runtime, self.guard = (folder / name for name in ("state", "runtime", "guard.d"))
        for one in (self.state, self.runtime, self.guard):
            one.mkdir(mode=0o755)
        self.file = folder / "agent.toml"
        self.text = "\n".join(
            [
                'coordinators = ["127.0.0.1:1"]',
                'host = "web-1"',
                *(f'{name} = "{getattr(self, name)}"' for name in ("state", "runtime", "guard")),
                *(f'{name} = "{folder / name}"' for name in ("ca", "cert", "key")),
                "",
            ]
        )
        self.file.write_text(self.text)

    def agent(self, *arguments: str) -> Ran:
        return subprocess.run(
            [*CLI, "--config", str(self.file), *arguments],
            check=False,
            text=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with running(*SLEEP) as process:
        yield process


def rows_of(ran: Ran) -> list[dict[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


# --- doctor ----------------------------------------------------------------------------------------------------


def test_doctor_fails_where_the_agent_could_not_work_and_says_each_thing(host: Host) -> None:
    ran = host.agent("doctor", "--json")
    assert ran.returncode == 1
    findings = {one["name"]: one for one in json.loads(ran.stdout)}
    assert {"certificate", "coordinator", "journal", "guard", "evidence", "selectors", "clock"} <= set(findings)
    assert not findings["certificate"]["ok"]
    assert findings["journal"]["ok"]
    assert all(one["remedy"] for one in findings.values() if not one["ok"])


def test_doctor_prints_plain_lines_where_nobody_sees_colours(host: Host) -> None:
    ran = host.agent("doctor")
    assert "\x1b" not in ran.stdout
    assert any(line.startswith("FAIL  certificate") for line in ran.stdout.splitlines())


def test_doctor_names_a_halt_of_this_host(host: Host) -> None:
    host.agent("halt", "--reason", "a drill")
    findings = {one["name"]: one for one in json.loads(host.agent("doctor", "--json").stdout)}
    assert str(host.state / "halt") in findings["halt"]["fact"]


def test_a_faulty_configuration_is_refused_with_the_nearest_key(host: Host) -> None:
    host.file.write_text(host.text + 'gaurd = "/x"\n')
    ran = host.agent("doctor")
    assert ran.returncode == 2
    assert "did you mean 'guard'" in ran.stderr


# --- guard test ------------------------------------------------------------------------------------------------


def parent_is_us(process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    """Terms that no other test's process matches."""
    until(lambda: ProcFacts(process.pid).name == "sleep")
    return "name=sleep", f"parent={os.getpid()}"


@needs_root
def test_by_default_nothing_is_open_and_what_to_add_is_printed(
    host: Host, sleeper: "subprocess.Popen[bytes]"
) -> None:
    ran = host.agent("guard", "test", *parent_is_us(sleeper))
    assert ran.returncode == 0, ran.stderr
    assert f"pid {sleeper.pid}  sleep" in ran.stdout
    assert "kill       no   not allowed" in ran.stdout
    assert f"add to {host.guard}/sleep.toml:" in ran.stdout
    assert "1 match: 0 open to kill, 0 open to terminate, 0 open to pause, 0 open to hold-down" in ran.stdout


@needs_root
def test_what_is_printed_opens_what_it_says_once_it_is_added(
    host: Host, sleeper: "subprocess.Popen[bytes]"
) -> None:
    terms = parent_is_us(sleeper)
    printed = host.agent("guard", "test", *terms).stdout.splitlines()
    (place,) = [line for line in printed if "add to " in line]
    begin = printed.index(place) + 1
    lines = [line.removeprefix("    ") for line in printed[begin:] if line.startswith("    ")]
    Path(place.split("add to ")[1].removesuffix(":")).write_text("\n".join(lines))

    (row,) = rows_of(host.agent("guard", "test", "--json", *terms))
    assert (row["pid"], row["name"]) == (sleeper.pid, "sleep")
    assert {action: one["allowed"] for action, one in row["actions"].items()} == {
        "kill": True,
        "terminate": True,
        "pause": True,
        "hold-down": True,
    }
    assert "yes  (nothing is known to restart it)" in host.agent("guard", "test", *terms).stdout


@needs_root
def test_a_rule_for_one_action_opens_that_one(host: Host, sleeper: "subprocess.Popen[bytes]") -> None:
    (host.guard / "g.toml").write_text('[[allow]]\nprocess = ["name=sleep"]\nactions = ["pause"]\n')
    terms = parent_is_us(sleeper)
    (row,) = rows_of(host.agent("guard", "test", "--json", *terms))
    said = {action: one["reason"] for action, one in row["actions"].items()}
    assert said == {
        "kill": "action_not_allowed",
        "terminate": "action_not_allowed",
        "pause": "",
        "hold-down": "action_not_allowed",
    }
    (only,) = rows_of(host.agent("guard", "test", "--json", "--action", "pause", *terms))
    assert list(only["actions"]) == ["pause"]


def test_killdeers_own_is_refused_without_a_line_to_add(host: Host) -> None:
    (row,) = [
        one
        for one in rows_of(host.agent("guard", "test", "--json", f"parent={os.getppid()}", "--action", "kill"))
        if one["pid"] == os.getpid()
    ]
    assert row["actions"]["kill"]["reason"] == "killdeer"
    assert row["actions"]["kill"]["file"] == ""


def test_nothing_that_matches_is_said(host: Host) -> None:
    ran = host.agent("guard", "test", "name=no-such-program")
    assert (ran.returncode, ran.stdout) == (0, "nothing on this host matches\n")


@pytest.mark.parametrize("term", ["nmae=sleep", "name", "port=x", "cmdline~=("])
def test_a_term_that_cannot_be_read_is_refused(host: Host, term: str) -> None:
    ran = host.agent("guard", "test", term)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert term.split("=")[0].rstrip("~") in ran.stderr


def test_a_selector_that_this_user_cannot_evaluate_is_an_error_and_not_no_match() -> None:
    def ask() -> str:
        try:
            return str(trial(Config(coordinators=(), host="h"), ["exe=/bin/none"], ["kill"]))
        except TrialError as error:
            return f"refused: {error}"

    assert as_nobody(ask).startswith("refused: cannot try the guard: cannot evaluate the selector")


# --- halt, rearm -----------------------------------------------------------------------------------------------


def test_halt_is_latched_and_rearm_lifts_it(host: Host) -> None:
    ran = host.agent("halt", "--reason", "smoke in rack 4")
    assert ran.returncode == 0
    assert "smoke in rack 4" in (host.state / "halt").read_text()
    assert host.agent("halt").returncode == 0

    (host.runtime / "halt").touch()
    ran = host.agent("rearm")
    assert ran.returncode == 0
    assert not (host.state / "halt").exists()
    assert not (host.runtime / "halt").exists()
    assert "not halted here" in host.agent("rearm").stdout


@pytest.mark.parametrize("fault", ['gaurd = "/x"\n', "labels = 3\n"])
def test_halt_and_rearm_work_with_a_faulty_configuration_too(host: Host, fault: str) -> None:
    host.file.write_text(host.text + fault)
    assert host.agent("halt").returncode == 0
    assert (host.state / "halt").exists()
    assert host.agent("rearm").returncode == 0
    assert not (host.state / "halt").exists()


def test_halt_never_claims_to_have_halted_where_it_cannot_know_the_place(host: Host) -> None:
    host.file.write_text("not = [toml")
    ran = host.agent("halt")
    assert ran.returncode == 2
    assert str(host.file) in ran.stderr


def test_rearm_lifts_a_halt_file_that_leads_nowhere(host: Host) -> None:
    (host.state / "halt").symlink_to("nowhere")
    assert "rearmed" in host.agent("rearm").stdout
    assert not (host.state / "halt").is_symlink()


# --- revert ----------------------------------------------------------------------------------------------------


def paused(host: Host, process: "subprocess.Popen[bytes]", *, ticks_off: int = 0) -> None:
    """As an agent leaves it that died in mid-pause."""
    known = identity(process.pid, later_ticks=ticks_off)
    victim = Identity(
        host="web-1", boot_id=known.boot_id, pid=known.pid, start_ticks=known.start_ticks, program=known.program
    )
    command = agent_pb2.Strike(
        command_id="c1", run_id="r1", victim=victim, action=Action(pause=Pause(length_ms=3_600_000))
    )
    journal, _, _ = Journal.open(host.state)
    journal.append(intent_record(command, (known,), 1, signal.SIGSTOP))
    journal.close()
    process.send_signal(signal.SIGSTOP)
    assert stopped(process.pid)


def state_of(process: "subprocess.Popen[bytes]") -> str:
    return ProcFacts(process.pid).state


def test_revert_resumes_what_a_dead_agent_left_paused(host: Host, sleeper: "subprocess.Popen[bytes]") -> None:
    paused(host, sleeper)
    ran = host.agent("revert")
    assert ran.returncode == 0, ran.stderr + ran.stdout
    until(lambda: state_of(sleeper) == "S")
    assert '"event": "reverted"' in ran.stdout


def test_revert_works_with_a_faulty_configuration_too(host: Host, sleeper: "subprocess.Popen[bytes]") -> None:
    paused(host, sleeper)
    host.file.write_text(host.text + 'gaurd = "/x"\n')
    assert host.agent("revert").returncode == 0
    until(lambda: state_of(sleeper) == "S")


def test_revert_leaves_another_process_with_the_same_pid_alone(
    host: Host, sleeper: "subprocess.Popen[bytes]"
) -> None:
    paused(host, sleeper, ticks_off=7)
    assert host.agent("revert").returncode == 0
    assert state_of(sleeper) == "T"


def test_revert_leaves_a_live_agents_journal_alone(host: Host, sleeper: "subprocess.Popen[bytes]") -> None:
    paused(host, sleeper)
    journal, _, _ = Journal.open(host.state)
    ran = host.agent("revert")
    journal.close()
    assert ran.returncode == 0
    assert state_of(sleeper) == "T"


def test_revert_with_nothing_to_do_is_done(host: Host) -> None:
    assert host.agent("revert").returncode == 0
