"""The coordinator's composition root: the only place that knows core, shell, store and edges."""

import asyncio
import datetime as dt
import os
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from killdeer.reloads import Word, boot_ns
from killdeer.service import Notifier, log_to_stdout, set_log_level
from killdeer.v1 import join_pb2, operator_pb2
from killdeer.v1.join_pb2_grpc import add_JoinServiceServicer_to_server
from killdeer.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator import endings, reloading
from killdeer_coordinator.config import Address, Config, ConfigError
from killdeer_coordinator.core.allowance import configured
from killdeer_coordinator.core.books import Decide
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.joining import still_removed
from killdeer_coordinator.core.words import Operator, Started, Stop, Tick, Woken
from killdeer_coordinator.edges import agents
from killdeer_coordinator.edges.agents import Agents
from killdeer_coordinator.edges.asks import Asks
from killdeer_coordinator.edges.deeds import Deeds
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.edges.halt_http import HaltListener
from killdeer_coordinator.edges.joining import Authority, Joining, Renewals
from killdeer_coordinator.edges.operators import Operators
from killdeer_coordinator.edges.options import (
    AGENTS_OPTIONS,
    JOIN_CALLS_MOST,
    JOIN_OPTIONS,
    OPERATORS_OPTIONS,
    expired,
    join_credentials,
    server_credentials,
)
from killdeer_coordinator.edges.probes import Probes
from killdeer_coordinator.outside import FILE_NAME, Outside, OutsideError
from killdeer_coordinator.removals import Removals, missing
from killdeer_coordinator.shell import Shell, WaysOut
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError
from killdeer_coordinator.store.sqlite import lock_directory
from killdeer_coordinator.store.store import Store

log = structlog.get_logger()

TICK_S = 0.1
# Streams end by themselves after a Dismissal; what is left after this is cut.
DRAIN_S = 3.0
# How long the store may take for what it was asked before this coordinator listens, and before it ends.
SETTLE_S = 3.0
RETAIN_EVERY_S = 3_600
RECORD_AGAIN_S = 1.0
COMPARE_EVERY_S = 5.0
NOT_RECORDED = "the limits of coordinator.toml hold; the audit log has them once it is back"
# Where others share the store, those who follow the evidence here have it from there.
PUBLISH_EVERY_S = 0.5
PUBLISHED_MOST = 1_000
# How long POST /halt waits for the hosts before it answers how many have stopped. The halt is out at once.
HALT_ANSWER_S = 2.0
# Who halts by POST /halt, in the record. Every role may halt; this one can do nothing else.
TOKEN_HOLDER = Operator("halt-token", frozenset({"viewer"}))


async def run(config: Config, reread: Callable[[], Config]) -> int:
    """Until SIGTERM or SIGINT. `reread`: the configuration as it stands by then; raises ConfigError.

    Raises OutsideError, StoreError or OSError when it cannot start."""
    log_to_stdout(config.log_level)
    config.state.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        if config.store:  # elsewhere; what is kept beside it is still this coordinator's alone
            stack.callback(os.close, lock_directory(config.state))
        coordinator = Coordinator(config, reread)
        stack.push_async_callback(coordinator.close)
        stack.push_async_callback(coordinator.silence)
        await coordinator.start(stack)
        return await coordinator.serve()


_Listener = tuple[
    Address, Sequence[tuple[str, int]], Callable[[grpc.aio.Server], list[str]], grpc.ServerCredentials, int | None
]
"""Where, with which settings, for which services, as whom, and how many calls at once; None: any number."""


class Coordinator:
    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread
        self._notice = ""  # for operators: of the last reload
        self._commands = dict(config.commands)  # shared with those who run them
        self._outside = Outside(config.state)
        self._halts, self._position = self._outside.load()
        self._removals = Removals(config.state)
        self._store = AsyncStore(Store.open(config.store_url, limits=config.limits, removals=self._removals))
        self._shell = Shell(Core())
        self._authority = (
            Authority(config.ca, config.ca_key, config.certificates_ms) if config.listen_join is not None else None
        )
        self._agents = self._make_agents()
        self._asks = Asks(self._shell.post)
        self._feed = Feed()
        self._probes = Probes(self._commands, config.secrets)
        self._deeds = Deeds(self._commands, config.secrets)
        self._stopping = asyncio.Event()
        self._unrecorded: deque[Decide] = deque([configured(config.name, config.limits)])  # of its configuration
        self._recording = asyncio.Event()
        self._retaining = asyncio.Event()  # how long evidence is kept has changed
        self._servers: list[tuple[grpc.aio.Server, health_aio.HealthServicer]] = []
        self._notifier = Notifier()
        self._word = Word()

    async def start(self, stack: AsyncExitStack) -> None:
        """Listens only once the core knows the halts and the books."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        ways = WaysOut(
            store=self._store,
            outside=self._outside,
            agents=self._agents,
            asks=self._asks,
            feed=Feed() if self._config.store else self._feed,  # see _publish
            probes=self._probes,
            deeds=self._deeds,
        )
        self._shell.connect(ways)
        try:
            await self._compare_removals()
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
                instance=secrets.token_hex(16) if self._config.store else "",
            )
        )
        # Nobody is to ask for a run before those of the last coordinator are ended in the books.
        await self._settle()
        await self._listen(stack)

    async def serve(self) -> int:
        stopping = asyncio.ensure_future(self._stopping.wait())
        chores = [asyncio.ensure_future(chore()) for chore in self._chores()]
        log.info("started", agents=str(self._config.listen_agents), operators=str(self._config.listen_operators))
        self._look_for_commands()
        self._notifier.say(READY="1")
        try:
            awaited: set[asyncio.Future[Any]] = {stopping, self._shell.failed, *chores}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._notifier.say(STOPPING="1")
            log.info("stopping")
            self._shell.post(Stop())
            self._feed.close()
        finally:
            for task in (stopping, *chores):
                task.cancel()
            await asyncio.gather(stopping, *chores, return_exceptions=True)
        return 0

    def _chores(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """None of them ends by itself."""
        alone = [self._tick, self._retain, self._record, self._compare]
        return [*alone, self._listen_to_others, self._publish] if self._config.store else alone

    def _reload(self) -> None:
        """All or nothing. What is in flight beyond a lower limit is not touched; nothing is granted until it is
        under it."""
        begun_ns = boot_ns()
        try:
            plan = reloading.plan(self._config, self._reread())
        except ConfigError as fault:
            self._notice = f"the coordinator's reload was refused: {fault}"
            log.error("reload_refused", problem=str(fault), remedy=reloading.MEND)
            self._notifier.say(STATUS=" ".join(self._notice.split()))
            self._word.say(begun_ns=begun_ns, problem=str(fault))
            return
        before, self._config, self._notice = self._config, plan.config, plan.notice
        self._notifier.say(STATUS=self._notice)
        set_log_level(plan.config.log_level)
        self._store.limit(plan.config.limits)
        if "limits" in plan.changed:
            self._unrecorded.append(configured(plan.config.name, plan.config.limits, before.limits))
            self._recording.set()
        self._commands.clear()
        self._commands.update(plan.config.commands)
        self._retaining.set()
        log.info("reloaded", changed=plan.changed, limits=plan.config.limits.limits, before=before.limits.limits)
        if plan.waiting:
            log.warning("reload_waits", keys=plan.waiting, remedy="restart the coordinator")
        self._look_for_commands()
        self._word.say(begun_ns=begun_ns, notice=plan.notice)

    def _look_for_commands(self) -> None:
        for name, words in self._commands.items():
            if not os.access(words[0], os.X_OK):
                log.warning("command_missing", name=name, program=words[0], remedy="runs that need it will say so")

    async def close(self) -> None:
        """What was asked of the store goes into it first, if it can in time."""
        await self._settle()
        await self._store.close()
        await self._probes.close()
        await self._deeds.close()

    async def _settle(self) -> None:
        """A store that hangs keeps nobody: halts must go out, and a stop must end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._shell.settle()

    async def _listen(self, stack: AsyncExitStack) -> None:
        config = self._config
        token = _token(config)
        credentials = server_credentials(config.ca, config.cert, config.key)
        if why := expired(config.cert, dt.datetime.now(dt.UTC).date()):
            log.error("certificate_expired", why=why)
        listeners: list[_Listener] = [
            (config.listen_agents, AGENTS_OPTIONS, self._add_agents, credentials, None),
            (config.listen_operators, OPERATORS_OPTIONS, self._add_operators, credentials, None),
        ]
        if config.listen_join is not None:
            unknown = join_credentials(config.ca, config.cert, config.key)
            listeners.append((config.listen_join, JOIN_OPTIONS, self._add_join, unknown, JOIN_CALLS_MOST))
        for address, options, add, credentials, calls_most in listeners:
            server = grpc.aio.server(options=options, maximum_concurrent_rpcs=calls_most)
            names = [*add(server), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
            health = health_aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(health, server)
            for name in ("", *names):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            if config.reflection:
                reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
            try:
                server.add_secure_port(str(address), credentials)
            except RuntimeError as cause:
                raise OSError(f"cannot listen on {address}: {_why_not(address)}") from cause
            await server.start()
            self._servers.append((server, health))
        http = await HaltListener(token, self._halt_by_token).start(
            config.listen_halt.host, config.listen_halt.port, config.cert, config.key
        )
        stack.callback(http.close)

    async def silence(self) -> None:
        """No new call; those under way have DRAIN_S to end, on both listeners at once."""
        for _, health in self._servers:
            await health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(DRAIN_S) for server, _ in self._servers))

    def _add_agents(self, server: grpc.aio.Server) -> list[str]:
        server.add_generic_rpc_handlers((self._agents.handler(),))
        return [agents.SERVICE]

    def _make_agents(self) -> Agents:
        if self._authority is None:
            return Agents(self._shell.post)
        renewals = Renewals(self._store, self._authority)
        return Agents(self._shell.post, certify=renewals.certify, news=renewals.news)

    def _add_join(self, server: grpc.aio.Server) -> list[str]:
        config = self._config
        assert self._authority is not None
        joining = Joining(
            self._store,
            self._authority,
            coordinators=[str(address) for address in config.agents_at],
            agents_port=config.listen_agents.port,
        )
        add_JoinServiceServicer_to_server(joining, server)
        return [join_pb2.DESCRIPTOR.services_by_name["JoinService"].full_name]

    def _add_operators(self, server: grpc.aio.Server) -> list[str]:
        operators = Operators(
            self._asks,
            self._store,
            self._feed,
            self._witnesses,
            self._notices,
            lambda: self._config.retention_days,
        )
        add_OperatorServiceServicer_to_server(operators, server)
        return [operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name]

    def _notices(self) -> list[str]:
        now_s = time.time()
        files = (
            (self._config.cert, partial(endings.of_coordinator, file=self._config.cert, now_s=now_s)),
            (self._config.ca, partial(endings.of_authorities, now_s=now_s)),
        )
        ending = [_looked_at(file, look) for file, look in files]
        return [one for one in (self._notice, *ending, endings.of_hosts(self._agents.lives(), now_s)) if one]

    async def _witnesses(self) -> Mapping[str, StorePosition]:
        shown = {f"host {host}": position for host, position in self._agents.shown.items()}
        _, kept = await asyncio.to_thread(self._outside.load)
        return {f"{FILE_NAME} of this coordinator": kept, **shown}

    async def _halt_by_token(self, halt_id: str, reason: str) -> dict[str, object]:
        """The state of the halt when all hosts have stopped, or after HALT_ANSWER_S."""
        request = operator_pb2.HaltRequest(id=halt_id, reason=reason)
        answer = operator_pb2.HaltResponse()
        with suppress(TimeoutError):
            async with (
                aclosing(self._asks.ask(TOKEN_HOLDER, request)) as answers,
                asyncio.timeout(HALT_ANSWER_S),
            ):
                async for message in answers:
                    answer = cast(operator_pb2.HaltResponse, message)
                    if answer.complete:
                        break
        return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    async def _tick(self) -> None:
        next_watchdog = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._shell.post(Tick(secrets.token_hex(32)))
            if self._notifier.watchdog_every_ns and loop.time() >= next_watchdog:
                next_watchdog = loop.time() + self._notifier.watchdog_every_ns / 1e9
                self._notifier.say(WATCHDOG="1")
            await asyncio.sleep(TICK_S)

    async def _listen_to_others(self) -> None:
        async with aclosing(self._store.listen()) as wakes:
            async for _ in wakes:
                self._shell.post(Woken())

    async def _publish(self) -> None:
        """What any coordinator has kept, in its order, for those who follow here."""
        after: int | None = None  # at first, the newest
        while True:
            with suppress(StoreError):
                most = 1 if after is None else PUBLISHED_MOST
                found = await self._store.ask(partial(Store.events, after=after, limit=most))
                if after is not None:
                    self._feed.publish(found)
                after = found[-1].number if found else after or 0
            await asyncio.sleep(PUBLISH_EVERY_S)

    async def _record(self) -> None:
        """What is in force already goes into the audit log as soon as the store takes it."""
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

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_EVERY_S)
            with suppress(StoreError):
                await self._compare_removals()

    async def _compare_removals(self) -> None:
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

    async def _retain(self) -> None:
        while True:
            try:
                await self._store.retain(self._config.retention_days)
            except StoreError as error:
                log.error("retention_failed", why=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(RETAIN_EVERY_S):
                    await self._retaining.wait()
            self._retaining.clear()


def _looked_at(file: Path, look: Callable[[bytes], str]) -> str:
    try:
        return look(file.read_bytes())
    except (OSError, ValueError) as error:
        return f"cannot read {file}: {error}; a restart will want it"


def _token(config: Config) -> str:
    """Raises OSError; an empty token would let everybody halt, with none at all."""
    token = config.halt_token.read_text(encoding="utf-8").strip()
    if not token:
        raise OSError(f"cannot use {config.halt_token}: it is empty; delete it, and `init` makes one")
    return token


def _why_not(address: Address) -> str:
    """gRPC says only that it could not; the kernel says why."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "gRPC does not say why"
