"""Where and when a move of a plot is made."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.clock import MS
from tests.simulation.processes import Proc

if TYPE_CHECKING:
    from tests.simulation.coordinator import Coordinator
    from tests.simulation.host import Machine
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and when: the host, the process that is struck or about to be, the run."""

    world: "World"
    dice: random.Random
    machine: "Machine"
    proc: Proc | None
    run_id: str
    sender: str = ""  # of a letter; whose run it is, where a permit is granted
    recipient: str = ""

    def later(self, ms: int, then: Callable[[], None]) -> None:
        """Not once it is calm."""
        self.world.ground.clock.after(ms * MS, lambda: None if self.world.faults.over else then())

    def coordinator(self, name: str = "") -> "Coordinator":
        found = [one for one in self.world.coordinators if name in ("", one.name)]
        return self.dice.choice(found)
