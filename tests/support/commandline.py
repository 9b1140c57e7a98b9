"""`killdeer`, called as a person calls it."""

import os
import pty
import select
import signal
import subprocess
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from killdeer_cli.main import app
from tests.support.fleet import wait_until
from tests.support.operator import CLI, DEADLINE_S

READS_STDIN = (["0", "0x0"], ["63", "0x0"])  # read(0, …) on x86-64, and elsewhere

_ON_TERMINAL = (
    # A new session has no terminal; without one of its own, Ctrl-C and a hang-up reach nobody.
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from killdeer_cli.main import main; main()"
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def killdeer(*arguments: str) -> Said:
    """In this process, without a terminal; the configuration is the environment's."""
    before = signal.getsignal(signal.SIGINT)
    try:
        result = CliRunner().invoke(app, list(arguments), prog_name="killdeer")
    finally:
        signal.signal(signal.SIGINT, before)  # a verb that leaves has no ear for Ctrl-C any more
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def start(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
    """As a process of its own, with its output in pipes."""
    return subprocess.Popen(
        [*CLI, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        **settings,
    )


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=DEADLINE_S)
    return Said(process.returncode, out, err)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The output up to the line with the words."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if words in line:
            return read
    raise AssertionError(f"{words!r} was never said: {read}{process.communicate(timeout=DEADLINE_S)[1]}")


def _call(pid: int) -> list[str]:
    """The system call that it waits in: the number and the first argument."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[:2]


class Terminal:
    """A process on a terminal of its own, 100 columns wide."""

    def __init__(self, *arguments: str, program: str = _ON_TERMINAL) -> None:
        self._ours, theirs = pty.openpty()
        self.read = ""
        self.process = subprocess.Popen(
            [CLI[0], "-c", program, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def until(self, words: str) -> str:
        while words not in self.read:
            chunk = self._chunk()
            assert chunk, f"{words!r} was never shown: {self.read}"
            self.read += chunk
        return self.read

    def waits_for_an_answer(self) -> None:
        """Until it reads: a Ctrl-C between Python's last look and its read is noticed with the next key only."""
        wait_until(lambda: _call(self.process.pid) in READS_STDIN, "it reads its terminal")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    @property
    def echoes(self) -> bool:
        """What is typed is shown, as in the mode that a shell expects."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def ended(self) -> int:
        while chunk := self._chunk():
            self.read += chunk
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """Hangs up, as when a window is closed; the second time does nothing."""
        if self._ours < 0:
            return
        os.close(self._ours)
        self._ours = -1
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(DEADLINE_S)

    def _chunk(self) -> str:
        ready, _, _ = select.select([self._ours], [], [], DEADLINE_S)
        if not ready:
            return ""
        try:
            return os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # EIO: the last process on the terminal has closed it
            return ""
