"""One agent: the real core, and its shell's part played one effect at a time, so that a crash or a stall can fall
between any two."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import Process, Refusal
from tests.simulation.clock import MS, SECOND
from tests.simulation.hand import BurntThrough, Hand
from tests.simulation.looks import scanned
from tests.simulation.processes import Proc
from tests.simulation.services import AGENT_PID
from tests.simulation.trace import text_of
from tests.simulation.troubles import Troubles

if TYPE_CHECKING:
    from tests.simulation.host import Machine
    from tests.simulation.network import Network, Stream

TICK_NS = 100 * MS
HOLD_AGAIN_NS = SECOND
BACKOFF_MOST_NS = 8 * SECOND
RESTART_NS = 2 * SECOND


class Agent:
    """The daemon on one machine: dead or alive. systemd starts it again after a while, unless it was stopped."""

    def __init__(self, machine: "Machine", network: "Network", troubles: Troubles) -> None:
        self.machine = machine
        self.alive = False
        self.wanted = True  # systemd starts it
        self.ready_ns = 0  # true time since when nothing has held it up; 0: it is held up, or not there
        self.tick_ns = TICK_NS
        self._network = network
        self._troubles = troubles
        self._dice = machine.ground.dice(f"agent {machine.name}")
        self._core = Core()
        self._hand = Hand(self)
        self._inputs: deque[w.Input] = deque()
        self._effects: deque[w.Effect] = deque()
        self._stalled = False
        self._late_tick = False  # one is waiting for the end of a stall
        self._pumping = False
        self._life = 0
        self._stream: Stream | None = None
        self._tries = 0
        self._asked_ns = 0  # no dial before this long after the stream's end
        self._looking_ns = 0  # true time until which the looking thread is busy
        self._halt_seen = False
        self._leaving = False

    # --- life -----------------------------------------------------------------------------------------------

    def start_in(self, ns: int) -> None:
        self.machine.after(ns, self.start)

    def start(self) -> None:
        machine = self.machine
        if self.alive or not machine.up or not self.wanted:
            return
        self.alive, self._stalled, self._leaving = True, False, False
        self.ready_ns = machine.ground.clock.now_ns
        self._life += 1
        self._core, self._hand = Core(), Hand(self)
        self._halt_seen = False
        machine.record.begin()
        machine.ground.reach("agent started")
        for witness in machine.ground.witnesses:
            witness.agent_started(machine)
        level = a.EVIDENCE_LEVEL_BPF if machine.bpf else a.EVIDENCE_LEVEL_PIDFD
        hello = a.Hello(
            host=machine.identity,
            boot_id=machine.boot_id,
            labels=machine.labels,
            version="1",
            evidence=level,
            has_rtc=machine.rtc,
        )
        self.post(
            w.Started(
                boot_id=machine.boot_id,
                records=machine.disk.records,
                journal_problem="",
                hello=hello,
                pid=AGENT_PID,
            )
        )
        if self.alive:
            self.reload()
            self._beside(TICK_NS, self._tick)
            self._beside(self._dice.randint(10, 500) * MS, self._dial)

    def die(self, why: str) -> None:
        """At once, by whatever: what was under way is lost."""
        if not self.alive:
            return
        self.machine.ground.trace.line(self.machine.name, f"agent dies: {why}")
        self._end()
        if self.wanted and self.machine.up:
            self.start_in(RESTART_NS + self._dice.randint(0, 1_000) * MS)

    def stop(self) -> None:
        """systemctl stop."""
        self.wanted = False
        self.post(w.Stop("SIGTERM"))

    def stall(self, ns: int) -> None:
        """It does not run for so long; the machine does."""
        if self._stalled or not self.alive:
            return
        self._stalled, self.ready_ns = True, 0
        life = self._life
        self.machine.after(ns, lambda: self._wake(life))

    def reload(self) -> None:
        """SIGHUP: the guard's files are read anew."""
        if not self.alive:
            return
        self.machine.guard_given = self.machine.guard_files
        for witness in self.machine.ground.witnesses:
            witness.guarded(self.machine)
        self.post(w.Configured(guard=self.machine.guard_files.guard()))

    @property
    def takes_in(self) -> bool:
        """Whatever comes now, its core handles at once."""
        return self.alive and not (self._stalled or self._pumping or self._effects or self._inputs)

    def held_up_ns(self) -> int:
        return self._troubles.held_up_ns()

    def changes_in_the_instant(self) -> bool:
        return self._troubles.changes()

    def _end(self) -> None:
        self.alive, self._stalled, self.ready_ns = False, False, 0
        self._life += 1
        self._inputs.clear()
        self._effects.clear()
        self.machine.disk.cut()
        if self._stream is not None:
            self._stream.end_by_agent()
            self._stream = None
        for witness in self.machine.ground.witnesses:
            witness.agent_died(self.machine)

    def _wake(self, life: int) -> None:
        if life == self._life:
            self._stalled = False
            self.ready_ns = self.machine.ground.clock.now_ns
            self._pump()

    def _beside(self, ns: int, then: Callable[[], None]) -> None:
        """Something of this life of the agent."""
        life = self._life
        self.machine.after(ns, lambda: then() if life == self._life else None)

    # --- inputs -----------------------------------------------------------------------------------------------

    def post(self, message: w.Input) -> None:
        if self.alive:
            self._inputs.append(message)
            self._pump()

    def seen(self, event: p.KernelEvent) -> None:
        self.post(w.Seen(event))

    def pidfd_readable(self, proc: Proc) -> None:
        """A held process has exited: the kernel's own word of it, if there is one, is taken from the ring first."""
        commands = self._hand.holds(proc) if self.alive else []
        if commands:
            self._beside(self._dice.randint(1, 3) * MS, lambda: self._exited(proc, commands))

    def _exited(self, proc: Proc, commands: list[str]) -> None:
        self.machine.record.flush()
        for command_id in commands:
            if self.alive and self._hand.process_of(command_id) is not None:
                self._seen_exit(command_id, proc.pid, proc.start_ticks)

    def _seen_exit(self, command_id: str, pid: int, start_ticks: int, at_boot_ns: int = -1) -> None:
        party = p.Party(pid=pid, start_ticks=start_ticks)
        at = self.machine.boot_ns if at_boot_ns < 0 else at_boot_ns
        event = p.KernelEvent(at_boot_ns=at, command_id=command_id, exit=p.ExitSeen(process=party))
        self.post(w.Seen(event, "pidfd"))

    def _tick(self) -> None:
        self._beside(self.tick_ns, self._tick)
        if self.machine.halt_file != self._halt_seen:
            self._halt_seen = self.machine.halt_file
            self.post(w.LocalHalt(engaged=self._halt_seen))
        self.machine.record.idle()
        told_ns = self.machine.record.told_ns if self.machine.bpf else 0
        if self._stalled and self._late_tick:
            return  # the ticks of an agent that is held up do not pile up: one waits for it
        self._late_tick = self._stalled
        self.post(w.Tick(a.Heartbeat(load_1m=1.0), told_ns))

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while self.alive and not self._stalled and (self._effects or self._inputs):
                self._step()
        finally:
            self._pumping = False

    def _step(self) -> None:
        machine, trace = self.machine, self.machine.ground.trace
        if not self._effects:
            message = self._inputs.popleft()
            quiet = isinstance(message, w.Tick)
            if not quiet:
                trace.line(machine.name, f"agent < {text_of(message)}")
                machine.ground.reach(f"agent input {type(message).__name__}")
            try:
                self._effects.extend(self._core.handle(message, machine.now))
            except Exception as error:
                raise machine.ground.broken("I10", "core", f"the agent's core raised {error!r}") from error
            return
        trouble = self._troubles.between_effects()
        if trouble < 0:
            machine.ground.reach("fault agent crashes between effects")
            self.die("killed between two effects")
        elif trouble > 0:
            machine.ground.reach("fault agent stalls between effects")
            trace.line(machine.name, f"agent stalls for {trouble / 1e9:.3f}s")
            self.stall(trouble)
        else:
            effect = self._effects.popleft()
            trace.line(machine.name, f"agent > {text_of(effect)}")
            self._carry_out(effect)

    # --- effects ----------------------------------------------------------------------------------------------

    def _carry_out(self, effect: w.Effect) -> None:
        match effect:
            case w.Send(frame=frame, urgent=urgent):
                if self._stream is not None:
                    self._stream.send_to_coordinator(frame, urgent=urgent)
            case w.Write(token=token, record=record):
                self.machine.disk.append(record, lambda problem: self.post(w.Written(token, problem)))
            case w.Compact(records=records):
                self.machine.disk.compact(records, lambda problem: self.post(w.Compacted(problem)))
            case w.Open():
                self._look(lambda: self._open(effect, *self._count(effect.service)))
            case w.Follow():
                self._follow(effect)
            case w.LookUnit():
                self._ask_systemd(lambda problem: self._unit_seen(effect, problem))
            case w.StartUnit():
                self._ask_systemd(lambda problem: self._start_unit(effect, problem))
            case w.Strike():
                self._strike(effect)
            case w.Revert():
                self._inputs.append(self._hand.revert(effect))
            case w.Watch(command_id=command_id, process=process):
                self._watch(command_id, process)
            case w.Census(service=service):
                self._look(lambda: self._counted(service))
            case w.Probe():
                self._beside(self._dice.randint(1, 300) * MS, lambda: self._probed(effect))
            case w.Scan():
                self._look(lambda: self.post(scanned(self.machine, effect, self._dice)))
            case w.Close(command_id=command_id):
                self._hand.close(command_id)
            case w.Unlink(retry_after_ms=retry_after_ms):
                if self._stream is not None:
                    self._asked_ns = retry_after_ms * MS
                    self._stream.end_by_agent()
                    self.unlinked()
            case w.Exit():
                self._leaving = True
                self._beside(self._dice.randint(1, 20) * MS, self._left)

    def _left(self) -> None:
        self.machine.ground.trace.line(self.machine.name, "agent has left")
        for witness in self.machine.ground.witnesses:
            witness.agent_left(self.machine)
        if self._stream is not None:
            self._stream.drain_from_agent()
        self._end()
        if self.wanted:
            self.start_in(RESTART_NS)

    def _strike(self, effect: w.Strike) -> None:
        try:
            self._inputs.append(self._hand.strike(effect))
        except BurntThrough:
            self.die("SIGALRM: the fuse burnt through")

    def _look(self, then: Callable[[], None]) -> None:
        """In the looking thread, one after the other."""
        now = self.machine.ground.clock.now_ns
        self._looking_ns = max(now, self._looking_ns) + self._troubles.look_ns()
        self._beside(self._looking_ns - now, then)

    def _count(self, service: str) -> tuple[tuple[Process, ...], str]:
        if self.machine.count_problem:
            self.machine.ground.reach("fault census fails")
            return (), self.machine.count_problem
        return self.machine.members(service), ""

    def _open(self, effect: w.Open, members: tuple[Process, ...], problem: str) -> None:
        refusal = Refusal(p.REASON_UNREADABLE, problem) if problem else self._hand.open(effect)
        if refusal is not None:
            self.post(w.Opened(command_id=effect.command_id, refusal=refusal))
            return
        process = effect.warrant.process
        unit = self._hand.unit_of(effect.command_id)
        self.post(w.Opened(command_id=effect.command_id, members=members, unit=unit))
        proc = self.machine.life.table.at(process.pid)
        if proc is None or not proc.alive:
            self._seen_exit(effect.command_id, process.pid, process.start_ticks)

    def _follow(self, effect: w.Follow) -> None:
        """The look is taken here and now; only who passes it is worth a count."""
        command_id, found = effect.command_id, self._hand.follow(effect)
        if isinstance(found, Refusal):
            self._inputs.append(w.Followed(command_id=command_id, refusal=found))
            return
        proc = self.machine.life.table.at(found.pid)
        if proc is None or not proc.alive:
            self._seen_exit(command_id, found.pid, found.start_ticks)
        self._look(lambda: self._followed(command_id, found, *self._count(effect.service)))

    def _followed(self, command_id: str, found: Process, members: tuple[Process, ...], problem: str) -> None:
        refusal = Refusal(p.REASON_UNREADABLE, problem) if problem else None
        self.post(w.Followed(command_id=command_id, process=found, refusal=refusal, members=members))

    def _ask_systemd(self, then: Callable[[str], None]) -> None:
        self._beside(self._dice.randint(2, 30) * MS, lambda: then(self.machine.systemd_problem))

    def _unit_seen(self, asked: w.LookUnit, problem: str) -> None:
        state = None if problem else self.machine.life.unit_state(asked.unit)
        self.post(w.UnitSeen(command_id=asked.command_id, state=state, problem=problem, ask=asked.ask))

    def _start_unit(self, asked: w.StartUnit, problem: str) -> None:
        if not problem:
            for witness in self.machine.ground.witnesses:
                witness.unit_started(self.machine, asked.unit)
            self.machine.life.start_unit(asked.unit)
        self.post(w.UnitStarted(command_id=asked.command_id, problem=problem, ask=asked.ask))

    def _probed(self, asked: w.Probe) -> None:
        """Whatever is asked answers as it should now and then."""
        met = self._dice.random() < 0.8
        detail = "" if met else "no answer"
        self.post(w.Probed(command_id=asked.command_id, turn=asked.turn, met=met, detail=detail))

    def _counted(self, service: str) -> None:
        members, problem = self._count(service)
        self.post(w.Counted(service=service, members=members, problem=problem))

    def _watch(self, command_id: str, process: Process) -> None:
        if not self._hand.hold(command_id, process):
            self._seen_exit(command_id, process.pid, process.start_ticks, 0)

    # --- the link ---------------------------------------------------------------------------------------------

    def heard(self, stream: "Stream", frame: a.ConnectResponse) -> None:
        if self._stream is stream:
            for witness in self.machine.ground.witnesses:
                witness.delivered(self.machine, frame)
            self.post(w.Heard(frame))

    def ended(self, stream: "Stream") -> None:
        """The stream is over, as this side sees it."""
        if self._stream is stream:
            self.unlinked()

    def unlinked(self) -> None:
        self._stream = None
        self.post(w.Unlinked())
        if self.alive and not self._leaving:
            back_off = min(BACKOFF_MOST_NS, SECOND * 2 ** min(self._tries, 8))
            asked, self._asked_ns = self._asked_ns, 0
            self._tries += 1
            self._beside(asked + self._dice.randint(0, back_off), self._dial)

    def _dial(self) -> None:
        if self._stream is not None or self._leaving:
            return
        stream = self._network.dial(self)
        if stream is None:
            self._tries += 1
            back_off = min(BACKOFF_MOST_NS, SECOND * 2 ** min(self._tries, 8))
            self._beside(self._dice.randint(0, back_off), self._dial)
        else:
            self._stream = stream
            self.post(w.Linked())

    def steady(self) -> None:
        """The stream has lived for long: the next failure starts the back-off anew."""
        self._tries = 0
