"""A coordinator that is nothing but its frames, over real gRPC and TLS: it serves one agent at a time, answers each
Hello, heartbeat and update, and sends whatever a test puts on the wire."""

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.edges.options import server_credentials
from tests.support.coordinator import CONNECT

LEASE_MS = 60_000
HEARTBEAT_MS = 200
WITHIN_S = 60


class WireCoordinator:
    def __init__(self) -> None:
        self.updates: dict[str, list[a.StrikeUpdate]] = {}
        """By command id, as they came."""
        self.candidates: list[p.Candidate] = []
        self.streams = 0
        self.renewed = 0
        """Heartbeats answered on the present stream."""
        self.stamp_boot_ns = 0
        """Of the last of them, on the agent's clock."""
        self._news = threading.Condition()
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, frame: a.ConnectResponse | bytes) -> None:
        self._out.put(frame if isinstance(frame, bytes) else frame.SerializeToString())

    def until(self, true: Callable[[], object], what: str) -> None:
        with self._news:
            assert self._news.wait_for(true, WITHIN_S), f"waited in vain until {what}"

    def refusal(self, command_id: str, *, times: int) -> a.StrikeUpdate:
        """The word of a command that is used up, once it was told so often."""
        told = self.updates.setdefault(command_id, [])
        self.until(lambda: len(told) >= times and told[-1].used_up, f"{command_id} is refused")
        return told[-1]

    def connect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        out = self._out = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests, out), daemon=True).start()
        return iter(out.get, None)

    def _read(self, requests: Iterator[bytes], out: "queue.SimpleQueue[bytes | None]") -> None:
        try:
            for request in requests:
                frame = a.ConnectRequest.FromString(request)
                with self._news:
                    self._heard(frame)
                    self._news.notify_all()
        except grpc.RpcError:
            pass  # the agent has died
        finally:
            out.put(None)

    def _heard(self, frame: a.ConnectRequest) -> None:
        match frame.WhichOneof("frame"):
            case "hello":
                self.streams, self.renewed = self.streams + 1, 0
                welcome = a.Welcome(session=uuid.uuid4().hex, lease_ms=LEASE_MS, heartbeat_ms=HEARTBEAT_MS)
                self.send(a.ConnectResponse(welcome=welcome))
            case "heartbeat":
                self.stamp_boot_ns = frame.heartbeat.stamp_boot_ns
                self.renewed += 1
                renewal = a.LeaseRenewal(heartbeat_boot_ns=self.stamp_boot_ns, lease_ms=LEASE_MS)
                self.send(a.ConnectResponse(lease_renewal=renewal))
            case "candidates":
                self.candidates = list(frame.candidates.candidates)
            case "strike_update":
                update = frame.strike_update
                self.updates.setdefault(update.command_id, []).append(update)
                self.send(a.ConnectResponse(ack=a.Ack(number=update.number)))


@contextmanager
def wire_coordinator(keys: Path, address: str) -> Iterator[WireCoordinator]:
    """On that address, with the coordinator's keys of that folder."""
    made = WireCoordinator()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_handler(made)])
    credentials = server_credentials(keys / "ca.pem", keys / "coordinator.pem", keys / "coordinator.key")
    server.add_secure_port(address, credentials)
    server.start()
    try:
        yield made
    finally:
        server.stop(0).wait()


def _handler(made: WireCoordinator) -> grpc.GenericRpcHandler:
    service, method = CONNECT.strip("/").split("/")
    return grpc.method_handlers_generic_handler(
        service, {method: grpc.stream_stream_rpc_method_handler(made.connect)}
    )
