"""The programs for kernels without BTF or ring buffers: the same records, compiled on the host by bcc.

It brings a compiler, and so takes ten times as long to load as the core's object, and several times its memory.
"""

import os
import select
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from killdeer_agent.kernel import bcctypes, clock, evidence, layout, libbpf, obstacle, rehearsal
from killdeer_agent.kernel.bccfind import find_bcc
from killdeer_agent.kernel.bccobject import BccObject
from killdeer_agent.kernel.kerneltypes import kernel_types
from killdeer_agent.kernel.obstacle import CollectorUnavailable
from killdeer_agent.kernel.tracing import PROGRAMS, units

TEXT: Final = Path(__file__).with_name("bcc_programs.c")
# Perf buffers, as the core's rings: pages for each processor, of which an ordinary user may lock some 129; how many
# records wake, since waking for each costs a busy host 50%.
BUFFERS: Final = {"rare": (16, 1), "ends": (32, 64), "bulk": (64, 64)}
TICK_S: Final = 0.05  # what stays below that many is seen by looking
LINGER_S: Final = 0.002  # after each drain: in a flood the lock is for others too, who else wait for many drains


class BccSource:
    """Tried out on a process of its own. `instead_of`: why not the core's object, where that was tried before.

    Raises CollectorUnavailable.
    """

    held_up = False
    lags = True  # a program may run on another processor that has read the clock and not yet told

    def __init__(self, config: layout.Config, instead_of: str = "") -> None:
        unavailable = obstacle.rights()
        if unavailable:
            raise unavailable
        self._records: list[bytes] = []  # not yet drained by the collector
        self._drains = 0
        try:
            with ExitStack() as opened:
                self._open(opened, config)
                self._rehearse(config)
                self.detail += f", for {instead_of}" if instead_of else ""
                self._stack = opened.pop_all()
        except OSError as problem:
            raise obstacle.explain(problem) from problem

    def _open(self, opened: ExitStack, config: layout.Config) -> None:
        """Compiles, loads, configures and attaches, in this order; `opened` takes it all away again."""
        text = TEXT.read_text()
        with kernel_types() as types:
            self._object = BccObject(find_bcc(), types, bcctypes.declarations() + text)
        opened.callback(self._object.close)
        self.detail = ", ".join(
            [f"raw tracepoints through bcc, with this kernel's {types.origin}", *_without(text)]
        )
        for program in PROGRAMS:
            self._object.load(program)
        for name, (pages, wakes) in BUFFERS.items():
            self._object.open_buffer(name, pages=pages, wakeup_events=wakes, on_record=self._records.append)
        self._closing = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        opened.callback(os.close, self._closing)
        self._ready = opened.enter_context(select.epoll())
        for fd in (self._closing, *self._object.buffer_fds()):
            self._ready.register(fd, select.EPOLLIN)
        self._configure(config)
        for program, tracepoint in PROGRAMS.items():
            self._object.attach(program, tracepoint)

    def put(self, name: str, key: bytes, value: bytes) -> None:
        self._object.put(name, key, value)

    def drop(self, name: str, key: bytes) -> None:
        self._object.drop(name, key)

    def losses(self) -> list[int]:
        return self._object.sums("lost")

    def wait(self, came: bool) -> bool:
        if came:
            time.sleep(LINGER_S)
        return all(fd != self._closing for fd, _ in self._ready.poll(TICK_S))

    def drain(self, limit: int) -> list[bytes]:
        """All there is, whatever the limit: the programs keep to one."""
        self._drains += 1
        self._object.put("drains", libbpf.ARRAY_KEY, self._drains.to_bytes(8, "little"))
        self._object.drain()
        since_boot_ns = clock.boot_ns() - time.monotonic_ns()
        records = [_since_boot(raw, since_boot_ns) for raw in self._records]
        self._records.clear()
        return records

    def stop(self) -> None:
        os.eventfd_write(self._closing, 1)

    def close(self) -> None:
        self._stack.close()

    def _configure(self, config: layout.Config) -> None:
        self._object.put("config", libbpf.ARRAY_KEY, layout.encode_config(config))

    def _rehearse(self, config: layout.Config) -> None:
        """Where the programs' idea of the kernel's structs is wrong, they would tell nonsense, or nothing at all,
        which looks just like a quiet host. Raises CollectorUnavailable."""
        with rehearsal.process() as ours:
            self._object.put("watch", ours.pid.to_bytes(4, "little"), ours.start_ticks.to_bytes(8, "little"))
            self._configure(config._replace(watching=1))
            ours.play()
            self._object.drop("watch", ours.pid.to_bytes(4, "little"))
            self._configure(config)
        self._object.drain()
        since_boot_ns = clock.boot_ns() - time.monotonic_ns()
        host = units()
        told = [
            (raw, evidence.to_wire(_since_boot(raw, since_boot_ns), host))
            for raw in self._records
            if layout.HEAD.unpack_from(raw)[1] != layout.CGROUP
        ]
        about = [(raw, event) for raw, event in told if rehearsal.is_about(event, ours)]
        wrong = rehearsal.wrong([event for _, event in about], ours)
        if wrong:
            raise CollectorUnavailable(
                f"what bcc's programs tell of a process is not so: {wrong}",
                f"install the headers of exactly this kernel, Linux {os.uname().release}",
            )
        for raw, _ in about:
            self._records.remove(raw)


def _without(text: str) -> list[str]:
    untold = bcctypes.untold(text)
    return [f"without {', '.join(untold)}"] if untold else []


def _since_boot(raw: bytes, since_boot_ns: int) -> bytes:
    """The record without the buffer's padding, its time by CLOCK_BOOTTIME instead of CLOCK_MONOTONIC."""
    at: int
    at, kind, _ = layout.HEAD.unpack_from(raw)
    return (at + since_boot_ns).to_bytes(8, "little") + raw[8 : bcctypes.SIZES[kind]]
