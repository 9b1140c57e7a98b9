"""Requests of probes and deeds over HTTP, and what is read off their answers.

No proxies, no redirects, no cookies, no password out of an address: what was asked is what is sent.
"""

import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx

from killdeer.v1 import probe_pb2 as p
from killdeer.version import VERSION
from killdeer_coordinator.edges import authorities
from killdeer_coordinator.edges.answers import (
    MET,
    NOT_MET,
    Taken,
    Unknown,
    number_at,
    number_in,
    status_line,
    why,
)
from killdeer_coordinator.edges.aside import Aside, Names
from killdeer_coordinator.edges.secrets import Headers, Secrets

BODY_MOST_BYTES = 1024 * 1024
# Per certificate authority. More are opened where more are asked for, and closed when they were used.
KEPT_OPEN_MOST = 32
# Shorter than servers commonly wait, so that a connection is seldom closed just as it is used.
KEPT_OPEN_S = 4.0
# How long an address that is not the last of its name may take to connect: one of IPv6 that leads nowhere, say.
FIRST_ADDRESSES_S = 0.25
_DEFAULTS = {"user-agent": f"killdeer/{VERSION}", "accept": "*/*", "accept-encoding": "identity"}
_PLAIN = ("", 0)
_PORT_ENDS = 65_536
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request."""

    url: str
    method: str
    headers: Headers
    body: bytes = b""
    content_type: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    """At most BODY_MOST_BYTES of it."""
    cut: bool
    seconds: float
    """From the request, with the way to the server where none was open, to the last byte."""

    def whole(self) -> bytes:
        """Raises Unknown for a body that was cut."""
        if self.cut:
            raise Unknown(f"the body is longer than {BODY_MOST_BYTES // 1024} KiB, which is the most that is read")
        return self.body


class Http:
    """Connections kept open between requests, a pool for each authority that answers are verified with."""

    def __init__(self, aside: Aside, names: Names) -> None:
        self._aside = aside
        self._names = names
        self._clients: dict[tuple[str, int], httpx.AsyncClient] = {}
        for library in ("httpx", "httpcore"):  # their lines hold addresses and headers
            logging.getLogger(library).setLevel(logging.WARNING)

    async def ask(self, question: Question) -> Answer:
        """Raises Unknown where no whole answer comes. It has no limit of time: the caller sets one."""
        url = _address(question.url)
        client = await self._client(url.scheme, question.ca_file)
        try:
            addresses = await self._names.addresses(url.raw_host.decode())
            begun = time.monotonic()
            async with self._reach(client, question, url, addresses) as response:
                body, cut = await _read(response)
            return Answer(status=response.status_code, body=body, cut=cut, seconds=time.monotonic() - begun)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise Unknown(f"no answer: {_cause(error)}") from None

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    @asynccontextmanager
    async def _reach(
        self, client: httpx.AsyncClient, question: Question, url: httpx.URL, addresses: Sequence[str]
    ) -> AsyncIterator[httpx.Response]:
        """At the first address that takes the connection."""
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                response = await self._send(client, question, url, address, impatient=left > 0)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not left:
                    raise
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return

    async def _send(
        self, client: httpx.AsyncClient, question: Question, url: httpx.URL, address: str, *, impatient: bool
    ) -> httpx.Response:
        opened = False

        async def trace(event: str, _: dict[str, Any]) -> None:
            nonlocal opened
            opened = opened or event == "connection.connect_tcp.started"

        def request() -> httpx.Request:
            return client.build_request(
                question.method,
                url.copy_with(host=address),
                headers=_headers(question, url),
                content=question.body or None,
                # The certificate must be that of the name, wherever the name led.
                extensions={"trace": trace, "sni_hostname": url.raw_host.decode()},
                timeout=httpx.Timeout(None, connect=FIRST_ADDRESSES_S if impatient else None),
            )

        try:
            return await client.send(request(), stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # The server closed a connection that was kept open, before it saw the request: that says nothing of
            # how it answers. Whether it does is seen over a new one.
            if opened:
                raise
        return await client.send(request(), stream=True)

    async def _client(self, scheme: str, ca_file: str) -> httpx.AsyncClient:
        key = _PLAIN
        if scheme == "https":
            key = (ca_file, await self._age(ca_file) if ca_file else 1)
        if key not in self._clients:
            trust = _nobody() if key == _PLAIN else await self._trust(ca_file)
            # Another may have made it in the meantime.
            self._clients.setdefault(key, _new_client(trust))
        return self._clients[key]

    async def _age(self, ca_file: str) -> int:
        """Changes when the file does: a new authority needs no restart."""
        return await self._file(ca_file, "age", lambda: authorities.age(ca_file))

    async def _trust(self, ca_file: str) -> ssl.SSLContext:
        return await self._file(ca_file, "trust", lambda: ssl.create_default_context(cafile=ca_file or None))

    async def _file(self, ca_file: str, what: str, call: Callable[[], T]) -> T:
        try:
            return await self._aside.do((what, ca_file), call)
        except ssl.SSLError:
            raise Unknown(f"cannot use ca_file {ca_file}: it holds no certificate (PEM)") from None
        except (OSError, ValueError) as error:
            raise Unknown(f"cannot use ca_file {ca_file}: {why(error)}") from None


class HttpProbe:
    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    async def take(self, source: p.HttpSource, take: p.Take, path: Sequence[str]) -> Taken:
        """Raises Unknown."""
        answer = await self._http.ask(await question_of(source, self._secrets))
        if take == p.TAKE_STATUS:
            return Taken(float(answer.status), status_line(answer.status))
        problem = not_as_it_should_be(source, answer)
        if take in (p.TAKE_UNSPECIFIED, p.TAKE_MET):
            return Taken(NOT_MET, problem) if problem else Taken(MET, status_line(answer.status))
        # How fast an error comes, or a number on its page, says nothing of the service.
        if problem:
            raise Unknown(problem)
        if take == p.TAKE_LATENCY:
            return Taken(answer.seconds)
        if take == p.TAKE_JSON:
            return Taken(number_at(answer.whole(), path, "the body"))
        return Taken(number_in(answer.whole(), "the body"))


async def question_of(
    source: p.HttpSource, secrets: Secrets, *, body: str = "", content_type: str = ""
) -> Question:
    """`body` where the source has none. Raises Unknown for headers without a value."""
    return Question(
        url=source.url,
        method=source.method or "GET",
        headers=await secrets.resolve(source.headers),
        body=(source.body or body).encode(),
        content_type=content_type,
        ca_file=source.ca_file,
    )


def not_as_it_should_be(source: p.HttpSource, answer: Answer) -> str:
    """Empty: it is. Raises Unknown where the text that is asked for could be behind the cut."""
    if not (answer.status in source.status if source.status else 200 <= answer.status < 300):
        return status_line(answer.status)
    if source.contains and source.contains.encode() not in answer.whole():
        return f"{status_line(answer.status)}, without the text {source.contains!r}"
    return ""


def _address(text: str) -> httpx.URL:
    """Raises Unknown."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise Unknown("cannot use its address: it is no URL; write http://HOST:PORT/PATH") from None
    if url.userinfo:
        raise Unknown("cannot use its address: it holds a password; put it into a header, from_env or from_file")
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) >= _PORT_ENDS:
        raise Unknown("cannot use its address: write http://HOST:PORT/PATH or https://HOST:PORT/PATH")
    return url


def _headers(question: Question, url: httpx.URL) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in question.headers.fields}
    ours = {"host": url.netloc.decode(), **_DEFAULTS}
    if question.content_type:
        ours["content-type"] = question.content_type
    added = [(name.encode(), value.encode()) for name, value in ours.items() if name.encode() not in given]
    return [*added, *question.headers.fields]


async def _read(response: httpx.Response) -> tuple[bytes, bool]:
    """To the end, for the time of the last byte; what is kept of it, and whether that is less than all."""
    kept, length = bytearray(), 0
    async for chunk in response.aiter_raw():
        length += len(chunk)
        kept += chunk[: BODY_MOST_BYTES - len(kept)]
    return bytes(kept), length > len(kept)


def _new_client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=KEPT_OPEN_MOST, keepalive_expiry=KEPT_OPEN_S
        ),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _cause(error: Exception) -> str:
    match error:
        case httpx.LocalProtocolError():
            return "the request cannot be sent as it is; look at its method and headers"
        case httpx.RemoteProtocolError():
            return "the connection was closed before the end of the answer, or it is not HTTP that is spoken there"
    return why(error)
