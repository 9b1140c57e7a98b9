"""Carries out the core's effects and tells it what came of them. It decides nothing.

One thread runs the loop, the strikes and the reverts; one writes the journal; one looks through /proc.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import ExitSeen, KernelEvent, Party, Reason
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import Now, Process, Refusal
from killdeer_agent.core.words import (
    Census,
    Close,
    Compact,
    Compacted,
    Counted,
    Effect,
    Exit,
    Follow,
    Followed,
    Input,
    Inspect,
    Inspected,
    LookUnit,
    Note,
    Open,
    Opened,
    Probe,
    Probed,
    Revert,
    Scan,
    Scanned,
    Seen,
    Send,
    StartUnit,
    Strike,
    Unlink,
    Watch,
    Write,
    Written,
)
from killdeer_agent.journal import Journal, JournalError
from killdeer_agent.kernel.collector import Collector
from killdeer_agent.kernel.striker import Striker
from killdeer_agent.systemd import Systemd, unit_seen, unit_started

log = structlog.get_logger()

Answer = TypeVar("Answer", bound=Input)

# A victim that cannot be held after a restart, for want of a file descriptor say, is tried again after this long.
HOLD_AGAIN_S = 1.0


def _uninspected(effect: Inspect) -> Inspected:
    detail = "there is nobody here who could look"
    return Inspected(ask=effect.ask, failure=Reason.REASON_CANNOT_EVALUATE, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The ways out, given by the composition root. `scan`, `members` and `inspect` run beside the loop; `probe` in
    it, and it never blocks it."""

    journal: Journal
    striker: Striker
    scan: Callable[[Scan], Scanned]
    members: Callable[[str], tuple[Process, ...]]
    clock: Callable[[], Now]
    send: Callable[[ConnectRequest, bool], None]
    unlink: Callable[[int], None]
    systemd: Systemd
    probe: Callable[[Probe], Awaitable[Probed]]
    inspect: Callable[[Inspect], Inspected] = _uninspected


class Shell:
    def __init__(self, core: Core, outside: Outside) -> None:
        self._core = core
        self._out = outside
        self._inputs: deque[Input] = deque()
        self._handling = False
        self._broken = False
        self._journaling = ThreadPoolExecutor(1, "journal")
        self._looking = ThreadPoolExecutor(1, "looking")
        self._supervising = ThreadPoolExecutor(1, "supervising")
        self._inspecting = ThreadPoolExecutor(1, "inspecting")  # systemd may be slow, and a count must not be
        self._collector: Collector | None = None
        self._watched: dict[str, Process] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._probing: set[asyncio.Future[None]] = set()
        self.exited: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        """Done when the core has left; its result names the effects that could not be reverted."""

    def attach(self, collector: Collector) -> None:
        """The kernel's evidence, which comes after the first reverts: what is watched already is watched there."""
        self._collector = collector
        for process in self._watched.values():
            self._watch_in_kernel(process)

    def post(self, message: Input) -> None:
        """An input for the core, and all effects that follow from it. In the loop's thread only."""
        self._inputs.append(message)
        if self._handling or self._broken:
            return
        self._handling = True
        try:
            while self._inputs:
                for effect in self._core.handle(self._inputs.popleft(), self._out.clock()):
                    self._carry_out(effect)
        except Exception as error:
            self._break(error)
        finally:
            self._handling = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(frame=frame, urgent=urgent):
                self._out.send(frame, urgent)
            case Write():
                self._beside(self._journaling, lambda: self._append(effect))
            case Compact():
                self._beside(self._journaling, lambda: self._compact(effect))
            case Open():
                self._beside(
                    self._looking,
                    lambda: self._members(effect.service),
                    lambda counted: self._open(effect, counted),
                )
            case Follow():
                self._follow(effect)
            case Strike():
                # In this very call: no await lies between the last look and the signal (rule R1).
                self._inputs.append(self._out.striker.strike(effect))
            case Revert():
                self._inputs.append(self._out.striker.revert(effect))
            case LookUnit():
                self._beside(self._supervising, lambda: unit_seen(self._out.systemd, effect))
            case StartUnit():
                self._beside(self._supervising, lambda: unit_started(self._out.systemd, effect))
            case Watch(command_id=command_id, process=process):
                self._watch_again(command_id, process)
            case Census(service=service):
                self._beside(self._looking, lambda: self._members(service))
            case Probe():
                self._probe(effect)
            case Scan():
                self._beside(self._looking, lambda: self._out.scan(effect))
            case Inspect():
                self._beside(self._inspecting, lambda: self._out.inspect(effect))
            case Close(command_id=command_id):
                self._close(command_id)
            case Unlink(retry_after_ms=retry_after_ms):
                self._out.unlink(retry_after_ms)
            case Exit(left=left):
                if not self.exited.done():
                    self.exited.set_result(left)
            case Note(event=event, fields=fields, wrong=wrong):
                (log.warning if wrong else log.info)(event, **fields)

    def _beside(
        self, where: ThreadPoolExecutor, work: Callable[[], Answer], then: Callable[[Answer], Input] | None = None
    ) -> None:
        """Work in a thread of its own; its answer is the next input. Answers keep the order of their thread."""

        async def run() -> None:
            answer = await asyncio.get_running_loop().run_in_executor(where, work)
            self.post(then(answer) if then is not None else answer)

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _probe(self, effect: Probe) -> None:
        async def run() -> None:
            self.post(await self._out.probe(effect))

        probing = asyncio.ensure_future(run())
        self._probing.add(probing)
        probing.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        self._probing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """A fault of our own: the agent dies by it and its second line reverts; it never goes on half blind."""
        self._broken = True
        if not self.exited.done():
            self.exited.set_exception(error)

    def _append(self, effect: Write) -> Written:
        try:
            self._out.journal.append(effect.record)
        except JournalError as error:
            return Written(effect.token, str(error))
        return Written(effect.token)

    def _compact(self, effect: Compact) -> Compacted:
        try:
            self._out.journal.compact(effect.records)
        except JournalError as error:
            return Compacted(str(error))
        return Compacted()

    def _members(self, service: str) -> Counted:
        try:
            return Counted(service=service, members=self._out.members(service))
        except OSError as error:
            return Counted(service=service, members=(), problem=f"cannot count {service}: {error}")

    def _open(self, effect: Open, counted: Counted) -> Opened:
        command_id, process = effect.command_id, effect.warrant.process
        refusal = Refusal(Reason.REASON_UNREADABLE, counted.problem) if counted.problem else None
        # Watched before it is looked at, so that no event of it is missed.
        refusal = refusal or self._watch(command_id, process) or self._out.striker.open(effect)
        if refusal is not None:
            self._unwatch(command_id)
            return Opened(command_id=command_id, refusal=refusal)
        self._await_exit(command_id, process)
        unit = self._out.striker.unit(command_id)
        return Opened(command_id=command_id, members=counted.members, unit=unit)

    def _follow(self, effect: Follow) -> None:
        """The look is taken here and now, of each exec; only who passes it is worth a count."""
        command_id, before = effect.command_id, self._out.striker.fileno(effect.command_id)
        if before is not None:  # of the one that has exited: its descriptor is about to be another's
            asyncio.get_running_loop().remove_reader(before)
        found = self._out.striker.follow(effect)
        refusal: Refusal | None
        if isinstance(found, Refusal):
            refusal = found
        else:
            self._unwatch(command_id)
            refusal = self._watch(command_id, found)
        if isinstance(found, Refusal) or refusal is not None:
            self._inputs.append(Followed(command_id=command_id, refusal=refusal))
            return
        self._await_exit(command_id, found)
        self._beside(
            self._looking, lambda: self._members(effect.service), lambda counted: _followed(effect, found, counted)
        )

    def _watch_again(self, command_id: str, process: Process) -> None:
        self._watch(command_id, process)
        self._hold(command_id, process)

    def _hold(self, command_id: str, process: Process) -> None:
        if self._watched.get(command_id) is not process:
            return  # its strike is over
        if not self._out.striker.hold(command_id, process):
            self.post(Seen(_exit_of(command_id, process, 0), "pidfd"))
        elif self._out.striker.fileno(command_id) is not None:
            self._await_exit(command_id, process)
        else:
            asyncio.get_running_loop().call_later(HOLD_AGAIN_S, self._hold, command_id, process)

    def _await_exit(self, command_id: str, process: Process) -> None:
        pidfd = self._out.striker.fileno(command_id)
        if pidfd is None:
            return
        asyncio.get_running_loop().add_reader(pidfd, self._exit_readable, command_id, process, pidfd)

    def _exit_readable(self, command_id: str, process: Process, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        at_boot_ns = self._out.clock().boot_ns
        seen = Seen(_exit_of(command_id, process, at_boot_ns), "pidfd")
        try:
            # The kernel's own word of this exit, if there is one, comes first: it is in the ring already.
            if self._collector is not None:
                self._collector.flush()
        except OSError as error:
            log.error("evidence_failed", why=str(error), remedy="restart the agent")
        asyncio.get_running_loop().call_soon(self.post, seen)

    def _close(self, command_id: str) -> None:
        pidfd = self._out.striker.fileno(command_id)
        if pidfd is not None:
            asyncio.get_running_loop().remove_reader(pidfd)
        self._unwatch(command_id)
        self._out.striker.close(command_id)

    def _watch(self, command_id: str, process: Process) -> Refusal | None:
        self._watched[command_id] = process
        return self._watch_in_kernel(process)

    def _watch_in_kernel(self, process: Process) -> Refusal | None:
        try:
            if self._collector is not None:
                self._collector.watch(process.pid, process.start_ticks)
        except OSError as error:
            detail = f"cannot watch pid {process.pid} in the kernel: {error.strerror}"
            log.warning("unwatched", detail=detail)
            return Refusal(Reason.REASON_UNREADABLE, detail)
        return None

    def _unwatch(self, command_id: str) -> None:
        process = self._watched.pop(command_id, None)
        still = {other.pid for other in self._watched.values()}
        if process is not None and process.pid not in still and self._collector is not None:
            self._collector.unwatch(process.pid)

    def seen(self, events: list[KernelEvent]) -> None:
        for event in events:
            self.post(Seen(event))

    async def settle(self) -> None:
        """Until every record asked for is on disk: the last thing before the process leaves. Nobody waits for the
        answers of probes any more."""
        for probing in self._probing:
            probing.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        self._journaling.shutdown()
        self._looking.shutdown()
        self._supervising.shutdown()
        self._inspecting.shutdown()


def _followed(effect: Follow, found: Process, counted: Counted) -> Followed:
    refusal = Refusal(Reason.REASON_UNREADABLE, counted.problem) if counted.problem else None
    return Followed(command_id=effect.command_id, process=found, refusal=refusal, members=counted.members)


def _exit_of(command_id: str, process: Process, at_boot_ns: int) -> KernelEvent:
    """What a pidfd can say of an exit: that it happened. Neither code nor signal."""
    party = Party(pid=process.pid, start_ticks=process.start_ticks)
    return KernelEvent(at_boot_ns=at_boot_ns, command_id=command_id, exit=ExitSeen(process=party))
