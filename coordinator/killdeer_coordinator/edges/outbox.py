"""What waits to be written to one agent: serialised frames, bounded, the most urgent first."""

import asyncio
from collections.abc import AsyncIterator
from heapq import heappop, heappush

from killdeer.v1.agent_pb2 import ConnectResponse

OUTBOX_MOST = 1_024

# In every queue halt goes before abort before strike (rule R11).
_URGENCY = {"halt": 0, "rearm": 0, "welcome": 0, "revert": 1}
_LAST = 2


def urgency(frame: ConnectResponse) -> int:
    """The place of its queue: 0 goes first."""
    return _URGENCY.get(frame.WhichOneof("frame") or "", _LAST)


class Outbox:
    """Frames of the same urgency leave in the order they came.

    Thousands are empty nearly always: no deque, and nothing that holds one, which takes 600 bytes for being there.
    """

    def __init__(self, most: int = OUTBOX_MOST) -> None:
        self._most = most
        self._waiting: list[tuple[int, int, bytes]] = []  # urgency, number
        self._number = 0
        self._reader: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, frame: bytes, urgency: int) -> bool:
        """False: it is full, the agent is to be dropped. After close() nothing goes in any more."""
        if self._closed:
            return True
        if len(self._waiting) >= self._most:
            return False
        self._number += 1
        heappush(self._waiting, (urgency, self._number, frame))
        self._wake()
        return True

    def close(self) -> None:
        """After what is in it, the stream ends."""
        self._closed = True
        self._wake()

    async def frames(self) -> AsyncIterator[bytes]:
        """For one reader."""
        while self._waiting or not self._closed:
            if self._waiting:
                yield heappop(self._waiting)[2]
            else:
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
