"""SIGHUP on running daemons: all of a new configuration or nothing, and the refusal where operators look."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.fleet import Fleet, fleet, wait_until

HOST = "sandbox-1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("reload"), "--agents", "1", "--allow", "name=sandbox-worker") as started:
        wait_until(lambda: started.connected() == 1, "the host is served")
        yield started


def agent_toml(fleet: Fleet) -> Path:
    return fleet.folder / "hosts" / HOST / "agent.toml"


def reload_agent(fleet: Fleet, text: str) -> psutil.Process:
    """The same process is there before and after, or this is no reload."""
    agent = fleet.agent(HOST)
    agent_toml(fleet).write_text(text)
    agent.send_signal(signal.SIGHUP)
    return agent


def reload_coordinator(fleet: Fleet, text: str) -> None:
    coordinator = fleet.coordinator()
    (fleet.folder / "coordinator.toml").write_text(text)
    coordinator.send_signal(signal.SIGHUP)
    assert coordinator == fleet.coordinator()


def host(fleet: Fleet) -> dict[str, Any]:
    (view,) = fleet.killdeer("hosts", "--json").json["hosts"]
    found: dict[str, Any] = view
    return found


def status(fleet: Fleet) -> dict[str, Any]:
    found: dict[str, Any] = fleet.killdeer("status", "--json").json
    return found


def limit(fleet: Fleet, scope: str) -> int:
    listed = fleet.killdeer("limits", "--json").json["limits"]
    return next(int(one["limit"]) for one in listed if one["scope"] == scope)


def logged(file: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_new_labels_reach_the_coordinator_from_the_same_agent_under_its_lease(running: Fleet) -> None:
    before = agent_toml(running).read_text()
    agent = reload_agent(running, before.replace('zone = "', 'zone = "north-'))
    wait_until(lambda: host(running)["labels"].get("zone", "").startswith("north-"), "the labels are told anew")
    wait_until(lambda: running.connected() == 1, "it is leased")
    assert agent == running.agent(HOST)
    assert not host(running)["quarantined"]
    assert host(running)["notice"] == ""


def test_one_wrong_key_changes_nothing_and_the_host_is_served_and_says_so(running: Fleet) -> None:
    before, labels = agent_toml(running).read_text(), host(running)["labels"]
    agent = reload_agent(running, before.replace("[labels]", 'evidense = 1\n[labels]\nextra = "x"'))
    wait_until(lambda: host(running)["notice"], "the refusal is told")
    assert "unknown key 'evidense': did you mean 'evidence'?" in host(running)["notice"]
    assert (host(running)["labels"], host(running)["problem"]) == (labels, "")
    assert "its reload was refused" in running.killdeer("hosts").out
    assert "hosts with a word for their operator: 1" in running.killdeer("status").out
    struck = running.killdeer("strike", HOST, "name=sandbox-worker", "--pause=200ms", "--yes", code=None)
    assert struck.code == 0, struck.out + struck.err
    (said,) = logged(running.folder / "hosts" / HOST / "agent.log", "reload_refused")
    assert "evidense" in said["problem"]

    assert agent == reload_agent(running, before)
    wait_until(lambda: not host(running)["notice"], "the refusal is forgotten")
    assert status(running)["notices"] == []


def test_r29_a_guard_that_cannot_be_used_allows_nothing_until_it_is_mended(running: Fleet) -> None:
    guard = running.folder / "hosts" / HOST / "guard.d" / "sandbox.toml"
    before = guard.read_text()
    guard.write_text('[[allow]]\nprocess = ["name=sandbox-worker"]\nactions = ["kil"]\n')
    reload_agent(running, agent_toml(running).read_text())
    wait_until(lambda: "sandbox.toml:3" in host(running)["notice"], "the refusal names file and line")
    refused = running.killdeer("strike", HOST, "name=sandbox-worker", "--kill", "--yes", code=None)
    assert refused.code != 0
    guard.write_text(before)
    reload_agent(running, agent_toml(running).read_text())
    wait_until(lambda: not host(running)["notice"], "it is mended")


def test_sizes_of_the_journal_and_of_its_disk_are_told(running: Fleet) -> None:
    wait_until(lambda: int(host(running)["journal_bytes"]), "a heartbeat came")
    found = host(running)
    journal = running.folder / "hosts" / HOST / "state" / "journal"
    assert 0 < int(found["journal_bytes"]) <= journal.stat().st_size
    assert int(found["state_free_bytes"]) > 0


def test_the_coordinators_limits_change_without_a_restart(running: Fleet) -> None:
    before = (running.folder / "coordinator.toml").read_text()
    assert limit(running, "in_flight") == 10
    reload_coordinator(running, before.replace("in_flight = 10", "in_flight = 4"))
    wait_until(lambda: limit(running, "in_flight") == 4, "the new limit holds")
    reload_coordinator(running, before)
    wait_until(lambda: limit(running, "in_flight") == 10, "the old one does again")


def test_a_limit_that_a_reload_changes_is_in_the_audit_log_with_the_old_and_the_new(running: Fleet) -> None:
    def entries() -> list[str]:
        lines = running.killdeer("audit", "--limit", "0").out.splitlines()
        return [line.partition("limit.configured")[2].strip() for line in lines if "limit.configured" in line]

    before = (running.folder / "coordinator.toml").read_text()
    known = len(wait_until(entries, "what it started with is on the record"))
    assert "by coordinator.toml of coordinator: at its start: in_flight 10, per_host 5," in entries()[0]
    reload_coordinator(running, before.replace("in_flight = 10", "in_flight = 3"))
    wait_until(lambda: len(entries()) > known, "it is on the record")
    assert entries()[known:] == ["in_flight  by coordinator.toml of coordinator: from 10 to 3, by a reload"]
    reload_coordinator(running, before)
    wait_until(lambda: len(entries()) > known + 1, "and so is the way back")


def test_a_wrong_coordinator_toml_changes_nothing_and_status_says_so(running: Fleet) -> None:
    before = (running.folder / "coordinator.toml").read_text()
    reload_coordinator(running, before.replace("in_flight = 10", 'in_flight = "many"\nper_minute = 7'))
    wait_until(lambda: status(running)["notices"], "the refusal is told")
    (notice,) = status(running)["notices"]
    assert "limits.in_flight" in notice
    assert limit(running, "in_flight") == 10
    assert "notice     the coordinator's reload was refused" in running.killdeer("status").out
    reload_coordinator(running, before)
    wait_until(lambda: not status(running)["notices"], "it is mended")


def test_what_wants_a_restart_of_the_coordinator_is_named(running: Fleet) -> None:
    before = (running.folder / "coordinator.toml").read_text()
    reload_coordinator(running, f"reflection = true\n{before}")
    wait_until(lambda: status(running)["notices"], "it is told")
    (notice,) = status(running)["notices"]
    assert "reflection" in notice
    assert "restart" in notice
    reload_coordinator(running, before)
    wait_until(lambda: not status(running)["notices"], "it is forgotten")


def test_status_says_how_much_evidence_there_is_since_when_and_for_how_long_it_is_kept(running: Fleet) -> None:
    before = (running.folder / "coordinator.toml").read_text()
    said = status(running)
    assert said["retention_days"] == 30
    assert int(said["store_bytes"]) > 0
    assert (int(said["evidence_rows"]) > 0) == (int(said["evidence_since_unix_ms"]) > 0)
    assert "(kept for 30 days)" in running.killdeer("status").out
    reload_coordinator(running, f'retention = "7d"\n{before}')
    wait_until(lambda: status(running)["retention_days"] == 7, "the new one holds")
    reload_coordinator(running, before)
