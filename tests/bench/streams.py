"""Thousands of agents in one process: the wire's real frames over HTTP/2 and mutual TLS, at little cost.

In a fleet each agent has a machine to itself; here they share one with the coordinator, so an agent is as little
code as can speak: one connection, one call, frames read and answered in the protocol's own callback.
"""

import asyncio
import ssl
from collections.abc import Callable

from killdeer.v1 import agent_pb2 as a

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WIDEST = (1 << 31) - 1
STREAM = 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def message(request: a.ConnectRequest) -> bytes:
    body = request.SerializeToString()
    return frame(DATA, 0, STREAM, b"\0" + len(body).to_bytes(4, "big") + body)


def _headers() -> bytes:
    """As literals that are not indexed: no table of the other side's is needed."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": "/killdeer.v1.AgentService/Connect",
        ":authority": "killdeer-coordinator",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


OPENING = (
    PREFACE
    + frame(SETTINGS, 0, 0, (4).to_bytes(2, "big") + WIDEST.to_bytes(4, "big"))
    + frame(WINDOW, 0, 0, (WIDEST - 65_535).to_bytes(4, "big"))
    + frame(HEADERS, END_HEADERS, STREAM, _headers())
)


class StreamAgent(asyncio.Protocol):
    """`welcomed` is called once it is served. It acknowledges each halt, as one on which nothing lasts, and
    remembers nothing."""

    def __init__(self, host: str, welcomed: Callable[[], None]) -> None:
        self.host = host
        self.ended = ""
        self.session = ""
        self._welcomed = welcomed
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        hello = a.Hello(host=self.host, boot_id="bench", has_rtc=True, labels={"environment": "staging"})
        transport.write(OPENING + message(a.ConnectRequest(hello=hello)))

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = self.ended or f"connection lost: {error}"

    def beat(self, stamp_ns: int) -> None:
        if self._transport is not None and not self.ended:
            self._transport.write(message(a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=stamp_ns))))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 9 and len(self._buffer) >= (end := 9 + int.from_bytes(self._buffer[:3], "big")):
            kind, flags, payload = self._buffer[3], self._buffer[4], bytes(self._buffer[9:end])
            del self._buffer[:end]
            self._took(kind, flags, payload)

    def _took(self, kind: int, flags: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == DATA:
            self._body += payload
            while len(self._body) >= 5 and len(self._body) >= (end := 5 + int.from_bytes(self._body[1:5], "big")):
                response = a.ConnectResponse.FromString(bytes(self._body[5:end]))
                del self._body[:end]
                self._heard(response)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RESET, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            self.ended = self.ended or f"ended by the coordinator: frame {kind}"

    def _heard(self, response: a.ConnectResponse) -> None:
        assert self._transport is not None
        match response.WhichOneof("frame"):
            case "welcome":
                self.session = response.welcome.session
                self._welcomed()
            case "halt":
                halt_id = response.halt.halt.id
                ack = a.HaltAck(halt_id=halt_id, stage=a.HALT_STAGE_REVERTED)
                self._transport.write(message(a.ConnectRequest(halt_ack=ack)))
            case "dismissal":
                self.ended = f"dismissed: {response.dismissal.detail}"


def tls(ca: str, cert: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    return context
