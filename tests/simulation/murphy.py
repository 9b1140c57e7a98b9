"""Whatever can happen happens at the worst moment: faults aimed at what was just ordered, or just struck."""

from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from tests.simulation.clock import MS, SECOND
from tests.simulation.ground import Fell, Witness
from tests.simulation.processes import Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine
    from tests.simulation.world import World


class Murphy(Witness):
    def __init__(self, world: "World") -> None:
        self._faults = world.faults
        self._dice = world.ground.dice("murphy")
        self._eager = self._dice.choice((0.0, 0.3, 0.7))

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        """An order is on its way: until its signal falls there are milliseconds, or as long as a disk is slow."""
        if frame.HasField("strike"):
            victim = machine.life.table.at(frame.strike.victim.pid)
            self._perhaps(machine, victim, self._dice.choice((15 * MS, 30 * MS, 300 * MS)))

    def struck(self, fell: Fell) -> None:
        """Until it is recovered, reverted, or struck once more there are seconds."""
        self._perhaps(fell.machine, fell.proc, self._dice.choice((50 * MS, SECOND, 4 * SECOND)))

    def _perhaps(self, machine: "Machine", proc: "Proc | None", within_ns: int) -> None:
        if self._dice.random() < self._eager:
            self._faults.soon(self._dice.randint(1, within_ns), machine, proc)
