"""A coordinator that stops for a while: its agents know, keep their lease, and come back by themselves."""

import json
from pathlib import Path
from typing import Any

from tests.support.fleet import fleet, wait_until

PAUSES = """
killdeer: 1
name: pauses
environment: development
hypothesis: A pause outlives a restart of the coordinator only until its agent is back.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 2, per_host: 1}
waves:
  - {name: pauses, strikes: 2, action: {pause: 10m}}
recovery: {within: 20m}
"""


KILLS = """
killdeer: 1
name: kills
environment: development
hypothesis: What a coordinator had begun as it stopped is finished, and nothing more is begun.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 1, per_host: 1}
action: kill
waves:
  - {name: kills, strikes: 50, over: 1m}
recovery: {within: 30s}
"""


def test_a_run_in_the_midst_of_its_strikes_is_ended_by_a_drain_and_strikes_no_more(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "2", "--workers", "1") as started:
        before = {worker.pid for worker in started.workers()}
        running = started.begin("run", started.experiment(KILLS))
        wait_until(lambda: before - {worker.pid for worker in started.workers()}, "one is struck")

        started.coordinator().terminate()
        assert "restarted" in running.ended(3)
        wait_until(lambda: started.connected() == 2, "both agents are back at the next coordinator")
        permits = ("permits", "--json")
        wait_until(lambda: not started.killdeer(*permits).json.get("permits"), "every permit is given back")
        (run,) = started.killdeer("runs", "--json").json["runs"]
        assert (run["state"], run["verdict"]) == ("RUN_STATE_ENDED", "RUN_VERDICT_ABORTED")
        after = {worker.pid for worker in started.workers()}
        assert len(after) == 2
        strikes = started.strikes()
        # One of its own at the next coordinator goes on as if nothing had been.
        started.killdeer("run", started.experiment(KILLS.replace("strikes: 50, over: 1m", "strikes: 1")))
        assert len(after - {worker.pid for worker in started.workers()}) == 1
        assert started.strikes(run["run_id"]) == strikes, "and nothing more was struck for the first"
        log = _lines(started.folder / "logs" / "coordinator.log")
        assert [line["event"] for line in log].count("stopping") == 1


def test_a_fleet_outlives_a_restart_of_its_coordinator(tmp_path: Path) -> None:
    with fleet(tmp_path, "--agents", "2", "--workers", "1", "--lease", "60s") as started:
        before = {worker.pid for worker in started.workers()}
        running = started.begin("run", started.experiment(PAUSES))
        wait_until(lambda: len(started.stopped()) == 2, "two workers are paused")
        watching = started.begin("watch", "latest", "--json")
        wait_until(lambda: watching.output.stat().st_size, "it is watched")

        coordinator = started.coordinator()
        coordinator.terminate()
        coordinator.wait()
        wait_until(lambda: started.connected() == 2, "both agents are back at the next coordinator")
        # The streams broke and were taken up again: both heard how the run ended.
        running.ended(3)
        last = json.loads(watching.ended(3).splitlines()[-1])
        assert "restarted" in last["run"]["why"]

        wait_until(lambda: not started.stopped(), "the pauses are taken back as their agents rejoin")
        assert {worker.pid for worker in started.workers()} == before
        for name in ("sandbox-1", "sandbox-2"):
            log = _lines(started.folder / "hosts" / name / "agent.log")
            said = [line["detail"] for line in log if line["event"] == "dismissed"]
            assert said == ["this coordinator stops"]
            assert sum(line["event"] == "started" for line in log) == 1
            assert "the lease ran out" not in json.dumps(log)
        events = _lines(started.folder / "logs" / "coordinator.log")
        assert [line["event"] for line in events].count("stopping") == 1


def _lines(log: Path) -> list[dict[str, Any]]:
    """Each must be JSON: a traceback is none."""
    return [json.loads(line) for line in log.read_text().splitlines()]
