"""I6: what an agent stopped runs again in time, whatever befell the agent, as long as one is there to do it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Books, Decision, PutRun
from tests.simulation.clock import MS, SECOND
from tests.simulation.deeds import Deeds
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.oracle_leases import Leases
from tests.simulation.processes import STOP, Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine

# From when it is due and the agent can act: a tick, a retry, and what waits in front of it.
IN_TIME_NS = 2 * SECOND


@dataclass(slots=True, kw_only=True)
class Paused:
    command_id: str
    machine: "Machine"
    proc: Proc
    until_boot_ns: int  # the end of its length
    due_ns: int = 0  # true time since when it should run; 0: it may be paused still
    why: str = ""
    forgotten: bool = False  # the journal that held it is gone
    failed: bool = False  # a revert of it did not work
    unstored: bool = False  # the store that held it is gone

    @property
    def lasts(self) -> bool:
        return self.proc.alive and self.proc.state == "T" and self.proc.stopped_by_agent


class Reverts(Witness):
    def __init__(self, ground: Ground, deeds: Deeds, leases: Leases) -> None:
        self._ground = ground
        self._deeds = deeds
        self._leases = leases
        self._paused: list[Paused] = []
        self._guards: dict[str, int] = {}  # machine -> the guard that its agent was given last
        self._able: dict[str, int] = {}  # machine -> true time since when its agent can revert
        self._aborted: dict[str, tuple[int, str]] = {}  # run -> when its driver had it aborted, and who that is
        self._taken_back: dict[str, int] = {}  # command -> when an agent was told to take it back

    @property
    def open(self) -> list[Paused]:
        return [paused for paused in self._paused if paused.lasts]

    def struck(self, fell: Fell) -> None:
        for paused in self._of(fell.machine):
            if paused.failed and not paused.forgotten:
                what = f"{fell.command_id} struck on {fell.machine}, where {paused.command_id} is not reverted"
                raise self._ground.broken("I6", "R13", what)
        if fell.signal == STOP:
            self._paused = [paused for paused in self.open if paused.proc is not fell.proc]
            order = self._deeds.order_of(fell.command_id)
            until = fell.machine.boot_ns + order.frame.action.pause.length_ms * MS
            self._paused.append(
                Paused(command_id=fell.command_id, machine=fell.machine, proc=fell.proc, until_boot_ns=until)
            )

    def revert_failed(self, machine: "Machine", proc: Proc) -> None:
        for paused in self._of(machine):
            paused.failed = paused.failed or paused.proc is proc

    def agent_started(self, machine: "Machine") -> None:
        for paused in self._of(machine):
            self._due(paused, "its agent was started anew")

    def agent_left(self, machine: "Machine") -> None:
        for paused in self._of(machine):
            if not paused.failed and not paused.forgotten:
                what = f"the agent on {machine} has left, and {paused.proc} is stopped by {paused.command_id}"
                raise self._ground.broken("I6", "R13", what)

    def forgot(self, machine: "Machine") -> None:
        for paused in self._paused:
            paused.forgotten = paused.forgotten or paused.machine is machine

    def restored(self, position: StorePosition) -> None:
        for paused in self._paused:
            paused.unstored = True

    def guarded(self, machine: "Machine") -> None:
        before, self._guards[machine.name] = self._guards.get(machine.name, 0), machine.guard_given.number
        for paused in self._of(machine) if before != machine.guard_given.number else ():
            if not machine.guard_given.allows(paused.proc, "pause"):
                self._due(paused, "it is guarded now")

    def delivered(self, machine: "Machine", frame: a.ConnectResponse) -> None:
        kind = frame.WhichOneof("frame")
        for paused in self._of(machine) if kind in ("halt", "revert", "welcome") else ():
            if kind == "halt":
                self._due(paused, "the fleet is halted")
            elif kind == "revert" and frame.revert.command_id == paused.command_id:
                self._due(paused, "it was taken back")
            elif paused.command_id in [held.command_id for held in frame.welcome.open] and paused.forgotten:
                paused.forgotten = False
                self._due(paused, "its coordinator asked about it")

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            if not isinstance(change, PutRun) or change.row.state != o.RUN_STATE_ABORTING:
                continue
            run_id = change.row.run_id
            if self._deeds.drivers.get(run_id) == coordinator == change.row.driver:
                self._aborted.setdefault(run_id, (self._ground.clock.now_ns, coordinator))

    def coordinator_died(self, coordinator: str) -> None:
        self._aborted = {run: told for run, told in self._aborted.items() if told[1] != coordinator}

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        if frame.HasField("revert"):
            self._taken_back[frame.revert.command_id] = self._ground.clock.now_ns
        elif frame.HasField("lease_renewal"):
            self._still_paused(coordinator, machine)

    def _still_paused(self, coordinator: str, machine: "Machine") -> None:
        """Nobody renews the lease of a host where a victim of an aborted run of theirs is paused, and was not taken
        back."""
        for paused in self._of(machine):
            order = self._deeds.orders[paused.command_id]
            at_ns, by = self._aborted.get(order.frame.run_id, (0, ""))
            if by != coordinator or paused.forgotten or paused.unstored or order.spoken_for:
                continue
            if self._ground.clock.now_ns - at_ns > IN_TIME_NS and paused.command_id not in self._taken_back:
                what = f"{paused.proc} on {machine} is stopped by {paused.command_id}, whose run was aborted"
                raise self._ground.broken("I6", "R11", f"{what}, and is not taken back")

    def swept(self) -> None:
        now = self._ground.clock.now_ns
        self._paused = self.open
        for paused in self._paused:
            machine = paused.machine
            if machine.boot_ns >= paused.until_boot_ns:
                self._due(paused, "its time is over")
            if machine.boot_ns >= self._leases.right_of(machine).until_boot_ns:
                self._due(paused, "the lease is over")
            if machine.halt_file:
                self._due(paused, "the host is halted")
            agent = machine.agent
            able = agent is not None and agent.ready_ns and not machine.frozen and not machine.revert_problem
            since_ns = self._able.setdefault(machine.name, now) if able else now
            if not able:
                self._able.pop(machine.name, None)
            if not paused.due_ns or paused.forgotten:
                continue
            ready_ns = agent.ready_ns if agent is not None else now
            if now - max(paused.due_ns, since_ns, ready_ns) > IN_TIME_NS and able:
                what = f"{paused.command_id}: {paused.proc} on {machine} is stopped still, though {paused.why}"
                raise self._ground.broken("I6", "R13", what)

    def _due(self, paused: Paused, why: str) -> None:
        if not paused.due_ns:
            paused.due_ns, paused.why = self._ground.clock.now_ns, why

    def _of(self, machine: "Machine") -> list[Paused]:
        return [paused for paused in self._paused if paused.machine is machine and paused.lasts]
