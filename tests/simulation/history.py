"""One seed, one history: a minute of bad weather, then calm until all is well or ten minutes are over."""

from collections.abc import Callable

from tests.simulation.clock import SECOND
from tests.simulation.told import Broken, Told, Violation
from tests.simulation.world import World

BACKUP_EVERY_NS = 7 * SECOND
CALM_NS = 600 * SECOND
LOOK_EVERY_NS = 5 * SECOND


def run(seed: int, *, trace: Callable[[str], None] | None = None, to_the_end: bool = True) -> Told:
    """The same seed tells the same on every machine. It ends at the first violation; without `to_the_end`, with the
    last fault, which is told the same."""
    world = World(seed, trace)
    violations: tuple[Violation, ...] = ()
    try:
        _live(world, to_the_end)
    except Broken as broken:
        violations = (broken.violation,)
    finally:
        world.close()
    return Told(
        seed=seed,
        digest=world.ground.trace.digest,
        violations=violations,
        reached=world.ground.reached,
        strikes=world.ground.reached["blow"],
        faults=sum(count for name, count in world.ground.reached.items() if name.startswith("fault ")),
    )


def _live(world: World, to_the_end: bool) -> None:
    clock = world.ground.clock
    dice = world.ground.dice("history")
    world.begin()
    bad_until = clock.now_ns + dice.randint(40, 90) * SECOND
    while clock.now_ns < bad_until:
        clock.run_until(min(bad_until, clock.now_ns + BACKUP_EVERY_NS))
        world.back_up()
    if not to_the_end:
        return
    world.ground.trace.line("WORLD", "the last fault has been: calm")
    world.calm()
    calm_until = clock.now_ns + CALM_NS
    clock.run_until(clock.now_ns + 20 * SECOND)
    world.operators.settling = True
    whole = dice.random() < 0.05  # some histories are watched to their very end
    while clock.now_ns < calm_until and (whole or world.liveness.restless()):
        clock.run_until(clock.now_ns + LOOK_EVERY_NS)
    world.liveness.ended()
    world.ground.reach("history calm in the end")
