"""The store for a shell on asyncio: one thread decides, one reads the books, one answers
questions, one collects letters, one keeps the records of runs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from killdeer.v1.operator_pb2 import GetReportResponse, LogLine, WatchEventsResponse
from killdeer.v1.probe_pb2 import Reading
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_coordinator.core.books import Books, Decide, FleetLimits, Letter
from killdeer_coordinator.store.store import Committed, Store

T = TypeVar("T")


class AsyncStore:
    """Raises what Store raises. A call that is cancelled still runs to its end on its thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        # Leases rest on fresh reads of the books (rule R9): no long question may stand before them.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="store-asker")
        # The threads of these begin with their use.
        self._collector = ThreadPoolExecutor(1, thread_name_prefix="store-collector")
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="store-recorder")

    async def decide(self, fn: Decide) -> Committed:
        return await self._on(self._writer, lambda: self._store.decide(fn))

    async def append_events(self, host: str, events: Sequence[KernelEvent]) -> list[WatchEventsResponse]:
        return await self._on(self._writer, lambda: self._store.append_events(host, events))

    async def append_record(self, run_id: str, readings: Sequence[Reading], lines: Sequence[LogLine]) -> None:
        """Beside the writer: readings come all the time, and no decision is to stand behind them."""
        await self._on(self._recorder, lambda: self._store.append_record(run_id, readings, lines))

    async def report(self, run: str) -> GetReportResponse:
        """With all that append_record was given before."""
        await self._on(self._recorder, lambda: None)
        return await self.ask(lambda store: store.report(run))

    async def post(self, letters: Sequence[Letter]) -> None:
        await self._on(self._writer, lambda: self._store.post(letters))

    async def collect(self, recipient: str) -> tuple[int, list[Letter]]:
        return await self._on(self._collector, lambda: self._store.collect(recipient))

    def listen(self) -> AsyncGenerator[None, None]:
        """Gives None whenever another coordinator may have written something."""
        return self._store.listen()

    async def retain(self, days: int) -> int:
        """Beside the writer: its batches take turns with decisions instead of standing before them."""
        return await self._on(self._asker, lambda: self._store.retain(days))

    async def read(self) -> Books:
        return await self._on(self._reader, self._store.read)

    async def ask(self, question: Callable[[Store], T]) -> T:
        """One of the store's questions: `await store.ask(lambda s: s.runs(10))`."""
        return await self._on(self._asker, lambda: question(self._store))

    def limit(self, limits: FleetLimits) -> None:
        """From the next decision on."""
        self._store.limit(limits)

    async def close(self) -> None:
        """Waits for what is under way, then closes the store."""
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown()
        self._asker.shutdown()
        self._collector.shutdown()
        self._recorder.shutdown()
        self._store.close()

    @staticmethod
    async def _on(thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, call)
