"""A sandbox fleet whose files a test has changed before it began, and which a fault may strike: its disks, its way
to the coordinator, its keys. Needs root."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from killdeer_cli.fleet.layout import Layout
from killdeer_cli.fleet.making import Wish, make
from tests.support.fleet import PATIENCE_S, Fleet, Running, wait_until

LEASE_S = 3.0
HOST = "sandbox-1"
SELECTOR = "name=sandbox-worker"


def needs_root() -> None:
    if os.geteuid():
        pytest.skip("needs root: it makes namespaces and mounts, and reads the kernel's record")


class Prepared(Fleet):
    """Everything is on host sandbox-1."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.layout = Layout(folder)
        self._begun: list[Running] = []

    def begin(self, *arguments: str) -> Running:
        """It is over by the time that all is as it was."""
        begun = super().begin(*arguments)
        self._begun.append(begun)
        return begun

    def end(self) -> None:
        for begun in self._begun:
            begun.process.kill()
            begun.process.wait()

    @property
    def permits(self) -> list[Any]:
        held: list[Any] = self.killdeer("permits", "--json").json.get("permits", [])
        return held

    @property
    def host(self) -> dict[str, Any]:
        """As `hosts` has it."""
        (view,) = self.killdeer("hosts", "--json").json["hosts"]
        return dict(view)

    @property
    def status(self) -> Any:
        return self.killdeer("status", "--json").json

    def said(self, daemon: str) -> str:
        """The log of `coordinator` or of a host's agent."""
        log = self.layout.logs / "coordinator.log"
        return (log if daemon == "coordinator" else self.layout.host(daemon) / "agent.log").read_text()

    def lines(self, daemon: str, event: str) -> list[dict[str, Any]]:
        """Its lines of this event."""
        read = (json.loads(line) for line in self.said(daemon).splitlines() if line.startswith("{"))
        return [line for line in read if line.get("event") == event]

    def pause(self, length: str = "60s") -> psutil.Process:
        """Begins to strike; the victim, once it is paused."""
        self.begin("strike", HOST, SELECTOR, "oldest", f"--pause={length}", "--yes")
        (victim,) = wait_until(self.stopped, "a worker is paused")
        return victim

    def kill_one(self, code: int | None = 0) -> Any:
        """A strike as any; the strike as the run's watchers see it."""
        self.killdeer("strike", HOST, SELECTOR, "newest", "--kill", "--yes", code=code)
        (strike,) = self.strikes()
        return strike

    def as_it_was(self) -> None:
        """Served, nothing broken, nothing held, no command under way; and a strike goes through."""
        wait_until(lambda: self.connected() == 1, "the host is served again")
        wait_until(lambda: not self.stopped(), "nothing is paused")
        wait_until(lambda: not self.permits, "every permit is given back")
        while self._begun:
            self._begun.pop().process.wait(PATIENCE_S)
        assert self.kill_one()["state"] == "STRIKE_STATE_RECOVERED"


def alter(file: Path, **settings: str) -> None:
    """Top-level keys of a TOML file that are there."""
    text = file.read_text()
    for key, value in settings.items():
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert found == 1, key
    file.write_text(text)


@contextmanager
def prepared(
    folder: Path, prepare: Callable[[Layout], None] = lambda layout: None, **environment: str
) -> Iterator[Prepared]:
    """One host, two workers, leases of LEASE_S."""
    needs_root()
    fleet = Prepared(folder)
    wish = Wish(agents=1, workers=2, allow=(SELECTOR,), restart_after_ms=300, lease_ms=int(LEASE_S * 1_000))
    make(fleet.layout, wish)
    prepare(fleet.layout)
    with (fleet.layout.logs / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "killdeer_cli.fleet.keeper", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | environment,
            start_new_session=True,
        )
    try:
        wait_until(lambda: fleet.layout.keeper_file.exists() and fleet.connected() == 1, "the fleet is up")
        yield fleet
    finally:
        fleet.end()
        for process in psutil.Process(keeper.pid).children(recursive=True):
            # What a test left stopped must not keep the sandbox from ending.
            if process.is_running() and process.status() == psutil.STATUS_STOPPED:
                process.send_signal(signal.SIGCONT)
        keeper.terminate()
        keeper.wait(PATIENCE_S)


@contextmanager
def small_disk(at: Path, size: str) -> Iterator["Disk"]:
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "killdeer-test", str(at)], check=True)
    try:
        yield Disk(at)
    finally:
        # Lazily: namespaces of hosts that are just ending may have it as well.
        subprocess.run(["umount", "--lazy", str(at)], check=True)


class Disk:
    """A file system of its own, to be filled."""

    def __init__(self, at: Path) -> None:
        self.at = at

    @contextmanager
    def full(self) -> Iterator[None]:
        ballast = self.at / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                for size in (64 * 1024, 4096, 1):
                    try:
                        while file.write(b"\0" * size):
                            pass
                    except OSError:
                        continue
            yield
        finally:
            ballast.unlink(missing_ok=True)
