"""One simulated host: the real agent core over a world of processes, a journal, a clock and a coordinator's hand.

Effects are carried out one at a time (`step`), so that a crash can fall between any two.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import FactMissing, Process, Refusal
from killdeer_agent.core.guard import ACTIONS as ALL_ACTIONS
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.warrant import Warrant
from tests.support.facts import PlainFacts
from tests.support.hostworld import AGENT_PID, CONT, KILL, MS, SECOND, STOP, Fell, Oracle, Proc, World, party_of

__all__ = ["AGENT_PID", "MS", "SECOND", "STOP", "Coordinator", "Host", "Proc", "World", "leased"]

SELECTOR = p.Selector(terms=[p.Term(field=p.FIELD_NAME, match=p.MATCH_GLOB, values=["worker"])])
GUARD = Guard(
    allow=(Rule(matcher=Matcher(SELECTOR), source="test.toml", actions=frozenset(ALL_ACTIONS)),),
    version="1",
)
HALT = p.HaltRecord(id="halt-1", by="ops", reason="drill")
ACTIONS = {
    "kill": p.Action(kill=p.Kill(signal=KILL)),
    "terminate": p.Action(terminate=p.Terminate(grace_ms=2_000)),
    "pause": p.Action(pause=p.Pause(length_ms=3_000)),
    "hold-down": p.Action(hold_down=p.HoldDown(length_ms=5_000)),
}


def long_pause() -> p.Action:
    return p.Action(pause=p.Pause(length_ms=600_000))


class Host:
    """The core, its journal, and the shell's part played one effect at a time."""

    def __init__(self) -> None:
        self.world = World()
        self.oracle = Oracle(self.world)
        self.journal: list[w.Record] = []
        self.journal_problem = ""  # each write fails with it
        self.revert_problem = ""
        self.census_problem = ""
        self.unit_problem = ""  # each question to systemd fails with it
        self.start_problem = ""
        self.least_left_ns = 0  # with less than this left of `not_after` no blow is begun
        self.start_denied = False  # that problem is a lack of rights
        self.ready: Callable[[], str] = lambda: ""  # what each question after it is answered; empty: it is met
        self.halt_file = False
        self.bpf = True
        self.stalled: set[type[object]] = set()  # effects whose answers wait in `late`
        self.late: deque[w.Input] = deque()
        self.effects: deque[w.Effect] = deque()
        self.inputs: deque[w.Input] = deque()
        self.sent: list[a.ConnectRequest] = []
        self.notes: list[w.Note] = []
        self.left: tuple[str, ...] | None = None  # of Exit
        self.unlinked_for: int | None = None
        self.held: dict[str, Process] = {}
        self.coordinator = Coordinator(self)
        self.core = Core()
        self.steps = 0

    def start(self, *, problem: str = "", guard: Guard = GUARD) -> None:
        self.core, self.held, self.left = Core(), {}, None
        started = w.Started(
            boot_id=self.world.boot_id,
            records=tuple(self.journal),
            journal_problem=problem,
            hello=a.Hello(
                host="h1",
                boot_id=self.world.boot_id,
                evidence=a.EVIDENCE_LEVEL_BPF if self.bpf else a.EVIDENCE_LEVEL_PIDFD,
            ),
            pid=AGENT_PID,
        )
        self.give(started, w.Configured(guard=guard))

    def crash(self) -> None:
        """The agent dies here and now; what it has written stays."""
        self.core = Core()
        for queue in (self.effects, self.inputs, self.late):
            queue.clear()
        self.coordinator.linked = False

    def give(self, *messages: w.Input) -> None:
        self.inputs.extend(messages)
        self.settle()

    def settle(self) -> None:
        while self.step():
            pass

    def step(self) -> bool:
        """One effect, or one input; False when nothing is left to do."""
        if self.effects:
            self.steps += 1
            self._carry_out(self.effects.popleft())
        elif self.inputs:
            self.effects.extend(self.core.handle(self.inputs.popleft(), self.world.now))
        else:
            return self._evidence()
        return True

    def release(self, *kinds: type[object]) -> None:
        """Lets the answers go on that were held back."""
        self.stalled -= set(kinds) or set(self.stalled)
        self.inputs.extend(self.late)
        self.late.clear()
        self.settle()

    def run(self, ns: int, *, step_ns: int = 100 * MS) -> None:
        """Time passes, with a tick at each step."""
        for _ in range(max(1, ns // step_ns)):
            self.world.pass_time(step_ns)
            self.give(w.Tick(a.Heartbeat()))

    def until(self, holds: Callable[[], object], ns: int = 60 * SECOND) -> None:
        for _ in range(ns // (100 * MS)):
            if holds():
                return
            self.run(100 * MS)
        raise AssertionError("it did not come about in time")

    def _evidence(self) -> bool:
        if self.world.events:
            event = self.world.events.popleft()
            if self.bpf:
                self.inputs.append(w.Seen(event))
            return True
        if self.world.exited:
            gone = self.world.exited.popleft()
            if any((one.pid, one.start_ticks) == gone.key for one in self.held.values()):
                event = p.KernelEvent(at_boot_ns=self.world.boot_ns, exit=p.ExitSeen(process=party_of(gone)))
                self.inputs.append(w.Seen(event, "pidfd"))
            return True
        return False

    def _carry_out(self, effect: w.Effect) -> None:
        for answer in self._answers(effect):
            (self.late if type(effect) in self.stalled else self.inputs).append(answer)

    def _answers(self, effect: w.Effect) -> Iterator[w.Input]:
        world = self.world
        match effect:
            case w.Send(frame=frame):
                if self.coordinator.linked:
                    self.oracle.told(frame, self.journal)
                    copy = a.ConnectRequest()
                    copy.CopyFrom(frame)
                    self.sent.append(copy)
                    self.coordinator.heard(copy)
            case w.Write(token=token, record=record):
                if not self.journal_problem:
                    self.journal.append(record)
                yield w.Written(token, self.journal_problem)
            case w.Compact(records=records):
                self.journal[:] = records
                yield w.Compacted()
            case w.Open(command_id=command_id, service=service, warrant=warrant):
                refusal = self._look(warrant)
                if refusal is None and self.census_problem:
                    refusal = Refusal(p.REASON_UNREADABLE, self.census_problem)
                if refusal is None:
                    self.held[command_id] = warrant.process
                opened = world.live(warrant.process)
                yield w.Opened(
                    command_id=command_id,
                    refusal=refusal,
                    members=world.members(service),
                    unit=opened.unit if opened is not None else "",
                )
            case w.Follow(command_id=command_id, service=service, warrant=warrant):
                refusal = self._look(warrant)
                if refusal is not None:
                    yield w.Followed(command_id=command_id, refusal=refusal)
                else:
                    seen = replace(warrant.process, program=world.processes[warrant.process.pid].program)
                    self.held[command_id] = seen
                    yield w.Followed(command_id=command_id, process=seen, members=world.members(service))
            case w.LookUnit(command_id=command_id, unit=unit, ask=ask):
                state = None if self.unit_problem else world.units[unit]
                yield w.UnitSeen(command_id=command_id, state=state, problem=self.unit_problem, ask=ask)
            case w.StartUnit(command_id=command_id, unit=unit, ask=ask):
                if not self.start_problem:
                    world.start(unit)
                denied = bool(self.start_problem) and self.start_denied
                yield w.UnitStarted(command_id=command_id, problem=self.start_problem, denied=denied, ask=ask)
            case w.Probe(command_id=command_id, turn=turn):
                unmet = self.ready()
                yield w.Probed(command_id=command_id, turn=turn, met=not unmet, detail=unmet)
            case w.Strike(command_id=command_id, blow=blow, signal=signal, warrant=warrant):
                refusal = self._look(warrant)
                if command_id not in self.held:
                    refusal = Refusal(p.REASON_CANCELLED, "its pidfd is closed")
                if warrant.not_after_ns - world.boot_ns < self.least_left_ns:
                    refusal = Refusal(p.REASON_TOO_LATE, "past the command's not_after, or too close to it")
                if refusal is None:
                    target = world.processes[warrant.process.pid]
                    self.oracle.struck(effect, target, self.journal)
                    fell = Fell(
                        command_id=command_id,
                        blow=blow,
                        signal=signal,
                        victim=target.key,
                        at_ns=world.true_ns,
                        at_boot_ns=world.boot_ns,
                    )
                    world.log.append(fell)
                    world.signal(target, signal, AGENT_PID)
                yield w.Done(command_id=command_id, blow=blow, sent_boot_ns=world.boot_ns, refusal=refusal)
            case w.Revert(command_id=command_id, process=process):
                paused = world.live(process) if process.boot_id == world.boot_id else None
                if paused is not None and not self.revert_problem:
                    world.signal(paused, CONT, AGENT_PID)
                problem = self.revert_problem if paused is not None else ""
                yield w.Reverted(
                    command_id=command_id, sent_boot_ns=world.boot_ns, gone=paused is None, problem=problem
                )
            case w.Watch(command_id=command_id, process=process):
                self.held[command_id] = process
                if world.live(process) is None:
                    party = p.Party(pid=process.pid, start_ticks=process.start_ticks)
                    yield w.Seen(p.KernelEvent(exit=p.ExitSeen(process=party)), "pidfd")
            case w.Census(service=service):
                yield w.Counted(service=service, members=world.members(service), problem=self.census_problem)
            case w.Scan(scan_id=scan_id):
                yield w.Scanned(scan_id=scan_id, begun_boot_ns=world.boot_ns)
            case w.Close(command_id=command_id):
                self.held.pop(command_id, None)
            case w.Unlink(retry_after_ms=retry_after_ms):
                self.unlinked_for = retry_after_ms
            case w.Exit(left=left):
                self.left = left
            case w.Note():
                self.notes.append(effect)

    def _look(self, warrant: Warrant) -> Refusal | None:
        target = self.world.processes.get(warrant.process.pid)
        if target is None:
            return Refusal(p.REASON_GONE, "no such pid")
        facts = PlainFacts(
            pid=target.pid,
            start_ticks=target.start_ticks,
            state=target.state,
            name=target.name,
            program=target.program,
            service=target.service,
            unit=target.unit,
        )
        try:
            return warrant.refuses(facts, self.world.now, halted_locally=self.halt_file)
        except FactMissing as missing:
            return Refusal(missing.reason, missing.detail)


@dataclass(slots=True)
class Coordinator:
    """A scripted one: welcomes, renews, acknowledges, and says what a test tells it to."""

    host: Host
    lease_ms: int = 15_000
    heartbeat_ms: int = 5_000
    renews: bool = True
    acknowledges: bool = True
    halts: Halts = field(default_factory=Halts)
    linked: bool = False
    updates: dict[str, a.StrikeUpdate] = field(default_factory=dict)  # the last word of each strike
    _sessions: int = 0
    _late: list[a.ConnectResponse] = field(default_factory=list)

    def link(self, *open_strikes: a.OpenStrike, welcomes: bool = True) -> None:
        self.linked = True
        self.host.give(w.Linked())
        if welcomes:
            self.welcome(*open_strikes)

    def unlink(self) -> None:
        self.linked = False
        self.host.give(w.Unlinked())

    def welcome(self, *open_strikes: a.OpenStrike) -> None:
        self._sessions += 1
        welcome = a.Welcome(
            session=f"s{self._sessions}",
            halts=self.halts.to_wire(),
            open=open_strikes,
            heartbeat_ms=self.heartbeat_ms,
        )
        self.say(welcome=welcome)
        self.host.run(100 * MS)

    def say(self, **frame: object) -> None:
        self.host.give(w.Heard(a.ConnectResponse(**frame)))  # type: ignore[arg-type]

    def heard(self, frame: a.ConnectRequest) -> None:
        match frame.WhichOneof("frame"):
            case "heartbeat" if self.renews:
                self.renew(frame.heartbeat.stamp_boot_ns)
            case "strike_update":
                self.updates[frame.strike_update.command_id] = frame.strike_update
                if self.acknowledges:
                    self._answer(ack=a.Ack(number=frame.strike_update.number))

    def renew(self, stamp_ns: int) -> None:
        """The true end of the lease is counted from when the answered heartbeat was made."""
        age_ns = self.host.world.boot_ns - stamp_ns
        end_ns = self.host.world.true_ns - age_ns + self.lease_ms * MS
        self.host.oracle.lease_end_ns = max(self.host.oracle.lease_end_ns, end_ns)
        renewal = a.LeaseRenewal(heartbeat_boot_ns=stamp_ns, lease_ms=self.lease_ms, halts=self.halts.to_wire())
        self._answer(lease_renewal=renewal)

    def strike(self, command_id: str, victim: Proc, /, kind: str = "kill", **changed: object) -> a.Strike:
        """A command to strike; `changed` replaces any of its fields."""
        world = self.host.world
        fields: dict[str, object] = {
            "command_id": command_id,
            "run_id": "r1",
            "run_fence": 1,
            "victim": p.Identity(
                host="h1",
                boot_id=world.boot_id,
                pid=victim.pid,
                start_ticks=victim.start_ticks,
                program=victim.program,
            ),
            "service": victim.service,
            "selector": SELECTOR,
            "action": ACTIONS[kind],
            "not_after_boot_ns": world.boot_ns + 30 * SECOND,
            "halts_digest": self.halts.digest,
            "recover_within_ms": 20_000,
        }
        command = a.Strike(**(fields | changed))  # type: ignore[arg-type]
        self.host.oracle.commands.setdefault(command_id, command)
        return command

    def order(self, command_id: str, victim: Proc, /, kind: str = "kill", **changed: object) -> None:
        self.say(strike=self.strike(command_id, victim, kind, **changed))

    def halt(self, halt_id: str = HALT.id) -> None:
        record = p.HaltRecord(id=halt_id, by="ops", reason="drill")
        self.halts = self.halts.engage(record)
        self.say(halt=a.Halt(halt=record))

    def rearm(self, *halt_ids: str) -> None:
        self.halts = self.halts.release(halt_ids)
        self.say(rearm=a.Rearm(released=halt_ids))

    def _answer(self, **frame: object) -> None:
        self.host.inputs.append(w.Heard(a.ConnectResponse(**frame)))  # type: ignore[arg-type]


def leased(workers: int = 3) -> Host:
    """A host with workers of one service, whose agent has a lease."""
    host = Host()
    for _ in range(workers):
        host.world.spawn()
    host.world.pass_time(SECOND)
    host.start()
    host.coordinator.link()
    return host
