"""Carries out the core's effects and tells it what came of them. It decides nothing."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.words import (
    Broadcast,
    Collect,
    Decided,
    Delivered,
    Dismiss,
    Effect,
    Input,
    Keep,
    KeepEvents,
    KeepRecord,
    Kept,
    Measure,
    Measured,
    Note,
    Now,
    Perform,
    Performed,
    Post,
    Posted,
    Quit,
    ReadStore,
    Refuse,
    Reply,
    StoreRead,
    Tell,
    Transact,
    Unrecorded,
)
from killdeer_coordinator.edges.agents import Agents
from killdeer_coordinator.edges.asks import Asks
from killdeer_coordinator.edges.deeds import Deeds
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.edges.probes import Probes
from killdeer_coordinator.outside import Outside, OutsideError
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError, StoreInUse

log = structlog.get_logger()


def now() -> Now:
    return Now(time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysOut:
    """Given by the composition root."""

    store: AsyncStore
    outside: Outside
    agents: Agents
    asks: Asks
    feed: Feed
    probes: Probes
    deeds: Deeds
    clock: Callable[[], Now] = now


class Shell:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._out: WaysOut | None = None
        self._inputs: deque[Input] = deque()
        self._handling = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping = asyncio.Lock()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception when something of our own breaks: the coordinator ends, never half blind."""

    def connect(self, out: WaysOut) -> None:
        self._out = out

    def post(self, message: Input) -> None:
        """An input for the core, and all effects that follow from it. In the loop's thread only."""
        self._inputs.append(message)
        if self._handling or self._out is None:
            return
        self._handling = True
        try:
            while self._inputs:
                for effect in self._core.handle(self._inputs.popleft(), self._out.clock()):
                    self._carry_out(effect, self._out)
        except Exception as error:
            self._fail(error)
        finally:
            self._handling = False

    async def settle(self) -> None:
        """Until nothing that was asked for is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _carry_out(self, effect: Effect, out: WaysOut) -> None:
        match effect:
            case Tell(link=link, frame=frame):
                out.agents.tell(link, frame)
            case Broadcast(links=links, frame=frame):
                self._beside(out.agents.broadcast(links, frame))
            case Dismiss(link=link, reason=reason, detail=detail, retry_after_ms=retry_after_ms):
                out.agents.dismiss(link, reason, detail, retry_after_ms)
            case Reply() | Refuse():
                out.asks.answer(effect)
            case Transact():
                self._beside(self._transact(effect, out))
            case Keep():
                self._beside(self._keep(effect, out))
            case ReadStore():
                self._beside(self._read(out))
            case Post():
                self._beside(self._post(effect, out))
            case Collect(recipient=recipient):
                self._beside(self._collect(recipient, out))
            case Quit(why=why):
                self._fail(StoreInUse(f"cannot go on: {why}"))
            case KeepEvents():
                self._beside(self._keep_events(effect, out))
            case KeepRecord():
                self._beside(self._keep_record(effect, out))
            case Measure():
                self._beside(self._measure(effect, out))
            case Perform():
                self._beside(self._perform(effect, out))
            case Note(event=event, fields=fields, wrong=wrong):
                (log.warning if wrong else log.info)(event, **fields)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        # Each begins in the order it was asked for; the store's writer and the lock of Keep hold that order.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _transact(self, effect: Transact, out: WaysOut) -> None:
        try:
            committed = await out.store.decide(effect.decide)
        except StoreError as error:
            log.error("store_failed", why=str(error), remedy="nothing is granted until it is back")
            self.post(Decided(effect.token, None, StorePosition(), str(error)))
        else:
            self.post(Decided(effect.token, committed.answer, committed.position))

    async def _keep(self, effect: Keep, out: WaysOut) -> None:
        problem = ""
        async with self._keeping:
            try:
                await asyncio.to_thread(out.outside.keep, effect.halts, effect.position)
            except OutsideError as error:
                problem = str(error)
        self.post(Kept(effect.token, problem))

    async def _read(self, out: WaysOut) -> None:
        begun_ns = out.clock().mono_ns
        try:
            books = await out.store.read()
        except StoreError as error:
            log.error("store_failed", why=str(error), remedy="no lease is renewed until it is back")
        else:
            self.post(StoreRead(begun_ns, books))

    async def _post(self, effect: Post, out: WaysOut) -> None:
        failure = ""
        try:
            await out.store.post(effect.letters)
        except StoreError as error:
            failure = str(error)
        self.post(Posted(effect.token, failure))

    async def _collect(self, recipient: str, out: WaysOut) -> None:
        begun_ns = out.clock().mono_ns
        try:
            now_ms, letters = await out.store.collect(recipient)
        except StoreError as error:
            log.error("store_failed", why=str(error), remedy="letters wait until it is back")
        else:
            if letters:
                self.post(Delivered(begun_ns=begun_ns, now_ms=now_ms, letters=tuple(letters)))

    async def _keep_events(self, effect: KeepEvents, out: WaysOut) -> None:
        try:
            numbered = await out.store.append_events(effect.host, effect.events)
        except StoreError as error:
            log.error("evidence_not_kept", host=effect.host, events=len(effect.events), why=str(error))
        else:
            out.feed.publish(numbered)

    async def _keep_record(self, effect: KeepRecord, out: WaysOut) -> None:
        try:
            await out.store.append_record(effect.run_id, effect.readings, effect.lines)
        except StoreError as error:
            missing = {"readings": len(effect.readings), "lines": len(effect.lines)}
            log.error("record_not_kept", run=effect.run_id, **missing, why=str(error))
            self.post(Unrecorded(effect, str(error)))

    async def _measure(self, effect: Measure, out: WaysOut) -> None:
        self.post(Measured(effect.token, await out.probes.take(effect.probe)))

    async def _perform(self, effect: Perform, out: WaysOut) -> None:
        self.post(Performed(effect.token, await out.deeds.perform(effect.deed, effect.state)))
