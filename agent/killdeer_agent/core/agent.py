"""The agent's core: `handle(input, now) -> effects`. It decides; the shell acts (safety-rules, last section)."""

from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core import restart
from killdeer_agent.core.blows import Blows
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.door import Door
from killdeer_agent.core.evidence import Evidence
from killdeer_agent.core.facts import Now, Refusal
from killdeer_agent.core.halting import Halting
from killdeer_agent.core.holds import Holds
from killdeer_agent.core.inspections import Inspections
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.reverts import Reverts
from killdeer_agent.core.scans import Scans
from killdeer_agent.core.session import Session
from killdeer_agent.core.starts import Starts
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.tally import Standing, Tally
from killdeer_agent.core.words import (
    Compacted,
    Configured,
    Counted,
    Done,
    Effect,
    Exit,
    Followed,
    Heard,
    Input,
    Inspected,
    Linked,
    LocalHalt,
    Opened,
    Probed,
    Reverted,
    Scanned,
    Seen,
    Started,
    Stop,
    Tick,
    UnitSeen,
    UnitStarted,
    Unlink,
    Unlinked,
    Written,
)

# How long a stop waits for reverts that fail before it leaves and names them.
STOP_PATIENCE_NS = 20_000 * NS_PER_MS
# Frames that are heard whatever the session is: the first one, and those that only ever stop.
_BEFORE_WELCOME = ("welcome", "halt", "dismissal")
_LEASE_OVER = Refusal(Reason.REASON_NOT_LEASED, "the lease ran out")
_STOPPING = Refusal(Reason.REASON_STOPPING, "the agent is stopping")
_HALTED_HERE = Refusal(Reason.REASON_HALTED_LOCALLY, "halted on this host")


class Core:
    """One agent. Inputs are handled one at a time; the effects are to be carried out in order."""

    def __init__(self) -> None:
        desk = self._desk = Desk()
        self._session = Session(desk)
        self._strikes = Strikes(desk, self._session)
        self._recoveries = Recoveries(desk, self._strikes)
        self._holds = Holds(desk, self._session, self._strikes, self._recoveries)
        self._reverts = Reverts(desk, self._strikes, self._recoveries, self._holds)
        self._evidence = Evidence(desk, self._strikes, self._recoveries, self._holds)
        parts = (desk, self._session, self._strikes, self._recoveries, self._reverts, self._evidence)
        self._blows = Blows(*parts, self._holds)
        self._door = Door(*parts)
        self._starts = Starts(desk, self._session, self._strikes)
        self._scans = Scans(desk, self._strikes)
        self._inspections = Inspections(desk, self._strikes)
        self._halting = Halting(desk, self._strikes, self._reverts)
        self._stop_by_ns = 0
        self._exited = False

    def handle(self, message: Input, now: Now) -> list[Effect]:
        self._desk.now = now
        match message:
            case Started():
                self._started(message)
            case Configured(guard=guard, labels=labels):
                self._reverts.configured(guard)
                if labels is not None:
                    self._session.relabel(labels)
            case Linked():
                self._session.opened(
                    open_commands=self._strikes.with_signals,
                    guard_version=self._strikes.guard.version,
                    problem=self._problem(),
                )
            case Unlinked():
                self._session.closed()
            case Heard(frame=frame):
                self._heard(frame)
            case Opened():
                self._blows.opened(message)
            case Followed():
                self._blows.followed(message)
            case Written(token=token, problem=problem):
                self._desk.written(token, problem)
            case Compacted(problem=problem):
                self._desk.note("compacted", problem=problem)
            case Done():
                self._blows.done(message)
                self._halting.progress()
            case Reverted():
                self._reverts.reverted(message)
                self._halting.progress()
            case UnitSeen(ask=ask) if ask:
                self._starts.unit_seen(message)
            case UnitStarted(ask=ask) if ask:
                self._starts.unit_started(message)
            case UnitSeen():
                self._blows.unit_seen(message)
                self._halting.progress()
            case UnitStarted():
                self._holds.unit_started(message)
                self._halting.progress()
            case Counted():
                self._recoveries.counted(message)
            case Probed():
                self._recoveries.probed(message)
            case Scanned():
                self._scans.scanned(message)
            case Inspected():
                self._inspections.inspected(message)
            case Seen(event=event, source=source):
                self._evidence.seen(event, source)
                self._halting.progress()
            case LocalHalt(engaged=engaged):
                self._strikes.halted_locally = engaged
                if engaged:
                    self._reverts.cancel_all(_HALTED_HERE)
            case Tick():
                self._tick(message)
            case Stop():
                self._desk.stopping = True
                self._stop_by_ns = self._stop_by_ns or now.boot_ns + STOP_PATIENCE_NS
                self._reverts.cancel_all(_STOPPING)
                self._leave()
        return self._desk.taken()

    @property
    def tally(self) -> Tally:
        return self._desk.tally

    @property
    def effects_open(self) -> list[str]:
        """The commands of which something lasts, or may."""
        return self._strikes.effects_open

    @property
    def standing(self) -> Standing:
        """At the last input."""
        return Standing(
            leased=self._session.lease.holds(self._desk.now),
            halted=bool(self._desk.halts.active),
            halted_locally=self._strikes.halted_locally,
            strikes_open=len(self._strikes.open),
            reverts_left=len(self._strikes.reverts_left),
        )

    def _started(self, start: Started) -> None:
        self._desk.boot_id = start.boot_id
        self._desk.pid = start.pid
        self._desk.hello = start.hello
        self._desk.recall(start.records, start.journal_problem)
        restart.take_up(self._desk, self._strikes, self._recoveries, self._reverts)

    def _heard(self, frame: agent_pb2.ConnectResponse) -> None:
        kind = frame.WhichOneof("frame")
        if not self._session.welcomed and kind not in _BEFORE_WELCOME:
            self._desk.note("frame_without_session", frame=kind or "unknown")
            return
        match kind:
            case "welcome":
                self._welcomed(frame.welcome)
            case "lease_renewal":
                self._halting.merge(frame.lease_renewal.halts)
                self._session.renewed(frame.lease_renewal)
                self._session.witness(frame.lease_renewal.position)
            case "scan":
                self._scans.asked(frame.scan)
            case "inspect":
                self._inspections.asked(frame.inspect)
            case "strike":
                self._door.commanded(frame.strike)
            case "revert":
                self._door.taken_back(frame.revert.command_id)
            case "start_unit":
                self._starts.asked(frame.start_unit)
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
        # A journal that never held a session is a new one: it cannot say what an older one did (rule R23). A disk
        # that is full now is another matter: what is remembered is whole.
        whole = bool(self._desk.memory.session) and not self._desk.distrust
        # What may last here is known before a halt is answered: `reverted` is not said too early.
        for held in welcome.open:
            self._door.asked_about(held, journal_whole=whole)
        self._halting.merge(welcome.halts)
        self._halting.linked()
        self._session.begun(welcome)
        self._session.witness(welcome.position)

    def _tick(self, tick: Tick) -> None:
        if self._exited:
            return
        if not self._session.lease.holds(self._desk.now):
            # Dead-man (I5): without a lease nothing is begun, and what lasts is taken back.
            self._reverts.cancel_all(_LEASE_OVER)
        self._reverts.tick()
        self._holds.tick()
        self._strikes.tick()
        self._blows.tick()
        self._recoveries.tick()
        self._starts.tick()
        self._evidence.tick(tick.told_ns)
        self._halting.progress()
        heartbeat = tick.metrics
        heartbeat.reverts_left.extend(self._strikes.reverts_left)
        heartbeat.revert_problems.extend(self._strikes.revert_problems)
        heartbeat.events_lost = self._evidence.lost
        heartbeat.halted_locally = self._strikes.halted_locally
        heartbeat.guard_version = self._strikes.guard.version
        self._session.beat(heartbeat)
        if self._session.welcomed:
            self._evidence.send()
        self._desk.compact()
        if not self._strikes.open:
            self._session.tell_labels()
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
