"""A real collector whose events are kept, and real processes for it to report."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from killdeer.v1.process_pb2 import KernelEvent, Party
from killdeer_agent.kernel.collector import Collector, load_collector

DEADLINE_S = 20  # against hanging only; nothing here is a matter of time


class KernelRecord:
    """What a collector has handed over, by kind and by process."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.events: list[KernelEvent] = []
        collector.start(self.events.extend)

    def of(self, pid: int, kind: str) -> list[KernelEvent]:
        """Events of this kind (signal, exit, exec, oom) whose target is the process with this pid."""
        self.collector.flush()
        return [event for event in self.events if event.WhichOneof("kind") == kind and target(event).pid == pid]

    def only(self, pid: int, kind: str) -> KernelEvent:
        found = self.of(pid, kind)
        assert len(found) == 1, found
        return found[0]


def target(event: KernelEvent) -> Party:
    """The process that the event is about; an empty one where it is about none."""
    return {
        "signal": event.signal.target,
        "exit": event.exit.process,
        "exec": event.exec.process,
        "oom": event.oom.victim,
    }.get(str(event.WhichOneof("kind")), Party())


@contextmanager
def record() -> Iterator[KernelRecord]:
    collector = load_collector("core")
    try:
        yield KernelRecord(collector)
    finally:
        collector.close()


@contextmanager
def process(*command: str, **options: object) -> Iterator["subprocess.Popen[str]"]:
    """A process of the test's own, its input and output piped; it is dead and reaped afterwards."""
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        # Popen returns a moment before the kernel has renamed the process.
        until(lambda: Path(f"/proc/{started.pid}/comm").read_text().strip() == Path(command[0]).name[:15])
        yield started
    finally:
        started.kill()
        for end in (started.stdin, started.stdout):
            if end:
                end.close()
        started.wait()


def strike(pid: int, number: signal.Signals) -> None:
    """Sends as the agent does: through a pidfd."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from field 3 (state) on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def start_ticks(pid: int) -> int:
    return int(stat_fields(pid)[19])


def until(holds: Callable[[], bool]) -> None:
    """Waits for what another process does and gives no word of."""
    give_up = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.001)
