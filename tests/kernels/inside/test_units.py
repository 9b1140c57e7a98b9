"""The shipped units under a real systemd: their rights are enough, and an agent that dies leaves nothing paused."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from killdeer_agent.surroundings import CAPABILITIES
from tests.kernels.inside.service import (
    AGENT,
    HOST,
    PATIENCE_S,
    PROGRAMS,
    SHIPPED,
    UNITS,
    connected,
    installed,
    journal,
    killdeer,
    main_of,
    no_btf,
    ran,
    run,
    shown,
    state_of,
    systemctl,
    told,
)
from tests.support.fleet import wait_until

VICTIM = "victim@1.service"
Measured = Callable[[str, float], None]
PAUSE = f"""
killdeer: 1
name: a pause that outlives its agent
environment: staging
target: {{hosts: {{host: {HOST}}}, process: {{unit: {VICTIM}}}}}
action: {{pause: 10m}}
waves: [{{name: one, strikes: 1}}]
recovery: {{within: 20m}}
"""


@pytest.fixture(scope="module", autouse=True)
def services() -> Iterator[None]:
    with installed():
        yield


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Measured:
    """Prints how long after a time this is."""

    def told(what: str, begun: float) -> None:
        with capsys.disabled():
            print(f"\nmeasured: {what} {time.monotonic() - begun:.1f} s after")

    return told


@pytest.fixture
def paused() -> Iterator[int]:
    """The main process of a unit, paused by a strike for longer than the test takes."""
    connected()
    victim = main_of(VICTIM)
    run(PAUSE, struck=lambda: state_of(victim) == "T")
    yield victim
    wait_until(lambda: state_of(victim) == "S", "it is resumed", PATIENCE_S)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_agent_runs_as_its_own_user_with_three_capabilities_and_a_filter() -> None:
    status = status_of(main_of(AGENT))
    uid = int(ran("id", "-u", "killdeer").out)
    assert status["Uid"].split() == [str(uid)] * 4
    granted = sum(1 << CAPABILITIES[name] for name in ("CAP_KILL", "CAP_BPF", "CAP_PERFMON"))
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")] == [granted] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_with_these_rights_it_has_the_kernels_record() -> None:
    assert shown(AGENT, "StatusText") == "evidence: bpf", journal()


def test_doctor_finds_all_that_is_needed_and_how_to_ask_as_the_agent() -> None:
    found = {one["name"]: one for one in json.loads(ran(PROGRAMS / "killdeer-agent", "doctor", "--json").out)}
    wrong = {name for name, one in found.items() if not one["ok"]}
    assert wrong - {"time"} == {"rights"}, "and nobody keeps the clock of a guest in step"
    as_agent = ran("sh", "-c", found["rights"]["remedy"].removeprefix("ask as the agent: ")).out
    assert "doctor asks as killdeer, with CAP_KILL, CAP_PERFMON, CAP_BPF" in as_agent
    assert "the kernel's record: raw tracepoints through libbpf" in as_agent


def test_a_unit_that_consents_is_struck_and_systemds_successor_is_its_recovery() -> None:
    victim = main_of(VICTIM)
    said = killdeer("strike", HOST, f"unit={VICTIM}", "--kill", "--yes").out
    assert f"kill with SIGKILL (pid {victim}, sleep)" in said
    assert f"successor: pid {main_of(VICTIM)} " in said
    why = killdeer("why", HOST, VICTIM).out
    assert f"(pid {victim})" in why
    assert "a strike of ours" in why


def test_a_unit_that_does_not_consent_is_not_struck() -> None:
    other = main_of("other.service")
    said = killdeer("strike", HOST, "unit=other.service", "--kill", "--yes", code=2)
    assert "nothing on this host opts it in" in said.err
    assert main_of("other.service") == other


def test_an_inspection_asks_systemd_itself_as_the_agents_own_user() -> None:
    connected()
    said = json.loads(killdeer("inspect", HOST, "unit=other.service", "--json").out)
    (other,) = said["subjects"]
    found = {one["name"]: one["fact"] for one in other["findings"]}
    assert other["unasked"] == ""
    assert [(one["pid"], one["main"]) for one in other["processes"]] == [(main_of("other.service"), True)]
    assert found["restart"].startswith("Restart=always: systemd starts it again 0ms after SIGKILL")
    assert {"stop", "no-watchdog", "term-not-caught", "memory-unlimited", "start-limit-off"} <= found.keys()
    opted_in = json.loads(killdeer("inspect", HOST, "--json").out)["subjects"]
    assert [(one["service"], one["units"]) for one in opted_in] == [
        ("victim@", ["victim@1.service", "victim@2.service"])
    ]


def test_a_stop_in_mid_pause_resumes_before_it_is_over(paused: int) -> None:
    systemctl("stop", AGENT)
    assert state_of(paused) == "S"
    assert shown(AGENT, "Result") == "success"
    systemctl("start", AGENT)


def test_an_agent_killed_in_mid_pause_is_followed_by_a_revert(paused: int, measured: Measured) -> None:
    agent, begun = main_of(AGENT), time.monotonic()
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: state_of(paused) == "S", "it is resumed", PATIENCE_S)
    measured("agent killed in mid-pause, resumed", begun)
    wait_until(lambda: main_of(AGENT) not in (0, agent), "it is back", PATIENCE_S)
    by = [line["pid"] for line in told(AGENT, "reverted")]
    assert by and not {agent, main_of(AGENT)} & set(by), journal()


def test_an_agent_frozen_in_mid_pause_is_killed_by_its_watchdog_and_followed_by_a_revert(
    paused: int, measured: Measured
) -> None:
    agent, begun = main_of(AGENT), time.monotonic()
    os.kill(agent, signal.SIGSTOP)
    wait_until(lambda: state_of(paused) == "S", "it is resumed", PATIENCE_S)
    measured("agent frozen in mid-pause, resumed", begun)
    assert "Watchdog timeout" in journal()
    wait_until(lambda: main_of(AGENT) not in (0, agent), "it is back", PATIENCE_S)


def test_on_a_kernel_without_btf_a_drop_in_lets_it_collect_through_bcc() -> None:
    drop_ins = UNITS / f"{AGENT}.d"
    shutil.copy(SHIPPED / "drop-ins" / "20-bcc.conf", drop_ins)
    ran("sysctl", "--write", "kernel.perf_event_paranoid=2")  # as the drop-in says
    with no_btf():
        systemctl("daemon-reload")
        systemctl("restart", AGENT)
    assert shown(AGENT, "StatusText") == "evidence: bpf", journal()
    assert told(AGENT, "started")[-1]["detail"].startswith(
        "raw tracepoints through bcc, with this kernel's headers"
    )
