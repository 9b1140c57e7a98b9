"""I6: a unit is started only where systemd gave it up after a blow of ours, and nobody has stopped it (R15)."""

from typing import TYPE_CHECKING

from tests.simulation.clock import SECOND
from tests.simulation.ground import Ground, Witness
from tests.simulation.processes import KILL
from tests.simulation.services import AGENT_PID

if TYPE_CHECKING:
    from tests.simulation.host import Machine

# From the agent's look at the unit to its start: an agent may stand still for so long in between.
LOOKED_NS = 30 * SECOND


class Units(Witness):
    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def unit_started(self, machine: "Machine", unit: str) -> None:
        self._ground.reach("unit started by an agent")
        now, life = self._ground.clock.now_ns, machine.life
        started_ns = life.started_ns.get(unit)  # by somebody, after it had been given up
        if not life.gave_up(unit) and (started_ns is None or now - started_ns > LOOKED_NS):
            raise self._ground.broken(
                "I6", "R15", f"{unit} is started on {machine}, and systemd has not given it up"
            )
        main = life.main_of(unit)
        ours = main is not None and main.died_of == KILL and AGENT_PID in life.senders.get(main, ())
        if life.gave_up(unit) and not ours:
            raise self._ground.broken(
                "I6", "R15", f"{unit} is started on {machine}, and it was not ended by a blow"
            )
