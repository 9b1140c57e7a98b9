"""Readiness is asked of real servers on this host: what is met, what is not, and what is never told (R30, I8)."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from killdeer.v1.probe_pb2 import GrpcSource, Header, HttpSource, Probe, TcpSource
from killdeer_agent.core import words as w
from killdeer_agent.kernel import prober as probers
from killdeer_agent.kernel.prober import MOST_AT_ONCE, MOST_BYTES, Prober
from tests.support.certificates import Authority

GUARD_S = 60  # against hanging only
SECRET = "s3cr3t-t0k3n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port. What it still does when the context ends is cut off."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it was only knocked at, or the test is over
        finally:
            writer.transport.abort()
            tasks.discard(task)

    listening = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(answer: bytes, heard: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(answer)
        await writer.drain()

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Something comes all the time, and never the whole answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.001)


def asked(
    serve: Serve, source: Callable[[int], Probe], tmp_path: Path, tls: ssl.SSLContext | None = None
) -> w.Probed:
    async def run() -> w.Probed:
        async with server(serve, tls) as port:
            probe = source(port)
            probe.within_ms = probe.within_ms or GUARD_S * 1_000
            answer = await Prober(tmp_path / "secrets").probe(w.Probe(command_id="c1", turn=7, probe=probe))
            assert (answer.command_id, answer.turn) == ("c1", 7)
            return answer

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


def http(**source: object) -> Callable[[int], Probe]:
    return lambda port: Probe(http=HttpSource(url=f"http://127.0.0.1:{port}/healthz?full=1", **source))  # type: ignore[arg-type]


# --- HTTP ---------------------------------------------------------------------------------------------------


def said(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nLocation: /elsewhere\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "source", "met", "detail"),
    [
        (OK, {}, True, "it answered 200"),
        (said("204 No Content"), {}, True, "it answered 204"),
        (said("503 Unavailable"), {}, False, "it answered 503"),
        (said("301 Moved"), {}, False, "it answered 301"),  # not followed
        (said("301 Moved"), {"status": [301, 404]}, True, "it answered 301"),
        (OK, {"status": [404]}, False, "it answered 200"),
        (OK, {"contains": "ready"}, True, "it answered 200"),
        (OK, {"contains": "steady"}, False, "it answered 200, without the text that is asked for"),
        (said("200 OK"), {"method": "HEAD"}, True, "it answered 200"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, {}, True, "it answered 200"),
        (b"HTTP/1.0 200 OK\r\n\r\nready", {"contains": "ready"}, True, "it answered 200"),
        (CHUNKED, {"contains": "ready"}, True, "it answered 200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrea", {}, False, "no whole answer"),
        (b"", {}, False, "no whole answer"),
        (b"SSH-2.0-OpenSSH\r\n", {}, False, "no whole answer"),
        (said("200 OK", "x" * (MOST_BYTES + 1)), {}, False, "its answer is longer than"),
    ],
)  # fmt: skip
def test_http_is_met_by_its_status_and_its_text(
    answer: bytes, source: dict[str, object], met: bool, detail: str, tmp_path: Path
) -> None:
    probed = asked(answering(answer), http(**source), tmp_path)
    assert probed.met == met and detail in probed.detail


def test_http_asks_for_what_the_url_says_and_sends_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("PROBE_KEY", "from-the-environment")
    heard: list[bytes] = []
    headers = [
        Header(name="Accept", value="text/plain"),
        Header(name="X-Key", from_env="PROBE_KEY"),
        Header(name="Authorization", from_file="token"),
    ]
    assert asked(answering(OK, heard), http(headers=headers), tmp_path).met
    (request,) = heard
    lines = request.decode().lower().split("\r\n")
    assert lines[0] == "get /healthz?full=1 http/1.1"
    assert {"accept: text/plain", "x-key: from-the-environment", f"authorization: {SECRET}"} <= set(lines)
    assert len([line for line in lines if line.startswith("accept:")]) == 1
    assert any(line.startswith("host: 127.0.0.1:") for line in lines)


@pytest.mark.parametrize("serve", [silent, dripping])
def test_i8_no_whole_answer_in_time_is_not_met(serve: Serve, tmp_path: Path) -> None:
    def source(port: int) -> Probe:
        return Probe(http=HttpSource(url=f"http://127.0.0.1:{port}/"), within_ms=200)

    probed = asked(serve, source, tmp_path)
    assert not probed.met and probed.detail == "no answer within 200 ms"


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_nobody_there_is_not_met_and_says_so(kind: str, tmp_path: Path) -> None:
    port = closed_port()
    sources = {
        "http": Probe(http=HttpSource(url=f"http://localhost:{port}/")),
        "tcp": Probe(tcp=TcpSource(host="localhost", port=port)),
        "grpc": Probe(grpc=GrpcSource(address=f"localhost:{port}")),
    }
    probed = asked(silent, lambda _: sources[kind], tmp_path)
    assert not probed.met and probed.detail == f"cannot connect to port {port}: Connection refused"


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def serving_tls(authority: Authority, folder: Path, name: str) -> ssl.SSLContext:
    cert, key = authority.issue(name, dns=name).write(folder, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.parametrize(
    ("name", "trusted", "met", "detail"),
    [
        ("localhost", True, True, "it answered 200"),
        ("localhost", False, False, "its certificate is not accepted"),
        ("elsewhere.example.com", True, False, "its certificate is not accepted"),
    ],
)
def test_a_certificate_is_verified_and_so_is_its_name(
    authority: Authority, tmp_path: Path, name: str, trusted: bool, met: bool, detail: str
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes((authority if trusted else Authority("another")).cert)

    def source(port: int) -> Probe:
        return Probe(http=HttpSource(url=f"https://localhost:{port}/", ca_file=str(ca)))

    probed = asked(answering(OK), source, tmp_path, serving_tls(authority, tmp_path, name))
    assert probed.met == met and detail in probed.detail


def test_a_server_without_tls_is_not_met_by_https(tmp_path: Path) -> None:
    probed = asked(talking, lambda port: Probe(http=HttpSource(url=f"https://127.0.0.1:{port}/")), tmp_path)
    assert not probed.met and probed.detail.startswith("no TLS with it")


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_authorities_without_an_end_are_not_read(kind: str, tmp_path: Path) -> None:
    """They would take all memory, or hold a thread for good."""
    (tmp_path / "long").write_bytes(bytes(2 * 1024 * 1024))

    def source(port: int) -> Probe:
        if kind == "http":
            return Probe(http=HttpSource(url=f"https://127.0.0.1:{port}/", ca_file=str(tmp_path / "long")))
        grpc = GrpcSource(address=f"127.0.0.1:{port}", tls=True, ca_file=str(tmp_path / "long"))
        return Probe(grpc=grpc)

    probed = asked(talking, source, tmp_path)
    assert not probed.met
    assert probed.detail.startswith(f"cannot read the authorities in {tmp_path / 'long'}: it is longer than")


# --- secrets and places -------------------------------------------------------------------------------------


def outside(folder: Path) -> str:
    (folder / "agent.key").write_text(SECRET)
    return str(folder / "agent.key")


def above(folder: Path) -> str:
    outside(folder)
    return "../agent.key"


def linked(folder: Path) -> str:
    (folder / "secrets" / "link").symlink_to(outside(folder))
    return "link"


def piped(folder: Path) -> str:
    os.mkfifo(folder / "secrets" / "pipe")
    return "pipe"


def binary(folder: Path) -> str:
    (folder / "secrets" / "binary").write_bytes(b"\xff" + SECRET.encode())
    return "binary"


def two_lines(folder: Path) -> str:
    (folder / "secrets" / "two").write_text(f"{SECRET}\r\nX-Other: 1")
    return "two"


@pytest.mark.parametrize("file", [outside, above, linked, piped, binary, two_lines, lambda folder: "none"])
def test_i10_no_other_file_of_the_host_is_sent_and_no_secret_is_told(
    file: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    heard: list[bytes] = []
    headers = [Header(name="Authorization", from_file=file(tmp_path))]
    probed = asked(answering(OK, heard), http(headers=headers), tmp_path)
    assert not probed.met and probed.detail and not heard
    assert SECRET not in probed.detail


def test_a_header_from_an_environment_that_lacks_it_is_named(tmp_path: Path) -> None:
    headers = [Header(name="Authorization", from_env="KILLDEER_TEST_NOT_SET")]
    probed = asked(answering(OK), http(headers=headers), tmp_path)
    assert not probed.met and "has no KILLDEER_TEST_NOT_SET for the header Authorization" in probed.detail


@pytest.mark.parametrize(
    "url", ["http://198.51.100.1/", "http://169.254.169.254/latest", "http://0.0.0.0/", "http://[2001:db8::1]/"]
)
def test_i7_only_this_host_is_asked(url: str, tmp_path: Path) -> None:
    probed = asked(silent, lambda _: Probe(http=HttpSource(url=url)), tmp_path)
    assert not probed.met and "is no address of this host" in probed.detail


def test_each_address_of_this_host_is_its_own_and_others_are_not() -> None:
    families = {int(socket.AF_INET): (), int(socket.AF_INET6): (0, 0)}
    own = [(one.family, one.address) for named in psutil.net_if_addrs().values() for one in named]
    for family, address in own:
        if int(family) in families and "%" not in address:
            assert probers._is_here(family, (address, 80, *families[int(family)])), address
    assert not probers._is_here(socket.AF_INET, ("198.51.100.1", 80))
    assert not probers._is_here(socket.AF_INET6, ("2001:db8::1", 80, 0, 0))


def test_a_fault_of_our_own_is_not_met_and_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(probers, "_exchange", broken)
    probed = asked(answering(OK), http(), tmp_path)
    assert not probed.met and probed.detail == "cannot be asked: ValueError"


# --- TCP and gRPC -------------------------------------------------------------------------------------------


def test_tcp_is_met_by_a_connection(tmp_path: Path) -> None:
    probed = asked(silent, lambda port: Probe(tcp=TcpSource(host="127.0.0.1", port=port)), tmp_path)
    assert probed.met and probed.detail == "it takes connections"


SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize(
    ("service", "met", "detail"),
    [
        ("", True, "it says that it is SERVING"),
        ("payments", False, "it says that it is NOT_SERVING"),
        ("unheard-of", False, "its health check answered NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_grpc_health_is_met_by_serving_alone(
    service: str, met: bool, detail: str, tls: bool, authority: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.cert)

    async def run() -> w.Probed:
        serving = grpc.aio.server()
        servicer = health.aio.HealthServicer()
        await servicer.set("", SERVING)
        await servicer.set("payments", NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, serving)
        keys = authority.issue("localhost", dns="localhost")
        credentials = grpc.ssl_server_credentials([(keys.key, keys.cert)])
        port = (
            serving.add_secure_port("127.0.0.1:0", credentials) if tls else serving.add_insecure_port("127.0.0.1:0")
        )
        await serving.start()
        try:
            source = GrpcSource(
                address=f"localhost:{port}", service=service, tls=tls, ca_file=str(ca) if tls else ""
            )
            probe = Probe(grpc=source, within_ms=GUARD_S * 1_000)
            return await Prober(tmp_path).probe(w.Probe(command_id="c1", turn=1, probe=probe))
        finally:
            await serving.stop(None)

    probed = asyncio.run(asyncio.wait_for(run(), GUARD_S))
    assert probed.met == met and probed.detail == detail


def test_grpc_without_health_or_without_an_end_is_not_met(tmp_path: Path) -> None:
    def source(port: int) -> Probe:
        return Probe(grpc=GrpcSource(address=f"127.0.0.1:{port}"), within_ms=300)

    assert asked(silent, source, tmp_path).detail == "no answer within 300 ms"


# --- many ---------------------------------------------------------------------------------------------------


def test_no_more_than_eight_are_asked_at_once_and_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    inside, most = 0, 0
    free = asyncio.Event()

    async def holding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        await reader.readuntil(b"\r\n\r\n")
        inside += 1
        most = max(most, inside)
        if inside == MOST_AT_ONCE:
            free.set()
        await free.wait()
        inside -= 1
        writer.write(OK)
        await writer.drain()

    async def run() -> list[w.Probed]:
        async with server(holding) as port:
            prober = Prober(tmp_path)
            probe = Probe(http=HttpSource(url=f"http://127.0.0.1:{port}/"), within_ms=GUARD_S * 1_000)
            effects = [w.Probe(command_id=f"c{n}", turn=1, probe=probe) for n in range(3 * MOST_AT_ONCE)]
            return await asyncio.gather(*(prober.probe(effect) for effect in effects))

    answers = asyncio.run(asyncio.wait_for(run(), GUARD_S))
    assert all(answer.met for answer in answers) and most == MOST_AT_ONCE
