"""The coordinator's composition root: the only place that knows core, shell, store and edges."""

import asyncio
import secrets
import signal
from contextlib import AsyncExitStack, aclosing
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from killdeer.service import Notifier, log_to_stdout
from killdeer.v1 import operator_pb2
from killdeer.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from killdeer_coordinator.config import Config
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.words import Operator, Started, Stop, Tick
from killdeer_coordinator.edges import agents
from killdeer_coordinator.edges.agents import Agents
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.edges.halt_http import HaltListener
from killdeer_coordinator.edges.operators import Asks, Operators
from killdeer_coordinator.edges.options import LISTENER_OPTIONS, server_credentials
from killdeer_coordinator.outside import Outside
from killdeer_coordinator.shell import Shell, WaysOut
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError
from killdeer_coordinator.store.store import Store

log = structlog.get_logger()

TICK_S = 0.1
# Streams end by themselves after a Dismissal; what is left after this is cut.
DRAIN_S = 3.0
RETAIN_EVERY_S = 3_600
# Who halts by POST /halt, in the record. Every role may halt; this one can do nothing else.
TOKEN_HOLDER = Operator("halt-token", frozenset({"viewer"}))


async def run(config: Config) -> int:
    """Until SIGTERM or SIGINT. Raises OutsideError, StoreError or OSError when it cannot start."""
    log_to_stdout(config.log_level)
    config.state.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        coordinator = Coordinator(config)
        stack.push_async_callback(coordinator.close)
        await coordinator.start(stack)
        return await coordinator.serve()


class Coordinator:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._outside = Outside(config.state)
        self._halts, self._position = self._outside.load()
        self._store = AsyncStore(Store.open(config.store_url, limits=config.limits))
        self._shell = Shell(Core())
        self._agents = Agents(self._shell.post)
        self._asks = Asks(self._shell.post)
        self._feed = Feed()
        self._stopping = asyncio.Event()
        self._notifier = Notifier()

    async def start(self, stack: AsyncExitStack) -> None:
        """Listens only once the core knows the halts and the books."""
        ways = WaysOut(
            store=self._store, outside=self._outside, agents=self._agents, asks=self._asks, feed=self._feed
        )
        self._shell.connect(ways)
        try:
            books = await self._store.read()
        except StoreError as error:
            log.error("store_failed", why=str(error), remedy="nothing is granted until it is back")
            books = None
        self._shell.post(
            Started(
                coordinator=self._config.name,
                limits=self._config.limits,
                halts=self._halts,
                position=self._position,
                books=books,
                lease_ms=self._config.lease_ms,
                heartbeat_ms=self._config.heartbeat_ms,
            )
        )
        await self._listen(stack)

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        stopping = asyncio.ensure_future(self._stopping.wait())
        chores = [asyncio.ensure_future(chore()) for chore in (self._tick, self._retain)]
        log.info("started", agents=str(self._config.listen_agents), operators=str(self._config.listen_operators))
        self._notifier.say(READY="1")
        try:
            awaited: set[asyncio.Future[Any]] = {stopping, self._shell.failed, *chores}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._notifier.say(STOPPING="1")
            self._shell.post(Stop())
            await self._shell.settle()
        finally:
            for task in (stopping, *chores):
                task.cancel()
            await asyncio.gather(stopping, *chores, return_exceptions=True)
        return 0

    async def close(self) -> None:
        await self._store.close()

    async def _listen(self, stack: AsyncExitStack) -> None:
        config = self._config
        credentials = server_credentials(config.ca, config.cert, config.key)
        for address, add in (
            (config.listen_agents, self._add_agents),
            (config.listen_operators, self._add_operators),
        ):
            server = grpc.aio.server(options=LISTENER_OPTIONS)
            names = [*add(server), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
            health = health_aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(health, server)
            for name in ("", *names):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            if config.reflection:
                reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
            server.add_secure_port(str(address), credentials)
            await server.start()
            stack.push_async_callback(server.stop, DRAIN_S)
            stack.push_async_callback(health.enter_graceful_shutdown)
        listener = HaltListener(config.halt_token.read_text(encoding="utf-8").strip(), self._halt_by_token)
        http = await listener.start(config.listen_halt.host, config.listen_halt.port, config.cert, config.key)
        stack.callback(http.close)

    def _add_agents(self, server: grpc.aio.Server) -> list[str]:
        server.add_generic_rpc_handlers((self._agents.handler(),))
        return [agents.SERVICE]

    def _add_operators(self, server: grpc.aio.Server) -> list[str]:
        add_OperatorServiceServicer_to_server(Operators(self._asks, self._store, self._feed), server)
        return [operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name]

    async def _halt_by_token(self, halt_id: str, reason: str) -> dict[str, object]:
        request = operator_pb2.HaltRequest(id=halt_id, reason=reason)
        async with aclosing(self._asks.ask(TOKEN_HOLDER, request)) as answers:
            async for answer in answers:
                return MessageToDict(answer, preserving_proto_field_name=True)
        return {}

    async def _tick(self) -> None:
        next_watchdog = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._shell.post(Tick(secrets.token_hex(32)))
            if self._notifier.watchdog_every_ns and loop.time() >= next_watchdog:
                next_watchdog = loop.time() + self._notifier.watchdog_every_ns / 1e9
                self._notifier.say(WATCHDOG="1")
            await asyncio.sleep(TICK_S)

    async def _retain(self) -> None:
        while True:
            try:
                await self._store.retain(self._config.retention_days)
            except StoreError as error:
                log.error("retention_failed", why=str(error))
            await asyncio.sleep(RETAIN_EVERY_S)
