"""Deaths as the operator hears of them, from the kernel's record on a host to the command line."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, wait_until


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as started:
        yield started


def deaths(sandbox: Fleet, host_pid: int) -> list[Any]:
    """KernelEvents that tell of the death of the process with this pid on the machine, as JSON has them."""
    events = [line["event"] for line in sandbox.killdeer("events", "--json").lines]
    return [one for one in events if one.get("death", {}).get("process", {}).get("host_pid") == host_pid]


def test_a_worker_killed_by_hand_has_a_death_with_the_killers_name(sandbox: Fleet) -> None:
    worker = sandbox.workers()[0]
    host = sandbox.host_of(worker)
    by_hand = subprocess.Popen(("sh", "-c", f"kill -KILL {worker.pid}"))
    assert by_hand.wait() == 0
    (event,) = wait_until(lambda: deaths(sandbox, worker.pid), "the death is told")
    death = event["death"]
    assert event["host"] == host
    assert not event.get("command_id")
    assert (death["cause"], death["signal"]) == ("CAUSE_SIGNAL", 9)
    assert (death["killer"]["name"], death["killer"]["host_pid"]) == ("sh", by_hand.pid)
    assert [kind for one in death["evidence"] for kind in ("signal", "exit") if kind in one] == ["signal", "exit"]


def test_the_death_of_a_strikes_victim_is_that_strikes(sandbox: Fleet) -> None:
    sandbox.killdeer("strike", "sandbox-1", "name=sandbox-worker", "oldest", "--kill", "--yes")
    (strike,) = sandbox.strikes()

    def told() -> list[Any]:
        events = [line["event"] for line in sandbox.killdeer("events", "--run", "latest", "--json").lines]
        return [one for one in events if "death" in one]

    (event,) = wait_until(told, "the death is told")
    assert event["death"]["cause"] == "CAUSE_STRIKE"
    assert event["command_id"] == strike["command_id"]
    assert event["command_id"] in event["death"]["why"]
