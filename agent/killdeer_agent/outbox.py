"""What waits to be written to the coordinator: bounded, urgent frames first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from killdeer.v1.agent_pb2 import ConnectRequest

# More waiting frames than this and the coordinator does not drain: the link is ended, the lease runs out.
OUTBOX_MOST = 1_024


class Outbox:
    """When it is full, evidence is dropped first, and counted; frames of the same urgency keep their order."""

    def __init__(self, most: int = OUTBOX_MOST) -> None:
        self._most = most
        self._urgent: deque[ConnectRequest] = deque()
        self._others: deque[ConnectRequest] = deque()
        self._filled = asyncio.Event()
        self._closed = False
        self.dropped_events = 0

    def put(self, frame: ConnectRequest, *, urgent: bool) -> bool:
        """False when there is no room for a frame that must not be lost: the link is to be ended.

        After close() nothing goes in any more.
        """
        if self._closed:
            return True
        if len(self._urgent) + len(self._others) >= self._most and not self._make_room():
            self.dropped_events += len(frame.evidence.events)
            return frame.HasField("evidence")
        (self._urgent if urgent else self._others).append(frame)
        self._filled.set()
        return True

    def close(self) -> None:
        """What is in it is the last."""
        self._closed = True
        self._filled.set()

    async def frames(self) -> AsyncIterator[ConnectRequest]:
        while True:
            if self._urgent or self._others:
                yield self._urgent.popleft() if self._urgent else self._others.popleft()
            elif self._closed:
                return
            else:
                self._filled.clear()
                await self._filled.wait()

    def _make_room(self) -> bool:
        """At the cost of the oldest evidence that waits."""
        for place, frame in enumerate(self._others):
            if frame.HasField("evidence"):
                self.dropped_events += len(frame.evidence.events)
                del self._others[place]
                return True
        return False
