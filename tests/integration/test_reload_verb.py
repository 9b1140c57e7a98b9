"""`systemctl reload` is the units' own verb: it fails, with the sentence, where the daemon refuses what is new."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.coordinator import Coordinator
from tests.support.fleet import wait_until

PROGRAMS = {
    "agent": "import sys; from killdeer_agent.cli import main; sys.exit(main())",
    "coordinator": "import sys; from killdeer_coordinator.cli import main; sys.exit(main())",
}


class Daemon:
    """As its unit runs it: with a runtime directory, and MAINPID for the commands beside it."""

    def __init__(self, name: str, folder: Path, file: Path) -> None:
        self.name, self.file = name, file
        self.good = file.read_text()
        self.runtime, self.log = folder / "runtime", folder / "log"
        self.runtime.mkdir()
        options = ["--config", str(file), "run"] if name == "agent" else ["run", "--config", str(file)]
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", PROGRAMS[name], *options]
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {"RUNTIME_DIRECTORY": str(self.runtime)} | more

    def said(self) -> str:
        return self.log.read_text()

    def reload(self) -> tuple[int, str]:
        """Exit code, and what was said."""
        command = [sys.executable, "-c", PROGRAMS[self.name], "reload"]
        environment = self.environment(MAINPID=str(self.process.pid))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr


@contextmanager
def running(name: str, folder: Path, file: Path) -> Iterator[Daemon]:
    daemon = Daemon(name, folder, file)
    try:
        wait_until(lambda: '"event": "started"' in daemon.said(), "it runs")
        yield daemon
    finally:
        daemon.process.send_signal(signal.SIGCONT)
        daemon.process.terminate()
        daemon.process.wait(60)


@pytest.fixture(scope="module", params=["agent", "coordinator"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "agent":
        file = folder / "agent.toml"
        places = [f'{one} = "{folder / one}"\n' for one in ("state", "guard", "ca", "cert")]
        file.write_text(f'coordinators = ["127.0.0.1:1"]\nruntime = "{folder}"\n{"".join(places)}')
    else:
        file = Coordinator(folder).config
    with running(request.param, folder, file) as started:
        yield started


def test_a_configuration_that_is_taken_ends_with_0_and_what_waits_is_said(daemon: Daemon) -> None:
    assert daemon.reload() == (0, "reloaded\n")
    key = 'server_name = "other"' if daemon.name == "agent" else "reflection = true"
    daemon.file.write_text(f"{key}\n{daemon.good}")
    code, said = daemon.reload()
    assert code == 0
    assert key.partition(" ")[0] in said
    assert "after a restart" in said
    daemon.file.write_text(daemon.good)


def test_a_configuration_that_is_refused_fails_with_the_reason(daemon: Daemon) -> None:
    daemon.file.write_text(f"log_levl = 1\n{daemon.good}")
    code, said = daemon.reload()
    assert code == 2
    assert said.startswith(f"the reload of killdeer-{daemon.name} was refused: ")
    assert "did you mean 'log_level'?" in said
    assert '"event": "reload_refused"' in daemon.said()
    daemon.file.write_text(daemon.good)
    assert daemon.reload() == (0, "reloaded\n"), "what was said before is no answer"


def test_a_file_that_cannot_be_read_is_the_daemons_to_refuse_and_not_the_verbs(daemon: Daemon) -> None:
    daemon.file.write_text("[limits")
    code, said = daemon.reload()
    assert (code, "cannot read" in said) == (2, True)
    daemon.file.unlink()
    assert daemon.reload()[0] == 2
    daemon.file.write_text(daemon.good)


def test_by_hand_it_says_how_to_reload_and_signals_nobody(daemon: Daemon) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("MAINPID", "RUNTIME_DIRECTORY")}
    command = [sys.executable, "-c", PROGRAMS[daemon.name], "reload"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"say: systemctl reload killdeer-{daemon.name}" in done.stderr


def test_a_daemon_that_is_gone_fails_the_reload(daemon: Daemon) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    command = [sys.executable, "-c", PROGRAMS[daemon.name], "reload"]
    environment = daemon.environment(MAINPID=str(gone.pid))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert re.search(rf"pid {gone.pid}: No such process", done.stderr)
