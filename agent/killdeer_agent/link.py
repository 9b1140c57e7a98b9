"""The agent's stream to its coordinator: dial out, one bidirectional stream, dial again with full jitter.

The link decides nothing: frames in are inputs of the core, frames out come from it. A read is never waited for
with a timeout, nor cancelled where it can be helped: gRPC leaks what it holds (grpc issue 43360).
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import grpc.aio

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse
from killdeer.v1.agent_pb2_grpc import AgentServiceStub
from killdeer_agent.outbox import Outbox

BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0
# A stream that lived this long was healthy: the next failure starts the back-off anew.
HEALTHY_S = 10.0
# Nobody there is known by then, and the next coordinator is tried.
DIAL_MS = 5_000
PING_EVERY_MS, PING_ANSWER_MS = 10_000, 5_000
FRAME_MOST_BYTES = 4 * 1024 * 1024
# After its own end, how long a read is given to notice.
PARTING_S = 1.0

Stream = grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]
Options = Sequence[tuple[str, int | str]]


def channel_options(*, ping_every_ms: int = PING_EVERY_MS, ping_answer_ms: int = PING_ANSWER_MS) -> Options:
    return (
        # Both timers and the ping's own: keepalive_timeout_ms alone has no effect below ping_timeout_ms, a minute.
        ("grpc.keepalive_time_ms", ping_every_ms),
        ("grpc.keepalive_timeout_ms", ping_answer_ms),
        ("grpc.http2.ping_timeout_ms", ping_answer_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # An attempt to connect lasts as long as the least time between two; the default is 20 s.
        ("grpc.min_reconnect_backoff_ms", DIAL_MS),
        # Each dial is a connection of its own, with the certificates of now: none is shared with the last one's.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", FRAME_MOST_BYTES),
        ("grpc.max_send_message_length", FRAME_MOST_BYTES),
        ("grpc.enable_retries", 0),
    )


OPTIONS = channel_options()


class Link:
    """Runs until cancelled. `on_open`, `on_frame` and `on_close` are called in the loop's thread."""

    def __init__(
        self,
        *,
        coordinators: tuple[str, ...],
        ca: Path,
        cert: Path,
        key: Path,
        server_name: str,
        on_open: Callable[[], None],
        on_frame: Callable[[ConnectResponse], None],
        on_close: Callable[[str], None],
        jitter: random.Random,
        options: Options = OPTIONS,
    ) -> None:
        self._coordinators = coordinators
        self._files = (ca, key, cert)
        self._options = (*options, ("grpc.ssl_target_name_override", server_name))
        self._on_open, self._on_frame, self._on_close = on_open, on_frame, on_close
        self._jitter = jitter
        self._outbox: Outbox | None = None
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._retry_after_s = 0.0
        self._tries = 0
        self._dropped_events = 0

    def send(self, frame: ConnectRequest, *, urgent: bool) -> None:
        """Dropped when there is no stream: the core says again what must arrive."""
        if self._outbox is None:
            return
        if frame.HasField("heartbeat"):
            # What the link could not carry is lost as well.
            frame.heartbeat.events_lost += self._dropped_events + self._outbox.dropped_events
        if not self._outbox.put(frame, urgent=urgent):
            self.end()

    def end(self, retry_after_ms: int = 0) -> None:
        """End the stream; dial again no sooner than after that time, and then after the back-off."""
        self._retry_after_s = retry_after_ms / 1_000
        self._ended.set()

    async def leave(self) -> None:
        """Returns when the coordinator has everything put so far and has ended the stream, or it is lost."""
        if self._outbox is not None:
            self._outbox.close()
            await self._closed.wait()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            coordinator = self._coordinators[self._tries % len(self._coordinators)]
            began = loop.time()
            why = await self._once(coordinator)
            self._closed.set()
            if self._outbox is not None:
                self._dropped_events += self._outbox.dropped_events
                self._outbox = None
            self._on_close(why)
            if loop.time() - began > HEALTHY_S:
                self._tries = 0
            await asyncio.sleep(self._pause_s())
            self._tries += 1

    def _pause_s(self) -> float:
        """Full jitter: anything from nothing to the present back-off, after the time that was asked for."""
        rounds = self._tries // len(self._coordinators)
        most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(rounds, 16))
        asked, self._retry_after_s = self._retry_after_s, 0.0
        return asked + self._jitter.uniform(0, most)

    async def _once(self, coordinator: str) -> str:
        """One stream, from dialling to its end; why it ended."""
        try:
            ca, key, cert = (file.read_bytes() for file in self._files)
        except OSError as error:
            return f"cannot read {error.filename}: {error.strerror}"
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        self._ended.clear()
        self._closed.clear()
        async with grpc.aio.secure_channel(coordinator, credentials, options=self._options) as channel:
            stream = AgentServiceStub(channel).Connect()
            try:
                await stream.wait_for_connection()
                outbox = self._outbox = Outbox()
                self._on_open()
                return await self._talk(stream, outbox)
            except grpc.aio.AioRpcError as error:
                # gRPC has one text for whoever is turned away, expired or of another fleet: "Socket closed".
                cause = error.details() or error.code().name
                return f"cannot reach {coordinator}: {cause}; what is wrong says: killdeer-agent doctor"
            finally:
                stream.cancel()

    async def _talk(self, stream: Stream, outbox: Outbox) -> str:
        """Until the coordinator ends the stream or this agent does; the reader knows best why."""
        reading = asyncio.ensure_future(self._read(stream))
        writing = asyncio.ensure_future(_write(stream, outbox))
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({reading, writing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not ending.done():
                # Half-closed after the last frame, or the stream has broken: either way its end is to be read.
                await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else "ended by this agent"
        finally:
            stream.cancel()
            writing.cancel()
            ending.cancel()
            await asyncio.wait({reading}, timeout=PARTING_S)
            reading.cancel()
            await asyncio.gather(reading, writing, ending, return_exceptions=True)

    async def _read(self, stream: Stream) -> str:
        while True:
            frame = await stream.read()
            if frame is grpc.aio.EOF:
                return "the coordinator ended the stream"
            if not isinstance(frame, ConnectResponse):  # what gRPC makes of bytes that it could not decode
                return "cannot read a frame of the coordinator: it is no ConnectResponse"
            self._on_frame(frame)


async def _write(stream: Stream, outbox: Outbox) -> None:
    """Ends with the outbox, half-closed, or as soon as the stream cannot be written to any more."""
    try:
        async for frame in outbox.frames():
            await stream.write(frame)
        await stream.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # the stream is over, and the reader is told why
