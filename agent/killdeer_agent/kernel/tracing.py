"""The collector over programs in the kernel, whichever way those were loaded: what it asks of them, and what it
hands over when."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import clock, evidence, layout, libbpf
from killdeer_agent.kernel.chosen import Chosen
from killdeer_agent.kernel.filter import Filter
from killdeer_agent.kernel.reading import Reading

PROGRAMS: Final = {
    "on_signal": "signal_generate",
    "on_exit": "sched_process_exit",
    "on_exec": "sched_process_exec",
    "on_oom": "mark_victim",
    "on_cgroup": "cgroup_mkdir",
}
"""Each program, and the tracepoint that it answers for."""

BATCH: Final = 512  # records a drain: a few milliseconds of Python at most
EVERYTHING: Final = 1 << 30  # that is there when the drain begins
TELL_EVERY_NS: Final = 100_000_000  # that the record is whole up to now, with the losses so far
# For a record that another processor is just writing: microseconds, or until a hypervisor lets it run again.
FLUSH_PAUSES_S: Final = (*(0.0002,) * 20, *(0.002,) * 20, *(0.01,) * 10)

OnEvents = Callable[[list[KernelEvent]], None]
OnTold = Callable[[int], None]


class Source(Protocol):
    """Programs in the kernel, attached; `close` takes them away. A record is one of layout.py's, in its bytes."""

    @property
    def detail(self) -> str: ...
    @property
    def held_up(self) -> bool:
        """The last drain ended at a record that is still being written."""

    @property
    def lags(self) -> bool:
        """What was recorded before a drain may come with the next one only."""

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Into a map. Raises OSError: E2BIG when it is full."""

    def drop(self, name: str, key: bytes) -> None: ...
    def losses(self) -> list[int]:
        """The counters `lost`, by their slots."""

    def wait(self, came: bool) -> bool:
        """Until there may be something to drain; `came`: the last time there was. False: it is stopped."""

    def drain(self, limit: int) -> list[bytes]: ...
    def stop(self) -> None:
        """Whoever waits, waits no more."""

    def close(self) -> None: ...


class TracingCollector:
    """Attached when it is made; what comes before `start` waits.

    Raises CollectorUnavailable, with cause and remedy, where this host has no such evidence.
    """

    def __init__(self, load: Callable[[layout.Config], Source], told: Filter | None = None) -> None:
        self._watched: set[int] = set()
        self._on_events: OnEvents = _nobody
        self._on_told: OnTold | None = None
        self._told_ns = 0
        self._reading = Reading(units(), self._made)
        self._chosen = Chosen(told or Filter(), self._reading.cgroups, self._configure)
        self._lock = threading.Lock()  # over records, counters, maps and the order of hand-over
        self._came = False  # records, since the thread looked last; `flush` may have taken them
        self._thread: threading.Thread | None = None
        self._source = load(self._config())
        self._losses = self._source.losses()
        try:
            self.choose(self._chosen.told)
        except OSError as problem:
            self._chosen.without_cgroups(problem)
        libbpf.release_memory()

    @property
    def level(self) -> EvidenceLevel:
        return EvidenceLevel.EVIDENCE_LEVEL_PIDFD if self._failed() else EvidenceLevel.EVIDENCE_LEVEL_BPF

    @property
    def detail(self) -> str:
        if self._failed():
            return "the thread that reads the kernel's record has failed (see the log); restart the agent"
        return self._source.detail + (f"; {self._chosen.problem}" if self._chosen.problem else "")

    def _failed(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        self._on_events, self._on_told = on_events, on_told
        self._thread = threading.Thread(target=self._run, name="kernel-evidence", daemon=True)
        self._thread.start()

    def watch(self, pid: int, start_ticks: int) -> None:
        with self._lock:
            self._source.put("watch", _key(pid), start_ticks.to_bytes(8, "little"))
            self._watched.add(pid)
            self._configure()

    def unwatch(self, pid: int) -> None:
        with self._lock:
            self._source.drop("watch", _key(pid))
            self._watched.discard(pid)
            self._configure()

    def choose(self, told: Filter) -> None:
        with self._lock:
            self._chosen.begin(told)
        found = self._chosen.look(told)
        with self._lock:
            self._chosen.finish(found, self._source)

    def _made(self, cgroup_id: int, path: str) -> None:
        self._chosen.made(cgroup_id, path, self._source)

    def flush(self) -> None:
        for pause_s in FLUSH_PAUSES_S:
            with self._lock:
                self._hand_over(EVERYTHING)
                if not self._source.held_up:
                    break
            time.sleep(pause_s)
        with self._lock:
            self._tell_losses()

    def lost(self) -> dict[str, int]:
        return self._counted(evidence.LOST)

    def filtered(self) -> dict[str, int]:
        return self._counted(evidence.FILTERED)

    def _counted(self, slots: dict[int, str]) -> dict[str, int]:
        with self._lock:
            counts = self._source.losses()
        return {kind: counts[slot] for slot, kind in slots.items() if counts[slot]}

    def close(self) -> None:
        self._source.stop()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._source.close()

    def _config(self) -> layout.Config:
        return layout.Config(
            signals=self._chosen.told.signal_mask,
            tick_ns=units().tick_ns,
            pid_ns=Path("/proc/self/ns/pid").stat().st_ino & 0xFFFFFFFF,
            watching=len(self._watched),
            verdicts=self._chosen.told.verdict_mask,
            choosing=len(self._chosen),
        )

    def _configure(self) -> None:
        self._source.put("config", libbpf.ARRAY_KEY, layout.encode_config(self._config()))

    def _run(self) -> None:
        came = False
        while self._source.wait(came):
            with self._lock:
                self._hand_over()
                came, self._came = self._came, False
                if clock.boot_ns() - self._told_ns >= TELL_EVERY_NS:
                    self._tell()

    def _tell(self) -> None:
        """How far the record is whole. Not while another processor writes an event: then the next time."""
        now_ns = clock.boot_ns()
        self._hand_over(EVERYTHING)
        if self._source.held_up:
            return
        self._tell_losses()
        whole_ns, self._told_ns = self._told_ns if self._source.lags else now_ns, now_ns
        if self._on_told is not None and whole_ns:
            self._on_told(whole_ns)

    def _hand_over(self, limit: int = BATCH) -> None:
        """Drains and hands over, in the order of time."""
        records = self._source.drain(limit)
        self._came = self._came or bool(records)
        events = self._reading.events(records)
        if events:
            self._on_events(events)

    def _tell_losses(self) -> None:
        before, self._losses = self._losses, self._source.losses()
        events = evidence.losses(before, self._losses, clock.boot_ns())
        if events:
            self._on_events(events)


def units() -> evidence.Units:
    """This host's."""
    return evidence.Units(
        tick_ns=1_000_000_000 // os.sysconf("SC_CLK_TCK"), page_kb=os.sysconf("SC_PAGESIZE") // 1024
    )


def _nobody(_events: list[KernelEvent]) -> None:
    """Who is told before `start`: nothing is drained until then."""


def _key(pid: int) -> bytes:
    return pid.to_bytes(4, "little")
