"""Real processes to strike, and warrants for them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from killdeer_agent.core.facts import Facts, Now, Process, Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.selector import Hide, Matcher
from killdeer_agent.core.warrant import Warrant
from killdeer_agent.core.words import Open, Strike
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.striker import Striker

SECOND = 1_000_000_000
SLEEP = ("sleep", "300")
# Becomes another program once it reads a line.
EXECS_ON_COMMAND = ("sh", "-c", "read line; exec sleep 300")
# Its first thread exits once it reads a line, another runs on.
LEADER_DIES_ON_COMMAND = (
    sys.executable,
    "-c",
    "import ctypes, threading, time\n"
    "threading.Thread(target=time.sleep, args=(300,)).start()\n"
    "input()\n"
    "ctypes.CDLL(None).pthread_exit(None)\n",
)


class OpenGuard:
    """Allows everything."""

    def hide(self, cmdline: bytes) -> bytes:
        return cmdline

    def refuses_always(self, facts: Facts) -> Refusal | None:
        return None

    def refuses(self, facts: Facts, now: Now, action: str) -> Refusal | None:
        return None


class Named:
    """Matches by a test's own rule; everything by default."""

    def __init__(self, rule: Callable[[Facts], bool] = lambda facts: True) -> None:
        self._rule = rule

    def matches(self, facts: Facts, now: Now, hide: Hide = bytes) -> bool:
        return self._rule(facts)


@contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child that runs its program and waits there; ended and reaped on leaving."""
    with subprocess.Popen(argv or SLEEP, stdin=subprocess.PIPE) as child:
        try:
            # Popen returns in the midst of the exec, when the stack of the program is not final yet.
            until(lambda: ProcFacts(child.pid).state in "SZ")
            yield child
        finally:
            child.kill()


def command(child: subprocess.Popen[bytes]) -> None:
    """Writes the line that it waits for."""
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()


def identity(pid: int, *, later_ticks: int = 0) -> Process:
    """Who the process is now; `later_ticks` makes it somebody who had the pid at another time."""
    facts = ProcFacts(pid)
    return Process(
        boot_id=clock.boot_id(),
        pid=pid,
        start_ticks=facts.start_ticks + later_ticks,
        program=facts.program,
    )


def warrant(
    process: Process,
    *,
    lease_ns: int = 60 * SECOND,
    not_after_ns: int = 60 * SECOND,
    rule: Callable[[Facts], bool] = lambda facts: True,
) -> Warrant:
    """A warrant from now on: lease and not_after are counted from the call."""
    now = clock.now()
    return Warrant(
        process=process,
        boot_id=clock.boot_id(),
        selector=cast(Matcher, Named(rule)),
        guard=cast(Guard, OpenGuard()),
        action="kill",
        lease=Lease(now.boot_ns + lease_ns, now),
        not_after_ns=now.boot_ns + not_after_ns,
    )


def opening(right: Warrant, command_id: str = "c1") -> Open:
    return Open(command_id=command_id, service="sleep", warrant=right)


def blow(right: Warrant, number: int = signal.SIGKILL, command_id: str = "c1") -> Strike:
    return Strike(command_id=command_id, blow=1, signal=number, warrant=right)


def striker(
    *halt_files: Path,
    facts_of: Callable[[int], Facts] = ProcFacts,
    now: Callable[[], Now] = clock.now,
) -> Striker:
    return Striker(boot_id=clock.boot_id(), facts_of=facts_of, halt_files=halt_files, clock=now)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)


def stopped(pid: int) -> bool:
    """Waits until the child has stopped; leaves the news for others to read."""
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT) is not None
