"""A real fleet on this machine for a test: `killdeer sandbox` in a folder of its own, and its processes as the
machine sees them. Everything is ended when the context ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

# A guard against hanging, never a bound that is asserted.
PATIENCE_S = 60.0


T = TypeVar("T")


def wait_until(true: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """What `true` gives as soon as it is truthy."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = true()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {patience_s:g} s in vain until {what}")


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Running:
    """A command in the background."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def ended(self, code: int) -> str:
        """Waits for it; what it said."""
        found = self.process.wait(PATIENCE_S * 2)
        said = self.output.read_text()
        assert found == code, f"exit {found}\n{said}"
        return said


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"KILLDEER_CONFIG": str(folder / "config.toml"), "NO_COLOR": "1"}

    def killdeer(self, *arguments: str, code: int | None = 0) -> Said:
        """`killdeer ARGUMENTS`; its exit code is checked unless None is given."""
        command = [sys.executable, "-c", "from killdeer_cli.main import main; main()", *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S * 2
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert code is None or said.code == code, f"{arguments}: exit {said.code}\n{said.out}\n{said.err}"
        return said

    def begin(self, *arguments: str) -> "Running":
        """The same in the background."""
        command = [sys.executable, "-c", "from killdeer_cli.main import main; main()", *arguments]
        output = self.folder / f"output-{time.monotonic_ns()}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=self.environment, stdout=file, stderr=file)
        return Running(process, output)

    def experiment(self, text: str) -> str:
        """An experiment file with this text."""
        file = self.folder / f"experiment-{time.monotonic_ns()}.yaml"
        file.write_text(text)
        return str(file)

    def strikes(self, run: str = "latest") -> list[Any]:
        """The strikes of a run, as its watchers see them."""
        answers = self.killdeer("watch", run, "--json", code=None).lines
        strikes: list[Any] = answers[-1]["run"].get("strikes", [])
        return strikes

    def connected(self) -> int:
        hosts = self.killdeer("hosts", "--json", code=None)
        if hosts.code:
            return 0
        return sum(bool(h.get("connected") and int(h.get("lease_left_ms", 0))) for h in hosts.json["hosts"])

    # The machine's own view.

    @property
    def keeper(self) -> psutil.Process:
        return psutil.Process(json.loads((self.folder / "keeper.json").read_text())["pid"])

    def _processes(self, fits: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
        found = []
        for process in self.keeper.children(recursive=True):
            try:
                if process.status() != psutil.STATUS_ZOMBIE and fits(process):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def workers(self) -> list[psutil.Process]:
        return self._processes(lambda process: process.name() == "sandbox-worker")

    def stopped(self) -> list[psutil.Process]:
        return [worker for worker in self.workers() if _status(worker) == psutil.STATUS_STOPPED]

    def agent(self, host: str) -> psutil.Process:
        wanted = str(self.folder / "hosts" / host / "agent.toml")
        return wait_until(lambda: self._processes(lambda p: wanted in p.cmdline()), f"{host} has an agent")[0]

    def coordinator(self) -> psutil.Process:
        wanted = str(self.folder / "coordinator.toml")
        return wait_until(lambda: self._processes(lambda p: wanted in p.cmdline()), "there is a coordinator")[0]

    def host_of(self, worker: psutil.Process) -> str:
        for parent in worker.parents():
            command = parent.cmdline()
            if "killdeer_cli.fleet.host" in command:
                return command[-1]
        raise AssertionError(f"{worker} is on no host")


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD


@contextmanager
def fleet(folder: Path, *options: str) -> Iterator[Fleet]:
    started = Fleet(folder)
    started.killdeer("sandbox", "start", "--dir", str(folder), *options)
    keeper = started.keeper
    try:
        yield started
    finally:
        # What a test left stopped must not keep the sandbox from ending.
        for process in keeper.children(recursive=True):
            if _status(process) == psutil.STATUS_STOPPED:
                process.send_signal(signal.SIGCONT)
        started.killdeer("sandbox", "stop", "--dir", str(folder))
        assert _status(keeper) in (psutil.STATUS_DEAD, psutil.STATUS_ZOMBIE), "the sandbox left its keeper behind"
