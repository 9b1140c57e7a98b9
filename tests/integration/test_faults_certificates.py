"""A certificate has expired, the agent's, the coordinator's or an operator's: both sides say so, nothing stays
broken, and a new one is enough to go on."""

import datetime as dt
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from killdeer_coordinator import pki
from killdeer_coordinator.pki import Pair
from tests.support.coordinator import pair_at
from tests.support.fleet import PATIENCE_S, wait_until
from tests.support.prepared import HOST, Prepared, prepared

pytestmark = pytest.mark.timeout(300)

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Prepared]:
    """Of each test's own: an agent that was turned away often waits long before it tries again."""
    with prepared(tmp_path / "fleet") as fleet:
        yield fleet


@contextmanager
def expired(fleet: Prepared, stem: Path, issue: Callable[[Pair, dt.datetime], Pair]) -> Iterator[None]:
    """In the place of a certificate; a new one, afterwards."""
    ca = pair_at(fleet.layout.keys / "ca")
    put(stem, issue(ca, LONG_AGO))
    yield
    put(stem, issue(ca, dt.datetime.now(dt.UTC)))


def put(stem: Path, pair: Pair) -> None:
    stem.with_suffix(".key").write_bytes(pair.key)
    stem.with_suffix(".pem").write_bytes(pair.certificate)


def restart_coordinator(fleet: Prepared) -> None:
    """Each peer must show its certificate anew."""
    coordinator: psutil.Process = fleet.coordinator()
    coordinator.kill()
    coordinator.wait()


def turned_away(fleet: Prepared) -> list[str]:
    """What its agent has said of it."""
    said = [line["why"] for line in fleet.lines(HOST, "unlinked")]
    return [why for why in said if why.startswith("cannot reach") and why.endswith("killdeer-agent doctor")]


def doctor(fleet: Prepared) -> str:
    command = [*fleet.layout.read_host(HOST).agent[:-1], "doctor"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S).stdout


def test_with_an_expired_certificate_an_agent_reverts_says_why_and_needs_no_restart_for_a_new_one(
    started: Prepared,
) -> None:
    agent, victim = started.agent(HOST), started.pause()
    stem = started.layout.keys / "agents" / HOST / "agent"
    with expired(started, stem, lambda ca, now: pki.issue_agent(ca, HOST, now)):
        restart_coordinator(started)
        wait_until(lambda: not started.stopped(), "without a lease, its victim goes on")
        assert victim.is_running()
        wait_until(lambda: turned_away(started), "the agent says what to ask")
        wait_until(lambda: "certificate has expired" in started.said("coordinator"), "the coordinator says why")
        assert f"{stem}.pem: certificate has expired" in doctor(started)
    started.as_it_was()
    assert started.agent(HOST) == agent


def test_with_an_expired_certificate_a_coordinator_is_trusted_by_nobody_and_agents_need_no_restart(
    started: Prepared,
) -> None:
    agent, victim = started.agent(HOST), started.pause()
    with expired(
        started, started.layout.keys / "coordinator", lambda ca, now: pki.issue_coordinator(ca, ["127.0.0.1"], now)
    ):
        restart_coordinator(started)
        wait_until(lambda: not started.stopped(), "without a lease, its victim goes on")
        assert victim.is_running()
        wait_until(lambda: "certificate has expired" in str(turned_away(started)), "the agent says why")
        (line,) = started.lines("coordinator", "certificate_expired")
        assert f"{started.layout.keys / 'coordinator.pem'} ended on 2022-" in line["why"], "so does the coordinator"
        assert "its certificate is not to be trusted: certificate has expired" in doctor(started)
        halted = started.killdeer("halt", code=4)
        assert "cannot trust the coordinator" in halted.err and "expired" in halted.err
        assert "killdeer-agent halt" in halted.err, "it says what is left to do"
    restart_coordinator(started)
    started.as_it_was()
    assert started.agent(HOST) == agent


def test_with_an_expired_certificate_an_operator_is_told_and_others_go_on(started: Prepared) -> None:
    stem = started.layout.keys / "operators" / "sandbox"
    with expired(started, stem, lambda ca, now: pki.issue_operator(ca, "sandbox", pki.ROLES, now)):
        refused = started.killdeer("halt", code=4)
        assert "does not accept the operator's certificate" in refused.err and "expired" in refused.err
        assert str(stem) in refused.err, "it names the file"
    started.as_it_was()
