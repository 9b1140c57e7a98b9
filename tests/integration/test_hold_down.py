"""Hold-down on a real fleet: real supervisors, real pidfds, the kernel's own record of each blow."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, wait_until

HOLD = """
killdeer: 1
name: hold
environment: development
hypothesis: The others do without it, and it comes back.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 1, per_host: 1}
action: {hold-down: LENGTH}
waves:
  - {name: one, strikes: 1}
recovery: {within: 30s}
"""


@pytest.fixture(scope="module")
def one_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), "--agents", "1", "--restart-after", "300ms") as started:
        yield started


def events(started: Fleet, kind: str) -> list[Any]:
    """Of the latest run's strikes."""
    told = started.killdeer("events", "--run", "latest", "--json", code=None)
    return [line["event"] for line in told.lines if kind in line["event"]] if told.code == 0 else []


def in_mid_hold(started: Fleet, blows: int) -> str:
    """Waits for so many blows of the one strike that is under way; its command id."""
    (held,) = wait_until(lambda: permits(started), "a permit is held")
    command = str(held["command_id"])

    def fell() -> bool:
        return [event["command_id"] for event in events(started, "signal")].count(command) >= blows

    wait_until(fell, f"{blows} blows fell")
    return command


def permits(started: Fleet) -> list[Any]:
    held: list[Any] = started.killdeer("permits", "--json").json.get("permits", [])
    return held


def test_each_successor_is_killed_as_it_appears_and_the_service_recovers_after_the_end(one_host: Fleet) -> None:
    running = one_host.begin("run", one_host.experiment(HOLD.replace("LENGTH", "12s")))
    command = in_mid_hold(one_host, 2)
    held = permits(one_host)
    running.ended(0)
    (strike,) = one_host.strikes()
    assert strike["state"] == "STRIKE_STATE_RECOVERED" and not strike.get("cut_short")
    assert [permit["command_id"] for permit in held] == [command] == [strike["command_id"]]
    assert permits(one_host) == []

    blows = strike["blows"]
    assert len(blows) >= 4 and [blow["number"] for blow in blows] == list(range(1, len(blows) + 1))
    sender = {blow["sender_pid"] for blow in blows}
    assert len(sender) == 1 and {blow["kernel_verdict"] for blow in blows} == {"delivered"}
    struck = [strike["victim"]["pid"], *(blow["pid"] for blow in blows[1:])]
    assert len(set(struck)) == len(struck)
    # The kernel's own record: each of them, killed by SIGKILL, in the order of the blows and before the next one.
    exits = {event["exit"]["process"]["pid"]: event for event in events(one_host, "exit")}
    assert list(exits) == struck and {event["exit"]["signal"] for event in exits.values()} == {9}
    assert {event["command_id"] for event in exits.values()} == {strike["command_id"]}
    ends = [int(exits[pid]["at_boot_ns"]) for pid in struck]
    seen = [int(blow["seen_boot_ns"]) for blow in blows]
    assert all(fell <= ended for fell, ended in zip(seen, ends, strict=True))
    assert all(ended < later for ended, later in zip(ends, seen[1:], strict=False))
    # None falls after the time is over, and only after the last one somebody has come to stay. (A successor that
    # comes when there is no time left for a whole blow ends the hold some milliseconds early.)
    first, last = int(blows[0]["sent_boot_ns"]), max(int(blow["sent_boot_ns"]) for blow in blows)
    assert last < first + 12 * 10**9
    assert int(strike["recovered_after_ns"]) > last - first
    assert strike["detail"].startswith("held for its time")
    assert len(one_host.workers()) == 3


def test_a_halt_in_mid_hold_stops_it(one_host: Fleet) -> None:
    running = one_host.begin("run", one_host.experiment(HOLD.replace("LENGTH", "10m")))
    in_mid_hold(one_host, 3)
    halted = one_host.killdeer("halt", "--reason", "drill", "--json").lines[-1]
    assert halted["complete"] and not any(host.get("left") for host in halted["hosts"])
    running.ended(3)
    wait_until(lambda: len(one_host.workers()) == 3 and not permits(one_host), "the service is as it was")
    (strike,) = one_host.strikes()
    assert strike["cut_short"] and "halted by" in strike["detail"]
    assert len(events(one_host, "signal")) == len(strike["blows"])
    one_host.killdeer("rearm", "--reason", "the drill is over")


def test_an_abort_in_mid_hold_stops_it(one_host: Fleet) -> None:
    running = one_host.begin("run", one_host.experiment(HOLD.replace("LENGTH", "10m")))
    in_mid_hold(one_host, 2)
    one_host.killdeer("abort", "latest", "--reason", "enough", code=None)
    running.ended(3)
    wait_until(lambda: len(one_host.workers()) == 3 and not permits(one_host), "the service is as it was")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_dies_or_stops_in_mid_hold_strikes_no_more(one_host: Fleet, number: signal.Signals) -> None:
    running = one_host.begin("run", one_host.experiment(HOLD.replace("LENGTH", "10m")))
    in_mid_hold(one_host, 2)
    agent = one_host.agent("sandbox-1")
    agent.send_signal(number)
    agent.wait()
    wait_until(lambda: one_host.connected() == 1, "the agent is back")
    running.ended(5)  # inconclusive: it was not held down to the end
    (strike,) = one_host.strikes()
    assert strike["state"] == "STRIKE_STATE_RECOVERED" and strike["cut_short"]
    assert len(one_host.workers()) == 3 and permits(one_host) == []


def test_i10_a_host_without_the_kernel_s_record_refuses_and_says_so(one_host: Fleet) -> None:
    config = one_host.folder / "hosts" / "sandbox-1" / "agent.toml"
    config.write_text(f'{config.read_text()}\n[evidence]\ncollector = "pidfd"\n')
    agent = one_host.agent("sandbox-1")
    agent.terminate()
    agent.wait()
    wait_until(lambda: one_host.connected() == 1, "the agent is back")
    refused = one_host.killdeer("run", one_host.experiment(HOLD.replace("LENGTH", "4s")), code=2)
    assert "no BPF evidence" in refused.out + refused.err
    assert "no hold-down here" in one_host.killdeer("hosts").out
    one_host.killdeer("strike", "sandbox-1", "name=sandbox-worker", "--kill", "--yes")
