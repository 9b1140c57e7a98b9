"""Raw tracepoints through libbpf: one object, built beforehand, that finds its way in each kernel by BTF."""

import ctypes
import os
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from killdeer_agent.kernel import layout, libbpf, obstacle
from killdeer_agent.kernel.ring import Ring, open_ring
from killdeer_agent.kernel.tracing import PROGRAMS

LINGER_S: Final = (
    0.005  # the kernel side wakes for the bulk once in 4 ms: what comes between is seen by looking again
)
POLL_S: Final = 0.25
CASTS: Final = b"\0bpf_rdonly_cast\0"  # a function of the kernel's own, from 6.2 on


class CoreSource:
    """Three rings, read as they are mapped. Raises CollectorUnavailable."""

    lags = False

    def __init__(self, config: layout.Config) -> None:
        unavailable = obstacle.look()
        if unavailable:
            raise unavailable
        try:
            with ExitStack() as opened:
                self._open(opened, config)
                self._stack = opened.pop_all()
        except libbpf.LibbpfMissing as problem:
            raise obstacle.libbpf_missing() from problem
        except OSError as problem:
            raise obstacle.explain(problem) from problem

    def _open(self, opened: ExitStack, config: layout.Config) -> None:
        """Loads, configures, maps and attaches, in this order; `opened` takes it all away again."""
        library = libbpf.load_library()
        loaded, why = _load(library)
        self.detail = f"raw tracepoints through libbpf{why}"
        opened.callback(loaded.close)
        self._maps = {name: loaded.map(name) for name in ("config", "watch", "chosen", "lost")}
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
        self.put("config", libbpf.ARRAY_KEY, layout.encode_config(config))
        for program in PROGRAMS:
            loaded.attach(program)

    @property
    def held_up(self) -> bool:
        return any(ring.held_up for ring in self._rings)

    def put(self, name: str, key: bytes, value: bytes) -> None:
        self._maps[name].put(key, value)

    def drop(self, name: str, key: bytes) -> None:
        self._maps[name].drop(key)

    def losses(self) -> list[int]:
        return self._maps["lost"].sums()

    def wait(self, came: bool) -> bool:
        """Only after a whole LINGER_S without anything is it sure that the next event wakes."""
        ready = self._urgent.poll(LINGER_S) if came else self._ready.poll(POLL_S)
        return all(fd != self._closing for fd, _ in ready)

    def drain(self, limit: int) -> list[bytes]:
        """At most about `limit` of each ring."""
        return [record for ring in self._rings for record in ring.drain(limit)]

    def stop(self) -> None:
        os.eventfd_write(self._closing, 1)

    def close(self) -> None:
        self._stack.close()


def objects(kernel_types: bytes) -> tuple[str, ...]:
    """Files to load one of, the best first, by the kernel's BTF. Casts take a third off the time to load and the
    price of an event (docs/decisions/0033); the last one loads everywhere."""
    return ("killdeer.casts.bpf.o", "killdeer.bpf.o") if CASTS in kernel_types else ("killdeer.bpf.o",)


def _load(library: ctypes.CDLL) -> tuple[libbpf.BpfObject, str]:
    """And why it is not the best one for this kernel; empty: it is. Raises OSError."""
    why = ""
    *better, last = objects(Path(os.fsdecode(libbpf.KERNEL_TYPES)).read_bytes())
    for name in better:
        try:
            return libbpf.BpfObject(library, _image(name)), why
        except OSError as problem:  # ENOTSUPP: nothing compiles BPF on this host
            why = f", without casts: {problem.strerror}"
    return libbpf.BpfObject(library, _image(last)), why


def _image(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _poll_for(opened: ExitStack, *fds: int) -> select.epoll:
    poll = opened.enter_context(select.epoll())
    for fd in fds:
        poll.register(fd, select.EPOLLIN)
    return poll
