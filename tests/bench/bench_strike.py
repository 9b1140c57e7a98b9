"""How long from a command in the agent's hands to its signal, the intent durable in between, against a shell.

Ours: open the pidfd and look, write the intent and sync it to disk, look again and signal. The reference is a
subprocess `sh -c "kill -9 PID"` from its start to its return, which looks at nothing and remembers nothing.
"""

import json
import select
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from killdeer.v1.process_pb2 import Field, Match, Selector, Term
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.warrant import Warrant
from killdeer_agent.core.words import Open, Record, Strike
from killdeer_agent.journal import Journal
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.pidfd import Pidfd
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.striker import Striker
from tests.support import strikes as s

ROUNDS = 200
TO_HOLD = 1.0

SLEEPS = Matcher(Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["sleep"])]))
GUARD = Guard(allow=(Rule(matcher=SLEEPS, source="bench", actions=frozenset(["kill"])),))


class Anywhere(ProcFacts):
    """Reads where the process is, and leaves out the login session that this may be run from."""

    __slots__ = ()

    @property
    def cgroup(self) -> str:
        return super().cgroup and "/"


@dataclass
class Times:
    """Milliseconds of each round, by step."""

    by_step: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: str, began_ns: int, ended_ns: int) -> None:
        self.by_step.setdefault(step, []).append((ended_ns - began_ns) / 1e6)

    def p50(self, step: str) -> float:
        return round(statistics.median(self.by_step[step]), 3)

    def p95(self, step: str) -> float:
        return round(statistics.quantiles(self.by_step[step], n=20)[-1], 3)


def effects(pid: int, command_id: str) -> tuple[Open, Record, Strike]:
    process = s.identity(pid)
    now = clock.now()
    warrant = Warrant(
        process=process,
        boot_id=process.boot_id,
        selector=SLEEPS,
        guard=GUARD,
        action="kill",
        lease=Lease(now.boot_ns + 30 * s.SECOND, now),
        not_after_ns=now.boot_ns + 30 * s.SECOND,
    )
    intent = {"command": command_id, "blow": 1, "signal": 9, "pid": pid, "start_ticks": process.start_ticks}
    return (
        Open(command_id=command_id, service="sleep", warrant=warrant),
        Record("intent", intent),
        Strike(command_id=command_id, blow=1, signal=signal.SIGKILL, warrant=warrant),
    )


def ours(striker: Striker, journal: Journal, times: Times) -> None:
    command_id = f"c{journal.size}"
    with s.running() as victim:
        opening, intent, striking = effects(victim.pid, command_id)
        began = time.monotonic_ns()
        refusal = striker.open(opening)
        opened = time.monotonic_ns()
        journal.append(intent)
        durable = time.monotonic_ns()
        done = striker.strike(striking)
        assert refusal is None and done.refusal is None and not done.changed, (refusal, done)
        pidfd = striker.fileno(command_id)
        assert pidfd is not None
        wait_for_exit(pidfd)
        exited = time.monotonic_ns()
        # When the signal was sent is in CLOCK_BOOTTIME.
        sent = done.sent_boot_ns - (clock.boot_ns() - time.monotonic_ns())
        striker.close(command_id)
    times.add("open", began, opened)
    times.add("journal", opened, durable)
    times.add("last look and signal", durable, sent)
    times.add("signal sent", began, sent)
    times.add("exit seen", began, exited)


def shell(times: Times) -> None:
    with s.running() as victim:
        held = Pidfd.open(s.identity(victim.pid))
        assert isinstance(held, Pidfd)
        began = time.monotonic_ns()
        subprocess.run(["sh", "-c", f"kill -9 {victim.pid}"], check=True)
        returned = time.monotonic_ns()
        wait_for_exit(held.fd)
        exited = time.monotonic_ns()
        held.close()
    times.add("signal sent", began, returned)
    times.add("exit seen", began, exited)


def wait_for_exit(pidfd: int) -> None:
    ready, _, _ = select.select([pidfd], [], [], 30)
    assert ready, "the victim did not exit"


def run(rounds: int = ROUNDS) -> dict[str, object]:
    """One ratio for the table: p50 of the time to the signal, ours to the shell's, in turns."""
    our_times, shell_times = Times(), Times()
    # Not a file system in memory: the sync is what this is about.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        journal, _, problem = Journal.open(Path(directory))
        assert problem == "", problem
        striker = Striker(boot_id=clock.boot_id(), facts_of=Anywhere, halt_files=[Path(directory) / "halt"])
        sides: list[Callable[[], None]] = [
            lambda: ours(striker, journal, our_times),
            lambda: shell(shell_times),
        ]
        for number in range(rounds):
            for side in sides if number % 2 else reversed(sides):
                side()
        journal.close()
    ours_ms, reference_ms = our_times.p50("signal sent"), shell_times.p50("signal sent")
    return {
        "name": "strike",
        "ours_ms": ours_ms,
        "reference_ms": reference_ms,
        "ratio": round(ours_ms / reference_ms, 3),
        "to_hold": TO_HOLD,
        "detail": {
            "rounds": rounds,
            "ours_p50_ms": {step: our_times.p50(step) for step in our_times.by_step},
            "ours_p95_ms": {step: our_times.p95(step) for step in our_times.by_step},
            "reference_p50_ms": {step: shell_times.p50(step) for step in shell_times.by_step},
            "reference_p95_ms": {step: shell_times.p95(step) for step in shell_times.by_step},
        },
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
