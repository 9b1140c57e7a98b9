"""What waits to be written to one agent: serialised frames, bounded, the most urgent first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from killdeer.v1.agent_pb2 import ConnectResponse

OUTBOX_MOST = 1_024

# In every queue halt goes before abort before strike (rule R11).
_URGENCY = {"halt": 0, "rearm": 0, "welcome": 0, "revert": 1}
_LAST = 2


def urgency(frame: ConnectResponse) -> int:
    """The place of its queue: 0 goes first."""
    return _URGENCY.get(frame.WhichOneof("frame") or "", _LAST)


class Outbox:
    """Frames of the same urgency leave in the order they came."""

    def __init__(self, most: int = OUTBOX_MOST) -> None:
        self._most = most
        self._queues: tuple[deque[bytes], ...] = (deque(), deque(), deque())
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, frame: bytes, urgency: int) -> bool:
        """False: it is full, the agent is to be dropped. After close() nothing goes in any more."""
        if self._closed:
            return True
        if sum(map(len, self._queues)) >= self._most:
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
