"""What a coordinator does for its store while it runs, beside decisions: each a loop that ends with its task."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from killdeer_coordinator.core.books import Decide
from killdeer_coordinator.core.joining import still_removed
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.outside import OutsideError
from killdeer_coordinator.removals import Removals, missing
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError
from killdeer_coordinator.store.store import Store

log = structlog.get_logger()

RETAIN_EVERY_S = 3_600
RECORD_AGAIN_S = 1.0
COMPARE_EVERY_S = 5.0
NOT_RECORDED = "the limits of coordinator.toml hold; the audit log has them once it is back"
# Where others share the store, those who follow the evidence here have it from there.
PUBLISH_EVERY_S = 0.5
PUBLISHED_MOST = 1_000


class Upkeep:
    """`retention_days`: as configured by then."""

    def __init__(self, store: AsyncStore, removals: Removals, retention_days: Callable[[], int]) -> None:
        self._store = store
        self._removals = removals
        self._retention_days = retention_days
        self._unrecorded: deque[Decide] = deque()
        self._recording = asyncio.Event()
        self._retaining = asyncio.Event()

    def to_record(self, configured: Decide) -> None:
        """What is in force already goes into the audit log as soon as the store takes it."""
        self._unrecorded.append(configured)
        self._recording.set()

    def retention_changed(self) -> None:
        self._retaining.set()

    async def record(self) -> None:
        while True:
            self._recording.clear()
            while self._unrecorded:
                try:
                    await self._store.decide(self._unrecorded[0])
                except StoreError as error:
                    log.error("store_failed", why=str(error), remedy=NOT_RECORDED)
                    await asyncio.sleep(RECORD_AGAIN_S)
                else:
                    self._unrecorded.popleft()
            await self._recording.wait()

    async def retain(self) -> None:
        while True:
            try:
                await self._store.retain(self._retention_days())
            except StoreError as error:
                log.error("retention_failed", why=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(RETAIN_EVERY_S):
                    await self._retaining.wait()
            self._retaining.clear()

    async def compare(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_EVERY_S)
            with suppress(StoreError):
                await self.compare_removals()

    async def compare_removals(self) -> None:
        """What is known beside the store, and not in it, is put back; until then it holds all the same. What other
        coordinators did is kept here, too. Raises StoreError."""
        stored = await self._store.ask(Store.removals)
        try:
            await asyncio.to_thread(self._removals.keep, stored)
        except OutsideError as error:
            log.error("removals_not_kept", why=str(error))
        if lost := missing(self._removals.all(), stored):
            committed = await self._store.decide(still_removed(lost))
            log.warning("removals_put_back", hosts=committed.answer)

    async def publish(self, feed: Feed) -> None:
        """What any coordinator has kept, in its order, for those who follow here."""
        after: int | None = None  # at first, the newest
        while True:
            with suppress(StoreError):
                most = 1 if after is None else PUBLISHED_MOST
                found = await self._store.ask(partial(Store.events, after=after, limit=most))
                if after is not None:
                    feed.publish(found)
                after = found[-1].number if found else after or 0
            await asyncio.sleep(PUBLISH_EVERY_S)
