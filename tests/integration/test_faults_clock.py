"""A daemon's wall clock is stepped by a day: no lease and no pause is longer or shorter for it (R7), and a store
whose clock runs back grants nothing (R20)."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tests.support.wallclock
from tests.support.fleet import wait_until
from tests.support.prepared import HOST, LEASE_S, SELECTOR, Prepared, prepared

pytestmark = pytest.mark.timeout(300)

DAY_S = 86_400
# Long enough to be cut short, were a lease or the pause itself counted by the wall clock.
PAUSE_S = 2 * LEASE_S


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("clock")
    steps = folder / "steps.json"
    steps.write_text("{}")
    path = os.pathsep.join(filter(None, [tests.support.wallclock.__path__[0], os.environ.get("PYTHONPATH")]))
    with prepared(folder, PYTHONPATH=path, KILLDEER_TEST_CLOCK=str(steps)) as fleet:
        yield fleet


@contextmanager
def stepped(fleet: Prepared, daemon: str, seconds: int) -> Iterator[None]:
    file = fleet.folder / "steps.json"
    for steps in ({daemon: seconds}, {}):
        new = file.with_suffix(".new")
        new.write_text(json.dumps(steps))
        new.rename(file)
        if steps:
            yield


def test_r20_a_store_whose_clock_runs_back_grants_nothing_and_breaks_nothing(started: Prepared) -> None:
    striking = started.begin("strike", HOST, SELECTOR, "oldest", f"--pause={PAUSE_S:g}s", "--yes")
    wait_until(started.stopped, "a worker is paused")
    with stepped(started, "coordinator", -DAY_S):
        wait_until(lambda: not started.stopped(), "it goes on")
        striking.ended(0)
        was_not_cut_short(started)
        workers = started.workers()
        withheld = started.begin("strike", HOST, SELECTOR, "newest", "--kill", "--yes")
        wait_until(lambda: "the store's clock ran back" in withheld.output.read_text(), "it is withheld by name")
        halted = started.killdeer("halt", "--reason", "clock", "--json").lines[-1]
        assert halted["stopped"] == halted["total"] == 1
        withheld.ended(3)
        assert started.workers() == workers, "nobody was hit"
    started.killdeer("rearm", "--reason", "the clock is right again")
    started.as_it_was()


# The coordinator's comes last: what it wrote then lies ahead of the true clock for a day.
@pytest.mark.parametrize(("daemon", "seconds"), [("agent", DAY_S), ("agent", -DAY_S), ("coordinator", DAY_S)])
def test_r7_a_pause_lasts_as_long_as_it_was_meant_to_whatever_becomes_of_a_wall_clock(
    started: Prepared, daemon: str, seconds: int
) -> None:
    striking = started.begin("strike", HOST, SELECTOR, "oldest", f"--pause={PAUSE_S:g}s", "--yes")
    wait_until(started.stopped, "a worker is paused")
    with stepped(started, daemon, seconds):
        wait_until(lambda: not started.stopped(), "it goes on")
        striking.ended(0)
        was_not_cut_short(started)
        started.as_it_was()


def was_not_cut_short(fleet: Prepared) -> None:
    (strike,) = fleet.strikes()
    stop, cont = strike["blows"]
    assert int(cont["sent_boot_ns"]) - int(stop["sent_boot_ns"]) >= PAUSE_S * 10**9
    assert strike["state"] == "STRIKE_STATE_SURVIVED", strike
