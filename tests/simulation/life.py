"""What befalls the processes of a simulated host: births, signals, exits, and the supervisors that start anew."""

from functools import partial
from typing import TYPE_CHECKING

from killdeer_agent.core.unit import UnitState
from tests.simulation.clock import MS, SECOND
from tests.simulation.processes import CONT, IGNORES, KILL, STOP, TERM, TICK_NS, Proc, Table
from tests.simulation.services import AGENT_PID, Service

if TYPE_CHECKING:
    from tests.simulation.host import Machine

FIRST_PID = 100
PIDS = 400  # few, so that they are used again
STARTS_WITHIN_NS = 10 * SECOND  # systemd's own


class Life:
    """Holds the process table. A dead process stays in it as a zombie until it is reaped."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._dice = machine.dice
        self.table = Table()
        self._next_pid = FIRST_PID
        self._freed: list[int] = []
        self._last_ticks: dict[int, int] = {}  # pid -> start of the last process that had it
        self.reuses_pids = False
        # How the supervisors of this host are today.
        self.gives_up = 0.0
        self.starts_most = 0  # in STARTS_WITHIN_NS, then a unit is given up; 0: any number
        self.fewer = 0.0
        self.loops = 0.0
        self.slowness = 1
        self.idle_slots: list[tuple[Service, int]] = []  # nobody restarts these any more
        self._mains: dict[str, Proc] = {}  # unit -> the process that was started last
        self._failed: set[str] = set()  # units that systemd has given up; asked, never walked through
        self._down: set[str] = set()  # units that nobody restarts; the same
        self._starts: dict[str, list[int]] = {}  # unit -> when it was to be started anew
        self.started_ns: dict[str, int] = {}  # unit that had been given up -> true time of its start
        self._stopped: set[str] = set()  # those of them that somebody has stopped; the same
        self.senders: dict[Proc, list[int]] = {}  # who has signalled whom

    def populate(self) -> None:
        """At boot: the agent's own process, and every service. Pids are counted from the same one each time."""
        self.table = Table()
        self._next_pid = FIRST_PID
        self._last_ticks.clear()
        self._freed.clear()
        self.idle_slots.clear()
        self._mains.clear()
        self._failed.clear()
        self._down.clear()
        self._stopped.clear()
        self._starts.clear()
        self.started_ns.clear()
        ticks = self._machine.boot_ns // TICK_NS
        own = Service(
            name="killdeer-agent.service",
            units="killdeer-agent.service",
            replicas=1,
            exe="/usr/bin/worker",
            user="killdeer",
            protected=True,
            restart_ns=-1,
        )
        self.table.add(self._made(own, 0, AGENT_PID, ticks))
        for service in self._machine.services:
            for slot in range(service.replicas):
                self.spawn(service, slot)

    def given_on(self, proc: Proc) -> None:
        """Its pid is at once that of the next in its slot, which runs the same program."""
        service = next((one for one in self._machine.services if one.name == proc.service), None)
        if service is None or self._is_twin(proc.pid):
            return
        slot, proc.slot = proc.slot, -1
        self.end(proc)
        self.table.reap(proc)
        self.spawn(service, slot, pid=proc.pid).program = proc.program

    def spawn(self, service: Service, slot: int, pid: int = 0) -> Proc:
        proc = self._made(service, slot, pid or self._pid(), self._machine.boot_ns // TICK_NS)
        self.table.add(proc)
        self._mains[proc.unit] = proc
        self._down.discard(proc.unit)
        machine = self._machine
        machine.ground.trace.line(machine.name, f"spawns {proc}")
        machine.record.exec(proc)
        for witness in machine.ground.witnesses:
            witness.spawned(machine, proc)
        return proc

    def signal(self, proc: Proc, number: int, sender: int) -> None:
        """What the kernel does with it. A signal to the dead does nothing."""
        if not proc.alive:
            return
        self.senders.setdefault(proc, []).append(sender)
        ignored = number in proc.ignored
        self._machine.record.signal(sender, proc, number, "ignored" if ignored else "delivered")
        if number == CONT:
            self._continue(proc)
        elif ignored:
            return
        elif proc.state == "D":
            proc.pending.append((number, sender))
        elif number == STOP and proc.state == "T":
            return  # it is stopped already
        elif number == STOP:
            proc.state, proc.stopped_by_agent = "T", sender == AGENT_PID
        elif proc.state == "T" and number != KILL:
            proc.pending.append((number, sender))
        else:
            self._act(proc, number)

    def wake(self, proc: Proc) -> None:
        """Out of uninterruptible sleep: what has waited comes through."""
        if proc.alive and proc.state == "D":
            proc.state = "S"
            self._pending(proc)

    def end(self, proc: Proc, *, signal: int = 0, code: int = 0) -> None:
        """Every thread has exited."""
        machine = self._machine
        if not proc.alive:
            return
        if any(number == KILL for number, _ in proc.pending):
            signal, code = KILL, 0  # that is what it was about to die of
        proc.dead_ns, proc.died_of, proc.code = machine.ground.clock.now_ns, signal, code
        machine.ground.trace.line(machine.name, f"ends {proc} signal {signal} code {code}")
        machine.record.exit(proc, (machine.ground.clock.now_ns - proc.born_ns) // MS)
        if machine.agent is not None:
            machine.agent.pidfd_readable(proc)
        for witness in machine.ground.witnesses:
            witness.exited(machine, proc)
        zombie_ns = 200 * MS if self._dice.random() < 0.1 else 0
        machine.after(zombie_ns, lambda: self._reaped(proc))

    def all_end(self) -> None:
        """Power is gone."""
        for proc in self.table:
            if proc.alive:
                proc.dead_ns = self._machine.ground.clock.now_ns
                for witness in self._machine.ground.witnesses:
                    witness.exited(self._machine, proc)
        self.table = Table()

    def exec(self, proc: Proc, *, name: str, exe: str) -> None:
        """Same pid, same start time, another program."""
        proc.name, proc.exe, proc.program = name, exe, f"{proc.program}x"
        self._machine.ground.trace.line(self._machine.name, f"execs {proc} as {exe}")
        self._machine.record.exec(proc)

    def supervise(self, service: Service, slot: int) -> None:
        """Somebody looks at the slot of a process that has exited."""
        if service.unit_of(slot) in self._stopped:
            self.idle_slots.append((service, slot))
            return
        if service.restart_ns < 0:
            self._down.add(service.unit_of(slot))
            return
        ground = self._machine.ground
        if self._dice.random() < self.gives_up or self._too_often(service.unit_of(slot)):
            ground.reach("fault supervisor gives up")
            self.idle_slots.append((service, slot))
            self._failed.add(service.unit_of(slot))
            return
        if self._dice.random() < self.fewer:
            ground.reach("fault supervisor restarts fewer")
            self.idle_slots.append((service, slot))
            self._down.add(service.unit_of(slot))
            return
        wait_ns = service.restart_ns * self.slowness * self._dice.randint(5, 20) // 10
        self._machine.after(wait_ns, lambda: self._restart(service, slot))

    def _too_often(self, unit: str) -> bool:
        """Its start limit is hit."""
        now = self._machine.ground.clock.now_ns
        recent = [at for at in self._starts.get(unit, ()) if now - at < STARTS_WITHIN_NS]
        self._starts[unit] = [*recent, now]
        return 0 < self.starts_most <= len(recent)

    def unit_state(self, unit: str) -> UnitState:
        """As systemd has it. The process that was started last is the main one."""
        main = self._mains.get(unit)
        active = "inactive"
        if unit in self._failed:
            active = "failed"
        elif unit in self._mains and unit not in self._down:
            active = "active" if main is not None and main.alive else "activating"
        return UnitState(
            name=unit,
            loaded=True,
            active=active,
            result="signal" if main is not None and main.died_of else "success",
            main_pid=main.pid if main is not None else 0,
            main_signal=main.died_of if main is not None else 0,
        )

    def stop_unit(self, unit: str) -> bool:
        """systemctl stop, by somebody. One that has failed stays so; False: there is nothing to stop."""
        if unit in self._failed or unit in self._stopped:
            return False
        self._machine.ground.trace.line(self._machine.name, f"{unit} is stopped by somebody")
        self._stopped.add(unit)
        self._down.add(unit)
        for proc in [one for one in self.table if one.alive and one.unit == unit]:
            self.end(proc)
        return True

    def start_unit(self, unit: str) -> None:
        """systemctl start, of one that systemd has given up, or that somebody has stopped."""
        if unit in self._failed:
            self._failed.discard(unit)
            self._starts.pop(unit, None)
            self.started_ns[unit] = self._machine.ground.clock.now_ns
        self._stopped.discard(unit)
        for service, slot in [one for one in self.idle_slots if one[0].unit_of(one[1]) == unit]:
            self.idle_slots.remove((service, slot))
            self._machine.after(50 * MS, partial(self._started, service, slot))

    def gave_up(self, unit: str) -> bool:
        """systemd has, and nobody has started it since."""
        return unit in self._failed

    def main_of(self, unit: str) -> Proc | None:
        """Its main process, or the last there was."""
        return self._mains.get(unit)

    def _started(self, service: Service, slot: int) -> None:
        self.spawn(service, slot)

    def _restart(self, service: Service, slot: int) -> None:
        if service.unit_of(slot) in self._stopped:
            self.idle_slots.append((service, slot))
            return
        proc = self.spawn(service, slot)
        if self._dice.random() < self.loops:
            self._machine.ground.reach("fault restart loop")
            self._machine.after(self._dice.randint(20, 800) * MS, lambda: self.end(proc, code=1))

    def _reaped(self, proc: Proc) -> None:
        self.table.reap(proc)
        self._freed.append(proc.pid)
        service = next((one for one in self._machine.services if one.name == proc.service), None)
        if service is not None and proc.slot >= 0:
            self.supervise(service, proc.slot)

    def _act(self, proc: Proc, number: int) -> None:
        if number == TERM and proc.term_ns == IGNORES:
            return
        if number == TERM and proc.term_ns:
            proc.dying = True
            self._machine.after(proc.term_ns, lambda: self._outlived(proc))
        else:
            self.end(proc, signal=number)

    def _outlived(self, proc: Proc) -> None:
        if proc.state == "S":
            self.end(proc, code=0)
        elif proc.alive:
            proc.pending.append((TERM, 0))

    def _continue(self, proc: Proc) -> None:
        """Stops that wait are void by it, in whatever state it is."""
        proc.pending = [(number, sender) for number, sender in proc.pending if number != STOP]
        if proc.state != "T":
            return
        proc.state, proc.stopped_by_agent = "S", False
        self._pending(proc)

    def _pending(self, proc: Proc) -> None:
        waiting, proc.pending = proc.pending, []
        for number, sender in waiting:
            if proc.alive and number == STOP:
                proc.state, proc.stopped_by_agent = "T", sender == AGENT_PID
            elif proc.alive:
                self._act(proc, number)

    def _pid(self) -> int:
        if self.reuses_pids and self._freed and self._dice.random() < 0.7:
            pid = self._freed.pop(0)
            if self.table.free(pid) and not self._is_twin(pid):
                self._machine.ground.reach("fault pid reused")
                return pid
        while True:
            self._next_pid = FIRST_PID + (self._next_pid + 1 - FIRST_PID) % PIDS
            if self.table.free(self._next_pid) and not self._is_twin(self._next_pid):
                return self._next_pid

    def _is_twin(self, pid: int) -> bool:
        """No pid comes back within one tick of the clock: that is what identity rests on."""
        return self._last_ticks.get(pid) == self._machine.boot_ns // TICK_NS

    def _made(self, service: Service, slot: int, pid: int, ticks: int) -> Proc:
        """Some take TERM better than others; some ignore HUP."""
        self._last_ticks[pid] = ticks
        lot = self._dice.random()
        term_ns = 0 if lot < 0.6 else IGNORES if lot > 0.92 else self._dice.randint(50, 4_000) * MS
        return Proc(
            pid=pid,
            start_ticks=ticks,
            boot_id=self._machine.boot_id,
            born_ns=self._machine.ground.clock.now_ns,
            service=service.name,
            unit=service.unit_of(slot),
            cgroup=service.cgroup_of(slot),
            name=service.exe.rsplit("/", 1)[-1] if pid != AGENT_PID else "killdeer-agent",
            exe=service.exe,
            user=service.user,
            uid=0 if service.user == "root" else 900 + len(service.user),
            program=f"{service.name[:2]}{ticks % 7}",
            slot=slot if service.restart_ns >= 0 else -1,
            protected=service.protected,
            kernel_thread=service.kernel_thread,
            term_ns=term_ns,
            ignored=frozenset({1}) if lot < 0.1 else frozenset(),
        )
