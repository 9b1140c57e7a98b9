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
