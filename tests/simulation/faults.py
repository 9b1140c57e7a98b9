"""The bad day: which faults there are, how often each happens in this history, and what each does to the world."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from killdeer_agent.core.words import Record
from tests.simulation.clock import MS, SECOND
from tests.simulation.processes import CONT, KILL, STOP, TERM, Proc

if TYPE_CHECKING:
    from tests.simulation.coordinator import Coordinator
    from tests.simulation.host import Machine
    from tests.simulation.network import Stream
    from tests.simulation.store import FaultyStore
    from tests.simulation.world import World

OTHERS_PID = 50  # whoever else sends signals on a host
NOT_KNOWN = "of-another-version"  # a kind of record


@dataclass(frozen=True, slots=True)
class Fault:
    """`every_s`: the mean time between two, where it happens in a history at all."""

    name: str
    every_s: float
    do: "Callable[[Faults], None]"


class Faults:
    """Each history has some kinds of them, not all: what is rare alone is common together with little else."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.dice = world.ground.dice("faults")
        self.count = 0
        share = self.dice.choice((0.05, 0.1, 0.2, 0.4))
        self.kinds = [fault for fault in FAULTS if self.dice.random() < share]
        if self.dice.random() < 0.6:  # those that make each other worse
            together = self.dice.choice([*TOGETHER, *SHARING] if world.settings.shared else TOGETHER)
            self.kinds = [fault for fault in FAULTS if fault.name in together]
        self.over = False
        self._aimed: tuple[Machine, Proc | None] | None = None
        self._weather()
        if world.plot is not None:
            self._fair_weather()

    def begin(self) -> None:
        for fault in self.kinds:
            self._next(fault)

    def calm(self) -> None:
        """The last fault has been; what lasts is mended."""
        self.over = True
        world = self.world
        for troubles in world.troubles:
            troubles.calm()
        world.network.slow_ns = world.network.answers_late_ns = 0
        world.store.failing, world.store.lies, world.store.slow_ns = "", 0.0, 0
        for coordinator in world.coordinators:
            coordinator.come_back()
        for coordinator in world.coordinators:
            coordinator.keep_problem, coordinator.newer = "", False
            coordinator.hang(False)
        for machine in world.machines:
            self._mend(machine)

    def _mend(self, machine: "Machine") -> None:
        machine.disk.problem, machine.disk.slow_ns = "", 0
        known = tuple(record for record in machine.disk.records if record.kind != NOT_KNOWN)
        if known != machine.disk.records:
            if machine.agent is not None:
                machine.agent.die("its journal is mended")
            machine.disk.records = known
        machine.revert_problem = machine.count_problem = machine.scan_problem = machine.systemd_problem = ""
        machine.halt_file = False
        machine.record.losing, machine.record.late_ns = 0.0, 5 * MS
        life = machine.life
        life.gives_up = life.fewer = life.loops = 0.0
        life.starts_most = 0
        life.slowness = 1
        for service, slot in list(life.idle_slots):
            life.start_unit(service.unit_of(slot))
        for proc in life.table:
            proc.unreadable = False
            if proc.alive and proc.state == "T" and not proc.stopped_by_agent:
                life.signal(proc, CONT, OTHERS_PID)
            if proc.alive and proc.state == "Z":
                life.end(proc)
            life.wake(proc)
        if machine.agent is not None:
            machine.agent.wanted = True
            if machine.guard_files.problem:
                machine.guard_files = machine.guard_files.changed(problem="")
            machine.agent.reload()
            machine.agent.start()

    def _weather(self) -> None:
        """What goes on all the time, in this history."""
        dice, world = self.dice, self.world
        world.network.slow_ns = dice.choice((0, 0, 300 * MS, 2 * SECOND))
        world.store.slow_ns = dice.choice((0, 0, 50 * MS, 1 * SECOND))
        for troubles in world.troubles:
            troubles.crash = dice.choice((0.0, 0.0, 0.0005, 0.003))
            troubles.stall = dice.choice((0.0, 0.0, 0.001, 0.004))
            troubles.hold_up = dice.choice((0.0, 0.0, 0.1))
            troubles.change = dice.choice((0.0, 0.0, 0.05))
            troubles.slow_look = dice.choice((0.0, 0.0, 0.1))
        for machine in world.machines:
            machine.life.reuses_pids = dice.random() < 0.4
            machine.life.slowness = dice.choice((1, 1, 2, 8))
            machine.life.gives_up = dice.choice((0.0, 0.0, 0.0, 0.1))
            machine.life.starts_most = dice.choice((0, 0, 5))
            machine.life.fewer = dice.choice((0.0, 0.0, 0.0, 0.05))
            machine.life.loops = dice.choice((0.0, 0.0, 0.15))

    def _fair_weather(self) -> None:
        """A history with a plot has that alone."""
        self.kinds = []
        self.world.network.slow_ns = self.world.store.slow_ns = 0
        for troubles in self.world.troubles:
            troubles.calm()
        for machine in self.world.machines:
            life = machine.life
            life.reuses_pids, life.slowness, life.gives_up, life.starts_most = False, 1, 0.0, 0
            life.fewer = life.loops = 0.0

    def _next(self, fault: Fault) -> None:
        wait_ns = int(self.dice.expovariate(1 / fault.every_s) * SECOND)
        self.world.ground.clock.after(wait_ns, lambda: self._do(fault))

    def _do(self, fault: Fault) -> None:
        if not self.over:
            self._befall(fault)
            self._next(fault)

    def soon(self, ns: int, machine: "Machine", proc: "Proc | None") -> None:
        """One of this history's kinds, to this process or its machine, at a moment that somebody has picked."""
        if self.kinds:
            fault = self.dice.choice(self.kinds)
            self.world.ground.clock.after(ns, lambda: self._aim(fault, machine, proc))

    def _aim(self, fault: Fault, machine: "Machine", proc: "Proc | None") -> None:
        if not self.over and machine in self.world.machines:
            self._aimed = (machine, proc)
            self._befall(fault)
            self._aimed = None

    def _befall(self, fault: Fault) -> None:
        self.count += 1
        self.world.ground.reach(f"fault {fault.name}")
        self.world.ground.trace.line("FAULT", fault.name)
        fault.do(self)

    # --- what they do it to -----------------------------------------------------------------------------------

    def machine(self) -> "Machine":
        return self._aimed[0] if self._aimed is not None else self.dice.choice(self.world.machines)

    def streams(self) -> "list[Stream]":
        machine = self._aimed[0] if self._aimed is not None else None
        return [
            one for one in self.world.network.streams if one.whole and (machine is None or one.machine is machine)
        ]

    def proc(self) -> "tuple[Machine, Proc | None]":
        """A process that lives, mostly of those that are struck."""
        machine = self.machine()
        if self._aimed is not None and (victim := self._aimed[1]) is not None and victim.alive:
            return machine, victim if machine.up and not machine.frozen else None
        found = [one for one in machine.life.table if one.alive and one.slot >= 0 and not one.protected]
        return machine, self.dice.choice(found) if found and machine.up and not machine.frozen else None

    def some(self, *seconds: float) -> int:
        return int(self.dice.choice(seconds) * SECOND)

    def for_a_while(self, ns: int, undo: Callable[[], None]) -> None:
        self.world.ground.clock.after(ns, undo)


# --- agents and their machines ------------------------------------------------------------------------------------


def agent_crashes(f: Faults) -> None:
    agent = f.machine().agent
    if agent is not None:
        agent.die("killed")


def agent_stalls(f: Faults) -> None:
    agent = f.machine().agent
    if agent is not None:
        agent.stall(f.some(0.5, 4.0, 20.0))


def agent_stops(f: Faults) -> None:
    agent = f.machine().agent
    if agent is not None and agent.alive:
        agent.stop()

        def again() -> None:
            agent.wanted = True
            agent.start()

        f.for_a_while(f.some(2.0, 25.0, 30.0), again)


def freezes(f: Faults) -> None:
    f.machine().freeze(f.some(0.5, 5.0, 20.0), clock_stands=False)


def freezes_with_clock(f: Faults) -> None:
    f.machine().freeze(f.some(1.0, 10.0, 25.0), clock_stands=True)


def reboots(f: Faults) -> None:
    machine = f.machine()
    if machine.up:
        machine.power_off()
        f.for_a_while(f.some(3.0, 10.0, 30.0), machine.boot)


def disk_full(f: Faults) -> None:
    disk = f.machine().disk
    disk.problem = "no space left on device"

    def room() -> None:
        disk.problem = ""

    f.for_a_while(f.some(1.0, 10.0), room)


def disk_slow(f: Faults) -> None:
    disk = f.machine().disk
    disk.slow_ns = f.some(0.2, 2.0, 5.0)

    def fast() -> None:
        disk.slow_ns = 0

    f.for_a_while(f.some(5.0, 15.0), fast)


def rolled_back(f: Faults) -> None:
    """The machine comes back from a copy of its disk."""
    machine = f.machine()
    if not machine.up:
        return
    machine.power_off()
    if machine.disk.roll_back():
        f.world.ground.reach("disk rolled back")
        for witness in f.world.ground.witnesses:
            witness.forgot(machine)
    f.for_a_while(f.some(2.0, 8.0), machine.boot)


def wiped(f: Faults) -> None:
    machine = f.machine()
    if machine.agent is not None:
        machine.agent.die("its directory is wiped")
        machine.disk.wipe()
        for witness in f.world.ground.witnesses:
            witness.forgot(machine)


def journal_of_another_version(f: Faults) -> None:
    """A record that this version does not know: what else is in it is reverted, and nothing is struck."""
    machine = f.machine()
    if machine.agent is None or not machine.agent.alive:
        return
    machine.agent.die("another version of it was there")
    records = machine.disk.records
    place = f.dice.randint(0, len(records))
    machine.disk.records = (*records[:place], Record(NOT_KNOWN), *records[place:])


def cloned(f: Faults) -> None:
    f.world.clone(f.machine())


def evidence_is_lost(f: Faults) -> None:
    record = f.machine().record
    record.losing = f.dice.choice((0.2, 0.6, 1.0))

    def whole() -> None:
        record.losing = 0.0

    f.for_a_while(f.some(3.0, 10.0), whole)


def evidence_is_late(f: Faults) -> None:
    record = f.machine().record
    record.late_ns = f.some(0.3, 2.0)

    def soon() -> None:
        record.late_ns = 5 * MS

    f.for_a_while(f.some(5.0, 15.0), soon)


def guard_changes(f: Faults) -> None:
    """Some are no longer allowed, or only for some actions; later all are again."""
    machine = f.machine()
    files = machine.guard_files
    allow = tuple((name, actions[: f.dice.randint(0, 2)]) for name, actions in files.allow)
    users = ("app",) if f.dice.random() < 0.3 else files.deny_users
    machine.guard_files = files.changed(allow=allow, deny_users=users)
    _reload(machine)

    def back() -> None:
        machine.guard_files = machine.guard_files.changed(allow=files.allow, deny_users=files.deny_users)
        _reload(machine)

    f.for_a_while(f.some(3.0, 10.0), back)


def guard_unreadable(f: Faults) -> None:
    machine = f.machine()
    machine.guard_files = machine.guard_files.changed(problem="cannot read guard.d: no such line")
    _reload(machine)

    def mended() -> None:
        machine.guard_files = machine.guard_files.changed(problem="")
        _reload(machine)

    f.for_a_while(f.some(3.0, 10.0), mended)


def _reload(machine: "Machine") -> None:
    if machine.agent is not None:
        machine.agent.reload()


def local_halt(f: Faults) -> None:
    """By somebody on the host: on one that stands still nobody touches a file."""
    machine = f.machine()
    machine.halt_file = not machine.frozen

    def rearmed() -> None:
        machine.halt_file = machine.halt_file and machine.frozen

    f.for_a_while(f.some(1.0, 6.0), rearmed)


def reverts_fail(f: Faults) -> None:
    machine = f.machine()
    machine.revert_problem = "cannot signal: operation not permitted"

    def work() -> None:
        machine.revert_problem = ""

    f.for_a_while(f.some(1.0, 6.0), work)


def counts_fail(f: Faults) -> None:
    machine = f.machine()
    machine.count_problem = "cannot list /proc: too many open files"

    def work() -> None:
        machine.count_problem = ""

    f.for_a_while(f.some(1.0, 5.0), work)


def scans_fail(f: Faults) -> None:
    machine = f.machine()
    machine.scan_problem = "cannot list /proc: too many open files"

    def work() -> None:
        machine.scan_problem = ""

    f.for_a_while(f.some(1.0, 5.0), work)


def systemd_fails(f: Faults) -> None:
    machine = f.machine()
    machine.systemd_problem = "systemctl show has not answered in 5 s"

    def works() -> None:
        machine.systemd_problem = ""

    f.for_a_while(f.some(1.0, 6.0), works)


# --- processes ----------------------------------------------------------------------------------------------------


def exits(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None:
        machine.life.end(proc, code=f.dice.choice((0, 1)))


def killed_by_others(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None:
        machine.life.signal(proc, f.dice.choice((KILL, TERM)), OTHERS_PID)


def stopped_by_others(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is None:
        return
    machine.life.signal(proc, STOP, OTHERS_PID)

    def on() -> None:
        if proc.alive and not proc.stopped_by_agent:
            machine.life.signal(proc, CONT, OTHERS_PID)

    f.for_a_while(f.some(0.5, 5.0, 15.0), on)


def continued_by_others(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None:
        machine.life.signal(proc, CONT, OTHERS_PID)


def sleeps_uninterruptibly(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None and proc.state == "S":
        proc.state = "D"
        f.for_a_while(f.some(0.5, 5.0, 25.0), lambda: machine.life.wake(proc))


def leader_exits(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None and proc.state == "S":
        proc.state, proc.threads = "Z", 3
        f.for_a_while(f.some(1.0, 5.0), lambda: machine.life.end(proc))


def execs(f: Faults) -> None:
    machine, proc = f.proc()
    if proc is not None:
        name = f.dice.choice(("other", "worker"))
        machine.life.exec(proc, name=name, exe=f"/usr/bin/{name}")


def changes_user(f: Faults) -> None:
    _, proc = f.proc()
    if proc is not None:
        proc.user, proc.uid = f.dice.choice((("root", 0), ("app", 903)))


def moves(f: Faults) -> None:
    """To a login session's cgroup, or to another service's."""
    machine, proc = f.proc()
    if proc is None:
        return
    home = next((one for one in machine.services if one.name == proc.service), None)
    if home is not None:
        machine.life.supervise(home, proc.slot)
    if f.dice.random() < 0.5:
        proc.unit, proc.service, proc.protected = "session-7.scope", "session-7.scope", True
        proc.cgroup = "/user.slice/user-1000.slice/session-7.scope"
    else:
        proc.unit, proc.service = "ledger.service", "ledger.service"
        proc.cgroup = "/system.slice/ledger.service"
    proc.slot = -1


def unreadable(f: Faults) -> None:
    _, proc = f.proc()
    if proc is not None:
        proc.unreadable = True

        def readable() -> None:
            proc.unreadable = False

        f.for_a_while(f.some(0.5, 5.0), readable)


def unit_stopped_by_others(f: Faults) -> None:
    """And started by them again later."""
    machine, proc = f.proc()
    if proc is None or not machine.life.stop_unit(proc.unit):
        return

    def again() -> None:
        machine.life.start_unit(proc.unit)

    f.for_a_while(f.some(2.0, 10.0, 30.0), again)


def pid_given_to_the_next(f: Faults) -> None:
    """It exits, and at once another of its service has its pid; nothing but the start time tells them apart."""
    machine, proc = f.proc()
    if proc is not None and proc.slot >= 0:
        machine.life.given_on(proc)


# --- the network --------------------------------------------------------------------------------------------------


def cut(f: Faults) -> None:
    if streams := f.streams():
        f.dice.choice(streams).cut()


def half_open(f: Faults) -> None:
    if streams := f.streams():
        f.dice.choice(streams).half_open(agent_lives=f.dice.random() < 0.5)


def late_frames(f: Faults) -> None:
    if streams := f.streams():
        f.dice.choice(streams).stay_late()


def parted(f: Faults) -> None:
    f.world.network.part(f.machine().name, f.some(1.0, 8.0, 25.0))


def slow_reader(f: Faults) -> None:
    if streams := f.streams():
        f.dice.choice(streams).block(f.some(1.0, 4.0, 8.0))


# --- coordinators and their store ---------------------------------------------------------------------------------


def coordinator_crashes(f: Faults) -> None:
    f.dice.choice(f.world.coordinators).crash()


def coordinator_stalls(f: Faults) -> None:
    f.dice.choice(f.world.coordinators).stall(f.some(0.5, 3.0, 9.0))


def coordinator_is_stopped(f: Faults) -> None:
    f.dice.choice(f.world.coordinators).stop()


def coordinator_gone_for_long(f: Faults) -> None:
    """Where others share the store, for longer than they wait before they end its runs."""
    long = (25.0, 40.0, 60.0) if f.world.settings.shared else (5.0, 12.0)
    f.dice.choice(f.world.coordinators).go(f.some(*long))


def coordinator_frozen(f: Faults) -> None:
    """For longer than others wait before they end its runs."""
    f.dice.choice(f.world.coordinators).stall(f.some(17.0, 20.0, 40.0))


def agents_move(f: Faults) -> None:
    """All streams of a coordinator are cut: their agents dial whichever answers."""
    coordinator = f.dice.choice(f.world.coordinators)
    for stream in [one for one in f.world.network.streams if one.whole and one.coordinator is coordinator]:
        stream.cut()


def wall_jumps_forward(f: Faults) -> None:
    _clock(f).wall_ms += f.dice.choice((2_000, 30_000, 3_600_000))


def wall_jumps_back(f: Faults) -> None:
    _clock(f).wall_ms -= f.dice.choice((500, 5_000, 15_000))


def _clock(f: Faults) -> "Coordinator | FaultyStore":
    clocks: list[Coordinator | FaultyStore] = [*f.world.coordinators]
    return f.dice.choice([*clocks, f.world.store] if f.world.settings.shared else clocks)


def keep_fails(f: Faults) -> None:
    coordinator = f.dice.choice(f.world.coordinators)
    coordinator.keep_problem = "cannot write outside.json: no space left on device"

    def works() -> None:
        coordinator.keep_problem = ""

    f.for_a_while(f.some(1.0, 8.0), works)


def store_fails(f: Faults) -> None:
    store = f.world.store
    store.failing = "cannot decide in the store: disk I/O error"

    def works() -> None:
        store.failing = ""

    f.for_a_while(f.some(0.5, 3.0, 12.0, *((20.0,) if f.world.settings.shared else ())), works)


def store_hangs(f: Faults) -> None:
    coordinator = f.dice.choice(f.world.coordinators)
    coordinator.hang(True)
    f.for_a_while(f.some(1.0, 5.0, 15.0), lambda: coordinator.hang(False))


def store_lies(f: Faults) -> None:
    store = f.world.store
    store.lies = 0.5

    def honest() -> None:
        store.lies = 0.0

    f.for_a_while(f.some(2.0, 8.0), honest)


def coordinator_is_newer(f: Faults) -> None:
    coordinator = f.dice.choice(f.world.coordinators)
    coordinator.newer = True

    def as_before() -> None:
        coordinator.newer = False

    f.for_a_while(f.some(3.0, 10.0), as_before)


def strikes_replayed(f: Faults) -> None:
    """Frames that were sent before, to the same host."""
    network = f.world.network
    for identity, serialised in network.ordered[-f.dice.choice((1, 3, 100)) :]:
        for stream in network.streams:
            if stream.whole and stream.machine.identity == identity:
                stream.replay(serialised)


def halt_at_its_worst(f: Faults) -> None:
    """The store is away; somebody halts; some hosts are away too; the coordinator dies and comes back."""
    store, world = f.world.store, f.world
    store.failing = "cannot decide in the store: disk I/O error"
    world.operators.halts()
    if f.dice.random() < 0.5:
        world.network.part(f.machine().name, f.some(1.0, 8.0))
    f.for_a_while(f.some(0.05, 0.5, 3.0), f.dice.choice(world.coordinators).crash)

    def works() -> None:
        store.failing = ""

    f.for_a_while(f.some(0.3, 3.0, 6.0), works)


def operator_halts(f: Faults) -> None:
    f.world.operators.halts()


def operator_aborts(f: Faults) -> None:
    f.world.operators.aborts()


def store_restored(f: Faults) -> None:
    if f.world.store.restore():
        f.world.ground.reach("store restored from an older copy")


TOGETHER = (
    ("reverts fail", "operator halts at once", "disk full", "agent crashes", "journal of another version"),
    ("agent is stopped", "agent crashes", "guard changes", "guard unreadable", "reverts fail", "disk slow"),
    ("machine freezes with its clock", "disk slow", "network parted", "slow reader", "agent stalls"),
    ("pid given to the next", "process execs", "process changes user", "disk slow", "machine reboots"),
    (
        "process moves to another cgroup",
        "process stopped by others",
        "leader exits before its threads",
        "disk slow",
    ),
    ("operator halts at once", "halt at its worst", "disk slow", "local halt", "coordinator crashes"),
    ("operator aborts at once", "slow reader", "disk slow", "stream cut", "coordinator crashes"),
    ("coordinator crashes", "stream cut", "network parted", "disk full", "store lying", "state directory fails"),
    ("process killed by others", "process in D", "evidence losing", "evidence late", "agent crashes"),
    ("strikes replayed", "journal wiped", "disk rolled back", "agent cloned", "store restored"),
    ("unit stopped by others", "systemd fails", "process killed by others", "guard changes", "agent crashes"),
)
"""Kinds that have something to do with each other: six histories in ten have one of these, and no other."""

SHARING = (
    ("coordinator gone for long", "agents move", "stream cut", "disk slow", "agent crashes"),
    ("coordinator frozen", "agents move", "operator aborts at once", "slow reader", "network parted"),
    ("operator halts at once", "agents move", "store hangs", "coordinator stalls", "coordinator is stopped"),
    ("wall clock jumps forward", "wall clock jumps back", "agents move", "coordinator frozen", "store failing"),
    ("store restored", "agents move", "coordinator crashes", "store lying", "journal wiped"),
)
"""The same, where coordinators share a store."""

FAULTS = (
    Fault("agent crashes", 25, agent_crashes),
    Fault("agent stalls", 20, agent_stalls),
    Fault("agent is stopped", 40, agent_stops),
    Fault("machine freezes", 25, freezes),
    Fault("machine freezes with its clock", 25, freezes_with_clock),
    Fault("machine reboots", 40, reboots),
    Fault("disk full", 25, disk_full),
    Fault("disk slow", 25, disk_slow),
    Fault("disk rolled back", 60, rolled_back),
    Fault("journal wiped", 60, wiped),
    Fault("agent cloned", 60, cloned),
    Fault("evidence losing", 20, evidence_is_lost),
    Fault("evidence late", 20, evidence_is_late),
    Fault("guard changes", 20, guard_changes),
    Fault("guard unreadable", 40, guard_unreadable),
    Fault("local halt", 30, local_halt),
    Fault("reverts fail", 25, reverts_fail),
    Fault("counts fail", 25, counts_fail),
    Fault("scans fail", 25, scans_fail),
    Fault("systemd fails", 25, systemd_fails),
    Fault("process exits", 6, exits),
    Fault("process killed by others", 8, killed_by_others),
    Fault("process stopped by others", 8, stopped_by_others),
    Fault("process continued by others", 8, continued_by_others),
    Fault("process in D", 10, sleeps_uninterruptibly),
    Fault("leader exits before its threads", 10, leader_exits),
    Fault("process execs", 8, execs),
    Fault("process changes user", 10, changes_user),
    Fault("process moves to another cgroup", 15, moves),
    Fault("process unreadable", 10, unreadable),
    Fault("stream cut", 15, cut),
    Fault("stream half-open", 20, half_open),
    Fault("late frames of an old stream", 20, late_frames),
    Fault("network parted", 25, parted),
    Fault("slow reader", 20, slow_reader),
    Fault("coordinator crashes", 35, coordinator_crashes),
    Fault("coordinator stalls", 25, coordinator_stalls),
    Fault("coordinator is stopped", 40, coordinator_is_stopped),
    Fault("coordinator gone for long", 40, coordinator_gone_for_long),
    Fault("coordinator frozen", 40, coordinator_frozen),
    Fault("agents move", 20, agents_move),
    Fault("wall clock jumps forward", 30, wall_jumps_forward),
    Fault("wall clock jumps back", 30, wall_jumps_back),
    Fault("state directory fails", 25, keep_fails),
    Fault("store failing", 25, store_fails),
    Fault("store hangs", 30, store_hangs),
    Fault("store lying", 25, store_lies),
    Fault("store restored", 60, store_restored),
    Fault("journal of another version", 50, journal_of_another_version),
    Fault("coordinator is newer than its agents", 30, coordinator_is_newer),
    Fault("strikes replayed", 12, strikes_replayed),
    Fault("halt at its worst", 40, halt_at_its_worst),
    Fault("pid given to the next", 15, pid_given_to_the_next),
    Fault("unit stopped by others", 15, unit_stopped_by_others),
    Fault("operator halts at once", 40, operator_halts),
    Fault("operator aborts at once", 40, operator_aborts),
)
