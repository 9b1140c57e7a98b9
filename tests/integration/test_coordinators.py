"""Several real coordinators on a real PostgreSQL: runs that strike each other's hosts, and what remains of a run
whose coordinator is killed, frozen or cut off from its store (rules R9, R10, R24)."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.coordinators import Coordinators, coordinators
from tests.support.fleet import PATIENCE_S, Fleet, wait_until
from tests.support.postgres import Server

KILLS = """
killdeer: 1
name: kills
environment: development
hypothesis: Whoever is killed comes back, whichever coordinator its host speaks to.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 6, per_host: 3}
waves:
  - {name: all, strikes: 100%, action: kill}
recovery: {within: 30s, stable_for: 1s}
"""

PAUSES = """
killdeer: 1
name: pauses
environment: development
hypothesis: A pause ends when its run does.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 6, per_host: 3}
waves:
  - {name: pauses, strikes: 100%, action: {pause: 10m}}
recovery: {within: 20m}
"""


@pytest.fixture
def url(postgres: Server, database: str) -> str:
    return postgres.url(database)


@pytest.fixture
def two(tmp_path: Path, url: str) -> Iterator[Coordinators]:
    """Host 1 speaks to north, host 2 to south; each goes to the other when its own is gone."""
    hosts = {1: ("north", "south"), 2: ("south", "north")}
    with coordinators(tmp_path / "fleet", url, ("north", "south"), hosts) as made:
        yield made


def latest(fleet: Fleet) -> Any:
    return fleet.killdeer("runs", "--json").json["runs"][0]


def ended(fleet: Fleet) -> Any:
    return wait_until(
        lambda: run if (run := latest(fleet))["state"] == "RUN_STATE_ENDED" else None, "the run has ended", 120
    )


def held(fleet: Fleet) -> list[Any]:
    permits: list[Any] = fleet.killdeer("permits", "--json").json.get("permits", [])
    return permits


def test_a_run_strikes_the_hosts_of_three_coordinators(tmp_path: Path, url: str) -> None:
    names = ("north", "south", "west")
    with coordinators(tmp_path / "fleet", url, names, {n: (name,) for n, name in enumerate(names, 1)}) as made:
        north = made.at("north")
        following = made.at("west").begin("events", "--follow", "--json")
        north.killdeer("run", north.experiment(KILLS))
        strikes = north.strikes()
        assert {strike["victim"]["host"] for strike in strikes} == {"sandbox-1", "sandbox-2", "sandbox-3"}
        assert {strike["state"] for strike in strikes} == {"STRIKE_STATE_RECOVERED"}
        assert held(made.at("west")) == []
        assert made.at("south").strikes() == strikes, "all see the same"
        wait_until(
            lambda: all(f"sandbox-{n}" in following.output.read_text() for n in (1, 2, 3)),
            "who follows at one coordinator has the evidence of all",
        )
        following.process.send_signal(signal.SIGINT)
        following.process.wait(PATIENCE_S)


def test_a_halt_at_one_coordinator_ends_the_run_of_another_and_reverts_everywhere(two: Coordinators) -> None:
    north, south = two.at("north"), two.at("south")
    running = north.begin("run", north.experiment(PAUSES))
    wait_until(lambda: len(two.stopped(1)) == len(two.stopped(2)) == 3, "all are paused")
    south.killdeer("halt", "--reason", "enough")
    running.ended(3)
    assert latest(south)["verdict"] == "RUN_VERDICT_HALTED"
    wait_until(lambda: not two.stopped(1) and not two.stopped(2), "all go on")
    assert north.killdeer("status", "--json").json["halts"]
    north.killdeer("run", north.experiment(KILLS), code=2)
    north.killdeer("rearm", "--reason", "over")
    wait_until(lambda: not south.killdeer("status", "--json").json.get("halts"), "south has heard of it")
    wait_until(lambda: two.leased("north") == two.leased("south") == 1, "the leases are renewed again")
    south.killdeer("run", south.experiment(KILLS))


def test_an_abort_and_a_watch_are_good_at_any_coordinator(two: Coordinators) -> None:
    north, south = two.at("north"), two.at("south")
    running = north.begin("run", north.experiment(PAUSES))
    wait_until(lambda: len(two.stopped(2)) == 3, "south's are paused")
    watching = south.begin("watch", "latest", "--json")
    south.killdeer("abort", "latest")
    running.ended(3)
    watching.ended(3)
    run = ended(south)
    assert run["verdict"] == "RUN_VERDICT_ABORTED"
    wait_until(lambda: not two.stopped(1) and not two.stopped(2), "all go on")
    wait_until(lambda: not held(north), "the permits are given back")


def test_r24_a_run_whose_coordinator_is_killed_is_ended_by_another_and_what_it_paused_goes_on(
    two: Coordinators,
) -> None:
    north, south = two.at("north"), two.at("south")
    running = north.begin("run", north.experiment(PAUSES))
    wait_until(lambda: len(two.stopped(1)) == len(two.stopped(2)) == 3, "all are paused")
    two.stop("north", signal.SIGKILL)
    running.ended(4)
    run = ended(south)
    assert (run["verdict"], run["why"]) == ("RUN_VERDICT_ABORTED", "its coordinator north is gone")
    wait_until(lambda: not two.stopped(1) and not two.stopped(2), "all go on")
    wait_until(lambda: two.leased("south") == 2, "host 1 has come to south")
    wait_until(lambda: not held(south), "the permits are given back")
    south.killdeer("run", south.experiment(KILLS))
    audit = south.killdeer("audit", "--verify", "--json").json
    assert audit["verified"]
    assert [entry["subject"] for entry in audit["entries"] if entry["what"] == "coordinator.gone"] == ["north"]
    two.start("north")
    wait_until(lambda: two.reached("north") == 2, "north reaches all hosts through south")
    north.killdeer("run", north.experiment(KILLS))


def test_r24_a_coordinator_that_was_frozen_strikes_no_more_when_it_thaws(two: Coordinators) -> None:
    north, south = two.at("north"), two.at("south")
    running = north.begin("run", north.experiment(PAUSES))
    wait_until(lambda: len(two.stopped(1)) == len(two.stopped(2)) == 3, "all are paused")
    two.process("north").send_signal(signal.SIGSTOP)
    ended(south)
    wait_until(lambda: not two.stopped(1) and not two.stopped(2), "all go on")
    granted = len([e for e in south.killdeer("audit", "--json").json["entries"] if e["what"] == "permit.granted"])
    two.process("north").send_signal(signal.SIGCONT)
    wait_until(lambda: two.reached("north") == 2, "north is back")
    assert not two.stopped(1) and not two.stopped(2)
    entries = north.killdeer("audit", "--json").json["entries"]
    assert len([entry for entry in entries if entry["what"] == "permit.granted"]) == granted
    assert two.process("north").poll() is None
    running.process.wait(PATIENCE_S)


def test_without_its_store_no_coordinator_strikes_and_a_halt_goes_out_all_the_same(
    two: Coordinators, postgres: Server
) -> None:
    north, south = two.at("north"), two.at("south")
    running = north.begin("run", north.experiment(PAUSES))
    wait_until(lambda: len(two.stopped(1)) == len(two.stopped(2)) == 3, "all are paused")
    postgres.stop()
    try:
        wait_until(lambda: not two.stopped(1) and not two.stopped(2), "without a lease, all is reverted")
        refused = north.killdeer("run", north.experiment(KILLS), code=None)
        assert refused.code in (2, 4)
        north.killdeer("halt", "--reason", "the store is down", code=None)
    finally:
        postgres.start()
    wait_until(lambda: south.killdeer("status", "--json", code=None).json.get("halts"), "south has heard of it")
    assert ended(south)["verdict"] in ("RUN_VERDICT_HALTED", "RUN_VERDICT_ABORTED")
    running.process.wait(PATIENCE_S)
    south.killdeer("rearm", "--reason", "it is back")
    wait_until(lambda: two.leased("north") == two.leased("south") == 1, "the leases are renewed again")
    wait_until(lambda: not held(south), "the permits are given back")
    north.killdeer("run", north.experiment(KILLS))
    assert not [
        entry
        for entry in south.killdeer("audit", "--json").json["entries"]
        if entry["what"] in ("coordinator.gone", "store.restored")
    ]


def test_of_two_coordinators_with_one_name_the_first_one_ends_and_a_state_directory_has_one(
    two: Coordinators,
) -> None:
    folder = two.layout.folder
    assert f"another coordinator (pid {two.process('south').pid}) has it open" in two.fails("south")
    text = (folder / "south.toml").read_text().replace('name = "south"', 'name = "north"')
    two.stop("south")
    (folder / "south.toml").write_text(text)
    first = two.process("north")
    two.start("south")
    assert first.wait(PATIENCE_S) == 2
    assert "another coordinator has started under the name north; give each a name of its own" in two.said("north")
    assert two.process("south").poll() is None
