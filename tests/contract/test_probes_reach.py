"""Probes of ports and of gRPC health, against real servers on loopback."""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges.probes import Probes
from tests.support.certificates import Authority
from tests.support.probing import WITHIN_MS, take, value

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def tcp(port: int, host: str = "127.0.0.1", *, what: p.Take = p.TAKE_MET, within_ms: int = WITHIN_MS) -> p.Probe:
    return p.Probe(name="port", tcp=p.TcpSource(host=host, port=port), take=what, within_ms=within_ms)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_a_port_that_takes_connections_is_met(listener: socket.socket) -> None:
    port = port_of(listener)
    assert value(take(tcp(port))) == 1.0
    assert value(take(tcp(port, "localhost"))) == 1.0
    latency = value(take(tcp(port, what=p.TAKE_LATENCY)))
    assert latency is not None
    assert latency > 0


@pytest.mark.parametrize("what", [p.TAKE_MET, p.TAKE_LATENCY])
def test_a_port_that_nobody_answers_at_is_unknown(listener: socket.socket, what: p.Take) -> None:
    port = port_of(listener)
    listener.close()
    reading = take(tcp(port, what=what))
    assert (value(reading), reading.detail) == (None, "no answer: connection refused")
    assert take(tcp(port, "no-such-host.invalid")).detail.startswith("no answer: ")
    assert value(take(tcp(70_000))) is None


def test_a_port_that_is_silent_is_unknown_after_its_time() -> None:
    """Its queue is full: the kernel lets the next one wait."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            reading = take(tcp(port_of(full), within_ms=200))
        finally:
            for each in waiting:
                each.close()
    assert (value(reading), reading.detail) == (None, "no answer within 200ms")


def test_a_connection_to_itself_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a dead service's port the kernel can connect a client to itself; here it is made to."""
    with socket.socket() as itself:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        real = asyncio.open_connection

        async def opened(*_: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await real(sock=itself.dup())

        monkeypatch.setattr(asyncio, "open_connection", opened)
        reading = take(tcp(port_of(itself)))
    assert (value(reading), reading.detail) == (None, "no answer: connection refused")


# --- gRPC -------------------------------------------------------------------------------------------------------


class Serving:
    """A gRPC server with the standard health service; `port` stays its own."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, *, with_health: bool = True) -> None:
        self._credentials = credentials
        self._with_health = with_health
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(4))
        if self._with_health:
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@contextmanager
def serving(credentials: grpc.ServerCredentials | None = None, *, with_health: bool = True) -> Iterator[Serving]:
    made = Serving(credentials, with_health=with_health)
    try:
        yield made
    finally:
        made.stop()


def rpc(
    address: str, service: str = "", *, what: p.Take = p.TAKE_MET, tls: bool = False, ca_file: str = ""
) -> p.Probe:
    source = p.GrpcSource(address=address, service=service, tls=tls, ca_file=ca_file)
    return p.Probe(name="rpc", grpc=source, take=what, within_ms=WITHIN_MS)


def test_health_is_what_the_server_says_of_it() -> None:
    with serving() as server:
        server.health.set("", SERVING)
        server.health.set("shop.Pay", NOT_SERVING)
        whole, pay, other = (take(rpc(server.address, service)) for service in ("", "shop.Pay", "other"))
        latency = take(rpc(server.address, what=p.TAKE_LATENCY))
        no_latency = take(rpc(server.address, "shop.Pay", what=p.TAKE_LATENCY))
    assert (value(whole), whole.detail) == (1.0, "SERVING")
    assert (value(pay), pay.detail) == (0.0, "NOT_SERVING")
    assert (value(other), other.detail) == (0.0, "SERVICE_UNKNOWN")
    assert value(latency)
    assert (value(no_latency), no_latency.detail) == (None, "NOT_SERVING")


def test_a_server_without_health_or_without_an_answer_is_unknown(listener: socket.socket) -> None:
    with serving(with_health=False) as server:
        reading = take(rpc(server.address))
    assert (value(reading), reading.detail) == (None, "no answer: it does not serve grpc.health.v1")
    reading = take(rpc(server.address))
    assert (value(reading), reading.detail) == (None, "no answer: connection refused")
    silent = rpc(f"127.0.0.1:{port_of(listener)}")
    silent.within_ms = 200
    assert take(silent).detail == "no answer within 200ms"
    assert take(rpc("no-such-host.invalid:1")).detail == "no answer: its name is not known"
    for wrong in ("nonsense", "", "unix:/run/x.sock", "a:b:1", "127.0.0.1:99999"):
        assert value(take(rpc(wrong))) is None
    assert "write HOST:PORT" in take(rpc("unix:/run/x.sock")).detail


def test_a_server_that_is_back_is_seen_at_once_however_long_it_was_away() -> None:
    """gRPC itself waits longer after each failure, up to two minutes."""

    async def story(server: Serving) -> list[float | None]:
        prober = Probes({})
        try:
            told = [value(await prober.take(rpc(server.address)))]
            await asyncio.to_thread(server.stop)
            told += [value(await prober.take(rpc(server.address))) for _ in range(10)]
            await asyncio.to_thread(server.start)
            server.health.set("", SERVING)
            return [*told, value(await prober.take(rpc(server.address)))]
        finally:
            await prober.close()

    with serving() as server:
        server.health.set("", SERVING)
        assert asyncio.run(story(server)) == [1.0, *[None] * 10, 1.0]


def test_grpc_over_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    keys = authority.issue("rpc", dns="localhost")
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    (tmp_path / "other.pem").write_bytes(Authority("other").cert)
    with serving(grpc.ssl_server_credentials([(keys.key, keys.cert)])) as server:
        server.health.set("", SERVING)

        def asked(ca_file: str, *, tls: bool = True) -> p.Reading:
            return take(rpc(server.address, tls=tls, ca_file=ca_file))

        assert value(asked(str(tmp_path / "ca.pem"))) == 1.0
        for reading in (asked(str(tmp_path / "other.pem")), asked("")):
            assert (value(reading), reading.detail) == (None, "no answer: its certificate is not trusted")
        assert value(asked("", tls=False)) is None
        assert "no such file" in asked(str(tmp_path / "none.pem")).detail
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # the system's authorities, for OpenSSL
        assert ssl.create_default_context().get_ca_certs()
        assert value(asked("")) == 1.0


def test_a_ca_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(bytes(2 * 1024 * 1024))
    for path in (tmp_path / "pipe", tmp_path / "long", tmp_path):
        reading = take(rpc("127.0.0.1:1", tls=True, ca_file=str(path)))
        assert (value(reading), reading.detail.startswith(f"cannot use ca_file {path}: ")) == (None, True)


def test_the_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        server.health.set("", SERVING)
        assert value(take(rpc(server.address))) == 1.0
