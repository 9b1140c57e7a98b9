"""AgentService: one stream for each agent, each with a bounded outbox of its own.

A reader that does not drain is dropped and its lease runs out; it never holds up another.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
import grpc.aio
import structlog

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Dismissal
from killdeer.v1.process_pb2 import Reason
from killdeer_coordinator.core.words import Heard, Input, Joined, Left
from killdeer_coordinator.edges.options import certificate
from killdeer_coordinator.pki import AgentPeer, PeerError, peer_of

log = structlog.get_logger()

SERVICE = "killdeer.v1.AgentService"
OUTBOX_MOST = 1_024
# A write that takes longer: the agent does not read. Its stream is ended.
WRITE_MOST_S = 5.0
HELLO_WITHIN_S = 10.0
# A broadcast gives way to the rest of the loop after this many agents.
BROADCAST_CHUNK = 200

# In every queue halt goes before abort before strike (rule R11).
_URGENCY = {"halt": 0, "rearm": 0, "welcome": 0, "revert": 1}
_LAST = 2


class Outbox:
    """Serialised frames for one agent, the most urgent first; the rest in the order they came."""

    def __init__(self) -> None:
        self._queues: tuple[deque[bytes], ...] = (deque(), deque(), deque())
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, frame: bytes, urgency: int) -> bool:
        """False: it is full, the agent is to be dropped."""
        if sum(map(len, self._queues)) >= OUTBOX_MOST:
            return False
        self._queues[urgency].append(frame)
        self._filled.set()
        return True

    def close(self) -> None:
        """After what is in it, the stream ends."""
        self._closed = True
        self._filled.set()

    async def frames(self) -> AsyncIterator[bytes]:
        while True:
            queue = next((queue for queue in self._queues if queue), None)
            if queue is not None:
                yield queue.popleft()
            elif self._closed:
                return
            else:
                self._filled.clear()
                await self._filled.wait()


class Agents:
    """All agents' streams. `post` gives inputs to the core."""

    def __init__(self, post: Callable[[Input], None]) -> None:
        self._post = post
        self._outboxes: dict[int, Outbox] = {}
        self._numbers = itertools.count(1)

    def handler(self) -> grpc.GenericRpcHandler:
        """Frames out are bytes already: a broadcast is serialised once."""
        method: grpc.RpcMethodHandler[ConnectRequest, bytes] = grpc.stream_stream_rpc_method_handler(
            self._connect, request_deserializer=ConnectRequest.FromString, response_serializer=None
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Connect": method})

    def tell(self, link: int, frame: ConnectResponse) -> None:
        self._put(link, frame.SerializeToString(), _urgency(frame))

    async def broadcast(self, links: Iterable[int], frame: ConnectResponse) -> None:
        serialised, urgency = frame.SerializeToString(), _urgency(frame)
        for number, link in enumerate(links, 1):
            self._put(link, serialised, urgency)
            if number % BROADCAST_CHUNK == 0:
                await asyncio.sleep(0)

    def dismiss(self, link: int, reason: Reason, detail: str, retry_after_ms: int) -> None:
        dismissal = Dismissal(reason=reason, detail=detail, retry_after_ms=retry_after_ms)
        self.tell(link, ConnectResponse(dismissal=dismissal))
        outbox = self._outboxes.get(link)
        if outbox is not None:
            outbox.close()

    def _put(self, link: int, frame: bytes, urgency: int) -> None:
        outbox = self._outboxes.get(link)
        if outbox is not None and not outbox.put(frame, urgency):
            log.warning("agent_does_not_drain", link=link, remedy="its stream is ended; its lease runs out")
            outbox.close()

    async def _connect(
        self, requests: AsyncIterator[ConnectRequest], context: "grpc.aio.ServicerContext[ConnectRequest, bytes]"
    ) -> None:
        peer = await _peer(context)
        link = next(self._numbers)
        outbox = self._outboxes[link] = Outbox()
        writing = asyncio.ensure_future(self._write(context, outbox))
        reading = asyncio.ensure_future(self._read(link, peer, requests))
        try:
            done, _ = await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading in done:
                # The agent said goodbye or is lost; a Dismissal under way may still leave.
                outbox.close()
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(asyncio.shield(writing), timeout=1.0)
            for task in done:
                _note_fault(peer.host, task)
        finally:
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)
            del self._outboxes[link]
            self._post(Left(link))

    async def _read(self, link: int, peer: AgentPeer, requests: AsyncIterator[ConnectRequest]) -> None:
        joined = False
        async for frame in requests:
            if joined:
                self._post(Heard(link, frame))
            elif frame.WhichOneof("frame") != "hello":
                return self.dismiss(link, Reason.REASON_UNSPECIFIED, "the first frame must be Hello", 0)
            elif frame.hello.host != peer.host:
                detail = f"the certificate is for {peer.host!r}, the agent says it is {frame.hello.host!r}"
                return self.dismiss(link, Reason.REASON_UNSPECIFIED, detail, 60_000)
            else:
                joined = True
                token = secrets.token_hex(16)
                self._post(Joined(link=link, host=peer.host, hello=frame.hello, token=token))
        return None

    async def _write(self, context: "grpc.aio.ServicerContext[ConnectRequest, bytes]", outbox: Outbox) -> None:
        async for frame in outbox.frames():
            async with asyncio.timeout(WRITE_MOST_S):
                await context.write(frame)


def _urgency(frame: ConnectResponse) -> int:
    return _URGENCY.get(frame.WhichOneof("frame") or "", _LAST)


async def _peer(context: "grpc.aio.ServicerContext[ConnectRequest, bytes]") -> AgentPeer:
    """Who it is, by its certificate alone."""
    try:
        peer = peer_of(certificate(context.auth_context()))
    except PeerError as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    if not isinstance(peer, AgentPeer):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this listener is for agents; use the operators'")
    return peer


def _note_fault(host: str, task: "asyncio.Future[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, asyncio.CancelledError):
        log.info("stream_ended", host=host, why=repr(error))
