"""The agents' listener of a real coordinator: who is let in, and what a stream that speaks wrongly comes to."""

import datetime as dt
import itertools
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer_coordinator import pki
from killdeer_coordinator.pki import Pair
from tests.support.coordinator import Coordinator, WireAgent, channel, coordinator, make_keys, pair_at, wire_agent

FRAME_MOST = 4 * 1024 * 1024


HOSTS = tuple(f"host-{number}" for number in range(8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with coordinator(tmp_path_factory.mktemp("coordinator"), "good", *HOSTS) as started:
        yield started


@pytest.fixture(scope="module")
def good(made: Coordinator) -> Iterator[WireAgent]:
    with wire_agent(made, "good") as agent:
        agent.hello("good")
        assert agent.read("welcome")
        yield agent


_stamps = itertools.count(1)


def renewed(agent: WireAgent) -> bool:
    stamp = next(_stamps)
    agent.beat(stamp)
    frame = agent.read("lease_renewal")
    return frame is not None and frame.lease_renewal.heartbeat_boot_ns == stamp


_hosts = iter(HOSTS)


@pytest.fixture(autouse=True)
def served(good: WireAgent) -> Iterator[None]:
    """Another agent, which is served before and after, whatever is done in between."""
    assert renewed(good)
    yield
    assert renewed(good)


@pytest.fixture
def host() -> str:
    """One that has not joined yet."""
    return next(_hosts)


def dismissed(agent: WireAgent) -> a.Dismissal:
    frame = agent.read()
    assert frame is not None
    assert frame.WhichOneof("frame") == "dismissal"
    assert agent.read() is None
    return frame.dismissal


def test_a_hello_of_another_host_is_dismissed_with_both_names(made: Coordinator, host: str) -> None:
    with wire_agent(made, host) as agent:
        agent.hello("good")
        said = dismissed(agent)
    assert "'good'" in said.detail
    assert repr(host) in said.detail
    assert said.retry_after_ms >= 30_000


@pytest.mark.parametrize("first", [a.ConnectRequest(heartbeat=a.Heartbeat()), b""])
def test_a_first_frame_that_is_no_hello_is_dismissed(
    made: Coordinator, host: str, first: a.ConnectRequest | bytes
) -> None:
    with wire_agent(made, host) as agent:
        agent.send(first)
        assert "must be Hello" in dismissed(agent).detail


@pytest.mark.parametrize("joined", [False, True])
def test_a_malformed_frame_is_dismissed_by_name_and_hurts_nobody_else(
    made: Coordinator, host: str, joined: bool
) -> None:
    with wire_agent(made, host) as agent:
        if joined:
            agent.hello(host)
            assert agent.read("welcome")
        agent.send(b"\xff\xff\xff\xff")
        said = dismissed(agent)
    assert "cannot read a frame of 4 bytes" in said.detail
    assert "Traceback" not in made.said


def test_an_oversized_frame_ends_its_own_stream_only(made: Coordinator, host: str) -> None:
    with wire_agent(made, host) as agent:
        agent.hello(host)
        assert agent.read("welcome")
        agent.send(bytes(FRAME_MOST + 1))
        with pytest.raises(grpc.RpcError) as ended:
            agent.read()
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(FRAME_MOST) in (ended.value.details() or "")
    assert "Traceback" not in made.said


def test_a_lost_agent_may_come_back_with_its_session(made: Coordinator, host: str) -> None:
    with wire_agent(made, host) as agent:
        agent.hello(host)
        welcome = agent.read("welcome")
        assert welcome is not None
        agent.beat(1)
        assert agent.read("lease_renewal")
        agent.send(b"\xff")
        assert "cannot read" in dismissed(agent).detail
    with wire_agent(made, host) as agent:
        agent.hello(host, session=welcome.welcome.session)
        assert agent.read("welcome")


# --- certificates -------------------------------------------------------------------------------------------


def answer(made: Coordinator, pair: Pair | None, ca: bytes | None = None) -> grpc.RpcError:
    with channel(made.agents, ca or made.ca, pair) as opened:
        agent = WireAgent(opened)
        agent.hello("good")
        with pytest.raises(grpc.RpcError) as ended:
            agent.read()
        agent.close()
    error: grpc.RpcError = ended.value
    return error


def test_an_operator_is_told_that_this_listener_is_for_agents(made: Coordinator) -> None:
    error = answer(made, made.operator())
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "for agents" in (error.details() or "")


def test_a_certificate_of_nobody_is_refused_by_its_cause(made: Coordinator) -> None:
    """The CA signed it, and it is the coordinator's own: a server's."""
    error = answer(made, pair_at(made.keys / "coordinator"))
    assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("which", ["foreign", "none", "expired"])
def test_without_a_valid_certificate_there_is_no_connection(made: Coordinator, which: str, tmp_path: Path) -> None:
    pairs = {
        "foreign": pair_at(make_keys(tmp_path, ("good",)).folder / "agents" / "good" / "agent"),
        "none": None,
        "expired": pki.issue_agent(
            pair_at(made.keys / "ca"), "good", dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.AGENT_DAYS + 1)
        ),
    }
    assert answer(made, pairs[which]).code() is grpc.StatusCode.UNAVAILABLE


def test_an_agent_does_not_speak_to_a_coordinator_of_another_ca(made: Coordinator, tmp_path: Path) -> None:
    foreign = make_keys(tmp_path).folder / "ca.pem"
    assert answer(made, made.agent("good"), foreign.read_bytes()).code() is grpc.StatusCode.UNAVAILABLE
