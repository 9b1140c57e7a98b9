"""The kinds of death, each made for real: a function that makes one and gives the pid of who died.

What this machine can't make (cgroup v2, no memory left at all) is in NOT_HERE, and in a guest it is in KINDS.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from killdeer.v1.process_pb2 import Cause, Death
from tests.support.coroner import Coroner
from tests.support.kernel_record import process, strike

TGKILL = {"x86_64": 234, "aarch64": 131}[os.uname().machine]
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
STRIKE = "c1"
IN_GUEST = "KILLDEER_GUEST" in os.environ  # a machine of the tests' own, which may run out of memory

Make = Callable[[Coroner], int]
Check = Callable[[Death], bool]


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    cause: Cause
    make: Make
    check: Check
    cheap: bool  # quick enough for the flood


KINDS: list[Kind] = []
NOT_HERE: list[Kind] = []  # a machine of another kind can make these: the guests can


def kind(
    cause: Cause, check: Check = lambda _death: True, *, where: bool = True, cheap: bool = True
) -> Callable[[Make], Make]:
    """`check`: of what else the death must say."""

    def listed(make: Make) -> Make:
        name = make.__name__.replace("_", " ")
        (KINDS if where else NOT_HERE).append(Kind(name=name, cause=cause, make=make, check=check, cheap=cheap))
        return make

    return listed


def label(kind: Kind) -> str:
    return kind.name.replace(" ", "_")


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


def ended(*command: str) -> int:
    with process(*command) as victim:
        victim.wait()
        return victim.pid


@contextmanager
def ready(program: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that has printed its first line."""
    with process(*python(program, *arguments)) as started:
        assert started.stdout and started.stdout.readline()
        yield started


def struck(number: signal.Signals) -> int:
    with process("sleep", "300") as victim:
        strike(victim.pid, number)
        victim.wait()
        return victim.pid


def by_shell(pid: int, number: str) -> None:
    subprocess.run(("sh", "-c", f"kill -{number} {pid}"), check=True)


def killed_by_me(number: int) -> Check:
    return lambda death: death.signal == number and death.killer.pid == os.getpid()


def killed_by(name: str) -> Check:
    return lambda death: death.killer.name == name


def says(*words: str) -> Check:
    return lambda death: all(one in death.why for one in words)


LEADER_EXITS = f"""
import ctypes, os, signal, threading
def other():
    input()
    os._exit(7)
threading.Thread(target=other).start()
print(1, flush=True)
ctypes.CDLL(None).syscall({EXIT}, 3)
"""

ANSWERS = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit({code}))
print(1, flush=True)
while True: signal.pause()
"""
