"""The main job, end to end: real daemons, real TLS, real processes, the kernel's own record."""

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, wait_until

ROULETTE = """
killdeer: 1
name: roulette
environment: development
hypothesis: Whoever is killed comes back.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 2, per_host: 2}
waves:
  - {name: all, strikes: 6, action: kill}
recovery: {within: 30s}
"""

PAUSES = """
killdeer: 1
name: pauses
environment: development
hypothesis: A pause ends.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 3, per_host: 3}
waves:
  - {name: pauses, strikes: 6, action: {pause: 10m}}
  - {name: kills, strikes: 3, action: kill}
recovery: {within: 20m}
"""


@pytest.fixture(scope="module")
def three_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as started:
        yield started


def victims(strikes: list[Any]) -> list[tuple[str, str, int]]:
    struck = [s for s in strikes if not s.get("dry_run")]
    return [(s["victim"]["host"], s["service"], int(s.get("ordinal", 0))) for s in struck]


def unrecovered(strike: Any) -> tuple[int, int]:
    """From the kernel's own time of the signal to when the agent saw that the service was as before."""
    begun = min(int(blow["seen_boot_ns"]) for blow in strike["blows"])
    return begun, begun + int(strike["recovered_after_ns"])


def down(strike: Any) -> tuple[int, int]:
    """From the kernel's own time of the exit to the kernel's start time of the successor."""
    return int(strike["exit"]["at_boot_ns"]), int(strike["successor"]["at_boot_ns"])


def most_at_once(spans: Iterable[tuple[int, int]]) -> int:
    changes = [change for begun, ended in spans for change in ((begun, 1), (ended, -1))]
    at_once = most = 0
    for _, change in sorted(changes):
        at_once += change
        most = max(most, at_once)
    return most


def test_the_same_seed_picks_the_same_victims_in_two_sandboxes_and_another_seed_does_not(tmp_path: Path) -> None:
    chosen = []
    for folder in ("one", "two"):
        with fleet(tmp_path / folder, "--workers", "5") as started:
            started.killdeer("run", started.experiment(ROULETTE), "--seed", "7")
            chosen.append(victims(started.strikes()))
            if folder == "two":
                started.killdeer("run", started.experiment(ROULETTE), "--seed", "8")
                assert victims(started.strikes()) != chosen[0]
    assert len(chosen[0]) == 6
    assert chosen[0] == chosen[1]


def test_never_more_than_two_victims_are_unrecovered_over_three_agents_and_thirty_workers(tmp_path: Path) -> None:
    with fleet(tmp_path, "--workers", "10", "--restart-after", "700ms") as started:
        assert len(started.workers()) == 30
        started.killdeer("run", started.experiment(ROULETTE.replace("strikes: 6", "strikes: 12")))
        strikes = started.strikes()
        assert len(strikes) == 12
        assert all(strike["state"] == "STRIKE_STATE_RECOVERED" for strike in strikes)
        # Two were down at once, or the limit was not what held them back.
        assert most_at_once(map(unrecovered, strikes)) == 2
        assert most_at_once(map(down, strikes)) <= 2
        assert len(started.workers()) == 30


def test_a_strike_says_what_the_kernel_saw(three_hosts: Fleet) -> None:
    three_hosts.killdeer("strike", "sandbox-1", "name=sandbox-worker", "oldest", "--kill", "--yes")
    (strike,) = three_hosts.strikes()
    (blow,) = strike["blows"]
    assert blow["signal"] == 9
    assert blow["kernel_verdict"] == "delivered"
    assert blow["sender_pid"]
    assert strike["exit"]["signal"] == 9
    assert strike["exit"]["source"] == "bpf"
    assert int(strike["exit"]["at_boot_ns"]) >= int(blow["seen_boot_ns"])
    assert strike["successor"]["identity"]["pid"] != strike["victim"]["pid"]
    events = three_hosts.killdeer("events", "--run", "latest", "--json").lines
    kinds = {kind for event in events for kind in ("signal", "exit") if kind in event["event"]}
    assert kinds == {"signal", "exit"}


def test_halt_stops_strikes_reverts_pauses_and_stays_latched_over_restarts(tmp_path: Path) -> None:
    with fleet(tmp_path) as started:
        file = started.experiment(PAUSES)
        running = started.begin("run", file)
        # Three are paused, as the limit says; the other strikes of the run are queued behind them.
        wait_until(lambda: len(started.stopped()) == 3, "three workers are paused")
        before = {worker.pid for worker in started.workers()}

        halted = started.killdeer("halt", "--reason", "drill", "--json").lines[-1]
        assert halted["complete"]
        assert halted["stopped"] == halted["total"] == 3
        assert sum(int(host.get("reverted", 0)) for host in halted["hosts"]) == 3
        assert started.stopped() == []
        running.ended(3)

        refused = started.killdeer("run", file, code=2)
        assert "drill" in refused.err
        for daemon in (started.coordinator(), *(started.agent(f"sandbox-{n}") for n in (1, 2, 3))):
            daemon.kill()
            daemon.wait()
        wait_until(lambda: started.connected() == 3, "the fleet is back")
        refused = started.killdeer("run", file, code=2)
        assert "drill" in refused.err
        assert {worker.pid for worker in started.workers()} == before
        assert started.stopped() == []

        started.killdeer("rearm", "--reason", "the drill is over")
        started.killdeer("run", started.experiment(ROULETTE.replace("strikes: 6", "strikes: 1")))


def test_a_killed_agent_resumes_its_victim_on_restart_and_never_repeats_a_strike(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "1") as started:
        pause = PAUSES.replace("strikes: 6", "strikes: 1")
        running = started.begin("run", started.experiment(pause.replace("  - {name: kills", "#")))
        (victim,) = wait_until(started.stopped, "a worker is paused")
        agent = started.agent("sandbox-1")
        agent.kill()
        agent.wait()
        wait_until(lambda: not started.stopped(), "the restarted agent has resumed it")
        assert victim.is_running()
        running.process.wait(60)
        (strike,) = started.strikes()
        assert [blow["signal"] for blow in strike["blows"] if not blow.get("revert")] == [signal.SIGSTOP]
        log = (started.folder / "hosts" / "sandbox-1" / "agent.log").read_text()
        assert "revert_failed" not in log


def test_an_agent_that_is_stopped_resumes_its_victims_before_it_leaves(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "1") as started:
        running = started.begin("run", started.experiment(PAUSES))
        wait_until(lambda: len(started.stopped()) == 3, "three workers are paused")
        agent = started.agent("sandbox-1")
        agent.terminate()
        agent.wait()
        assert started.stopped() == []
        running.process.kill()  # it ends by itself: nobody is left who could be hit
        running.process.wait()


def test_an_agent_without_its_coordinator_resumes_its_victims_when_its_lease_ends(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "1", "--lease", "2s") as started:
        running = started.begin("run", started.experiment(PAUSES))
        wait_until(lambda: len(started.stopped()) == 3, "three workers are paused")
        coordinator = started.coordinator()
        coordinator.suspend()
        try:
            wait_until(lambda: not started.stopped(), "the lease is over and the pauses with it")
        finally:
            coordinator.resume()
        running.process.kill()
        running.process.wait()


def test_ctrl_c_aborts_the_run_and_waits_for_the_reverts(three_hosts: Fleet) -> None:
    running = three_hosts.begin("run", three_hosts.experiment(PAUSES))
    wait_until(lambda: len(three_hosts.stopped()) == 3, "three workers are paused")
    running.process.send_signal(signal.SIGINT)
    running.ended(3)
    assert three_hosts.stopped() == []


def test_a_local_halt_holds_until_it_is_lifted_on_the_host(three_hosts: Fleet) -> None:
    halt_file = three_hosts.folder / "hosts" / "sandbox-2" / "state" / "halt"
    halt_file.write_text("by hand\n")
    try:
        wait_until(
            lambda: any(h.get("halted_locally") for h in three_hosts.killdeer("hosts", "--json").json["hosts"]),
            "the agent has said so",
        )
        three_hosts.killdeer("strike", "sandbox-2", "name=sandbox-worker", "oldest", "--kill", "--yes", code=None)
        (strike,) = three_hosts.strikes()
        assert strike["reason"] == "REASON_HALTED_LOCALLY"
    finally:
        halt_file.unlink()


def test_default_deny_prints_the_line_to_add_and_the_file(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "1", "--workers", "2", "--deny-all") as started:
        plan = started.killdeer("plan", started.experiment(ROULETTE), code=2)
        assert "[[allow]]" in plan.out
        assert "guard.d" in plan.out
        assert len(started.workers()) == 2


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (["name=python*", "oldest"], "REASON_INIT"),
        (["cmdline~=killdeer_agent"], "REASON_KILLDEER"),
    ],
)
def test_what_nobody_may_strike_is_refused_by_name(three_hosts: Fleet, terms: list[str], reason: str) -> None:
    listed = three_hosts.killdeer("candidates", "--on", "host=sandbox-1", *terms, "--json", code=None).json
    verdicts = [candidate["verdict"] for host in listed["hosts"] for candidate in host["candidates"]]
    assert verdicts
    assert {verdict["reason"] for verdict in verdicts} == {reason}
