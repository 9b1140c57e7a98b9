"""The way between an agent and its coordinator is cut without a word, or in one direction only: the agent stops by
its lease, the coordinator names its bound, and once it is whole again all is as it was (I4, I5, I6, R7, R16)."""

import json
from collections.abc import Iterator

import pytest

from killdeer_cli.fleet.layout import Layout
from tests.support.cable import BOTH, TO_COORDINATOR, TO_HOST, Cable, cable
from tests.support.fleet import wait_until
from tests.support.prepared import HOST, SELECTOR, Prepared, alter, needs_root, prepared

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def laid() -> Iterator[Cable]:
    needs_root()
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, laid: Cable) -> Iterator[Prepared]:
    def behind_the_cable(layout: Layout) -> None:
        port = layout.read_fleet().agents_port
        alter(layout.folder / "coordinator.toml", listen_agents=f'"0.0.0.0:{port}"')
        alter(layout.host(HOST) / "agent.toml", coordinators=f'["{laid.coordinator}:{port}"]')
        plan = layout.read_host(HOST)
        plan.agent[:0] = laid.behind
        layout.write_host(plan)

    with prepared(tmp_path_factory.mktemp("network"), behind_the_cable) as fleet:
        yield fleet


@pytest.mark.parametrize("where", [BOTH, TO_HOST, TO_COORDINATOR])
def test_i5_cut_off_in_mid_pause_the_agent_resumes_by_its_lease_and_its_permit_is_held_until_it_tells(
    started: Prepared, laid: Cable, where: str
) -> None:
    victim = started.pause()
    with laid.cut(where):
        wait_until(lambda: not started.stopped(), "the agent has resumed its victim")
        assert victim.is_running()
        wait_until(lambda: not int(started.host.get("lease_left_ms", 0)), "its right is over, as `hosts` says")
        if where != TO_HOST:  # its word can reach the coordinator, and no permit can reach it
            assert started.permits, "nobody has told what became of it"
    started.as_it_was()


@pytest.mark.parametrize("where", [BOTH, TO_HOST, TO_COORDINATOR])
def test_i4_a_halt_during_the_cut_names_the_host_with_its_bound_and_it_has_stopped_by_then(
    started: Prepared, laid: Cable, where: str
) -> None:
    started.pause()
    with laid.cut(where):
        halting = started.begin("halt", "--reason", "the cable is cut", "--json")
        said = [json.loads(line) for line in halting.ended(0).splitlines()]
        assert not started.stopped(), "past its bound"
        (first,), (last,) = said[0]["hosts"], said[-1]["hosts"]
        assert first["host"] == last["host"] == HOST
        assert int(first["stops_by_unix_ms"]), "its bound is named"
        assert said[-1]["complete"]
        assert last["bound_passed"] and last["stage"] == "HALT_STAGE_UNSPECIFIED", "it could not answer"
    journal = started.layout.host(HOST) / "state" / "journal"
    wait_until(lambda: said[0]["halt_id"] in journal.read_text(), "the host knows the halt, durably")
    refused = started.killdeer("strike", HOST, SELECTOR, "oldest", "--kill", "--yes", code=2)
    assert "the cable is cut" in refused.err
    started.killdeer("rearm", "--reason", "whole again")
    started.as_it_was()
