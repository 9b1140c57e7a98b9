"""Rule R2 on a real agent's process: held up past its right, it ends before it can signal.

This file is also the program of that process: `test_fuse.py SCENE VICTIM_PID`, which strikes once.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from killdeer_agent.core.facts import Facts, Now  # noqa: E402
from killdeer_agent.kernel import clock, fuse  # noqa: E402
from killdeer_agent.kernel.proc import ProcFacts  # noqa: E402
from tests.support import strikes as s  # noqa: E402

LEASE_NS = 300_000_000


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with s.running() as child:
        yield child


def agent(scene: str, victim_pid: int, *before: str) -> subprocess.Popen[str]:
    argv = [*before, sys.executable, str(Path(__file__).resolve()), scene, str(victim_pid)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("scene", ["spins", "sleeps", "clock stalls", "not_after passes", "a long lease"])
def test_r2_held_up_past_its_right_the_agent_dies_and_nothing_is_sent(
    victim: subprocess.Popen[bytes], scene: str
) -> None:
    with agent(scene, victim.pid) as process:
        assert process.wait(timeout=60) == -signal.SIGALRM
        assert process.stdout is not None and process.stdout.read() == ""
    assert victim.poll() is None


def test_r2_frozen_in_the_last_look_it_dies_on_waking(victim: subprocess.Popen[bytes]) -> None:
    with agent("freezes", victim.pid) as process:
        assert s.stopped(process.pid)
        wakes_ns = clock.boot_ns() + LEASE_NS
        s.until(lambda: clock.boot_ns() > wakes_ns)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(timeout=60) == -signal.SIGALRM
    assert victim.poll() is None


def test_r2_in_time_it_strikes_and_leaves_no_timer(victim: subprocess.Popen[bytes]) -> None:
    with agent("in time", victim.pid) as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None and process.stdout.read() == "struck, timers left: 0\n"
    assert victim.wait() == -signal.SIGKILL


def test_r2_a_refusal_leaves_no_timer(victim: subprocess.Popen[bytes]) -> None:
    with agent("refuses", victim.pid) as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None and process.stdout.read() == "refused, timers left: 0\n"
    assert victim.poll() is None


def test_r2_a_time_that_is_past_ends_the_process_at_once(victim: subprocess.Popen[bytes]) -> None:
    with agent("past", victim.pid) as process:
        assert process.wait(timeout=60) == -signal.SIGALRM


def test_r2_pid_1_of_a_namespace_strikes_nothing(victim: subprocess.Popen[bytes]) -> None:
    """The kernel does not end an init process by SIGALRM: the fuse would not hold."""
    unshare = (shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--pid", "--fork")
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot make a pid namespace: needs util-linux and user namespaces")
    with agent("pid 1", victim.pid, *unshare) as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None and "pid 1" in process.stdout.read()


# --- the agent's side ---------------------------------------------------------------------------------------


def spin(nanoseconds: int) -> None:
    until_ns = clock.boot_ns() + nanoseconds
    while clock.boot_ns() < until_ns:
        pass


def strike(
    victim_pid: int,
    *,
    stall: Callable[[], None] = lambda: None,
    clock_stall: Callable[[], None] = lambda: None,
    lease_ns: int = 60 * s.SECOND,
    not_after_ns: int = 60 * s.SECOND,
    matches: bool = True,
) -> None:
    striking = False

    def rule(facts: Facts) -> bool:
        if striking:
            stall()
        return matches or not striking

    def now() -> Now:
        read = clock.now()
        if striking:
            clock_stall()
        return read

    striker, process = s.striker(now=now, facts_of=ProcFacts), s.identity(victim_pid)
    assert striker.open(s.opening(s.warrant(process, rule=rule))) is None
    striking = True
    right = s.warrant(process, lease_ns=lease_ns, not_after_ns=not_after_ns, rule=rule)
    done = striker.strike(s.blow(right))
    timers = Path("/proc/self/timers")
    left = timers.read_text().count("ID:") if timers.exists() else 0
    print("refused" if done.refusal else "struck", f"timers left: {left}", sep=", ")


def burn(until_ns: int) -> None:
    with fuse.Fuse(until_ns):
        time.sleep(30)


SCENES: dict[str, Callable[[int], None]] = {
    "spins": lambda pid: strike(pid, stall=lambda: spin(30 * s.SECOND), lease_ns=LEASE_NS),
    "sleeps": lambda pid: strike(pid, stall=lambda: time.sleep(30), lease_ns=LEASE_NS),
    "clock stalls": lambda pid: strike(pid, clock_stall=lambda: time.sleep(30), lease_ns=LEASE_NS),
    "not_after passes": lambda pid: strike(pid, stall=lambda: time.sleep(30), not_after_ns=LEASE_NS),
    "a long lease": lambda pid: strike(pid, stall=lambda: time.sleep(30)),
    "freezes": lambda pid: strike(pid, stall=lambda: os.kill(os.getpid(), signal.SIGSTOP), lease_ns=LEASE_NS),
    "in time": strike,
    "refuses": lambda pid: strike(pid, matches=False),
    "past": lambda pid: burn(0),
    "pid 1": lambda pid: print(fuse.problem()),
}

if __name__ == "__main__":
    SCENES[sys.argv[1]](int(sys.argv[2]))
