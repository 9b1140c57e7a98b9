"""A tiny HTTP service to be probed: a test sets how it answers, sees what it was asked, and has it scraped.

Its `answer` is that of every path that has none of its own in `paths`. `/metrics` is for Prometheus: what the test
makes of prometheus_client with `registry=probed.registry`. `stop()` is as a death; `start()` takes the port again.
"""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before the first byte."""
    echo: bool = False
    """The request's headers and body are the answer's."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]


def json_answer(value: object, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(value).encode(), headers={"content-type": "application/json"})


class Probed:
    """Its attributes may be set at any time, from any thread."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer = Answer()
        self.paths: dict[str, Answer] = {}
        self.registry = CollectorRegistry()
        self.metrics_text: str | None = None
        """In place of what the registry holds."""
        self.seen: list[Seen] = []
        self._tls = tls
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._ending = Event()
        self._server: _Server | None = None
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def start(self) -> None:
        self._ending.clear()
        self._server = _Server(self, self.port, self._tls)
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """As a death: the port refuses, and who is connected is cut off."""
        server, self._server = self._server, None
        if server is None:
            return
        self._ending.set()
        server.shutdown()
        self._thread.join()
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        server.server_close()  # waits for those who answered

    def answer_to(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
        if seen.path == "/metrics" and "/metrics" not in self.paths:
            text = generate_latest(self.registry) if self.metrics_text is None else self.metrics_text.encode()
            return Answer(body=text, headers={"content-type": CONTENT_TYPE_LATEST})
        answer = self.paths.get(seen.path, self.answer)
        self._ending.wait(answer.delay_s)
        return answer

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that the end waits for them
    request_queue_size = 256

    def __init__(self, probed: Probed, port: int, tls: ssl.SSLContext | None) -> None:
        self.probed = probed
        self._tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        self.probed.opened(request)
        try:
            if self._tls is None:
                super().finish_request(request, client_address)
                return
            with self._tls.wrap_socket(request, server_side=True, suppress_ragged_eofs=True) as wrapped:
                self.probed.opened(wrapped)
                try:
                    super().finish_request(wrapped, client_address)
                finally:
                    self.probed.closed(wrapped)
        finally:
            self.probed.closed(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asks may leave, or turn a certificate away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        assert isinstance(self.server, _Server)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = {name.lower(): value for name, value in self.headers.items()}
        host, port = self.client_address[:2]
        seen = Seen(method=self.command, path=self.path, headers=asked, body=body, peer=(str(host), int(port)))
        answer = self.server.probed.answer_to(seen)
        said = f"{json.dumps(asked)}\n{body.decode()}".encode() if answer.echo else answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def service(tls: ssl.SSLContext | None = None) -> Iterator[Probed]:
    probed = Probed(tls)
    try:
        yield probed
    finally:
        probed.stop()
