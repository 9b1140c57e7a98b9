"""The front of the payment service: HTTP on loopback, a queue, and one dispatcher for each worker.

    GET  /pay           one payment: 200, or 503 when it failed
    GET  /healthz       200 while some worker answers
    GET  /stats         {"queue": {"depth": N}}
    GET  /metrics       for Prometheus: requests_total, errors_total, payment_seconds, queue_depth
    POST /load/start    payments of its own, ?rate=N a second, ?job_ms=N of work each; once more changes nothing
    POST /load/stop     no more of them; those in the queue are dropped
    POST /retries/on    a job on a worker that fails goes to another; after /retries/off it is an error
    POST /hook/NAME     kept, and no more
    GET  /posts         every POST so far: {"path", "body"}; GET /load: {"running", "sent"}

Its arguments are the workers' ports; its first line says its own.
"""

import json
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Lock, Thread
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

# Longer than any pause of a test: a worker that hangs holds its job.
ANSWERS_WITHIN_S = 30.0
# A dispatcher whose worker has failed leaves the queue to the others for so long.
BACK_OFF_S = 0.1
MOST_QUEUED = 1_000
# Nobody left it running for good.
LOAD_LASTS_S = 300.0
BUCKETS = (0.02, 0.05, 0.15, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(eq=False)
class Job:
    ms: int
    since: float = field(default_factory=time.monotonic)
    tries: int = 0
    done: Event = field(default_factory=Event)
    paid: bool = False


class Payments:
    """The queue and what is counted. `failing`: workers whose last job failed."""

    def __init__(self, ports: list[int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("requests", "Payments asked for.", registry=self.registry)
        self._errors = Counter("errors", "Payments that failed.", registry=self.registry)
        self._seconds = Histogram("payment_seconds", "Until paid.", registry=self.registry, buckets=BUCKETS)
        Gauge("queue_depth", "Payments that wait.", registry=self.registry).set_function(lambda: self.depth)
        self.retries = False
        self.failing: set[int] = set()
        self._ports = ports
        self._queue: deque[Job] = deque()
        self._news = Condition()

    def start(self) -> None:
        for port in self._ports:
            Thread(target=self._dispatch, args=(port,), daemon=True).start()

    @property
    def depth(self) -> int:
        return len(self._queue)

    @property
    def healthy(self) -> bool:
        return len(self.failing) < len(self._ports)

    def submit(self, ms: int) -> Job:
        job = Job(ms)
        with self._news:
            if len(self._queue) < MOST_QUEUED:
                self._queue.append(job)
                self._news.notify()
                return job
        self._over(job, paid=False)
        return job

    def drop(self) -> None:
        with self._news:
            self._queue.clear()

    def _dispatch(self, port: int) -> None:
        ask = Asked(port)
        while True:
            with self._news:
                self._news.wait_for(lambda: self._queue)
                job = self._queue.popleft()
            if ask.pay(job.ms):
                self.failing.discard(port)
                self._over(job, paid=True)
                continue
            self.failing.add(port)
            job.tries += 1
            if self.retries:
                with self._news:
                    self._queue.appendleft(job)
                    self._news.notify()
            else:
                self._over(job, paid=False)
            time.sleep(BACK_OFF_S)

    def _over(self, job: Job, *, paid: bool) -> None:
        self._requests.inc()
        if paid:
            self._seconds.observe(time.monotonic() - job.since)
        else:
            self._errors.inc()
        job.paid = paid
        job.done.set()


class Asked:
    """One worker, over a connection that is made again when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None

    def pay(self, ms: int) -> bool:
        try:
            if self._connection is None:
                self._connection = socket.create_connection(("127.0.0.1", self._port), ANSWERS_WITHIN_S)
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.sendall(b"pay %d\n" % ms)
            if self._connection.recv(64).startswith(b"paid"):
                return True
        except OSError:
            pass
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        return False


class Load:
    """Payments at a steady rate, however long they take."""

    def __init__(self, submit: Callable[[int], Job]) -> None:
        self._submit = submit
        self._lock = Lock()
        self._stop: Event | None = None
        self.sent = 0

    @property
    def running(self) -> bool:
        return self._stop is not None

    def start(self, rate: float, job_ms: int) -> None:
        with self._lock:
            if self._stop is None:
                self._stop = Event()
                Thread(target=self._send, args=(self._stop, 1 / rate, job_ms), daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            if self._stop is not None:
                self._stop.set()
                self._stop = None

    def _send(self, stop: Event, every_s: float, job_ms: int) -> None:
        due = time.monotonic()
        until = due + LOAD_LASTS_S
        while not stop.wait(max(0.0, due - time.monotonic())) and due < until:
            self._submit(job_ms)
            self.sent += 1
            due += every_s


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, payments: Payments) -> None:
        self.payments = payments
        self.load = Load(payments.submit)
        self.posts: list[dict[str, object]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def posted(self, path: str, asked: dict[str, str]) -> bool:
        match path:
            case "/load/start":
                self.load.start(float(asked.get("rate", "40")), int(asked.get("job_ms", "80")))
            case "/load/stop":
                self.load.stop()
                self.payments.drop()
            case "/retries/on" | "/retries/off":
                self.payments.retries = path.endswith("on")
            case _:
                return path.startswith("/hook/")
        return True

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asks may leave."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def do_GET(self) -> None:
        front, payments = self.server, self.server.payments
        match urlsplit(self.path).path:
            case "/pay":
                job = payments.submit(80)
                job.done.wait(ANSWERS_WITHIN_S)
                self._answer(200 if job.paid else 503, b"paid" if job.paid else b"failed")
            case "/healthz":
                self._answer(200 if payments.healthy else 503, b"ok" if payments.healthy else b"no worker answers")
            case "/stats":
                self._json({"queue": {"depth": payments.depth}})
            case "/metrics":
                self._answer(200, generate_latest(payments.registry), CONTENT_TYPE_LATEST)
            case "/load":
                self._json({"running": front.load.running, "sent": front.load.sent})
            case "/posts":
                self._json(front.posts)
            case _:
                self._answer(404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = urlsplit(self.path)
        known = self.server.posted(asked.path, dict(parse_qsl(asked.query)))
        said: object = body.decode(errors="replace")
        with suppress(ValueError):
            said = json.loads(body)
        self.server.posts.append({"path": asked.path, "body": said})
        self._answer(200 if known else 404, b"")

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def main() -> None:
    payments = Payments([int(port) for port in sys.argv[1:]])
    front = Front(payments)
    payments.start()
    print(front.server_address[1], flush=True)
    front.serve_forever()


if __name__ == "__main__":
    main()
