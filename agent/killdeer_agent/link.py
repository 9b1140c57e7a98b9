"""The agent's stream to its coordinator: dial out, one bidirectional stream, dial again with full jitter.

The link decides nothing: frames in are inputs of the core, frames out come from it.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse
from killdeer.v1.agent_pb2_grpc import AgentServiceStub

BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0
# A stream that lived this long was healthy: the next failure starts the back-off anew.
HEALTHY_S = 60.0
# More waiting frames than this and the coordinator does not drain: the link is ended, the lease runs out.
OUTBOX_MOST = 4_096
FRAME_MOST_BYTES = 4 * 1024 * 1024

# Both timers and the ping's own are set: keepalive_timeout_ms alone has no effect below ping_timeout_ms.
OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", FRAME_MOST_BYTES),
    ("grpc.max_send_message_length", FRAME_MOST_BYTES),
    ("grpc.enable_retries", 0),
)


class Outbox:
    """Frames for the coordinator, urgent ones first. When it is full, evidence is dropped first."""

    def __init__(self) -> None:
        self._urgent: deque[ConnectRequest] = deque()
        self._others: deque[ConnectRequest] = deque()
        self._filled = asyncio.Event()
        self.emptied = asyncio.Event()
        self.dropped_events = 0

    def put(self, frame: ConnectRequest, *, urgent: bool) -> bool:
        """False when there is no room for a frame that must not be lost: the link is to be ended."""
        if len(self._others) >= OUTBOX_MOST:
            if frame.WhichOneof("frame") == "evidence":
                self.dropped_events += len(frame.evidence.events)
                return True
            return False
        (self._urgent if urgent else self._others).append(frame)
        self.emptied.clear()
        self._filled.set()
        return True

    async def next(self) -> ConnectRequest:
        while not self._urgent and not self._others:
            self.emptied.set()
            self._filled.clear()
            await self._filled.wait()
        return self._urgent.popleft() if self._urgent else self._others.popleft()


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
    ) -> None:
        self._coordinators = coordinators
        self._files = (ca, key, cert)
        self._server_name = server_name
        self._on_open, self._on_frame, self._on_close = on_open, on_frame, on_close
        self._jitter = jitter
        self._outbox: Outbox | None = None
        self._ended = asyncio.Event()
        self._retry_after_s: float | None = None
        self._tries = 0

    def send(self, frame: ConnectRequest, *, urgent: bool) -> None:
        """Dropped when there is no stream: the core says again what must arrive."""
        if self._outbox is not None and not self._outbox.put(frame, urgent=urgent):
            self.end()

    def end(self, retry_after_ms: int = 0) -> None:
        """End the stream; dial again after that time, or after the back-off."""
        self._retry_after_s = retry_after_ms / 1_000 if retry_after_ms else None
        self._ended.set()

    async def drained(self) -> None:
        """Returns when everything put so far is with the transport."""
        if self._outbox is not None:
            await self._outbox.emptied.wait()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            coordinator = self._coordinators[self._tries % len(self._coordinators)]
            began = loop.time()
            why = await self._once(coordinator)
            self._outbox = None
            self._on_close(why)
            if loop.time() - began > HEALTHY_S:
                self._tries = 0
            await asyncio.sleep(self._pause_s())
            self._tries += 1

    def _pause_s(self) -> float:
        """Full jitter: anything from nothing to the present back-off."""
        most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(self._tries // len(self._coordinators), 16))
        asked, self._retry_after_s = self._retry_after_s, None
        return self._jitter.uniform(0, most) if asked is None else asked + self._jitter.uniform(0, 1)

    async def _once(self, coordinator: str) -> str:
        """One stream, from dialling to its end; why it ended."""
        try:
            ca, key, cert = (file.read_bytes() for file in self._files)
        except OSError as error:
            return f"cannot read {error.filename}: {error.strerror}"
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        options = (*OPTIONS, ("grpc.ssl_target_name_override", self._server_name))
        self._ended.clear()
        async with grpc.aio.secure_channel(coordinator, credentials, options=options) as channel:
            stream = AgentServiceStub(channel).Connect()
            outbox = Outbox()
            try:
                await stream.wait_for_connection()
                self._outbox = outbox
                self._on_open()
                return await self._talk(stream, outbox)
            except grpc.aio.AioRpcError as error:
                return f"cannot reach {coordinator}: {error.details() or error.code().name}"
            finally:
                stream.cancel()

    async def _talk(
        self, stream: "grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]", outbox: Outbox
    ) -> str:
        tasks = [
            asyncio.ensure_future(self._read(stream)),
            asyncio.ensure_future(self._write(stream, outbox)),
            asyncio.ensure_future(self._told_to_end()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            stream.cancel()
            await _settled(tasks)

    async def _read(self, stream: "grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]") -> str:
        while True:
            frame = await stream.read()
            if not isinstance(frame, ConnectResponse):
                return "the coordinator ended the stream"
            self._on_frame(frame)

    async def _write(
        self, stream: "grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]", outbox: Outbox
    ) -> str:
        while True:
            await stream.write(await outbox.next())

    async def _told_to_end(self) -> str:
        await self._ended.wait()
        return "ended by this agent"


async def _settled(tasks: "list[asyncio.Task[str]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
