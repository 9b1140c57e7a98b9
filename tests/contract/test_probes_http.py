"""Probes over HTTP, against real servers on loopback: what a value is; all else is unknown (invariant I8)."""

import asyncio
import gzip
import logging
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges import http_probe
from killdeer_coordinator.edges.aside import Aside, Names
from killdeer_coordinator.edges.http_probe import Http
from killdeer_coordinator.edges.probes import Probes
from killdeer_coordinator.edges.secrets import Headers
from tests.support.certificates import Authority
from tests.support.probed import Answer, Probed, json_answer, service
from tests.support.probing import WITHIN_MS, http, take, take_all, value

LONG_S = 30.0


@pytest.fixture
def web() -> Iterator[Probed]:
    with service() as probed:
        yield probed


@contextmanager
def raw(answer: bytes, *, then_wait: bool = False) -> Iterator[str]:
    """A server that says these bytes to whoever connects; the address."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)
                    if then_wait:
                        done.wait(LONG_S)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LONG_S)


@contextmanager
def fickle() -> Iterator[str]:
    """A server that answers the first request of each connection, and hangs up at the second."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with threaded(serve) as url:
        yield url


@contextmanager
def threaded(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Iterator[str]:
    """A server in a thread of its own; the address."""
    ready, ports = threading.Event(), list[int]()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await ending.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(LONG_S)
    try:
        yield f"http://127.0.0.1:{ports[0]}/"
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(LONG_S)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.mark.parametrize(
    ("status", "asked", "met", "detail"),
    [
        (200, [], 1.0, "200 OK"),
        (204, [], 1.0, "204 No Content"),
        (301, [], 0.0, "301 Moved Permanently"),
        (503, [], 0.0, "503 Service Unavailable"),
        (503, [503], 1.0, "503 Service Unavailable"),
        (200, [404, 410], 0.0, "200 OK"),
        (599, [], 0.0, "599"),
    ],
)
def test_an_answer_is_met_by_its_status(
    web: Probed, status: int, asked: list[int], met: float, detail: str
) -> None:
    web.answer = Answer(status=status, headers={"location": f"{web.url}/elsewhere"})
    reading = take(http(web.url, status=asked))
    assert (value(reading), reading.detail, reading.probe) == (met, detail, "web")
    assert reading.at_unix_ms
    assert len(web.seen) == 1, "no redirect is followed"


def test_an_answer_without_the_text_is_unmet(web: Probed) -> None:
    web.answer = Answer(body="alles läuft".encode())
    assert value(take(http(web.url, contains="läuft"))) == 1.0
    reading = take(http(web.url, contains="ready"))
    assert (value(reading), reading.detail) == (0.0, "200 OK, without the text 'ready'")


def test_the_status_is_a_value_whatever_it_is(web: Probed) -> None:
    web.answer = Answer(status=503)
    assert value(take(http(web.url, take=p.TAKE_STATUS))) == 503


def test_a_number_is_taken_out_of_json(web: Probed) -> None:
    web.paths["/stats"] = json_answer(
        {"queue": {"depth": 3, "open": True, "name": "x"}, "list": [{"n": 1.5}, None]}
    )
    url = f"{web.url}/stats"

    def at(path: str) -> p.Reading:
        return take(http(url, take=p.TAKE_JSON, path=path))

    assert value(at("queue.depth")) == 3
    assert value(at("queue.open")) == 1
    assert value(at("list.0.n")) == 1.5
    for path, said in {
        "queue.deep": "the body has no queue.deep: there is no 'deep' in queue",
        "cue": "the body has no cue: there is no 'cue'",
        "list.2": "the body has no list.2: there is no '2' in list",
        "list.-1": "there is no '-1' in list",
        "queue.depth.x": "there is no 'x' in queue.depth",
        "queue.name": "queue.name of the body is text, not a number or a boolean",
        "queue": "queue of the body is an object, not",
        "list.1": "list.1 of the body is null",
    }.items():
        reading = at(path)
        assert value(reading) is None
        assert said in reading.detail


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[" * 100_000, b"\xff\xfe", b'{"n": NaN}', b'{"n": 1e999}', b'{"n": ' + b"9" * 400 + b"}"],
)
def test_a_body_without_a_number_is_unknown(web: Probed, body: bytes) -> None:
    web.answer = Answer(body=body)
    assert value(take(http(web.url, take=p.TAKE_JSON, path="n"))) is None


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("12", 12.0),
        (" -1.5e3\n", -1500.0),
        (".5", 0.5),
        ("1_000", None),
        ("nan", None),
        ("12 ms", None),
        ("", None),
    ],
)
def test_a_body_can_be_a_number(web: Probed, body: str, number: float | None) -> None:
    web.answer = Answer(body=body.encode())
    assert value(take(http(web.url, take=p.TAKE_NUMBER))) == number


@pytest.mark.parametrize("what", [p.TAKE_LATENCY, p.TAKE_JSON, p.TAKE_NUMBER])
def test_of_an_error_neither_the_time_nor_a_number_is_taken(web: Probed, what: p.Take) -> None:
    web.answer = Answer(status=503, body=b"7")
    reading = take(http(web.url, take=what))
    assert (value(reading), reading.detail) == (None, "503 Service Unavailable")


def test_latency_reaches_from_the_request_to_the_last_byte(web: Probed) -> None:
    web.answer = Answer(delay_s=0.2)
    taken = value(take(http(web.url, take=p.TAKE_LATENCY)))
    assert taken is not None
    assert taken >= 0.2


def test_no_answer_in_time_is_unknown(web: Probed) -> None:
    web.answer = Answer(delay_s=LONG_S)
    reading = take(http(web.url, within_ms=100))
    assert (value(reading), reading.detail) == (None, "no answer within 100ms")


def test_the_time_ends_with_the_last_byte() -> None:
    with raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok", then_wait=True) as url:
        assert take(http(url, within_ms=200)).detail == "no answer within 200ms"


@pytest.mark.parametrize("what", [p.TAKE_MET, p.TAKE_STATUS, p.TAKE_LATENCY])
def test_a_refused_connection_is_unknown(web: Probed, what: p.Take) -> None:
    web.stop()
    reading = take(http(web.url, take=what))
    assert (value(reading), reading.detail) == (None, "no answer: connection refused")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x01\x02", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok", b"SSH-2.0-OpenSSH\r\n"]
)
def test_an_answer_that_breaks_off_or_is_no_http_is_unknown(answer: bytes) -> None:
    with raw(answer) as url:
        reading = take(http(url))
    assert value(reading) is None
    assert reading.detail.startswith("no answer: ")


def test_a_name_that_nobody_knows_is_unknown() -> None:
    assert take(http("http://no-such-host.invalid/")).detail.startswith("no answer: ")
    assert take(http(f"http://{'x' * 64}.invalid/")).detail == "no answer: its name is not known"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:99999/", "file:///etc/passwd"],
)
def test_an_address_that_is_none_is_unknown_and_says_what_to_write(url: str) -> None:
    reading = take(http(url))
    assert value(reading) is None
    assert "http://HOST:PORT" in reading.detail


def test_a_password_in_an_address_is_not_sent_and_not_shown(web: Probed) -> None:
    reading = take(http(f"http://user:geheim@{web.address}/"))
    assert value(reading) is None
    assert "from_env" in reading.detail
    assert "geheim" not in reading.detail
    assert not web.seen


def test_a_large_body_is_cut_and_then_unknown_only_where_it_matters(
    web: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_probe, "BODY_MOST_BYTES", 10 * 1024)
    web.answer = Answer(body=b"1" * (64 * 1024))
    assert value(take(http(web.url))) == 1.0
    assert value(take(http(web.url, take=p.TAKE_LATENCY))) is not None
    for probe in (
        http(web.url, contains="1"),
        http(web.url, take=p.TAKE_NUMBER),
        http(web.url, take=p.TAKE_JSON, path="n"),
    ):
        reading = take(probe)
        assert (value(reading), reading.detail) == (
            None,
            "the body is longer than 10 KiB, which is the most that is read",
        )


def test_no_compression_is_asked_for_and_none_undone(web: Probed) -> None:
    web.answer = Answer(body=gzip.compress(b"5"), headers={"content-encoding": "gzip"})
    assert value(take(http(web.url, take=p.TAKE_NUMBER))) is None
    assert web.seen[0].headers["accept-encoding"] == "identity"


def test_what_was_asked_is_what_is_sent(web: Probed) -> None:
    headers = [
        p.Header(name="X-One", value="1"),
        p.Header(name="X-One", value="2"),
        p.Header(name="Host", value="shop"),
    ]
    take(http(f"{web.url}/pay?a=b#part", method="PUT", body="{}", headers=headers))
    (seen,) = web.seen
    assert (seen.method, seen.path, seen.body) == ("PUT", "/pay?a=b", b"{}")
    assert seen.headers["host"] == "shop"
    assert seen.headers["x-one"] == "2"
    assert seen.headers["user-agent"].startswith("killdeer/")
    assert "cookie" not in seen.headers


def test_the_proxies_of_the_environment_are_not_asked(web: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert value(take(http(web.url))) == 1.0


def test_cookies_of_one_reading_are_not_shown_in_the_next(web: Probed) -> None:
    web.answer = Answer(headers={"set-cookie": "session=1; Path=/"})
    take_all([http(web.url), http(web.url)])
    assert ["cookie" in seen.headers for seen in web.seen] == [False, False]


def test_connections_are_kept_open(web: Probed) -> None:
    take_all([http(web.url)] * 3)
    assert len({seen.peer for seen in web.seen}) == 1


def test_a_kept_connection_that_ends_as_it_is_used_is_asked_over_a_new_one() -> None:
    """A server that closes an idle connection in the moment of the next request has not failed to answer that."""
    with fickle() as url:
        readings = take_all([http(url)] * 20)
    assert [(value(reading), reading.detail) for reading in readings] == [(1.0, "200 OK")] * 20


def test_a_service_that_died_and_is_back_is_seen_as_both(web: Probed) -> None:
    async def story() -> list[float | None]:
        prober = Probes({})
        try:
            told = [value(await prober.take(http(web.url)))]
            await asyncio.to_thread(web.stop)
            told.append(value(await prober.take(http(web.url))))
            await asyncio.to_thread(web.start)
            return [*told, value(await prober.take(http(web.url)))]
        finally:
            await prober.close()

    assert asyncio.run(story()) == [1.0, None, 1.0]


# --- names ----------------------------------------------------------------------------------------------------


def test_a_name_is_asked_for_at_each_of_its_addresses(web: Probed) -> None:
    async def asked() -> int:
        aside = Aside()
        prober = Http(aside, Names(aside, lambda _: ["::1", "127.0.0.2", "127.0.0.1"]))
        question = http_probe.Question(url=f"http://shop.example:{web.port}/", method="GET", headers=Headers())
        try:
            return (await prober.ask(question)).status
        finally:
            await prober.close()

    assert asyncio.run(asked()) == 200
    assert web.seen[0].headers["host"] == f"shop.example:{web.port}"


def test_a_name_service_that_hangs_holds_up_nobody_else() -> None:
    free = threading.Event()
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        if host == "slow":
            free.wait(LONG_S)
        return ["127.0.0.1"]

    async def story() -> None:
        names = Names(Aside(), resolve)
        slow = [asyncio.ensure_future(names.addresses("slow")) for _ in range(100)]
        for number in range(100):
            assert await names.addresses(f"fast{number}") == ["127.0.0.1"]
        assert not any(each.done() for each in slow)
        slow.pop().cancel()
        free.set()
        assert await asyncio.gather(*slow) == [["127.0.0.1"]] * 99

    asyncio.run(story())
    assert asked.count("slow") == 1


# --- places -----------------------------------------------------------------------------------------------------


def test_a_slow_neighbour_does_not_disturb_a_probe(web: Probed) -> None:
    web.paths["/slow"] = Answer(delay_s=LONG_S)

    async def story() -> None:
        prober = Probes({}, most_at_once=64)
        slow = [asyncio.ensure_future(prober.take(http(f"{web.url}/slow", within_ms=WITHIN_MS))) for _ in range(63)]
        try:
            for _ in range(10):
                assert value(await prober.take(http(web.url))) == 1.0
            assert not any(each.done() for each in slow)
        finally:
            for each in slow:
                each.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            await prober.close()

    asyncio.run(story())


def test_who_finds_no_place_in_time_is_unknown_and_the_rest_go_on(web: Probed) -> None:
    web.paths["/slow"] = Answer(delay_s=LONG_S)

    async def story() -> None:
        prober = Probes({}, most_at_once=2)
        slow = [asyncio.ensure_future(prober.take(http(f"{web.url}/slow"))) for _ in range(2)]
        try:
            await asyncio.sleep(0)
            reading = await prober.take(http(web.url, within_ms=50))
            assert value(reading) is None
            assert "2 other probes were under way, and none ended within 50ms" in reading.detail
            slow[0].cancel()
            assert value(await prober.take(http(web.url))) == 1.0
        finally:
            for each in slow:
                each.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            await prober.close()

    asyncio.run(story())


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> Authority:
    return Authority()


@contextmanager
def tls_service(folder: Path, authority: Authority, dns: str) -> Iterator[Probed]:
    cert, key = authority.issue("web", dns=dns).write(folder, "web")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    (folder / "ca.pem").write_bytes(authority.cert)
    with service(context) as probed:
        yield probed


def test_a_certificate_is_verified_with_the_file_that_is_named(tmp_path: Path, authority: Authority) -> None:
    with tls_service(tmp_path, authority, "localhost") as web:
        ca_file = str(tmp_path / "ca.pem")
        assert value(take(http(web.url, ca_file=ca_file))) == 1.0
        assert value(take(http(f"https://localhost:{web.port}/", ca_file=ca_file))) == 1.0
        (tmp_path / "other.pem").write_bytes(Authority("other").cert)
        for wrong in (str(tmp_path / "other.pem"), ""):
            reading = take(http(web.url, ca_file=wrong))
            assert value(reading) is None
            assert reading.detail.startswith("no answer: its certificate is not trusted: ")


def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    with tls_service(tmp_path, authority, "shop.example") as web:
        reading = take(http(f"https://localhost:{web.port}/", ca_file=str(tmp_path / "ca.pem")))
    assert value(reading) is None
    assert "Hostname mismatch" in reading.detail


def test_the_systems_authorities_are_trusted_where_no_file_is_named(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_service(tmp_path, authority, "localhost") as web:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # OpenSSL's own word for them
        assert value(take(http(web.url))) == 1.0


def test_a_new_authority_in_the_file_is_taken_up_at_once(tmp_path: Path, authority: Authority) -> None:
    with tls_service(tmp_path, authority, "localhost") as web:
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(Authority("other").cert)
        os.utime(ca_file, (1, 1))

        async def story() -> list[float | None]:
            prober = Probes({})
            try:
                before = value(await prober.take(http(web.url, ca_file=str(ca_file))))
                ca_file.write_bytes(authority.cert)
                return [before, value(await prober.take(http(web.url, ca_file=str(ca_file))))]
            finally:
                await prober.close()

        assert asyncio.run(story()) == [None, 1.0]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file or directory"), (b"nonsense", "it holds no certificate (PEM)")]
)
def test_a_ca_file_that_is_none_is_unknown(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    reading = take(http("https://127.0.0.1:1/", ca_file=str(tmp_path / "ca.pem")))
    assert value(reading) is None
    assert said in reading.detail


def test_a_ca_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        reading = take(http("https://127.0.0.1:1/", ca_file=path))
        assert (value(reading), reading.detail.startswith(f"cannot use ca_file {path}: ")) == (None, True)


def test_plain_http_behind_an_https_address_is_unknown(web: Probed) -> None:
    reading = take(http(f"https://{web.address}/"))
    assert value(reading) is None
    assert reading.detail.startswith("no answer: TLS failed: ")


# --- secrets ----------------------------------------------------------------------------------------------------

SECRET = "Bearer tr0ub4dor-and-3"


def test_a_header_comes_from_the_environment_or_a_file_at_the_moment_of_use(
    web: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    probe = http(
        web.url,
        headers=[
            p.Header(name="Authorization", from_env="SHOP_TOKEN"),
            p.Header(name="X-Key", from_file=str(file)),
        ],
    )
    for content in ("first\n", "second\r\n"):
        file.write_text(content)
        assert value(take(probe, secrets=tmp_path)) == 1.0
    assert [seen.headers["x-key"] for seen in web.seen] == ["first", "second"]
    assert {seen.headers["authorization"] for seen in web.seen} == {SECRET}


@pytest.mark.parametrize("status", [200, 401, 503])
@pytest.mark.parametrize("what", [p.TAKE_MET, p.TAKE_JSON, p.TAKE_NUMBER, p.TAKE_STATUS])
def test_a_secret_is_in_no_reading_and_no_log_even_where_the_server_echoes_it(
    web: Probed,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    status: int,
    what: p.Take,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    web.answer = Answer(status=status, echo=True, headers={"x-echo": SECRET, "location": SECRET})
    headers = [p.Header(name="Authorization", from_env="SHOP_TOKEN")]
    reading = take(http(web.url, take=what, path="a.b", headers=headers, contains="nothing of it"))
    assert web.seen[0].headers["authorization"] == SECRET
    said = f"{reading}{caplog.text}{capfd.readouterr()}"
    assert "tr0ub4dor" not in said


def test_a_secret_that_cannot_be_sent_is_not_shown(
    tmp_path: Path, web: Probed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for content in (b"tr0ub4dor\nsecond line\n", b"tr0ub4dor\x00"):
        (tmp_path / "token").write_bytes(content)
        reading = take(http(web.url, headers=[p.Header(name="X-Key", from_file="token")]), secrets=tmp_path)
        assert value(reading) is None
        assert "X-Key" in reading.detail
        assert "tr0ub4dor" not in f"{reading}{caplog.text}"
    assert not web.seen


def test_an_exception_of_ours_shows_nothing_of_what_was_sent(
    web: Probed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)

    async def broken(*_: object) -> None:
        raise RuntimeError(f"cannot send {SECRET}")

    monkeypatch.setattr(Http, "ask", broken)
    reading = take(http(web.url, headers=[p.Header(name="Authorization", from_env="SHOP_TOKEN")]))
    assert value(reading) is None
    assert reading.detail == "it cannot be taken: RuntimeError; the coordinator's log says where"
    said = capfd.readouterr().out
    assert "probe_failed" in said
    assert "tr0ub4dor" not in said + reading.detail


def test_a_secret_that_is_not_there_is_unknown_with_its_place(tmp_path: Path, web: Probed) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_text("x" * 100_000)
    for header, said in (
        (p.Header(name="X-Key", from_env="NOT_SET_ANYWHERE"), "the variable NOT_SET_ANYWHERE is not set"),
        (p.Header(name="X-Key", from_file=str(tmp_path / "none")), "none: no such file"),
        (p.Header(name="X-Key", from_file=str(tmp_path)), "it is no regular file"),
        (p.Header(name="X-Key", from_file=str(tmp_path / "pipe")), "it is no regular file"),
        (p.Header(name="X-Key", from_file=str(tmp_path / "empty")), "it is empty"),
        (p.Header(name="X-Key", from_file=str(tmp_path / "long")), "longer than"),
        (p.Header(name="X Key", value="1"), "'X Key': that is no name"),
        (p.Header(name="X-Key", value="1\r\nX-Other: 2"), "line break"),
    ):
        reading = take(http(web.url, headers=[header]), secrets=tmp_path)
        assert value(reading) is None
        assert said in reading.detail
    assert not web.seen


def test_only_files_of_the_one_folder_are_sent_and_no_key_of_the_coordinator(
    tmp_path: Path, web: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "key").write_text(SECRET)
    (folder / "link").symlink_to(tmp_path / "key")
    for header, secrets in (
        (p.Header(name="X-Key", from_env="PGPASSWORD"), folder),
        (p.Header(name="X-Key", from_file=str(tmp_path / "key")), folder),
        (p.Header(name="X-Key", from_file=str(folder / ".." / "key")), folder),
        (p.Header(name="X-Key", from_file="../key"), folder),
        (p.Header(name="X-Key", from_file=str(folder / "link")), folder),
        (p.Header(name="X-Key", from_file=str(tmp_path / "key")), None),
    ):
        reading = take(http(web.url, headers=[header]), secrets=secrets)
        assert value(reading) is None
        assert "alone; put it there" in reading.detail or "the coordinator's own" in reading.detail
    assert not web.seen
