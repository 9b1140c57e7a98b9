"""What became of a reload: the daemon's word to the command that asked for it, the unit's `ExecReload=`.

`systemctl reload` fails where that command does; SIGHUP alone has no answer. So the daemon leaves its word in the
unit's runtime directory, with the time at which it began to read: an answer that was begun after the question is
about what the asker wrote. It stands beside the wire because the daemons share nothing else.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "reload.json"
# Inside of the units' TimeoutStartSec=, which is a reload's, too.
PATIENCE_S = 20.0
_LOOK_AGAIN_MS = 20


class NotReloaded(Exception):
    """Why the new configuration is not in force, or that nobody knows; and what to do."""


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Word:
    """The daemon's side. Says nothing where no service manager gave it a directory. Never raises: whoever waits for
    a word that is lost says so."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or _runtime(os.environ)

    def say(self, *, begun_ns: int, problem: str = "", notice: str = "") -> None:
        """`begun_ns`: on the boot clock, before anything of the configuration was read. `problem` empty: it is in
        force, and `notice` is what else should be known of that."""
        if self._directory is None:
            return
        said = {"pid": os.getpid(), "begun_ns": begun_ns, "problem": problem, "notice": notice}
        new = self._directory / f"{FILE_NAME}.new"
        try:
            new.write_text(json.dumps(said), encoding="utf-8")
            new.replace(self._directory / FILE_NAME)
        except OSError:
            return


def reload(environment: Mapping[str, str], unit: str, patience_s: float = PATIENCE_S) -> str:
    """Sends SIGHUP to the unit's main process and waits for its word. The notice; raises NotReloaded.

    `environment` is what systemd gives to a command of the unit: MAINPID and RUNTIME_DIRECTORY.
    """
    pid, directory = environment.get("MAINPID", ""), _runtime(environment)
    if not pid.isdecimal() or directory is None:
        raise NotReloaded(f"cannot reload {unit}: this is what its unit runs; say: systemctl reload {unit}")
    begun_ns = boot_ns()
    try:
        daemon = os.pidfd_open(int(pid))
    except OSError as cause:
        raise NotReloaded(f"cannot reload {unit}: pid {pid}: {cause.strerror}; look at its log") from cause
    try:
        signal.pidfd_send_signal(daemon, signal.SIGHUP)
        said = _heard(directory / FILE_NAME, int(pid), begun_ns, _ended(daemon), patience_s)
    except OSError as cause:
        raise NotReloaded(f"cannot reload {unit}: cannot signal pid {pid}: {cause.strerror}") from cause
    finally:
        os.close(daemon)
    if said is None:
        log = f"its log says what became of it: journalctl --unit={unit}"
        raise NotReloaded(f"cannot tell whether {unit} has reloaded: pid {pid} has given no word; {log}")
    if said["problem"]:
        raise NotReloaded(f"the reload of {unit} was refused: {said['problem']}")
    return str(said["notice"])


def _heard(
    file: Path, pid: int, begun_ns: int, ended: Callable[[], bool], patience_s: float
) -> dict[str, Any] | None:
    """The word about a reload that was begun since; None: there is none, and there will be none."""
    deadline = time.monotonic() + patience_s
    while True:
        last = ended() or time.monotonic() > deadline  # what it left before that counts
        try:
            said = json.loads(file.read_bytes())
        except (FileNotFoundError, ValueError):
            said = None
        if isinstance(said, dict) and said.get("pid") == pid and said.get("begun_ns", 0) >= begun_ns:
            return said
        if last:
            return None


def _ended(daemon: int) -> Callable[[], bool]:
    """Looks, for a moment, whether the process of that pidfd has ended."""
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    return lambda: bool(poll.poll(_LOOK_AGAIN_MS))


def _runtime(environment: Mapping[str, str]) -> Path | None:
    first = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None
