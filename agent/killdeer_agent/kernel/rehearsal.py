"""A process of the agent's own that is signalled, becomes another program and exits: does the record say so?"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel.filter import VERDICTS
from killdeer_agent.kernel.stat import parse_stat

EXIT_CODE: Final = 7
SHELL: Final = "/bin/sh"
PLAY: Final = (SHELL, "-c", f"read line; exec {SHELL} -c 'exit {EXIT_CODE}'")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The process. It waits until `play` is called, and is gone when that returns."""

    process: subprocess.Popen[bytes]
    start_ticks: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def play(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate(b"\n")


@contextmanager
def process() -> Iterator[Rehearsed]:
    started = subprocess.Popen(PLAY, stdin=subprocess.PIPE)
    try:
        yield Rehearsed(started, _start_of(started.pid))
    finally:
        started.kill()
        started.communicate()


def is_about(event: KernelEvent, ours: Rehearsed) -> bool:
    return ours.pid in (event.signal.target.pid, event.exit.process.pid, event.exec.process.pid)


def wrong(told: list[KernelEvent], ours: Rehearsed) -> str:
    """What in these events about it is not as it was; empty: nothing."""
    of = {kind: [event for event in told if event.HasField(kind)] for kind in ("exec", "signal", "exit")}
    missing = [f"no {kind}" for kind, found in of.items() if not found]
    if missing:
        return f"it shows {' and '.join(missing)}"
    seen, died = of["signal"][-1].signal, of["exit"][-1].exit
    me = os.getpid()
    expected = {
        "the file executed": (of["exec"][-1].exec.file, SHELL),
        "its start": (seen.target.start_ticks, ours.start_ticks),
        "its thread": (seen.target.tid, ours.pid),
        "its parent": (seen.target.parent_pid, me),
        "its user": (seen.target.uid, os.getuid()),
        "its name": (died.process.name, Path(SHELL).name),
        "the signal": (seen.signal, signal.SIGCONT),
        "the sender": ((seen.sender.pid, seen.sender.start_ticks), (me, _start_of(me))),
        "the verdict": (seen.verdict in VERDICTS, True),
        "the exit": ((died.code, died.signal), (EXIT_CODE, 0)),
    }
    return ", ".join(f"{name} as {said}, was {was}" for name, (said, was) in expected.items() if said != was)


def _start_of(pid: int) -> int:
    return parse_stat(Path(f"/proc/{pid}/stat").read_bytes()).start_ticks
