"""Moves of plots that befall a host: its agent, its disk, its processes. What lasts is undone after a while."""

from tests.simulation.clock import MS, SECOND
from tests.simulation.plot_scene import Scene

# --- what lasts is to be taken back ------------------------------------------------------------------------------


def halts_here(scene: Scene) -> None:
    """The halt file, once two or more are paused."""
    machine = scene.machine

    def engage() -> None:
        machine.halt_file = True

    def lift() -> None:
        machine.halt_file = False

    scene.later(scene.dice.choice((300, 1_500)), engage)
    scene.later(6_000, lift)


def disk_is_full(scene: Scene) -> None:
    disk = scene.machine.disk

    def room() -> None:
        disk.problem = ""

    disk.problem = "no space left on device"
    scene.later(scene.dice.choice((3_000, 9_000)), room)


def reverts_fail(scene: Scene) -> None:
    machine = scene.machine

    def work() -> None:
        machine.revert_problem = ""

    machine.revert_problem = "cannot signal: operation not permitted"
    scene.later(scene.dice.choice((4_000, 8_000)), work)


def agent_dies(scene: Scene) -> None:
    agent = scene.machine.agent
    if agent is not None:
        scene.later(scene.dice.choice((1, 200, 1_500)), lambda: agent.die("killed"))


def agent_stops(scene: Scene) -> None:
    agent = scene.machine.agent
    if agent is None:
        return

    def again() -> None:
        agent.wanted = True
        agent.start()

    scene.later(scene.dice.choice((200, 1_500)), agent.stop)
    scene.later(9_000, again)


def is_cut_off(scene: Scene) -> None:
    """For longer than its lease."""
    scene.world.network.part(scene.machine.name, 13 * SECOND)


def is_cut_off_briefly(scene: Scene) -> None:
    """For longer than the shortest lease, and not for as long as a strike is good for."""
    scene.world.network.part(scene.machine.name, scene.dice.choice((3_500, 5_000, 6_500)) * MS)


# --- the host and its processes ----------------------------------------------------------------------------------


def is_gone_for_long(scene: Scene) -> None:
    """Nothing is heard of it for longer than anybody waits, and nobody restarts what it loses."""
    life = scene.machine.life
    life.fewer = 1.0
    scene.world.network.part(scene.machine.name, 25 * SECOND)

    def restarts() -> None:
        life.fewer = 0.0

    scene.later(1_500, restarts)


def is_rolled_back(scene: Scene) -> None:
    """Before anybody has heard of the blow."""
    machine = scene.machine
    scene.world.network.part(machine.name, 2 * SECOND)

    def lose() -> None:
        if not machine.up:
            return
        machine.power_off()
        if machine.disk.roll_back():
            for witness in scene.world.ground.witnesses:
                witness.forgot(machine)
        scene.world.ground.clock.after(3 * SECOND, machine.boot)

    scene.later(1, lose)


def another_exits(scene: Scene) -> None:
    """One of the victim's service, which nobody restarts for a while."""
    machine, life, victim = scene.machine, scene.machine.life, scene.proc
    if victim is None:
        return
    others = [one for one in life.table if one.service == victim.service and one is not victim and one.ready]
    if not others:
        return
    other = scene.dice.choice(others)

    def exits() -> None:
        life.fewer = 1.0
        life.end(other)

    def restarts() -> None:
        life.fewer = 0.0

    def back() -> None:
        for service, slot in [one for one in life.idle_slots if one[0].unit_of(one[1]) == other.unit]:
            life.start_unit(service.unit_of(slot))

    scene.later(5, exits)
    scene.later(240, restarts)
    scene.world.ground.clock.after(7 * SECOND, lambda: back() if machine.up else None)


def freezes(scene: Scene) -> None:
    """With its clock, as an intent is written."""
    ns = scene.dice.randint(5, 60) * MS
    scene.world.ground.clock.after(ns, lambda: scene.machine.freeze(25 * SECOND, clock_stands=True))


def reboots(scene: Scene) -> None:
    machine = scene.machine
    if machine.up:
        scene.later(1, machine.power_off)
        scene.world.ground.clock.after(2 * SECOND, lambda: None if machine.up else machine.boot())


def gives_a_pid_on(scene: Scene) -> None:
    """One of the mail service ends, and the next has its pid: it may be struck before anybody hears of that."""
    life = scene.machine.life
    found = [one for one in life.table if one.service == "mail.service" and one.ready and one.slot >= 0]
    if found and scene.machine.up:
        life.given_on(scene.dice.choice(found))


def hangs_in_the_kernel(scene: Scene) -> None:
    """Uninterruptible, for longer than a recovery is waited for."""
    proc, life = scene.proc, scene.machine.life
    if proc is not None and proc.alive and proc.state == "S":
        proc.state = "D"
        scene.world.ground.clock.after(25 * SECOND, lambda: life.wake(proc))
