"""What doctor says of the agent's certificate, and of coordinators that it dials over real TLS."""

import datetime as dt
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from killdeer_agent import doctor
from killdeer_agent.config import Config
from killdeer_coordinator import pki
from killdeer_coordinator.pki import Pair

CA = pki.make_ca()
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
DAY_S = 86_400.0


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Config]:
    """A configuration whose files hold these."""

    def written(
        *,
        ca: Pair = CA,
        cert: Pair | None = None,
        key: Pair | None = None,
        coordinators: tuple[str, ...] = ("c:1",),
    ) -> Config:
        issued = cert or pki.issue_agent(CA, "web-1")
        paths = {name: tmp_path / name for name in ("ca", "cert", "key")}
        paths["ca"].write_bytes(ca.certificate)
        paths["cert"].write_bytes(issued.certificate)
        paths["key"].write_bytes((key or issued).key)
        return Config(coordinators=coordinators, host="web-1", ca=paths["ca"], cert=paths["cert"], key=paths["key"])

    return written


@pytest.fixture
def coordinator() -> Iterator[Callable[[Pair], str]]:
    """A gRPC server that demands certificates of that CA; its address."""
    servers = []

    def serve(ca: Pair) -> str:
        own = pki.issue_coordinator(CA)
        server = grpc.server(ThreadPoolExecutor(1))
        credentials = grpc.ssl_server_credentials([(own.key, own.certificate)], ca.certificate, True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.stop(None).wait()


def test_the_certificate_of_this_host_is_good(files: Callable[..., Config]) -> None:
    found = doctor.certificate(files())
    assert found.ok, found.fact
    assert "for web-1" in found.fact


def test_one_that_ends_soon_is_a_warning(files: Callable[..., Config]) -> None:
    config = files()
    _, ends_s = doctor._introduction(config).read()
    assert doctor.certificate(config, now_s=ends_s - 31 * DAY_S).ok
    found = doctor.certificate(config, now_s=ends_s - 29 * DAY_S)
    assert (found.ok, found.needed) == (False, False)
    assert "28 days" in found.fact or "29 days" in found.fact


def test_one_of_days_that_the_agent_renews_by_itself_is_good_until_little_of_it_is_left(
    files: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pki, "AGENT_DAYS", 2)
    config = files(cert=pki.issue_agent(CA, "web-1"))
    _, ends_s = doctor._introduction(config).read()
    assert doctor.certificate(config, now_s=ends_s - DAY_S).ok
    found = doctor.certificate(config, now_s=ends_s - DAY_S / 4)
    assert (found.ok, "6 hours" in found.fact) == (False, True)


def test_one_whose_time_has_not_come_is_a_matter_of_the_clock(files: Callable[..., Config]) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    found = doctor.certificate(files(cert=pki.issue_agent(CA, "web-1", now=later)))
    assert (found.ok, found.needed) == (False, True)
    assert "timedatectl" in found.remedy


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cert": pki.issue_agent(CA, "web-2")}, "is for web-2"),
        ({"cert": pki.issue_agent(CA, "web-1", now=LONG_AGO)}, "expired"),
        ({"cert": pki.issue_coordinator(CA)}, "purpose"),
        ({"cert": pki.issue_operator(CA, "ada", ["viewer"])}, "names no agent"),
        ({"ca": pki.make_ca()}, "issuer"),
        ({"key": pki.issue_agent(CA, "web-1")}, "cannot use"),
    ],
    ids=["another host", "expired", "a coordinator's", "an operator's", "another CA", "another key"],
)
def test_a_certificate_that_no_coordinator_would_take_is_a_failure(
    files: Callable[..., Config], given: dict[str, Pair], said: str
) -> None:
    found = doctor.certificate(files(**given))
    assert (found.ok, found.needed) == (False, True)
    assert said in found.fact
    assert found.remedy


def test_a_missing_key_is_named(files: Callable[..., Config]) -> None:
    config = files()
    config.key.unlink()
    found = doctor.certificate(config)
    assert not found.ok
    assert str(config.key) in found.fact


def test_a_coordinator_that_takes_the_certificate_is_reached(
    files: Callable[..., Config], coordinator: Callable[[Pair], str]
) -> None:
    (found,) = doctor.coordinators(files(coordinators=(coordinator(CA),)))
    assert found.ok, found.fact


def test_a_coordinator_of_another_fleet_refuses_after_the_handshake_and_is_not_reached(
    files: Callable[..., Config], coordinator: Callable[[Pair], str]
) -> None:
    (found,) = doctor.coordinators(files(coordinators=(coordinator(pki.make_ca()),)))
    assert (found.ok, found.needed) == (False, True)


def test_one_coordinator_of_two_is_enough(
    files: Callable[..., Config], coordinator: Callable[[Pair], str], nobody_listens: str
) -> None:
    away, there = doctor.coordinators(files(coordinators=(nobody_listens, coordinator(CA))))
    assert (away.ok, away.needed) == (False, False)
    assert "refused" in away.fact
    assert there.ok


def test_a_coordinator_that_never_answers_is_given_up(
    files: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DIAL_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (found,) = doctor.coordinators(files(coordinators=(f"127.0.0.1:{silent.getsockname()[1]}",)))
    assert "no answer within 0.05 s" in found.fact


def test_a_server_with_an_unknown_certificate_is_not_trusted(
    files: Callable[..., Config], coordinator: Callable[[Pair], str]
) -> None:
    address = coordinator(CA)
    (found,) = doctor.coordinators(files(ca=pki.make_ca(), coordinators=(address,)))
    assert "not to be trusted" in found.fact


@pytest.fixture
def nobody_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"
