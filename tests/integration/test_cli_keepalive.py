"""A coordinator that has fallen silent is noticed when the ping is not answered, not a minute later."""

import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_client import Client, ClientError, channel, load_contexts
from tests.support import runs
from tests.support.certificates import Authority
from tests.support.operator import DEADLINE_S, Served, write_context


class Wire:
    """A way to an address that can be cut without either end being told."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._there = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = threading.Event()
        self._done, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        ways: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ)
            ready.register(self._done, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if end is self._done:
                        for one in ways:
                            one.close()
                        return
                    if end is self._listener:
                        here, there = self._listener.accept()[0], socket.create_connection(self._there)
                        ways |= {here: there, there: here}
                        ready.register(here, selectors.EVENT_READ)
                        ready.register(there, selectors.EVENT_READ)
                        continue
                    piece = end.recv(65536)
                    if not piece:
                        ready.unregister(end)
                    elif not self.cut.is_set():
                        ways[end].sendall(piece)

    def close(self) -> None:
        self._wake.send(b".")
        self._thread.join(DEADLINE_S)
        for one in (self._listener, self._done, self._wake):
            one.close()


@pytest.fixture
def wire(served: Served) -> Iterator[Wire]:
    wire = Wire(served.address)
    yield wire
    wire.close()


def test_a_ping_without_an_answer_ends_the_stream(
    served: Served, wire: Wire, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PING_EVERY_MS", 300)
    monkeypatch.setattr(channel, "PING_ANSWER_MS", 300)

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        yield o.WatchRunResponse(run=runs.run())
        served.operator.closing.wait(3 * DEADLINE_S)

    served.operator.answers["WatchRun"] = watch
    broken: list[ClientError] = []
    with Client(load_contexts(write_context(tmp_path, [wire.address], authority)).choose()) as client:
        updates = client.watch_run("latest")
        next(updates)
        wire.cut.set()

        def wait() -> None:
            try:
                next(updates)
            except ClientError as error:
                broken.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(DEADLINE_S)
        noticed = not waiting.is_alive()
    waiting.join(DEADLINE_S)
    assert noticed, "keepalive_timeout_ms alone waits a minute"
    assert isinstance(broken[0].__cause__, grpc.RpcError)
    assert "ping timeout" in (broken[0].__cause__.details() or "")
    assert broken[0].passing
