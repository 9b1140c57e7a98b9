"""A small real service to experiment on: payment workers on two hosts of a sandbox fleet, each with an agent whose
guard opens them, and a front with a queue, metrics and a load of its own. All of it on loopback, and all that is
ever struck was started here."""

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.fleet.layout import WORKER_DIR, WORKER_NAME, Layout
from killdeer_cli.fleet.making import Wish, make
from killdeer_client.client import Client
from killdeer_client.contexts import load_contexts
from tests.support import payments_front, payments_worker
from tests.support.fleet import PATIENCE_S, Fleet, Running, wait_until

NAME = "payment-worker"
HOSTS = 2
WORKERS = 2
"""On each host."""
RESTART_AFTER_MS = 300
JOB_MS = 80
RATE = 40
"""Payments a second of the load: four workers do fifty of JOB_MS, three not even forty."""
LEASE_MS = 3_000


EXPERIMENT = """\
killdeer: 1
name: payments
owner: payments@example.com
environment: development
hypothesis: Payments go through whichever worker dies.
seed: 20261120
target: {{process: {{name: {target}}}}}
probes:
  healthy: {{http: "{front}/healthz", every: 500ms}}
  queue: {{http: "{front}/stats", take: json.queue.depth, every: 200ms}}
  errors:
    prometheus: sum(rate(errors_total[5s])) / sum(rate(requests_total[5s]))
    server: {prometheus}
    every: 500ms
    fresh_within: 4s
  p95:
    prometheus: histogram_quantile(0.95, sum by (le) (rate(payment_seconds_bucket[5s])))
    server: {prometheus}
    every: 500ms
    fresh_within: 4s
load:
  start: {{webhook: "{front}/load/start?rate={rate}&job_ms={job_ms}"}}
  stop: {{webhook: "{front}/load/stop"}}
action: kill
{more}
"""


class Front:
    """What the front says over HTTP."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def post(self, path: str) -> None:
        request = urllib.request.Request(self.url + path, data=b"", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_S):
            pass

    def load_runs(self) -> bool:
        return bool(self.get("/load")["running"])

    def posts(self, run_id: str) -> list[str]:
        """The paths that the webhooks of this run came to, in order."""
        posts = self.get("/posts")
        return [post["path"] for post in posts if isinstance(post["body"], dict) and post["body"]["run"] == run_id]


class Shop(Fleet):
    """The fleet that the workers are on, and the service that they do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.layout = Layout(folder)
        self.front = Front(0)
        self._begun: list[Running] = []

    def workers(self) -> list[psutil.Process]:
        return self._processes(lambda process: process.name() == NAME)

    def warm_up(self, seconds: float) -> None:
        """For so long, workers that start from now on are deaf."""
        (self.layout.folder / "workers" / "warm-up").write_text(str(seconds))

    def payments_experiment(self, prometheus: str, more: str, *, rate: int = RATE) -> str:
        """An experiment with the probes healthy, queue, errors and p95, and a load; `more` is the rest of it."""
        return self.experiment(
            EXPERIMENT.format(
                target=NAME, front=self.front.url, prometheus=prometheus, rate=rate, job_ms=JOB_MS, more=more
            )
        )

    def begin(self, *arguments: str) -> Running:
        """It is over when the shop is closed."""
        self._begun.append(super().begin(*arguments))
        return self._begun[-1]

    def end(self) -> None:
        for begun in self._begun:
            begun.process.kill()
            begun.process.wait()

    def report(self, run: str = "latest") -> o.GetReportResponse:
        with self._client() as client:
            return client.report(run)

    def until_struck(self) -> str:
        """The id of the run under way, once it has struck somebody."""

        def struck() -> str:
            with self._client() as client:
                found = [run for run in client.list_runs(1).runs if run.state == o.RUN_STATE_RUNNING]
                views = [client.get_run(run.run_id) for run in found]
            return next((view.run_id for view in views if any(strike.blows for strike in view.strikes)), "")

        return wait_until(struck, "a worker is struck")

    def _client(self) -> Client:
        return Client(load_contexts(self.layout.context_file).choose())

    def settled(self) -> bool:
        """No load, nothing in flight, every worker there and none deaf."""
        if self.front.load_runs() or len(self.workers()) < HOSTS * WORKERS or self.stopped():
            return False
        listening = {connection.laddr.port for worker in self.workers() for connection in _listening(worker)}
        return len(listening) == HOSTS * WORKERS and not self.killdeer("permits", "--json").json.get("permits")


def _listening(worker: psutil.Process) -> list[Any]:
    return [one for one in worker.net_connections() if one.status == psutil.CONN_LISTEN]


@contextmanager
def payments(folder: Path) -> Iterator[Shop]:
    shop = Shop(folder)
    make(
        shop.layout,
        Wish(
            agents=HOSTS,
            workers=WORKERS,
            allow=(f"name={NAME}",),
            restart_after_ms=RESTART_AFTER_MS,
            lease_ms=LEASE_MS,
        ),
    )
    ports = _employ(shop.layout)
    shop.warm_up(0)
    with _keeping(shop), _front(ports) as front:
        shop.front = front
        wait_until(lambda: shop.connected() == HOSTS and shop.settled(), "the shop is open")
        yield shop


def _employ(layout: Layout) -> list[int]:
    """Payment workers in place of the sandbox's own, on the same ports."""
    folder = layout.folder / "workers"
    shutil.copy2(folder / WORKER_NAME, folder / NAME)
    shutil.copy2(payments_worker.__file__, folder / "payments_worker.py")
    ports = []
    for host in layout.read_fleet().hosts:
        plan = layout.read_host(host)
        own = [command[-1] for command in plan.workers]
        script = f"{WORKER_DIR}/payments_worker.py"
        commands = [[f"{WORKER_DIR}/{NAME}", "-I", "-S", script, port] for port in own]
        layout.write_host(replace(plan, workers=commands))
        ports += [int(port) for port in own]
    return ports


@contextmanager
def _keeping(shop: Shop) -> Iterator[None]:
    with (shop.layout.logs / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "killdeer_cli.fleet.keeper", str(shop.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: shop.layout.keeper_file.exists() or keeper.poll() is not None, "the keeper is there")
        yield
    finally:
        shop.end()
        # What a test left stopped must not keep the sandbox from ending.
        for worker in shop.stopped() if keeper.poll() is None else []:
            worker.send_signal(signal.SIGCONT)
        keeper.terminate()
        keeper.wait(PATIENCE_S)


@contextmanager
def _front(ports: list[int]) -> Iterator[Front]:
    # Without its own folder on the path: what lies there has names of the standard library's.
    command = [sys.executable, "-P", payments_front.__file__, *map(str, ports)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Front(int(process.stdout.readline()))
        finally:
            process.terminate()
