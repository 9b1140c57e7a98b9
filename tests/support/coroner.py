"""What a collector tells of deaths, by way of the agent's own noun for them, and the table of what was told."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from killdeer.v1.process_pb2 import Cause, Death, KernelEvent
from killdeer_agent.core.deaths import Deaths
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.collector import Collector, load_collector
from tests.support.kernel_record import DEADLINE_S, start_ticks


class Coroner:
    """Knows the strikes of the test, as the core knows its own: by who was struck. Told of one at a time."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.strikes: dict[int, str] = {}  # command id by pid
        self.told: list[KernelEvent] = []
        self.lost: dict[str, int] = {}
        self._came: SimpleQueue[list[KernelEvent] | int] = SimpleQueue()
        self._deaths = Deaths()
        collector.start(self._came.put, self._came.put)
        self.of(0)  # until the record has begun

    def watch(self, pid: int) -> None:
        self.collector.watch(pid, start_ticks(pid))

    def of(self, pid: int) -> list[Death]:
        """The deaths of a process that is dead by now; of none, where the kernel could not tell of its exit."""
        now_ns, give_up = clock.boot_ns(), time.monotonic() + DEADLINE_S
        told_ns = 0
        while told_ns <= now_ns:
            assert time.monotonic() < give_up, "the collector does not catch up"
            try:
                item = self._came.get(timeout=0.1)
            except Empty:
                continue
            if isinstance(item, int):
                told_ns = item
                self.told += self._deaths.tick(clock.boot_ns(), told_ns)
            else:
                for event in item:
                    self._take(event)
        return [event.death for event in self.told if event.death.process.pid == pid]

    def only(self, pid: int) -> Death:
        found = self.of(pid)
        assert len(found) == 1, found
        return found[0]

    def _take(self, event: KernelEvent) -> None:
        if event.signal.sender.pid == os.getpid():
            event.command_id = self.strikes.get(event.signal.target.pid, "")
        if event.HasField("exit"):
            event.command_id = self.strikes.get(event.exit.process.pid, "")
        if event.HasField("lost"):
            self.lost[event.lost.kind] = self.lost.get(event.lost.kind, 0) + event.lost.count
        self._deaths.seen(event, clock.boot_ns())


@contextmanager
def coroner(way: str = "core") -> Iterator[Coroner]:
    """`way`: of the agent's configuration. Raises CollectorUnavailable."""
    collector = load_collector(way)
    try:
        yield Coroner(collector)
    finally:
        collector.close()


def word(cause: int) -> str:
    return Cause.Name(Cause.ValueType(cause)).removeprefix("CAUSE_").lower().replace("_", " ")


def table(rows: list[tuple[str, str, str, bool | None]]) -> str:
    """Kind, cause told, why, and whether it is right; None: it could not be told, as the record had gaps."""
    verdicts = {True: "right", False: "WRONG", None: "not known"}
    lines = [f"{kind:<44} {cause:<11} {verdicts[right]:<9} {why}" for kind, cause, why, right in rows]
    return "\n".join([f"{'kind of death':<44} {'cause told':<11} {'right?':<9} why", *lines])
