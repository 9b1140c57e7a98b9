"""Bad input gets a clear error and changes nothing, on real daemons."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer_coordinator.outside import FILE_NAME
from tests.support.commandline import killdeer
from tests.support.coordinator import Coordinator, coordinator, make_keys
from tests.support.fleet import Fleet, fleet
from tests.support.operator import free_address

GOOD = """
killdeer: 1
name: one
environment: development
hypothesis: Whoever is killed comes back.
target: {process: {name: sandbox-worker}}
limits: {in_flight: 1, per_host: 1}
waves:
  - {name: one, strikes: 1, action: kill}
recovery: {within: 30s}
"""


@pytest.fixture(scope="module")
def three_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), "--agents", "3", "--workers", "1") as started:
        yield started


@pytest.fixture
def untouched(three_processes: Fleet) -> Iterator[Fleet]:
    """The same workers, no run and no entry in the record more than before."""
    before = state_of(three_processes)
    yield three_processes
    assert state_of(three_processes) == before


def state_of(fleet: Fleet) -> tuple[object, ...]:
    workers = {worker.pid for worker in fleet.workers()}
    runs = fleet.killdeer("runs", "--json").json.get("runs", [])
    record = fleet.killdeer("audit", "--limit", "1", "--json").json["length"]
    return workers, len(runs), record


# --- experiments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("limits: {in_flight", "limits: {in_fligth"), [":7:10: ", "'in_fligth'", "'in_flight'"]),
        (GOOD.replace("strikes: 1", "strikes: many"), [":9:26: ", "'many'"]),
        (GOOD.replace("killdeer: 1", "killdeer: 2"), [":2:11: "]),
        (GOOD.replace("name: sandbox-worker", "nmae: sandbox-worker"), [":6:20: ", "'nmae'", "'name'"]),
        (GOOD + "waves: []\n", [":11:1: ", "waves"]),
        ("[", [":1:"]),
    ],
    ids=["an unknown key", "a wrong type", "a newer format", "an unknown term", "a key twice", "no YAML"],
)
def test_a_file_that_is_no_experiment_is_refused_with_its_place(
    untouched: Fleet, verb: str, wrong: str, said: list[str]
) -> None:
    file = untouched.experiment(wrong)
    refused = untouched.killdeer(verb, file, code=2)
    for word in [f"{file}{said[0]}", *said[1:]]:
        assert word in refused.err, refused.err
    assert "Traceback" not in refused.err


def test_a_selector_that_matches_nothing_is_refused(untouched: Fleet) -> None:
    file = untouched.experiment(GOOD.replace("name: sandbox-worker", "name: nothing-of-this-name"))
    for verb in ("plan", "run"):
        refused = untouched.killdeer(verb, file, code=2)
        assert "the selector matches nothing on 3 hosts" in refused.out + refused.err
    refused = untouched.killdeer("strike", "sandbox-1", "name=nothing-of-this-name", "oldest", "--yes", code=2)
    assert refused.err


def test_an_unknown_host_is_refused_by_name(untouched: Fleet) -> None:
    refused = untouched.killdeer("strike", "nohost", "name=sandbox-worker", "oldest", "--kill", "--yes", code=2)
    assert "nohost" in refused.err


def test_a_percentage_that_rounds_to_nothing_is_refused_with_its_arithmetic(untouched: Fleet) -> None:
    file = untouched.experiment(GOOD.replace("strikes: 1", "strikes: 5%"))
    for verb in ("plan", "run"):
        refused = untouched.killdeer(verb, file, code=2)
        said = refused.out + refused.err
        assert "5% of 3" in said
        assert "0" in said


def test_a_plan_of_another_world_is_refused(untouched: Fleet) -> None:
    seeded = GOOD.replace("name: one\nenv", "name: one\nseed: 7\nenv")
    file = untouched.experiment(seeded)
    planned = untouched.killdeer("plan", file, "--json").json["plan"]["hash"]
    other = untouched.experiment(seeded.replace("in_flight: 1", "in_flight: 2"))
    assert "changed" in untouched.killdeer("run", other, "--plan", planned, code=2).err
    worker = untouched.workers()[0]
    worker.suspend()  # by somebody else: it is no candidate any more
    try:
        assert "changed" in untouched.killdeer("run", file, "--plan", planned, code=2).err
    finally:
        worker.resume()
    assert untouched.killdeer("plan", file, "--json").json["plan"]["hash"] == planned


def test_without_a_coordinator_every_verb_says_so_and_exits_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_keys(tmp_path)
    address = free_address()
    context = tmp_path / "config.toml"
    keys = "".join(
        f'{key} = "{tmp_path}/{file}"\n'
        for key, file in (("ca", "ca.pem"), ("cert", "operators/all.pem"), ("key", "operators/all.key"))
    )
    context.write_text(f'current = "none"\n[context.none]\ncoordinators = ["{address}"]\n{keys}')
    monkeypatch.setenv("KILLDEER_CONFIG", str(context))
    file = tmp_path / "one.yaml"
    file.write_text(GOOD)
    for words in (["status"], ["hosts"], ["plan", str(file)], ["run", str(file)], ["audit"], ["runs"]):
        said = killdeer(*words)
        assert said.code == 4, words
        assert f"cannot reach the coordinator at {address}" in said.err


# --- a coordinator that cannot start ------------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path: Path) -> Coordinator:
    return Coordinator(tmp_path)


def refuses_to_start(made: Coordinator, *words: str) -> str:
    ended = made.fails()
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    *_, line = ended.stderr.strip().splitlines()  # gRPC may have had its own word before
    for word in words:
        assert word in line
    return line


@pytest.mark.parametrize("listener", ["agents", "operators", "halt"])
def test_a_taken_port_is_named(stopped: Coordinator, listener: str) -> None:
    address = getattr(stopped, listener)
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        line = refuses_to_start(stopped, address.rpartition(":")[2], "address already in use")
    assert "cannot" in line


def test_a_listener_on_an_address_of_another_machine_is_named(stopped: Coordinator) -> None:
    stopped.config.write_text(stopped.configuration().replace(stopped.agents, "192.0.2.1:7442"))
    refuses_to_start(stopped, "192.0.2.1:7442", "cannot assign requested address")


def test_a_second_coordinator_on_the_directory_is_refused_and_the_first_lives_on(tmp_path: Path) -> None:
    with coordinator(tmp_path / "first") as first:
        second = Coordinator(tmp_path / "second")
        second.config.write_text(second.configuration().replace(str(second.state), str(first.state)))
        refuses_to_start(second, str(first.state))
        assert first.process is not None
        assert first.process.poll() is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 99}', b"\xff\xfe", json.dumps("x").encode()]
)
def test_halts_that_cannot_be_read_are_not_passed_over(stopped: Coordinator, content: bytes) -> None:
    stopped.state.mkdir()
    outside = stopped.state / FILE_NAME
    outside.write_bytes(content)
    refuses_to_start(stopped, str(outside))
    assert outside.read_bytes() == content


def test_a_file_of_halts_that_cannot_be_opened_is_named(stopped: Coordinator) -> None:
    outside = stopped.state / FILE_NAME
    outside.mkdir(parents=True)
    refuses_to_start(stopped, str(outside))


def test_an_empty_halt_token_is_refused_for_it_would_let_everybody_halt(stopped: Coordinator) -> None:
    (stopped.keys / "halt-token").write_text("\n")
    refuses_to_start(stopped, "halt-token", "empty")


@pytest.mark.parametrize("file", ["ca.pem", "coordinator.pem", "coordinator.key", "halt-token"])
def test_a_missing_file_is_named(stopped: Coordinator, file: str) -> None:
    (stopped.keys / file).unlink()
    refuses_to_start(stopped, file)


def test_keys_that_do_not_fit_are_named(stopped: Coordinator) -> None:
    (stopped.keys / "coordinator.key").write_bytes(stopped.operator().key)
    refuses_to_start(stopped, "coordinator.key", "key values mismatch")


@pytest.mark.parametrize("file", ["ca.pem", "coordinator.pem", "coordinator.key"])
def test_keys_that_are_none_are_named(stopped: Coordinator, file: str) -> None:
    (stopped.keys / file).write_text("nothing")
    refuses_to_start(stopped, file, "must be PEM")


def test_a_key_of_the_configuration_that_is_not_known_is_refused_with_the_nearest(stopped: Coordinator) -> None:
    stopped.config.write_text(stopped.configuration().replace("lease =", "leese ="))
    refuses_to_start(stopped, f"{stopped.config}:5", "'leese'", "'lease'")
