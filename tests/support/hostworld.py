"""The processes of one simulated host, true time, and an oracle of what may befall them.

Signals are judged in the world's own log, by the world's own facts, never by the core's words.
"""

import base64
from collections import Counter, deque
from dataclasses import dataclass, replace

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import Now, Process
from killdeer_agent.core.recovery import Key
from killdeer_agent.core.unit import UnitState

MS = 1_000_000
SECOND = 1_000 * MS
TICK = 10 * MS  # of a process's start time
AGENT_PID = 99
KILL, TERM, CONT, STOP = 9, 15, 18, 19
SERVICE = "worker@"


@dataclass(slots=True, eq=False)
class Proc:
    pid: int
    start_ticks: int
    name: str = "worker"
    program: str = "aa"
    service: str = SERVICE
    unit: str = ""
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
    """A signal that the agent really sent, at which true time, and what the host's clock showed then."""

    command_id: str
    blow: int
    signal: int
    victim: Key
    at_ns: int
    at_boot_ns: int


class World:
    """Processes and true time. `boot_ns` is what the host's own clock shows; it stands while the host is frozen."""

    def __init__(self) -> None:
        self.true_ns = self.boot_ns = 1_000 * SECOND
        self.rtc = True
        self.boot_id = "boot-1"
        self.processes: dict[int, Proc] = {}
        self.restart_after_ns = 500 * MS  # -1: nobody restarts anything
        self.gives_up_after = -1  # restarts of one unit; -1: never
        self.gives_up_late = False  # not at the last death, but when it is to be restarted, as at a start limit
        self.units: dict[str, UnitState] = {}
        self._restarts: Counter[str] = Counter()
        self.log: list[Fell] = []
        self.events: deque[p.KernelEvent] = deque()
        self.exited: deque[Proc] = deque()
        self._due: list[tuple[int, str, str]] = []
        self._pid = 1_000

    @property
    def now(self) -> Now:
        return Now(self.boot_ns, self.true_ns if self.rtc else None)

    def spawn(self, service: str = SERVICE, **kw: object) -> Proc:
        self._pid += 1
        process = Proc(self._pid, self.boot_ns // TICK, service=service, **kw)  # type: ignore[arg-type]
        self.processes[process.pid] = process
        if process.unit:
            self.units[process.unit] = UnitState(
                name=process.unit, loaded=True, active="active", result="success", main_pid=process.pid
            )
        self.executed(process)
        return process

    def executed(self, process: Proc) -> None:
        self._event(exec=p.ExecSeen(process=party_of(process)))

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
        seen = p.SignalSeen(sender=p.Party(pid=sender), target=party_of(target), signal=number, verdict=verdict)
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
        self._event(exit=p.ExitSeen(process=party_of(target), signal=number))
        self.exited.append(target)
        unit = self.units.get(target.unit)
        last = unit is not None and self._restarts[unit.name] == self.gives_up_after
        if unit is not None and last and not self.gives_up_late:
            self.units[unit.name] = replace(unit, active="failed", result="start-limit-hit", main_signal=number)
            return
        if unit is not None:
            self._restarts[unit.name] += 1
            self.units[unit.name] = replace(unit, active="activating", main_signal=number)
        if self.restart_after_ns >= 0:
            self._due.append((self.boot_ns + self.restart_after_ns, target.service, target.unit))

    def start(self, unit: str, service: str = SERVICE) -> None:
        """As systemd does when it is told to, start limit or not."""
        self._restarts[unit] = 0
        self.spawn(service, unit=unit)

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
            unit = self.units.get(due[2])
            if unit is not None and unit.active != "activating":
                continue  # somebody was faster
            if unit is not None and 0 <= self.gives_up_after < self._restarts[unit.name]:
                self.units[unit.name] = replace(unit, active="failed", result="start-limit-hit")
            else:
                self.spawn(due[1], unit=due[2])

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
        if command.action.HasField("hold_down") and effect.blow > 1:
            self._successor(effect, command, target)
        else:
            assert target.key == (victim.pid, victim.start_ticks), "I1: another process"
            assert target.program == victim.program, "I1: another program"
        assert target.name == "worker", "I1: no match"
        assert target.state == "S", "R5: a process in this state is not struck"
        blows = Counter((fell.command_id, fell.blow) for fell in world.log)
        assert not blows[effect.command_id, effect.blow], "I2: one command and blow, one signal"
        intents = [one.body for one in journal if one.kind == "intent" and one.body["blow"] == effect.blow]
        assert any(_strike_of(body).command_id == effect.command_id for body in intents), "R1: intent not durable"
        self._forget_released(journal)
        assert not self.halted, f"I4: struck after {self.halted} was acknowledged"
        slack_ns = 3 * SECOND if world.rtc else 0  # rule R8
        assert world.true_ns < self.lease_end_ns + slack_ns, "I5: struck after the end of the lease"

    def _successor(self, effect: w.Strike, command: a.Strike, target: Proc) -> None:
        first = next(fell for fell in self._world.log if fell.command_id == effect.command_id)
        assert target.service == command.service, "I1: a successor of another service"
        assert target.start_ticks >= first.at_boot_ns // TICK, "I1: it was there before"
        assert self._world.boot_ns < first.at_boot_ns + command.action.hold_down.length_ms * MS, "held for too long"
        assert effect.warrant.process.program == target.program, "I1: another program"

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


def party_of(process: Proc) -> p.Party:
    return p.Party(pid=process.pid, start_ticks=process.start_ticks)


def _strike_of(body: dict[str, object]) -> a.Strike:
    return a.Strike.FromString(base64.b64decode(str(body["strike"])))


def _released(journal: list[w.Record], halt_id: str) -> bool:
    found = [one.body["ids"] for one in journal if one.kind == "released"]
    return any(isinstance(ids, list) and halt_id in ids for ids in found)
