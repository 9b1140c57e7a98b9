"""Kernel events as they come in, for those who follow them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from killdeer.v1.operator_pb2 import WatchEventsResponse

# A follower that is this far behind loses the oldest; it can read them from the store.
BEHIND_MOST = 10_000


class Feed:
    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[WatchEventsResponse]] = set()

    def publish(self, events: Sequence[WatchEventsResponse]) -> None:
        for listener in self._listeners:
            for event in events:
                if listener.full():
                    listener.get_nowait()
                listener.put_nowait(event)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[WatchEventsResponse]]:
        queue: asyncio.Queue[WatchEventsResponse] = asyncio.Queue(BEHIND_MOST)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
