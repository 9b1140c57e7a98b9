"""A Prometheus of the tests' own: a temporary directory, a free loopback port, ended by its own pid."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

WITHIN_S = 60.0
LOOK_EVERY_S = 0.05


def missing() -> str:
    """What this machine lacks for a server of one's own; empty: nothing."""
    return "" if shutil.which("prometheus") else "no prometheus (apt install prometheus)"


class Prometheus:
    """It scrapes its targets, each HOST:PORT, under the job `probed`."""

    def __init__(self, folder: Path, targets: Sequence[str], *, scrape_every: str = "1s") -> None:
        program = shutil.which("prometheus")
        assert program is not None, missing()
        self._folder = folder
        self._targets = list(targets)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / "prometheus.yml"
        self._write(scrape_every)
        self._program = program
        self._start()

    def _start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = self._run(log)

    def _run(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [
                self._program,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def restart(self, *, scrape_every: str) -> None:
        """What was scraped stays, without the mark of an end; the next scrape is at some time in `scrape_every`."""
        self.stop()
        self._write(scrape_every)
        self._start()
        self.wait_for(lambda: self.query("vector(1)"), "answers")

    def query(self, text: str) -> list[float]:
        """The values of all its samples."""
        result = self._get("query", query=text)["result"]
        return [float(sample["value"][1]) for sample in result]

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        until = time.monotonic() + WITHIN_S
        while True:
            with suppress(OSError):
                if holds():
                    return
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self._folder / "log").read_text(errors="replace")
                raise AssertionError(f"Prometheus does not come to {what}: {said[-2000:]}")
            time.sleep(LOOK_EVERY_S)

    def wait_until_scraped(self) -> None:
        """Each target, twice: a rate needs that."""
        self.wait_for(
            lambda: len(self.query('count_over_time(up{job="probed"}[1m]) >= 2')) == len(self._targets), "scrapes"
        )

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, scrape_every: str) -> None:
        job = {"job_name": "probed", "static_configs": [{"targets": self._targets}]}
        self._config.write_text(
            f"global:\n  scrape_interval: {scrape_every}\nscrape_configs: {json.dumps([job])}\n"
        )

    def _get(self, verb: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{verb}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
            return json.load(answer)["data"]


@contextmanager
def prometheus(*targets: str, scrape_every: str = "1s") -> Iterator[Prometheus]:
    """One that has scraped its targets."""
    folder = Path(tempfile.mkdtemp(prefix="killdeer-prometheus-"))
    try:
        server = Prometheus(folder, targets, scrape_every=scrape_every)
        try:
            server.wait_until_scraped()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
