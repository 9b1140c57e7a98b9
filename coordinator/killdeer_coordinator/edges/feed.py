"""Kernel events as they come in, for those who follow them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from killdeer.v1.operator_pb2 import WatchEventsResponse

# A follower that is this far behind loses the oldest; it can read them from the store.
BEHIND_MOST = 10_000

Listening = asyncio.Queue[WatchEventsResponse | None]
"""None: the feed is over."""


class Feed:
    def __init__(self, behind_most: int = BEHIND_MOST) -> None:
        self._behind_most = behind_most
        self._listeners: set[Listening] = set()
        self._over = False

    def publish(self, events: Sequence[WatchEventsResponse]) -> None:
        for listener in self._listeners:
            for event in events:
                _put(listener, event)

    def close(self) -> None:
        """This coordinator stops: whoever follows is told."""
        self._over = True
        for listener in self._listeners:
            _put(listener, None)

    @contextmanager
    def listen(self) -> Iterator[Listening]:
        queue: Listening = asyncio.Queue(self._behind_most)
        if self._over:
            queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)


def _put(listener: Listening, event: WatchEventsResponse | None) -> None:
    if listener.full():
        listener.get_nowait()
    listener.put_nowait(event)
