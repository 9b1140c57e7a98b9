"""A running agent takes a new [evidence] table on SIGHUP; one with a fault changes nothing, and the log says so."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLI = (sys.executable, "-c", "from killdeer_agent.cli import main; main()")
GIVE_UP_AFTER = 1_000  # lines of its log


class Agent:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "agent.toml"
        self._places = "".join(
            f'{name} = "{folder / name}"\n' for name in ("state", "runtime", "guard", "ca", "cert")
        )
        self.write("")
        self.process = subprocess.Popen(
            [*CLI, "--config", str(self.file), "run"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )

    def write(self, table: str) -> None:
        self.file.write_text(f'coordinators = ["127.0.0.1:1"]\n{self._places}\n{table}')

    def reload(self, table: str) -> None:
        self.write(table)
        self.process.send_signal(signal.SIGHUP)

    def said(self, *events: str) -> dict[str, Any]:
        """The next line of its log that is one of these."""
        assert self.process.stdout
        for _ in range(GIVE_UP_AFTER):
            line: dict[str, Any] = json.loads(self.process.stdout.readline())
            if line["event"] in events:
                return line
        raise AssertionError(f"it did not say {events}")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    running = Agent(tmp_path_factory.mktemp("agent"))
    try:
        running.said("started")
        yield running
    finally:
        running.process.terminate()
        running.process.communicate()


CHOICES = ("reloaded", "reload_refused")


def test_a_new_table_is_in_force_without_a_restart(agent: Agent) -> None:
    agent.reload('[evidence]\nsignals = ["HUP"]\ncgroups = ["/system.slice/payment-*.service"]')
    said = agent.said(*CHOICES)
    assert (said["event"], said["changed"]) == ("reloaded", ["evidence"])
    os.kill(agent.process.pid, 0)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('[evidence]\nsignals = ["TRM"]', "no signal is called 'TRM': did you mean 'TERM'?"),
        ('[evidence]\ncgroups = "all"', "'cgroups' wants a list of texts"),
        ("[evidence", "cannot read"),
        ("[evidense]\nsignals = []", "unknown key 'evidense': did you mean 'evidence'?"),
    ],
)
def test_a_table_with_a_fault_changes_nothing_and_is_named(agent: Agent, table: str, problem: str) -> None:
    agent.reload(table)
    said = agent.said(*CHOICES)
    assert said["event"] == "reload_refused"
    assert problem in said["problem"]
    agent.reload("[evidence]\nsignals = []")
    assert agent.said(*CHOICES)["event"] == "reloaded"


def test_another_collector_waits_for_a_restart(agent: Agent) -> None:
    agent.reload('[evidence]\ncollector = "pidfd"')
    said = agent.said("reload_waits")
    assert (said["level"], said["keys"]) == ("warning", ["evidence.collector"])
