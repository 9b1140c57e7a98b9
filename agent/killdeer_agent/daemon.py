"""The agent's composition root: the only place that knows core, shell, kernel and link.

Order at start: the journal first, and what it holds open is reverted before anything else; then the guard,
the kernel's evidence, the link.
"""

import asyncio
import contextlib
import os
import platform
import random
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from killdeer.reloads import Word
from killdeer.service import Notifier, set_log_level
from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectResponse, EvidenceLevel, Heartbeat
from killdeer.v1.process_pb2 import KernelEvent, Reason
from killdeer.version import VERSION
from killdeer_agent import reloading
from killdeer_agent.config import Config
from killdeer_agent.core.agent import Core
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.words import (
    Configured,
    Heard,
    Inspect,
    Inspected,
    Linked,
    LocalHalt,
    Probe,
    Probed,
    Started,
    Stop,
    Tick,
    Unlinked,
)
from killdeer_agent.guardfiles import load_guard
from killdeer_agent.journal import Journal
from killdeer_agent.kernel import clock, proc
from killdeer_agent.kernel.collector import open_collector
from killdeer_agent.kernel.looks import Looks, cannot_evaluate
from killdeer_agent.kernel.scan import Scanner
from killdeer_agent.kernel.striker import Striker
from killdeer_agent.kernel.units import UNIT_DIRS
from killdeer_agent.link import Link
from killdeer_agent.metrics import host_metrics
from killdeer_agent.reloading import ReloadRefused
from killdeer_agent.renewing import Renewal
from killdeer_agent.reverting import BY_HAND
from killdeer_agent.shell import Outside, Shell
from killdeer_agent.systemd import Systemd

if TYPE_CHECKING:
    from killdeer_agent.kernel.prober import Prober

log = structlog.get_logger()

TICK_S = 0.1
# The metrics of a heartbeat are read once in so many ticks.
METRICS_EVERY = 10


def read_guard(config: Config) -> Guard:
    return load_guard(config.guard, own=proc.ancestors(os.getpid()), unit_dirs=UNIT_DIRS)


async def run(config: Config, reread: Callable[[], Config]) -> int:
    """Until SIGTERM. Returns 0, or 1 when something could not be reverted. `reread`: the configuration as it stands
    by then; raises ConfigError."""
    agent = Agent(config, reread)
    try:
        return await agent.serve()
    finally:
        agent.close()


class Agent:
    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread
        config.state.mkdir(parents=True, exist_ok=True)
        boot_id = clock.boot_id()
        self._journal, records, problem = Journal.open(config.state)
        if problem:
            log.error("journal_not_trusted", problem=problem, remedy="nothing is struck until it is mended")
        self._hello = _hello(config, boot_id)
        self._striker = Striker(boot_id=boot_id, facts_of=proc.facts_from(), halt_files=config.halt_files)
        self._link = self._make_link()
        self._renewal = Renewal(config, lambda frame: self._link.send(frame, urgent=False))
        self._scanner = Scanner(host=config.host, boot_id=boot_id, clock=clock.boot_ns)
        looks = Looks(self._scanner)
        outside = Outside(
            journal=self._journal,
            striker=self._striker,
            scan=looks.scan,
            members=looks.members,
            clock=clock.now,
            send=lambda frame, urgent: self._link.send(frame, urgent=urgent),
            unlink=self._link.end,
            systemd=Systemd(),
            probe=self._probe,
            inspect=self._inspect,
        )
        self._prober: Prober | None = None
        self._core = Core()
        self._shell = Shell(self._core, outside)
        self._shell.post(
            Started(boot_id=boot_id, records=records, journal_problem=problem, hello=self._hello, pid=os.getpid())
        )
        self._collector = open_collector(config.evidence.collector, config.evidence.told)
        self._say_evidence()
        self._shell.attach(self._collector)
        self._told_ns = 0
        self._notice = ""  # for the operator: of the last reload
        self._loop = asyncio.get_running_loop()
        self._collector.start(self._seen, self._told)
        self._notifier = Notifier()
        self._word = Word()

    async def serve(self) -> int:
        self._take_guard(read_guard(self._config))
        self._loop.add_signal_handler(signal.SIGTERM, lambda: self._shell.post(Stop("SIGTERM")))
        self._loop.add_signal_handler(signal.SIGINT, lambda: self._shell.post(Stop("SIGINT")))
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        ticking = asyncio.ensure_future(self._tick())
        linking = asyncio.ensure_future(self._link.run())
        exposing = asyncio.ensure_future(self._expose())
        log.info("started", host=self._config.host, evidence=self._level, detail=self._collector.detail)
        self._notifier.say(READY="1", STATUS=self._standing)
        try:
            awaited: set[asyncio.Future[Any]] = {self._shell.exited, ticking, linking}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            left = self._shell.exited.result()
            self._notifier.say(STOPPING="1")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._link.leave(), timeout=2)
            await self._shell.settle()
        finally:
            for task in (ticking, linking, exposing):
                task.cancel()
            await asyncio.gather(ticking, linking, exposing, return_exceptions=True)
        for command_id in left:
            log.error("not_reverted", command=command_id, remedy=BY_HAND)
        return 1 if left else 0

    def close(self) -> None:
        self._renewal.close()
        self._collector.close()
        self._shell.close()
        self._journal.close()

    def _say_evidence(self) -> None:
        """As it is now: a collector may fail while the agent goes on (rule I10)."""
        level, detail = self._collector.level, self._collector.detail
        if self._hello.evidence not in (EvidenceLevel.EVIDENCE_LEVEL_UNSPECIFIED, level):
            log.error("evidence_failed", detail=detail, remedy="restart the agent")
        self._hello.evidence, self._hello.evidence_detail = level, detail

    @property
    def _level(self) -> str:
        return EvidenceLevel.Name(self._collector.level).removeprefix("EVIDENCE_LEVEL_").lower()

    def _make_link(self) -> Link:
        return Link(
            coordinators=self._config.coordinators,
            ca=self._config.ca,
            cert=self._config.cert,
            key=self._config.key,
            server_name=self._config.server_name,
            on_open=lambda: self._shell.post(Linked()),
            on_frame=self._heard,
            on_close=self._unlinked,
            jitter=random.Random(),
        )

    async def _probe(self, effect: Probe) -> Probed:
        from killdeer_agent.kernel.prober import Prober  # with its libraries, where an experiment asks for it

        self._prober = self._prober or Prober(self._config.secrets)
        return await self._prober.probe(effect)

    def _inspect(self, effect: Inspect) -> Inspected:
        """In a thread beside the loop. Whatever becomes of it, the agent goes on."""
        try:
            from killdeer_agent.kernel.preparedness import Preparedness  # with D-Bus, where an operator asks for it
            from killdeer_agent.kernel.unitbus import UnitBus

            return Preparedness(self._scanner, UnitBus(), clock.now).inspect(effect)
        except Exception as error:
            log.exception("inspection_failed", problem=repr(error))
            detail = f"the agent could not look ({type(error).__name__}); its log says more"
            return Inspected(ask=effect.ask, failure=Reason.REASON_UNREADABLE, detail=detail)

    async def _expose(self) -> None:
        """Whatever becomes of its metrics, the agent goes on."""
        if self._config.metrics is None:
            return
        try:
            from killdeer_agent.exposition import Exposition, expose  # 2 MiB, with its library

            await expose(Exposition(self._core, self._collector), self._config.metrics)
        except Exception as error:
            log.error("no_metrics", problem=repr(error), remedy="restart the agent; it works without")

    def _heard(self, frame: ConnectResponse) -> None:
        if frame.HasField("certificate_issued"):  # who it is, is not the core's
            self._renewal.heard(frame.certificate_issued)
            return
        self._shell.post(Heard(frame))

    def _unlinked(self, why: str) -> None:
        log.info("unlinked", why=why)
        self._shell.post(Unlinked())

    def _seen(self, events: list[KernelEvent]) -> None:
        """Called in the collector's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent has left
            self._loop.call_soon_threadsafe(self._shell.seen, events)

    def _told(self, until_ns: int) -> None:
        """Called in the collector's thread, after the events that it is about: it stays behind them."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._whole_until, until_ns)

    def _whole_until(self, until_ns: int) -> None:
        self._told_ns = until_ns

    def _reload(self) -> None:
        """All or nothing; but a guard that cannot be used allows nothing from now on (rule R29)."""
        begun_ns, problem = clock.boot_ns(), ""
        guard = read_guard(self._config)
        try:
            plan = reloading.plan(self._config, self._reread, guard)
            self._collector.choose(plan.config.evidence.told)  # the one part that may fail, so the first
        except (ReloadRefused, OSError) as refusal:
            problem, self._notice = str(refusal), f"its reload was refused: {refusal}"
            log.error("reload_refused", problem=problem, remedy=reloading.MEND)
            if guard.problem:
                self._take_guard(guard)
        else:
            self._config, self._notice = plan.config, plan.notice
            set_log_level(plan.config.log_level)
            self._take_guard(guard, plan.config.labels)
            log.info("reloaded", changed=plan.changed, guard=guard.version)
            if plan.waiting:
                log.warning("reload_waits", keys=plan.waiting, remedy="restart the agent")
        self._notifier.say(STATUS=self._standing)
        self._word.say(begun_ns=begun_ns, problem=problem, notice="" if problem else self._notice)

    def _take_guard(self, guard: Guard, labels: Mapping[str, str] | None = None) -> None:
        if guard.problem:
            log.error("guard_unreadable", problem=guard.problem, remedy="nothing is allowed until it is mended")
        self._shell.post(Configured(guard=guard, labels=labels))

    @property
    def _standing(self) -> str:
        """One line, for `systemctl status`."""
        return " ".join(f"evidence: {self._level}{'; ' if self._notice else ''}{self._notice}".split())

    async def _tick(self) -> None:
        """The agent's pulse: the watchdog is told after the due timers ran, from the same loop (rule R27)."""
        count, next_watchdog_ns, halted = 0, 0, False
        metrics = host_metrics(self._config.state)
        while True:
            if self._striker.halted_locally() != halted:
                halted = not halted
                log.warning("local_halt" if halted else "local_rearm")
                self._shell.post(LocalHalt(engaged=halted))
            if count % METRICS_EVERY == 0:
                metrics = host_metrics(self._config.state)
                self._say_evidence()
                self._renewal.tick()
            count += 1
            heartbeat = Heartbeat()
            heartbeat.CopyFrom(metrics)
            heartbeat.notice = self._notice
            self._shell.post(Tick(heartbeat, self._told_ns))
            now_ns = clock.boot_ns()
            if self._notifier.watchdog_every_ns and now_ns >= next_watchdog_ns:
                next_watchdog_ns = now_ns + self._notifier.watchdog_every_ns
                self._notifier.say(WATCHDOG="1")
            await asyncio.sleep(TICK_S)


def _hello(config: Config, boot_id: str) -> agent_pb2.Hello:
    return agent_pb2.Hello(
        host=config.host,
        boot_id=boot_id,
        labels=config.labels,
        version=VERSION,
        kernel=platform.release(),
        cannot_evaluate=cannot_evaluate(),
        has_rtc=clock.has_rtc(),
    )
