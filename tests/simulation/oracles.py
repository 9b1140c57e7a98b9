"""All oracles, in the order in which they see things."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.deeds import Deeds
from tests.simulation.ground import Witness
from tests.simulation.oracle_aim import Aim
from tests.simulation.oracle_duties import Duties
from tests.simulation.oracle_halts import Halting
from tests.simulation.oracle_heard import HeardHolds
from tests.simulation.oracle_leases import Leases
from tests.simulation.oracle_limits import LimitsHold
from tests.simulation.oracle_recovery import Recovery
from tests.simulation.oracle_reverts import Reverts
from tests.simulation.oracle_takeover import TakeOvers
from tests.simulation.oracle_truth import Truth
from tests.simulation.oracle_units import Units
from tests.simulation.oracle_words import Words

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracles:
    deeds: Deeds
    aim: Aim
    halting: Halting
    leases: Leases
    reverts: Reverts
    truth: Truth
    limits: LimitsHold
    words: Words
    units: Units
    takeovers: TakeOvers
    duties: Duties
    heard: HeardHolds
    recovery: Recovery

    @property
    def all(self) -> tuple[Witness, ...]:
        """The log first; every other finds in it what has just happened."""
        return (
            *(self.deeds, self.aim, self.halting, self.leases, self.reverts, self.truth, self.limits),
            *(self.words, self.units, self.takeovers, self.duties, self.heard, self.recovery),
        )


def oracles(world: "World") -> Oracles:
    ground, deeds = world.ground, Deeds(world.ground, world.operators.keys)
    leases = Leases(ground, deeds)
    reverts = Reverts(ground, deeds, leases)
    return Oracles(
        deeds=deeds,
        aim=Aim(ground, deeds),
        halting=Halting(ground, deeds, world.coordinators),
        leases=leases,
        reverts=reverts,
        truth=Truth(ground, deeds),
        limits=LimitsHold(ground, deeds, lambda: world.machines, world.settings.limits),
        words=Words(ground, deeds, reverts),
        units=Units(ground),
        takeovers=TakeOvers(ground, world.coordinators),
        duties=Duties(ground, deeds, world.network),
        heard=HeardHolds(ground),
        recovery=Recovery(ground, deeds, lambda: world.machines),
    )
