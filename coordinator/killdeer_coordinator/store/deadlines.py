"""Connections whose transaction has taken too long are cut: a server that hangs keeps no timeout of its own."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic

# How often is looked; a deadline may be missed by so much.
LOOK_EVERY_S = 0.5


class Deadlines:
    """One thread for all connections. What is cut fails where it waits, as if the server had gone away."""

    def __init__(self) -> None:
        self._open: dict[int, float] = {}  # descriptor -> when it is cut
        self._lock = Lock()
        self._closed = Event()
        self._thread = Thread(target=self._look, name="store-deadlines", daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, descriptor: int, seconds: float) -> Iterator[None]:
        """It is cut after so many seconds. `descriptor` is the connection's socket; a copy is kept, as the driver
        may close its own meanwhile."""
        copy = os.dup(descriptor)
        with self._lock:
            self._open[copy] = monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(copy)
                os.close(copy)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_EVERY_S):
            with self._lock:
                for descriptor in [copy for copy, due in self._open.items() if due < monotonic()]:
                    with socket.socket(fileno=os.dup(descriptor)) as connection, suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
