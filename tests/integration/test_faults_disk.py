"""The disk under the agent's journal is full: what would be struck is refused by name, what is paused goes on, and
once there is room all is as it was (I2, I6, I10, R1, R13)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer_cli.fleet.layout import Layout
from tests.support.fleet import wait_until
from tests.support.prepared import HOST, Disk, Prepared, needs_root, prepared, small_disk

pytestmark = pytest.mark.timeout(300)

# What still fits into the journal's last page, in strikes, with much to spare.
STRIKES_AT_MOST = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def disk(folder: Path) -> Iterator[Disk]:
    needs_root()
    with small_disk(Layout(folder).host(HOST) / "state", "1m") as made:
        yield made


@pytest.fixture(scope="module")
def started(folder: Path, disk: Disk) -> Iterator[Prepared]:
    with prepared(folder) as fleet:
        yield fleet


def test_r13_with_a_full_disk_a_pause_is_still_reverted(started: Prepared, disk: Disk) -> None:
    victim = started.pause()
    with disk.full():
        started.killdeer("abort")
        wait_until(lambda: not started.stopped(), "it goes on")
        assert victim.is_running()
    started.as_it_was()


def test_r13_with_a_full_disk_the_agent_dies_in_mid_pause_and_reverts_at_its_start(
    started: Prepared, disk: Disk
) -> None:
    victim = started.pause()
    with disk.full():
        agent = started.agent(HOST)
        agent.kill()
        agent.wait()
        wait_until(lambda: not started.stopped(), "it goes on")
        assert victim.is_running()
    started.as_it_was()


def test_r1_with_a_full_disk_no_strike_is_made_and_the_refusal_says_so(started: Prepared, disk: Disk) -> None:
    with disk.full():
        for _ in range(STRIKES_AT_MOST):
            workers = {worker.pid for worker in started.workers()}
            strike = started.kill_one(code=None)
            if strike["state"] == "STRIKE_STATE_REFUSED":
                break
            wait_until(lambda: len(started.workers()) == 2, "both workers are there")
        assert strike["reason"] == "REASON_JOURNAL", strike
        assert "No space left on device" in strike["detail"]
        assert not strike["blows"]
        assert {worker.pid for worker in started.workers()} == workers, "nobody was hit"
        assert started.lines(HOST, "journal_failed"), "the host's own log says so"
        halted = started.killdeer("halt", "--reason", "full disk", "--json").lines[-1]
        assert halted["complete"], "acknowledged, or stopped by its lease"
    started.killdeer("rearm", "--reason", "room again")
    started.as_it_was()
