"""One simulated host: the real agent core over a world of processes, a journal, a clock and a coordinator's hand.

Effects are carried out one at a time (`step`), so that a crash can fall between any two. Signals are judged in the
world's own log, by the world's own facts (`Oracle`), never by the core's words.
"""

import base64
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import FactMissing, Now, Process, Refusal
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.recovery import Key
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.warrant import Warrant
from tests.support.facts import PlainFacts

MS = 1_000_000
SECOND = 1_000 * MS
TICK = 10 * MS  # of a process's start time
AGENT_PID = 99
KILL, TERM, CONT, STOP = 9, 15, 18, 19
SERVICE = "worker@"
SELECTOR = p.Selector(terms=[p.Term(field=p.FIELD_NAME, match=p.MATCH_GLOB, values=["worker"])])
GUARD = Guard(
    allow=(Rule(matcher=Matcher(SELECTOR), source="test.toml", actions=frozenset(["kill", "terminate", "pause"])),),
    version="1",
)
HALT = p.HaltRecord(id="halt-1", by="ops", reason="drill")


@dataclass(slots=True, eq=False)
class Proc:
    pid: int
    start_ticks: int
    name: str = "worker"
    program: str = "aa"
    service: str = SERVICE
    state: str = "S"
    ignores: frozenset[int] = frozenset()
    outlives_term_ns: int = 0
    dies_ns: int = 0  # when a TERM under way ends it
    ours: bool = False  # stopped by the agent

    @property
    def key(self) -> Key:
        return (self.pid, self.start_ticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fell:
    """A signal that the agent really sent. Times are true ones."""

    command_id: str
    blow: int
    signal: int
    victim: Key
    at_ns: int


class World:
    """Processes and true time. `boot_ns` is what the host's own clock shows; it stands while the host is frozen."""

    def __init__(self) -> None:
        self.true_ns = self.boot_ns = 1_000 * SECOND
        self.rtc = True
        self.boot_id = "boot-1"
        self.processes: dict[int, Proc] = {}
        self.restart_after_ns = 500 * MS  # -1: nobody restarts anything
        self.log: list[Fell] = []
        self.events: deque[p.KernelEvent] = deque()
        self.exited: deque[Proc] = deque()
        self._due: list[tuple[int, str]] = []
        self._pid = 1_000

    @property
    def now(self) -> Now:
        return Now(self.boot_ns, self.true_ns if self.rtc else None)

    def spawn(self, service: str = SERVICE, **kw: object) -> Proc:
        self._pid += 1
        process = Proc(self._pid, self.boot_ns // TICK, service=service, **kw)  # type: ignore[arg-type]
        self.processes[process.pid] = process
        self._event(exec=p.ExecSeen(process=_party(process)))
        return process

    @property
    def first(self) -> Proc:
        """The oldest process."""
        return next(iter(self.processes.values()))

    def live(self, process: Process) -> Proc | None:
        found = self.processes.get(process.pid)
        return found if found is not None and found.start_ticks == process.start_ticks else None

    def members(self, service: str) -> tuple[Process, ...]:
        found = [one for one in self.processes.values() if one.service == service and one.state == "S"]
        return tuple(Process(boot_id=self.boot_id, pid=one.pid, start_ticks=one.start_ticks) for one in found)

    def signal(self, target: Proc, number: int, sender: int) -> None:
        verdict = "ignored" if number in target.ignores else "delivered"
        seen = p.SignalSeen(sender=p.Party(pid=sender), target=_party(target), signal=number, verdict=verdict)
        self._event(signal=seen)
        if number == STOP:
            target.state, target.ours = "T", sender == AGENT_PID
        elif number == CONT:
            target.state, target.ours = "S", False
        elif number == TERM and verdict == "delivered" and target.outlives_term_ns:
            target.dies_ns = self.boot_ns + target.outlives_term_ns
        elif verdict == "delivered":
            self.end(target, number)

    def end(self, target: Proc, number: int = 0) -> None:
        del self.processes[target.pid]
        self._event(exit=p.ExitSeen(process=_party(target), signal=number))
        self.exited.append(target)
        if self.restart_after_ns >= 0:
            self._due.append((self.boot_ns + self.restart_after_ns, target.service))

    def pass_time(self, ns: int, *, frozen: bool = False) -> None:
        self.true_ns += ns
        if frozen:
            return
        self.boot_ns += ns
        for process in [one for one in self.processes.values() if one.state == "S" and one.dies_ns]:
            if process.dies_ns <= self.boot_ns:
                self.end(process, TERM)
        for due in [due for due in self._due if due[0] <= self.boot_ns]:
            self._due.remove(due)
            self.spawn(due[1])

    def _event(self, **kind: object) -> None:
        self.events.append(p.KernelEvent(at_boot_ns=self.boot_ns, **kind))  # type: ignore[arg-type]


class Oracle:
    """The invariants, from what really happened: raises AssertionError at the first signal that breaks one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lease_end_ns = 0  # true time, as its coordinator counts it
        self.halted: set[str] = set()  # acknowledged as stopped here, and not released here
        self.commands: dict[str, a.Strike] = {}

    def struck(self, effect: w.Strike, target: Proc, journal: list[w.Record]) -> None:
        command = self.commands[effect.command_id]
        victim, world = command.victim, self._world
        assert target.key == (victim.pid, victim.start_ticks), "I1: another process"
        assert target.program == victim.program and target.name == "worker", "I1: another program, or no match"
        assert target.state == "S", "R5: a process in this state is not struck"
        blows = Counter((fell.command_id, fell.blow) for fell in world.log)
        assert not blows[effect.command_id, effect.blow], "I2: one command and blow, one signal"
        intents = [one.body for one in journal if one.kind == "intent" and one.body["blow"] == effect.blow]
        assert any(_strike_of(body).command_id == effect.command_id for body in intents), "R1: intent not durable"
        self._forget_released(journal)
        assert not self.halted, f"I4: struck after {self.halted} was acknowledged"
        slack_ns = 3 * SECOND if world.rtc else 0  # rule R8
        assert world.true_ns < self.lease_end_ns + slack_ns, "I5: struck after the end of the lease"

    def told(self, frame: a.ConnectRequest, journal: list[w.Record]) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "strike_update" and frame.strike_update.used_up:
            command_id = frame.strike_update.command_id
            closed = [r for r in journal if r.kind in ("used", "not_sent") and r.body["command"] == command_id]
            assert closed, "R16: told as used up before that was durable"
            assert all(fell.command_id != command_id for fell in self._world.log), "I8: it was struck"
        elif kind == "halt_ack":
            halt_id = frame.halt_ack.halt_id
            assert any(r.kind == "halt" and r.body["id"] == halt_id for r in journal), "R10: not durable"
            self.halted.add(halt_id)
        elif kind == "heartbeat":
            assert any(r.kind == "session" for r in journal), "R23: a heartbeat before the session is durable"

    def _forget_released(self, journal: list[w.Record]) -> None:
        self.halted = {halt_id for halt_id in self.halted if not _released(journal, halt_id)}

    def quiet(self) -> None:
        assert not [one for one in self._world.processes.values() if one.ours], "I6: something is still stopped"


class Host:
    """The core, its journal, and the shell's part played one effect at a time."""

    def __init__(self) -> None:
        self.world = World()
        self.oracle = Oracle(self.world)
        self.journal: list[w.Record] = []
        self.journal_problem = ""  # each write fails with it
        self.revert_problem = ""
        self.census_problem = ""
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
            hello=a.Hello(host="h1", boot_id=self.world.boot_id),
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
                event = p.KernelEvent(at_boot_ns=self.world.boot_ns, exit=p.ExitSeen(process=_party(gone)))
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
                yield w.Opened(command_id=command_id, refusal=refusal, members=world.members(service))
            case w.Strike(command_id=command_id, blow=blow, signal=signal, warrant=warrant):
                refusal = self._look(warrant)
                if command_id not in self.held:
                    refusal = Refusal(p.REASON_CANCELLED, "its pidfd is closed")
                if refusal is None:
                    target = world.processes[warrant.process.pid]
                    self.oracle.struck(effect, target, self.journal)
                    fell = Fell(
                        command_id=command_id, blow=blow, signal=signal, victim=target.key, at_ns=world.true_ns
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


ACTIONS = {
    "kill": p.Action(kill=p.Kill(signal=KILL)),
    "terminate": p.Action(terminate=p.Terminate(grace_ms=2_000)),
    "pause": p.Action(pause=p.Pause(length_ms=3_000)),
}


def long_pause() -> p.Action:
    return p.Action(pause=p.Pause(length_ms=600_000))


def _party(process: Proc) -> p.Party:
    return p.Party(pid=process.pid, start_ticks=process.start_ticks)


def _strike_of(body: dict[str, object]) -> a.Strike:
    return a.Strike.FromString(base64.b64decode(str(body["strike"])))


def _released(journal: list[w.Record], halt_id: str) -> bool:
    found = [one.body["ids"] for one in journal if one.kind == "released"]
    return any(isinstance(ids, list) and halt_id in ids for ids in found)
