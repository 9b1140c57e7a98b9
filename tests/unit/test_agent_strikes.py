"""A strike on a simulated host, from command to outcome; each test named after the rule it holds."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from tests.support import host as h


@pytest.fixture
def host() -> h.Host:
    """Leased, with three workers."""
    host = h.Host()
    for _ in range(3):
        host.world.spawn()
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    return host


def first(host: h.Host) -> h.Proc:
    return next(iter(host.world.processes.values()))


def test_a_kill_goes_from_command_to_recovery(host: h.Host) -> None:
    host.coordinator.order("c1", first(host))
    host.run(2 * h.SECOND)
    assert host.coordinator.updates["c1"].state == p.STRIKE_STATE_RECOVERED
