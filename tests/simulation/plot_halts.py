"""Moves of plots of halts, letters and runs: people act as something else is on its way."""

from tests.simulation.clock import MS, SECOND
from tests.simulation.network import Stream
from tests.simulation.plot_scene import Scene

# --- halts -------------------------------------------------------------------------------------------------------


def cut_off_and_halted(scene: Scene) -> None:
    """Its stream ends, and before it can dial again somebody halts."""
    _cut_off(scene, 9)
    for ms in (100, 900):
        scene.later(ms, lambda: scene.world.operators.halts(rearming=False))


def cut_off_and_forgotten(scene: Scene) -> None:
    """The same, and its coordinator is started anew in between."""
    _cut_off(scene, 12)
    scene.later(60, scene.coordinator().crash)
    for ms in range(1_200, 5_000, 400):
        scene.later(ms, lambda: scene.world.operators.halts(rearming=False))


def halts_and_keeps_nothing(scene: Scene) -> None:
    """Neither the store nor the state directory takes the halt; agents alone have it when its coordinator dies."""
    store, coordinator = scene.world.store, scene.coordinator()

    def mended() -> None:
        store.failing = coordinator.keep_problem = ""

    store.failing = "cannot decide in the store: disk I/O error"
    coordinator.keep_problem = "cannot write outside.json: no space left on device"
    scene.world.operators.halts(rearming=False)
    scene.later(scene.dice.choice((40, 100, 400)), coordinator.crash)
    scene.later(600, mended)


def keeps_late(scene: Scene) -> None:
    """A halt that the state directory does not take, and another that it takes before the first is tried again."""
    coordinator = scene.coordinator()

    def mended() -> None:
        coordinator.keep_problem = ""
        scene.world.operators.halts(rearming=False)

    coordinator.keep_problem = "cannot write outside.json: no space left on device"
    scene.world.operators.halts(rearming=False)
    scene.later(scene.dice.choice((300, 700)), mended)


def halts_across_a_rearm(scene: Scene) -> None:
    """One halt more while the one before is released; then streams are cut, so that what is known is told anew."""
    operators = scene.world.operators
    operators.halts(rearming=False)
    scene.later(500, operators.rearms)
    for ms in (500, 501, 503):
        scene.later(ms, lambda: operators.halts(rearming=False))
    for stream in [one for one in scene.world.network.streams if one.whole]:
        scene.later(1_500, stream.cut)


def halts_before_it_is_read(scene: Scene) -> None:
    """A letter with a strike is on its way; whoever sent it is held up, and who is to read it is halted first."""
    reader = scene.coordinator(scene.recipient)
    scene.coordinator(scene.sender).stall(3 * SECOND)
    reader.hang_letters(True)
    scene.later(30, lambda: scene.world.operators.halts(rearming=False, at=reader))
    scene.later(450, lambda: reader.hang_letters(False))


def halts_and_rearms_before_it_is_read(scene: Scene) -> None:
    reader = scene.coordinator(scene.recipient)
    halts_before_it_is_read(scene)
    scene.later(200, lambda: scene.world.operators.rearms(at=reader))


def halts_as_letters_wait(scene: Scene) -> None:
    """The store takes nothing more of a run's driver, just as a permit is granted to it: where letters of its are
    under way then, the strike's has to wait for them, and somebody halts meanwhile."""
    driver, operators = scene.coordinator(scene.sender), scene.world.operators
    driver.hang_writes(True)
    scene.later(scene.dice.choice((20, 100)), lambda: operators.halts(rearming=False, at=driver))
    scene.later(300, lambda: driver.hang_writes(False))
    scene.later(1_500, operators.rearms)


def letters_are_doubted(scene: Scene) -> None:
    """They are posted, and that is said to have failed."""
    store = scene.world.store

    def honest() -> None:
        store.lies = 0.0

    store.lies = 0.7
    scene.later(300, honest)


# --- runs --------------------------------------------------------------------------------------------------------


def aborts(scene: Scene) -> None:
    scene.world.ground.clock.after(
        scene.dice.choice((1, 300 * MS)), lambda: scene.world.operators.aborts(scene.run_id)
    )


def aborts_past_it(scene: Scene) -> None:
    """The order waits to be written; what takes it back goes first."""
    _held_back(scene)
    scene.later(100, lambda: scene.world.operators.aborts(scene.run_id))


def halts_past_it(scene: Scene) -> None:
    """A halt while the intent is on its way to a slow disk."""
    disk = scene.machine.disk

    def fast() -> None:
        disk.slow_ns = 0

    disk.slow_ns = 900 * MS
    scene.later(scene.dice.choice((60, 200, 400)), scene.world.operators.halts)
    scene.later(3_000, fast)


def _cut_off(scene: Scene, seconds: int) -> None:
    scene.world.network.part(scene.machine.name, seconds * SECOND)
    for stream in _streams(scene):
        stream.cut()


def _held_back(scene: Scene) -> None:
    for stream in _streams(scene):
        stream.block(SECOND)


def _streams(scene: Scene) -> list[Stream]:
    """The host's, that are whole."""
    return [one for one in scene.world.network.streams if one.whole and one.machine is scene.machine]
