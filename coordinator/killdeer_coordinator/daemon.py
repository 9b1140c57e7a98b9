"""The coordinator's composition root: the only place that knows core, shell, store and edges."""

import asyncio
import datetime as dt
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.json_format import MessageToDict

from killdeer.reloads import Word, boot_ns
from killdeer.service import Notifier, log_to_stdout, set_log_level
from killdeer.v1 import join_pb2, operator_pb2
from killdeer.v1.join_pb2_grpc import add_JoinServiceServicer_to_server
from killdeer.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator import endings, reloading
from killdeer_coordinator.config import Config, ConfigError
from killdeer_coordinator.core.allowance import configured
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.words import Operator, Started, Stop, Tick, Woken
from killdeer_coordinator.edges import agents
from killdeer_coordinator.edges.agents import Agents
from killdeer_coordinator.edges.asks import Asks
from killdeer_coordinator.edges.deeds import Deeds
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.edges.halt_http import HaltListener
from killdeer_coordinator.edges.joining import Authority, Joining, Renewals
from killdeer_coordinator.edges.listeners import Listener, Listeners
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
from killdeer_coordinator.outside import FILE_NAME, Outside
from killdeer_coordinator.removals import Removals
from killdeer_coordinator.shell import Shell, WaysOut
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError
from killdeer_coordinator.store.sqlite import lock_directory
from killdeer_coordinator.store.store import Store
from killdeer_coordinator.upkeep import Upkeep

log = structlog.get_logger()

TICK_S = 0.1
# How long the store may take for what it was asked before this coordinator listens, and before it ends.
SETTLE_S = 3.0
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
        await coordinator.start(stack)
        return await coordinator.serve()


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
        self._upkeep = Upkeep(self._store, self._removals, self._retention_days)
        self._upkeep.to_record(configured(config.name, config.limits))
        self._listeners = Listeners()
        self._notifier = Notifier()
        self._word = Word()

    async def start(self, stack: AsyncExitStack) -> None:
        """Listens only once the core knows the halts and the books."""
        stack.push_async_callback(self._listeners.silence)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        ways = WaysOut(
            store=self._store,
            outside=self._outside,
            agents=self._agents,
            asks=self._asks,
            feed=Feed() if self._config.store else self._feed,  # see Upkeep.publish
            probes=self._probes,
            deeds=self._deeds,
        )
        self._shell.connect(ways)
        try:
            await self._upkeep.compare_removals()
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
        alone = [self._tick, self._upkeep.retain, self._upkeep.record, self._upkeep.compare]
        if not self._config.store:
            return alone
        return [*alone, self._listen_to_others, partial(self._upkeep.publish, self._feed)]

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
            self._upkeep.to_record(configured(plan.config.name, plan.config.limits, before.limits))
        self._commands.clear()
        self._commands.update(plan.config.commands)
        self._upkeep.retention_changed()
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
        listeners = [
            Listener(
                address=config.listen_agents,
                options=AGENTS_OPTIONS,
                credentials=credentials,
                add=self._add_agents,
            ),
            Listener(
                address=config.listen_operators,
                options=OPERATORS_OPTIONS,
                credentials=credentials,
                add=self._add_operators,
            ),
        ]
        if config.listen_join is not None:
            listeners.append(
                Listener(
                    address=config.listen_join,
                    options=JOIN_OPTIONS,
                    credentials=join_credentials(config.ca, config.cert, config.key),
                    add=self._add_join,
                    calls_most=JOIN_CALLS_MOST,
                )
            )
        await self._listeners.open(listeners, reflect=config.reflection)
        http = await HaltListener(token, self._halt_by_token).start(
            config.listen_halt.host, config.listen_halt.port, config.cert, config.key
        )
        stack.callback(http.close)

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
            self._retention_days,
        )
        add_OperatorServiceServicer_to_server(operators, server)
        return [operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name]

    def _retention_days(self) -> int:
        return self._config.retention_days

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
