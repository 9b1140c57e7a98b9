"""The collector port and its two ways to the kernel's record: BPF, or pidfds alone."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import clock, evidence, layout, libbpf, obstacle
from killdeer_agent.kernel.obstacle import CollectorUnavailable
from killdeer_agent.kernel.reading import Reading
from killdeer_agent.kernel.ring import Ring, open_ring

__all__ = [
    "Collector",
    "CollectorUnavailable",
    "CoreCollector",
    "PidfdCollector",
    "load_collector",
    "open_collector",
]

PROGRAMS = ("on_signal", "on_exit", "on_exec", "on_oom", "on_cgroup")

# Told of whoever they are for: what ends, stops or continues a process. Others only for watched processes.
SIGNALS = (
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV),
    *(signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGXCPU),
    *(signal.SIGSTOP, signal.SIGCONT),
)

BATCH = 512  # records a drain: a few milliseconds of Python at most
EVERYTHING = 1 << 30  # that is in the ring when the drain begins
LINGER_S = 0.005  # the kernel side wakes for the bulk once in 4 ms: what comes between is seen by looking again
POLL_S = 0.25
TELL_EVERY_NS = 100_000_000  # that the record is whole up to now, with the losses so far
FLUSH_TRIES, FLUSH_PAUSE_S = 20, 0.0002  # for a record that another processor is just writing

OnEvents = Callable[[list[KernelEvent]], None]
OnTold = Callable[[int], None]


class Collector(Protocol):
    """What the kernel saw, as events. Pids are those of the agent's pid namespace; `host` and `command_id` of
    the events are empty.
    """

    @property
    def level(self) -> EvidenceLevel:
        """How much of the kernel's record there is now."""

    @property
    def detail(self) -> str:
        """Where it comes from; or why there is not more, and what to do."""

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        """From now on `on_events` is called, from a thread of the collector's or from `flush`, one at a time,
        with what came, oldest first; and `on_told`, from the thread and in the same order, several times a second
        with a CLOCK_BOOTTIME: all that happened before it has been handed over, losses among it. Neither may
        block or call the collector."""

    def watch(self, pid: int, start_ticks: int) -> None:
        """All that befalls this process is told: every signal by another process, its exit, its execs.

        OSError: the kernel's table is full (1,024 processes); the strike must not go on unwatched.
        """

    def unwatch(self, pid: int) -> None: ...

    def flush(self) -> None:
        """When it returns, `on_events` has had all that happened before the call, losses among it. Takes some
        10 ms at most; only after `start`."""

    def lost(self) -> dict[str, int]:
        """Events the kernel could not hand over since the start, by kind (evidence.LOST); none: empty."""

    def close(self) -> None:
        """Detaches and frees all; the last call."""


class PidfdCollector:
    """No kernel record: the agent sees exits of its victims through their pidfds, without sender and cause."""

    level = EvidenceLevel.EVIDENCE_LEVEL_PIDFD

    def __init__(self, detail: str) -> None:
        self.detail = detail

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None: ...
    def watch(self, pid: int, start_ticks: int) -> None: ...
    def unwatch(self, pid: int) -> None: ...
    def flush(self) -> None: ...
    def lost(self) -> dict[str, int]:
        return {}

    def close(self) -> None: ...


class CoreCollector:
    """Raw tracepoints through libbpf. Attached when it is made; what comes before `start` waits in the rings.

    Raises CollectorUnavailable, with cause and remedy, where this host has no such evidence.
    """

    def __init__(self) -> None:
        unavailable = obstacle.look()
        if unavailable:
            raise unavailable
        self._units = evidence.Units(
            tick_ns=1_000_000_000 // os.sysconf("SC_CLK_TCK"), page_kb=os.sysconf("SC_PAGESIZE") // 1024
        )
        self._pid_ns = Path("/proc/self/ns/pid").stat().st_ino & 0xFFFFFFFF
        self._watched: set[int] = set()
        self._on_events: OnEvents = _nobody
        self._on_told: OnTold | None = None
        self._told_ns = 0
        self._reading = Reading(self._units)
        self._lock = threading.Lock()  # over rings, counters and the order of hand-over
        self._came = False  # events, since the thread looked last; `flush` may have taken them
        self._thread: threading.Thread | None = None
        self._stack = ExitStack()
        try:
            with ExitStack() as opened:
                self._open(opened)
                self._stack = opened.pop_all()
        except libbpf.LibbpfMissing as problem:
            raise obstacle.libbpf_missing() from problem
        except OSError as problem:
            raise obstacle.explain(problem) from problem
        libbpf.release_memory()

    def _open(self, opened: ExitStack) -> None:
        """Loads, configures, maps and attaches, in this order; `opened` takes it all away again."""
        library = libbpf.load_library()
        image = Path(__file__).with_name("killdeer.bpf.o").read_bytes()
        loaded = libbpf.BpfObject(library, image)
        opened.callback(loaded.close)
        self._config, self._watch = loaded.map("config"), loaded.map("watch")
        self._lost = loaded.map("lost")
        self._losses = self._lost.sums()
        self._closing = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        opened.callback(os.close, self._closing)
        rare, ends, bulk = (loaded.map(name) for name in ("rare", "ends", "bulk"))
        self._ready = _poll_for(opened, self._closing, rare.fd, ends.fd, bulk.fd)
        self._urgent = _poll_for(opened, self._closing, rare.fd)
        self._rings: list[Ring] = []
        for source in (rare, ends, bulk):
            ring = open_ring(library, source)
            opened.callback(ring.close)
            self._rings.append(ring)
        self._configure()
        for program in PROGRAMS:
            loaded.attach(program)

    @property
    def level(self) -> EvidenceLevel:
        return EvidenceLevel.EVIDENCE_LEVEL_PIDFD if self._failed() else EvidenceLevel.EVIDENCE_LEVEL_BPF

    @property
    def detail(self) -> str:
        if self._failed():
            return "the thread that reads the kernel's record has failed (see the log); restart the agent"
        return "raw tracepoints through libbpf"

    def _failed(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        self._on_events, self._on_told = on_events, on_told
        self._thread = threading.Thread(target=self._run, name="kernel-evidence", daemon=True)
        self._thread.start()

    def watch(self, pid: int, start_ticks: int) -> None:
        with self._lock:
            self._watch.put(_pid_key(pid), start_ticks.to_bytes(8, "little"))
            self._watched.add(pid)
            self._configure()

    def unwatch(self, pid: int) -> None:
        with self._lock:
            self._watch.drop(_pid_key(pid))
            self._watched.discard(pid)
            self._configure()

    def flush(self) -> None:
        for _ in range(FLUSH_TRIES):
            with self._lock:
                self._hand_over(EVERYTHING)
                if not any(ring.held_up for ring in self._rings):
                    break
            time.sleep(FLUSH_PAUSE_S)
        with self._lock:
            self._tell_losses()

    def lost(self) -> dict[str, int]:
        with self._lock:
            counts = self._lost.sums()
        return {kind: counts[slot] for slot, kind in evidence.LOST.items() if counts[slot]}

    def close(self) -> None:
        os.eventfd_write(self._closing, 1)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._stack.close()

    def _configure(self) -> None:
        mask = sum(1 << number - 1 for number in SIGNALS)
        config = layout.Config(
            signals=mask, tick_ns=self._units.tick_ns, pid_ns=self._pid_ns, watching=len(self._watched)
        )
        self._config.put(libbpf.ARRAY_KEY, layout.encode_config(config))

    def _run(self) -> None:
        """Only after a whole LINGER_S without anything is it sure that the next event wakes."""
        closing = came = False
        while not closing:
            ready = self._urgent.poll(LINGER_S) if came else self._ready.poll(POLL_S)
            closing = any(fd == self._closing for fd, _ in ready)
            with self._lock:
                self._hand_over()
                came, self._came = self._came, False
                if clock.boot_ns() - self._told_ns >= TELL_EVERY_NS:
                    self._tell()

    def _tell(self) -> None:
        """How far the record is whole. Not while another processor writes an event: then the next time."""
        now_ns = clock.boot_ns()
        self._hand_over(EVERYTHING)
        if any(ring.held_up for ring in self._rings):
            return
        self._tell_losses()
        self._told_ns = now_ns
        if self._on_told is not None:
            self._on_told(now_ns)

    def _hand_over(self, limit: int = BATCH) -> None:
        """Drains each ring and hands over, in the order of time."""
        records = [record for ring in self._rings for record in ring.drain(limit)]
        events = self._reading.events(records)
        if events:
            self._came = True
            self._on_events(events)

    def _tell_losses(self) -> None:
        before, self._losses = self._losses, self._lost.sums()
        events = evidence.losses(before, self._losses, clock.boot_ns())
        if events:
            self._on_events(events)


def open_collector(choice: str = "auto") -> Collector:
    """The best this host has of what is configured (`auto`, `core`, `bcc` or `pidfd`)."""
    if choice == "pidfd":
        return PidfdCollector("configured: pidfd")
    try:
        return load_collector(choice)
    except CollectorUnavailable as unavailable:
        return PidfdCollector(str(unavailable))


def load_collector(choice: str) -> Collector:
    """Through BPF: `core`, `bcc`, or for `auto` the first of them that can be had. Raises CollectorUnavailable."""
    from killdeer_agent.kernel.bcc import BccCollector  # builds on this module

    if choice == "bcc":
        return BccCollector()
    try:
        return CoreCollector()
    except CollectorUnavailable as unavailable:
        if choice == "core":
            raise
        core = unavailable
    try:
        return BccCollector(instead_of=core.cause)
    except CollectorUnavailable as bcc:
        if bcc.cause == core.cause:
            raise core from None
        cause, remedy = f"{core.cause}; with bcc: {bcc.cause}", f"{core.remedy}; or {bcc.remedy}"
        raise CollectorUnavailable(cause, remedy) from bcc


def _poll_for(opened: ExitStack, *fds: int) -> select.epoll:
    poll = opened.enter_context(select.epoll())
    for fd in fds:
        poll.register(fd, select.EPOLLIN)
    return poll


def _nobody(_events: list[KernelEvent]) -> None:
    """Who is told before `start`: nothing is drained until then."""


def _pid_key(pid: int) -> bytes:
    return pid.to_bytes(4, "little")
