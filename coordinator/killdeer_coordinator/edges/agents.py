"""AgentService: one stream for each agent, each with a bounded outbox of its own.

A reader that does not drain is dropped and its lease runs out; it never holds up another. A read is never
cancelled where it can be helped, nor waited for with a timeout: gRPC leaks what it holds (grpc issue 43360).
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from killdeer.v1.agent_pb2 import CertificateIssued, ConnectRequest, ConnectResponse, Dismissal
from killdeer.v1.process_pb2 import Reason, StorePosition
from killdeer_coordinator.core.words import Heard, Input, Joined, Left
from killdeer_coordinator.edges.options import certificate
from killdeer_coordinator.edges.outbox import OUTBOX_MOST, Outbox, urgency
from killdeer_coordinator.endings import Life, life_of
from killdeer_coordinator.pki import AgentPeer, PeerError, peer_of

log = structlog.get_logger()

SERVICE = "killdeer.v1.AgentService"
# A write that takes longer: the agent does not read. Its stream is ended.
WRITE_MOST_S = 5.0
HELLO_WITHIN_S = 10.0
# After its last frame, how long each side leaves the other to end the stream by itself.
PARTING_S = 1.0
# An agent that speaks wrongly gains nothing by coming back at once.
MISTAKEN_RETRY_MS = 60_000
# A broadcast gives way to the rest of the loop after this many agents.
BROADCAST_CHUNK = 200

Certify = Callable[[AgentPeer, bytes], Awaitable[CertificateIssued]]
"""Answers the signing request of a host whose stream has that peer."""

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(slots=True, kw_only=True)
class Stream:
    """One agent's, while it lasts."""

    host: str
    outbox: Outbox
    writing: "asyncio.Future[None]"
    life: Life
    """Of the certificate that it came with, or of that which has taken its place."""
    joined: bool = False
    certifying: "asyncio.Future[None] | None" = None


class Agents:
    """All agents' streams. `post` gives inputs to the core; `certify` is None where no certificates are issued;
    `news` is what an agent with the certificate of that authority is to be told of others; None: nothing."""

    def __init__(
        self,
        post: Callable[[Input], None],
        *,
        outbox_most: int = OUTBOX_MOST,
        write_most_s: float = WRITE_MOST_S,
        hello_within_s: float = HELLO_WITHIN_S,
        certify: Certify | None = None,
        news: Callable[[str], CertificateIssued | None] = lambda _: None,
    ) -> None:
        self._post = post
        self._certify = certify
        self._news = news
        self._outbox_most = outbox_most
        self._write_most_s = write_most_s
        self._hello_within_s = hello_within_s
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        self.shown: dict[str, StorePosition] = {}
        """host -> the store position it came with last: the audit chain's witnesses (rule R28)."""

    def handler(self) -> grpc.GenericRpcHandler:
        """Bytes both ways: a broadcast is serialised once, and a frame that cannot be read is answered."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._connect, request_deserializer=None, response_serializer=None
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Connect": method})

    def lives(self) -> dict[str, Life]:
        """Of the certificates of those that are here."""
        return {stream.host: stream.life for stream in self._streams.values() if stream.joined}

    def tell(self, link: int, frame: ConnectResponse) -> None:
        self._put(link, frame.SerializeToString(), urgency(frame))

    async def broadcast(self, links: Iterable[int], frame: ConnectResponse) -> None:
        serialised, first = frame.SerializeToString(), urgency(frame)
        for number, link in enumerate(links, 1):
            self._put(link, serialised, first)
            if number % BROADCAST_CHUNK == 0:
                await asyncio.sleep(0)

    def dismiss(self, link: int, reason: Reason, detail: str, retry_after_ms: int) -> None:
        dismissal = Dismissal(reason=reason, detail=detail, retry_after_ms=retry_after_ms)
        self.tell(link, ConnectResponse(dismissal=dismissal))
        stream = self._streams.get(link)
        if stream is not None:
            stream.outbox.close()

    def _put(self, link: int, frame: bytes, first: int) -> None:
        stream = self._streams.get(link)
        if stream is not None and not stream.outbox.put(frame, first):
            log.warning("agent_does_not_drain", host=stream.host, remedy="its stream is ended; its lease runs out")
            stream.writing.cancel()

    async def _connect(self, requests: AsyncIterator[bytes], context: Context) -> None:
        peer, life = await _peer(context)
        link = next(self._numbers)
        outbox = Outbox(self._outbox_most)
        writing = asyncio.ensure_future(self._write(context, outbox))
        stream = self._streams[link] = Stream(host=peer.host, outbox=outbox, writing=writing, life=life)
        reading = asyncio.ensure_future(self._read(link, peer, requests))
        patience = asyncio.get_running_loop().call_later(self._hello_within_s, self._without_hello, link, stream)
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                # The agent said goodbye or is lost; a Dismissal under way may still leave.
                outbox.close()
                await asyncio.wait({writing}, timeout=PARTING_S)
            elif not writing.cancelled() and writing.exception() is None:
                # Dismissed: it has its Dismissal, and ends the stream by itself.
                self._left(link)
                await asyncio.wait({reading}, timeout=PARTING_S)
            for task in (reading, writing):
                _note_fault(peer.host, task)
        finally:
            patience.cancel()
            ending = [task for task in (writing, reading, stream.certifying) if task is not None]
            for one in ending:
                one.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            self._left(link)

    def _left(self, link: int) -> None:
        if self._streams.pop(link, None) is not None:
            self._post(Left(link))

    def _without_hello(self, link: int, stream: Stream) -> None:
        if not stream.joined:
            self._mistaken(link, f"no Hello came within {self._hello_within_s:g} s")

    async def _read(self, link: int, peer: AgentPeer, requests: AsyncIterator[bytes]) -> None:
        stream = self._streams[link]
        async for serialised in requests:
            try:
                frame = ConnectRequest.FromString(serialised)
            except DecodeError:
                detail = f"cannot read a frame of {len(serialised)} bytes: it is no ConnectRequest"
                return self._mistaken(link, detail)
            if stream.joined and frame.HasField("certificate_request"):
                self._ask_for_certificate(link, stream, peer, frame.certificate_request.signing_request)
            elif stream.joined:
                self._post(Heard(link, frame))
            elif frame.WhichOneof("frame") != "hello":
                return self._mistaken(link, "the first frame must be Hello")
            elif frame.hello.host != peer.host:
                detail = f"the certificate is for {peer.host!r}, the agent says it is {frame.hello.host!r}"
                return self._mistaken(link, detail)
            else:
                stream.joined = True
                self.shown[peer.host] = frame.hello.position
                token = secrets.token_hex(16)
                joined = Joined(link=link, host=peer.host, hello=frame.hello, token=token, serial=peer.serial)
                self._post(joined)
                if (news := self._news(peer.authority)) is not None:
                    self.tell(link, ConnectResponse(certificate_issued=news))
        return None

    def _ask_for_certificate(self, link: int, stream: Stream, peer: AgentPeer, request: bytes) -> None:
        """Beside the stream, which goes on; one at a time."""
        if stream.certifying is None or stream.certifying.done():
            stream.certifying = asyncio.ensure_future(self._tell_certificate(link, peer, request))

    async def _tell_certificate(self, link: int, peer: AgentPeer, request: bytes) -> None:
        if self._certify is None:
            issued = CertificateIssued(problem="this coordinator issues no certificates: listen_join is not set")
        else:
            issued = await self._certify(peer, request)
        if issued.certificate and (stream := self._streams.get(link)) is not None:
            stream.life = life_of(issued.certificate)
        self.tell(link, ConnectResponse(certificate_issued=issued))

    def _mistaken(self, link: int, detail: str) -> None:
        stream = self._streams.get(link)
        if stream is not None:
            log.warning("agent_mistaken", host=stream.host, detail=detail)
            self.dismiss(link, Reason.REASON_UNSPECIFIED, detail, MISTAKEN_RETRY_MS)

    async def _write(self, context: Context, outbox: Outbox) -> None:
        async for frame in outbox.frames():
            async with asyncio.timeout(self._write_most_s):
                await context.write(frame)


async def _peer(context: Context) -> tuple[AgentPeer, Life]:
    """Who it is, by its certificate alone, and for how long."""
    shown = certificate(context.auth_context())
    try:
        peer = peer_of(shown)
    except PeerError as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    if not isinstance(peer, AgentPeer):
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            "this listener is for agents, the certificate is an operator's; use the operators' listener",
        )
    return peer, life_of(shown)


def _note_fault(host: str, task: "asyncio.Future[None]") -> None:
    error = task.exception() if task.done() and not task.cancelled() else None
    if error is not None:
        log.info("stream_ended", host=host, why=repr(error))
