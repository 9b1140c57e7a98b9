"""The collector for kernels without BTF or ring buffers: the same events, compiled on the host by bcc.

It brings a compiler, and so takes ten times as long to load as the core collector, and several times its memory.
"""

import os
import select
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import bcctypes, clock, evidence, layout, libbpf, obstacle, rehearsal
from killdeer_agent.kernel.bccfind import find_bcc
from killdeer_agent.kernel.bccobject import BccObject
from killdeer_agent.kernel.collector import SIGNALS, TELL_EVERY_NS, OnEvents, OnTold
from killdeer_agent.kernel.kerneltypes import kernel_types
from killdeer_agent.kernel.obstacle import CollectorUnavailable
from killdeer_agent.kernel.reading import Reading

PROGRAMS: Final = Path(__file__).with_name("bcc_programs.c")
TRACEPOINTS: Final = {
    "on_signal": "signal_generate",
    "on_exit": "sched_process_exit",
    "on_exec": "sched_process_exec",
    "on_oom": "mark_victim",
    "on_cgroup": "cgroup_mkdir",
}
# Perf buffers, as the core collector's rings: pages for each processor, of which an ordinary user may lock some
# 129; how many records wake, since waking for each costs a busy host 50%.
BUFFERS: Final = {"rare": (16, 1), "ends": (32, 64), "bulk": (64, 64)}
TICK_S = 0.05  # what stays below that many is seen by looking
LINGER_S = 0.002  # after each drain: in a flood the lock is for others too, who else wait for many drains


class BccCollector:
    """Attached when it is made, and tried out on a process of its own; what comes before `start` waits.

    `instead_of`: why not the core collector, where that was tried before.
    Raises CollectorUnavailable, with cause and remedy, where this host has no such evidence.
    """

    def __init__(self, instead_of: str = "") -> None:
        unavailable = obstacle.rights()
        if unavailable:
            raise unavailable
        self._units = evidence.Units(
            tick_ns=1_000_000_000 // os.sysconf("SC_CLK_TCK"), page_kb=os.sysconf("SC_PAGESIZE") // 1024
        )
        self._pid_ns = Path("/proc/self/ns/pid").stat().st_ino & 0xFFFFFFFF
        self._watched: set[int] = set()
        self._early: list[KernelEvent] = []
        self._on_events: OnEvents = self._early.extend
        self._on_told: OnTold | None = None
        self._told_ns = 0
        self._reading = Reading(self._units)
        self._lock = threading.Lock()  # over buffers, counters and the order of hand-over
        self._records: list[bytes] = []  # of the drain under way
        self._drains = 0
        self._thread: threading.Thread | None = None
        try:
            with ExitStack() as opened:
                self._open(opened)
                self._rehearse()
                self._detail += f", for {instead_of}" if instead_of else ""
                self._stack = opened.pop_all()
        except OSError as problem:
            raise obstacle.explain(problem) from problem
        libbpf.release_memory()

    def _open(self, opened: ExitStack) -> None:
        """Compiles, loads, configures and attaches, in this order; `opened` takes it all away again."""
        programs = PROGRAMS.read_text()
        with kernel_types() as types:
            self._object = BccObject(find_bcc(), types, bcctypes.declarations() + programs)
        opened.callback(self._object.close)
        self._detail = ", ".join(
            [f"raw tracepoints through bcc, with this kernel's {types.origin}", *_without(programs)]
        )
        for program in TRACEPOINTS:
            self._object.load(program)
        for name, (pages, wakes) in BUFFERS.items():
            self._object.open_buffer(name, pages=pages, wakeup_events=wakes, on_record=self._records.append)
        self._closing = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        opened.callback(os.close, self._closing)
        self._ready = opened.enter_context(select.epoll())
        for fd in (self._closing, *self._object.buffer_fds()):
            self._ready.register(fd, select.EPOLLIN)
        self._configure()
        self._losses = self._object.sums("lost")
        for program, tracepoint in TRACEPOINTS.items():
            self._object.attach(program, tracepoint)

    @property
    def level(self) -> EvidenceLevel:
        return EvidenceLevel.EVIDENCE_LEVEL_PIDFD if self._failed() else EvidenceLevel.EVIDENCE_LEVEL_BPF

    @property
    def detail(self) -> str:
        if self._failed():
            return "the thread that reads the kernel's record has failed (see the log); restart the agent"
        return self._detail

    def _failed(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        with self._lock:
            self._on_events, self._on_told = on_events, on_told
            if self._early:
                on_events(self._early)
                self._early = []
        self._thread = threading.Thread(target=self._run, name="kernel-evidence", daemon=True)
        self._thread.start()

    def watch(self, pid: int, start_ticks: int) -> None:
        with self._lock:
            self._object.put("watch", _pid_key(pid), start_ticks.to_bytes(8, "little"))
            self._watched.add(pid)
            self._configure()

    def unwatch(self, pid: int) -> None:
        with self._lock:
            self._object.drop("watch", _pid_key(pid))
            self._watched.discard(pid)
            self._configure()

    def flush(self) -> None:
        with self._lock:
            self._hand_over()
            self._tell_losses()

    def lost(self) -> dict[str, int]:
        with self._lock:
            counts = self._object.sums("lost")
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
        self._object.put("config", libbpf.ARRAY_KEY, layout.encode_config(config))

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = any(fd == self._closing for fd, _ in self._ready.poll(TICK_S))
            with self._lock:
                now_ns = clock.boot_ns()
                self._hand_over()
                if now_ns - self._told_ns >= TELL_EVERY_NS:
                    self._tell(now_ns)
            time.sleep(LINGER_S)

    def _tell(self, now_ns: int) -> None:
        """How far the record is whole: to the time before, for now a program may run on another processor that has
        read the clock and not yet told."""
        whole_ns, self._told_ns = self._told_ns, now_ns
        self._tell_losses()
        if self._on_told is not None and whole_ns:
            self._on_told(whole_ns)

    def _hand_over(self) -> None:
        """Drains the buffers and hands over, in the order of time."""
        self._drains += 1
        self._object.put("drains", libbpf.ARRAY_KEY, self._drains.to_bytes(8, "little"))
        self._object.drain()
        since_boot_ns = clock.boot_ns() - time.monotonic_ns()
        records = [_since_boot(raw, since_boot_ns) for raw in self._records]
        self._records.clear()
        events = self._reading.events(records)
        if events:
            self._on_events(events)

    def _tell_losses(self) -> None:
        before, self._losses = self._losses, self._object.sums("lost")
        events = evidence.losses(before, self._losses, clock.boot_ns())
        if events:
            self._on_events(events)

    def _rehearse(self) -> None:
        """Where the programs' idea of the kernel's structs is wrong, they would tell nonsense, or nothing at all,
        which looks just like a quiet host. Raises CollectorUnavailable."""
        with rehearsal.process() as ours:
            self.watch(ours.pid, ours.start_ticks)
            ours.play()
            self.unwatch(ours.pid)
        self._hand_over()
        told = [event for event in self._early if rehearsal.is_about(event, ours)]
        wrong = rehearsal.wrong(told, ours)
        if wrong:
            raise CollectorUnavailable(
                f"what bcc's programs tell of a process is not so: {wrong}",
                f"install the headers of exactly this kernel, Linux {os.uname().release}",
            )
        self._early = [event for event in self._early if event not in told]


def _without(programs: str) -> list[str]:
    untold = bcctypes.untold(programs)
    return [f"without {', '.join(untold)}"] if untold else []


def _since_boot(raw: bytes, since_boot_ns: int) -> bytes:
    """The record without the buffer's padding, its time by CLOCK_BOOTTIME instead of CLOCK_MONOTONIC."""
    at: int
    at, kind, _ = layout.HEAD.unpack_from(raw)
    return (at + since_boot_ns).to_bytes(8, "little") + raw[8 : bcctypes.SIZES[kind]]


def _pid_key(pid: int) -> bytes:
    return pid.to_bytes(4, "little")
