"""A service that is struck while its unit is being started: what ran for that alone does not come back (R18)."""

from dataclasses import replace

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core.unit import UnitState
from tests.support import host as h

UNIT = "worker@1.service"


def struck(*, helpers: int = 1) -> tuple[h.Host, int]:
    """The main process is killed while others of the unit are there for its start alone; systemd ends those with
    it, and starts the unit again. Returns when the blow fell, too."""
    host = h.Host()
    victim = host.world.spawn(unit=UNIT)
    passing = [host.world.spawn(unit=UNIT) for _ in range(helpers)]
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", victim)
    for one in passing:
        host.world.processes.pop(one.pid, None)
    [fell] = host.world.log
    host.run(2 * h.SECOND)
    assert len(host.world.processes) == 1 and word(host).state == p.STRIKE_STATE_GONE
    return host, fell.at_boot_ns


def word(host: h.Host) -> a.StrikeUpdate:
    return host.coordinator.updates["c1"]


def says(host: h.Host, **changed: object) -> None:
    host.world.units[UNIT] = replace(host.world.units[UNIT], **changed)  # type: ignore[arg-type]


def test_r18_a_service_struck_in_the_midst_of_its_unit_s_start_recovers_once_that_is_up() -> None:
    host, at_ns = struck()
    says(host, up_ns=at_ns + h.SECOND, down_ns=at_ns - 60 * h.SECOND)
    host.run(15 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED and word(host).settled


def test_r18_it_does_so_too_after_the_agent_was_restarted() -> None:
    host, at_ns = struck()
    host.crash()
    host.start()
    host.coordinator.link()
    says(host, up_ns=at_ns + h.SECOND, down_ns=0)
    host.run(15 * h.SECOND)
    assert word(host).settled


def test_r18_its_stable_time_counts_from_there() -> None:
    host = h.Host()
    victim = host.world.spawn(unit=UNIT)
    passing = host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", victim, stable_for_ms=30_000, recover_within_ms=120_000)
    del host.world.processes[passing.pid]
    host.run(2 * h.SECOND)
    says(host, up_ns=host.world.boot_ns, down_ns=0)
    host.run(25 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_GONE
    host.run(25 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"up": -60, "down": -90}, "it was up, and has not been down since: a part of it was hit"),
        ({"up": 1, "down": 0.001}, "it was up, and went down by the blow"),
        ({"up": 1, "down": None}, "it cannot be told"),
        ({"up": None, "down": None}, "it cannot be told"),
        ({"up": 1, "down": -60, "active": "activating"}, "it is not up"),
        ({"up": 0, "down": 0, "active": "activating"}, "it has never been up"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_r18_any_other_service_waits_for_as_many_as_before(changed: dict[str, object], why: str) -> None:
    host, at_ns = struck()
    for field in ("up", "down"):
        ago = changed[field]
        says(host, **{f"{field}_ns": None if ago is None else max(0, int(at_ns + ago * h.SECOND))})  # type: ignore[operator]
    says(host, active=changed.get("active", "active"))
    host.run(60 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_LOST and not word(host).settled, why


def test_r18_who_stands_there_yet_is_still_waited_for_when_it_goes_later() -> None:
    """Only those that have gone by then were there for the start; another process of the service counts on."""
    host = h.Host()
    victim = host.world.spawn(unit=UNIT)
    other = host.world.spawn(unit="worker@2.service")
    host.world.restart_after_ns = 12 * h.SECOND
    passing = host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", victim, stable_for_ms=5_000)
    [fell] = host.world.log
    del host.world.processes[passing.pid]
    host.until(lambda: len(host.world.processes) == 2)
    says(host, up_ns=fell.at_boot_ns + h.SECOND, down_ns=0)
    host.run(2 * h.SECOND)
    del host.world.processes[other.pid]
    host.run(10 * h.SECOND)
    assert word(host).state != p.STRIKE_STATE_RECOVERED
    host.world.spawn(unit="worker@2.service")
    host.run(10 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED


def test_systemd_is_not_asked_while_nobody_has_come_nor_once_it_has_recovered() -> None:
    host = h.Host()
    host.world.restart_after_ns = 30 * h.SECOND
    victim = host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.unit_problem = "Failed to connect to bus"
    del host.world.units[UNIT]  # whoever asks fails
    host.coordinator.order("c1", victim)
    host.run(29 * h.SECOND)
    host.world.units[UNIT] = UnitState(name=UNIT, loaded=True, active="activating")
    host.run(5 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED
