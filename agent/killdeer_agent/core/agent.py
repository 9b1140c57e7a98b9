"""The agent's core: `handle(input, now) -> effects`. It decides; the shell acts (safety-rules, last section)."""

from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import KernelEvent, Reason, Verdict
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Now, Refusal
from killdeer_agent.core.halting import Halting
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import (
    Configured,
    Counted,
    Done,
    Effect,
    Exit,
    Heard,
    Input,
    Linked,
    LocalHalt,
    Opened,
    Record,
    Reverted,
    Scan,
    Scanned,
    Seen,
    Started,
    Stop,
    Tick,
    Unlink,
    Unlinked,
    Written,
)

# How long a stop waits for reverts that fail before it leaves and names them.
STOP_PATIENCE_NS = 20_000 * NS_PER_MS
_LEASE_OVER = Refusal(Reason.REASON_NOT_LEASED, "the lease ran out")
_STOPPING = Refusal(Reason.REASON_STOPPING, "the agent is stopping")
_HALTED_HERE = Refusal(Reason.REASON_HALTED_LOCALLY, "halted on this host")


class Core:
    """One agent. Inputs are handled one at a time; the effects are to be carried out in order."""

    def __init__(self) -> None:
        self._desk = Desk()
        self._session = Session(self._desk)
        self._strikes = Strikes(self._desk, self._session)
        self._halting = Halting(self._desk, self._strikes)
        self._stop_by_ns = 0
        self._exited = False
        self._evidence: list[KernelEvent] = []

    def handle(self, message: Input, now: Now) -> list[Effect]:
        self._desk.now = now
        match message:
            case Started():
                self._started(message)
            case Configured(guard=guard):
                self._strikes.configured(guard)
            case Linked():
                self._session.opened(
                    open_commands=self._strikes.open_commands,
                    guard_version=self._strikes.guard.version,
                    problem=self._problem(),
                )
            case Unlinked():
                self._session.closed()
            case Heard(frame=frame):
                self._heard(frame)
            case Opened():
                self._strikes.opened(message)
            case Written(token=token, problem=problem):
                self._desk.written(token, problem)
            case Done():
                self._strikes.done(message)
            case Reverted():
                self._strikes.reverted(message)
                self._halting.progress()
            case Counted():
                self._strikes.counted(message)
            case Scanned():
                self._scanned(message)
            case Seen(event=event, source=source):
                self._strikes.seen(event, source)
                self._halting.progress()
                self._evidence.append(event)
            case LocalHalt(engaged=engaged):
                self._strikes.halted_locally = engaged
                if engaged:
                    self._strikes.cancel_all(_HALTED_HERE)
            case Tick():
                self._tick(message)
            case Stop():
                self._desk.stopping = True
                self._stop_by_ns = self._stop_by_ns or now.boot_ns + STOP_PATIENCE_NS
                self._strikes.cancel_all(_STOPPING)
                self._leave()
        return self._desk.taken()

    def essential(self) -> tuple[Record, ...]:
        """What a compacted journal must hold."""
        return self._desk.memory.essential(self._desk.now.boot_ns)

    def _started(self, start: Started) -> None:
        self._desk.boot_id = start.boot_id
        self._desk.hello = start.hello
        self._desk.journal_problem = start.journal_problem
        for record in start.records:
            try:
                self._desk.memory.apply(record)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # What can be read is still reverted; nothing is struck on a journal that is not understood (R13).
                self._desk.journal_problem = f"cannot read the record {record.kind!r}: {error!r}"
        self._strikes.restore(dict(self._desk.memory.strikes))

    def _heard(self, frame: agent_pb2.ConnectResponse) -> None:
        match frame.WhichOneof("frame"):
            case "welcome":
                self._welcomed(frame.welcome)
            case "lease_renewal":
                self._halting.merge(frame.lease_renewal.halts)
                self._session.renewed(frame.lease_renewal)
            case "scan":
                self._scan(frame.scan)
            case "strike":
                self._strikes.commanded(frame.strike)
            case "revert":
                self._strikes.reverted_by_command(frame.revert.command_id)
            case "halt":
                self._halting.engage(frame.halt.halt)
            case "rearm":
                self._halting.release(list(frame.rearm.released))
            case "ack":
                self._strikes.acknowledged(self._session.acknowledged(frame.ack.number))
            case "dismissal":
                self._desk.note("dismissed", detail=frame.dismissal.detail)
                self._desk.emit(Unlink(max(frame.dismissal.retry_after_ms, 1)))
            case _:
                self._desk.note("frame_not_known")

    def _welcomed(self, welcome: agent_pb2.Welcome) -> None:
        # A journal that never held a session is a new one: it cannot say what an older one did (rule R23).
        whole = bool(self._desk.memory.session) and not self._desk.journal_problem
        self._halting.merge(welcome.halts)
        self._halting.linked()
        for held in welcome.open:
            self._strikes.asked_about(held, journal_whole=whole)
        self._session.welcomed(welcome)
        self._session.keep_position(welcome.position.length, welcome)

    def _scan(self, scan: agent_pb2.Scan) -> None:
        try:
            matcher = Matcher(scan.selector)
        except SelectorError as error:
            failure = agent_pb2.Candidates(
                scan_id=scan.scan_id, failure=Reason.REASON_CANNOT_EVALUATE, failure_detail=str(error)
            )
            self._desk.send(ConnectRequest(candidates=failure))
            return
        self._desk.emit(
            Scan(
                scan_id=scan.scan_id,
                matcher=matcher,
                action=scan.action,
                guard=self._strikes.guard,
                deadline_boot_ns=self._desk.now.boot_ns + scan.deadline_ms * NS_PER_MS,
            )
        )

    def _scanned(self, scanned: Scanned) -> None:
        busy = Verdict(reason=Reason.REASON_BUSY, detail="it is in an open strike")
        for candidate in scanned.candidates:
            if self._strikes.busy(candidate.identity.pid, candidate.identity.start_ticks):
                candidate.verdict.CopyFrom(busy)
        answer = agent_pb2.Candidates(
            scan_id=scanned.scan_id,
            candidates=scanned.candidates,
            guard_version=self._strikes.guard.version,
            failure=scanned.failure,
            failure_detail=scanned.detail,
            begun_boot_ns=scanned.begun_boot_ns,
            services=[agent_pb2.ServiceCount(service=name, ready=ready) for name, ready in scanned.services],
        )
        self._desk.send(ConnectRequest(candidates=answer))

    def _tick(self, tick: Tick) -> None:
        if not self._session.lease.holds(self._desk.now):
            # Dead-man (I5): without a lease nothing is begun, and what lasts is taken back.
            self._strikes.cancel_all(_LEASE_OVER)
        self._strikes.tick()
        self._halting.progress()
        heartbeat = tick.metrics
        heartbeat.reverts_left.extend(self._strikes.reverts_left)
        heartbeat.events_lost = self._strikes.events_lost
        heartbeat.halted_locally = self._strikes.halted_locally
        heartbeat.guard_version = self._strikes.guard.version
        self._session.beat(heartbeat)
        if self._evidence and self._session.linked:
            self._desk.send(ConnectRequest(evidence=agent_pb2.Evidence(events=self._evidence)))
        self._evidence.clear()
        self._leave()

    def _leave(self) -> None:
        if not self._desk.stopping or self._exited:
            return
        left = tuple(self._strikes.effects_open)
        if left and self._desk.now.boot_ns < self._stop_by_ns:
            return
        self._exited = True
        if self._session.linked:
            self._desk.send(ConnectRequest(goodbye=agent_pb2.Goodbye(reason="stopped")))
        self._desk.emit(Exit(left))

    def _problem(self) -> str:
        """Why this host takes no strikes now, for `killdeer hosts`."""
        problems = (self._desk.journal_problem, self._strikes.guard.problem)
        left = self._strikes.reverts_left
        return "; ".join(p for p in (*problems, f"not reverted: {', '.join(left)}" if left else "") if p)
