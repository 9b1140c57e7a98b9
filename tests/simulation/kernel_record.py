"""The kernel's record of a simulated host: late, sometimes with gaps, and the gaps are told."""

from collections import deque
from typing import TYPE_CHECKING

from killdeer.v1 import process_pb2 as p
from tests.simulation.clock import MS
from tests.simulation.processes import Proc, party_of

if TYPE_CHECKING:
    from tests.simulation.host import Machine

MOST = 200  # events that the ring holds


class KernelRecord:
    """Events go to the agent that runs; while none does, nobody records anything."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._ring: deque[p.KernelEvent] = deque()
        self._lost = 0
        self._due = False
        self.losing = 0.0  # the share of events that is lost
        self.late_ns = 5 * MS
        self.told_ns = 0  # up to when the record was told in whole

    def signal(self, sender_pid: int, target: Proc, number: int, verdict: str) -> None:
        sender = self._machine.life.table.at(sender_pid)
        party = party_of(sender) if sender is not None else p.Party(pid=sender_pid, host_pid=sender_pid)
        seen = p.SignalSeen(sender=party, target=party_of(target), signal=number, verdict=verdict, group=True)
        self._put(p.KernelEvent(signal=seen))

    def exit(self, proc: Proc, age_ms: int) -> None:
        seen = p.ExitSeen(process=party_of(proc), code=proc.code, signal=proc.died_of, age_ms=age_ms)
        self._put(p.KernelEvent(exit=seen))

    def exec(self, proc: Proc) -> None:
        self._put(p.KernelEvent(exec=p.ExecSeen(process=party_of(proc), file=proc.exe)))

    def flush(self) -> None:
        """All that is in the ring, now."""
        agent = self._machine.agent
        if agent is None or not agent.alive:
            self._ring.clear()
            return
        events, self._ring = self._ring, deque()
        if self._lost:
            lost = p.EventsLost(kind="watched signal", count=self._lost)
            events.append(p.KernelEvent(at_boot_ns=self._machine.boot_ns, lost=lost))
            self._lost = 0
            for witness in self._machine.ground.witnesses if agent.ready_ns else ():
                witness.lost_events(self._machine)
        for event in events:
            agent.seen(event)
        self.told_ns = self._machine.boot_ns

    def begin(self) -> None:
        """An agent has attached: the record begins."""
        self._ring.clear()
        self._lost = 0
        self.told_ns = self._machine.boot_ns
        self._due = False

    def idle(self) -> None:
        """Nothing waits: told in whole up to now."""
        if not self._ring and not self._lost:
            self.told_ns = self._machine.boot_ns

    def _put(self, event: p.KernelEvent) -> None:
        machine = self._machine
        agent = machine.agent
        if not machine.bpf or agent is None or not agent.alive:
            return
        if machine.dice.random() < self.losing or len(self._ring) >= MOST:
            machine.ground.reach("fault evidence lost")
            self._lost += 1
        else:
            event.at_boot_ns = machine.boot_ns
            self._ring.append(event)
        if not self._due:
            self._due = True
            machine.after(machine.dice.randint(1 * MS, max(2 * MS, self.late_ns)), self._drain)

    def _drain(self) -> None:
        self._due = False
        self.flush()
