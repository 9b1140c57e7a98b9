"""Histories with a plot: every tenth seed has one, and every fiftieth one of the later ones. Its experiments are
of few kinds, its weather is fair, and one chain of faults befalls it again and again that other histories hardly
ever come to."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from killdeer_coordinator.core.books import Books, Decision, Letter, PutPermit
from tests.simulation import plot_halts as halts
from tests.simulation import plot_hosts as hosts
from tests.simulation.clock import SECOND
from tests.simulation.deeds import strikes_of
from tests.simulation.experiments import Limits, Target, Wish
from tests.simulation.ground import Fell, Witness
from tests.simulation.plot_scene import Scene

if TYPE_CHECKING:
    from tests.simulation.host import Machine
    from tests.simulation.world import World

EVERY, PLACE = 10, 7
LATER_EVERY, LATER_PLACE = 50, 43

Move = Callable[[Scene], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """`ordered`, `struck`, `granted`, `posted`, `now_and_then`: what may befall the world at each such moment.
    `rest_s`: how long it is left alone after one. `rearmed_s`: how often somebody rearms."""

    name: str
    wish: Wish
    shared: bool = False
    ordered: tuple[Move, ...] = ()
    struck: tuple[Move, ...] = ()
    granted: tuple[Move, ...] = ()
    posted: tuple[Move, ...] = ()
    now_and_then: tuple[Move, ...] = ()
    busy: float = 2.0
    rest_s: float = 4.0
    rearmed_s: float = 8.0
    lease_ms: tuple[int, ...] = (6_000, 10_000)
    disk_slow_ns: int = 0
    evidence_late_ns: int = 0
    answers_late_ns: int = 0

    @property
    def moves(self) -> tuple[Move, ...]:
        return (*self.ordered, *self.struck, *self.granted, *self.posted, *self.now_and_then)


WORKER = Target(text='{unit: "worker@*.service"}', service="worker@", exe="", user="")
MAIL = Target(text="{unit: mail.service}", service="mail.service", exe="", user="")
WIDE = Limits(in_flight=3, per_host=3)
ALONE = Limits(in_flight=1, per_host=1)

PAUSES = Wish(actions=("{pause: {for: 4s}}", "{pause: {for: 12s}}", "{pause: {for: 12s}}"), limits=(WIDE,))
SHORT = Wish(actions=("{pause: {for: 1s}}", "{pause: {for: 4s}}", "kill"), limits=(WIDE,), over=("4s", "8s"))
LONG = Wish(actions=("{terminate: {grace: 6s}}", "{hold-down: 8s}"), limits=(WIDE, ALONE), targets=(WORKER,))
KILLS = Wish(actions=("kill", "{kill: TERM}", "{pause: {for: 4s}}"), limits=(ALONE, WIDE))
SHARES = Wish(
    actions=("{pause: {for: 12s}}",),
    limits=(
        Limits(in_flight=5, per_host=3, min_healthy_percent=67),
        Limits(in_flight=5, per_host=3, min_healthy_percent=75),
        Limits(in_flight=5, per_host=3, per_service_percent=34),
        Limits(in_flight=5, per_host=3, per_service_percent=15),
    ),
)
QUEUES = Wish(actions=("kill", "{pause: {for: 4s}}"), limits=(ALONE,), strikes=("6",))
NAMESAKES = Wish(actions=("{pause: {for: 1s}}",), limits=(WIDE,), targets=(MAIL,), strikes=("6",))
BLOWS = Wish(
    actions=("{terminate: {grace: 1s}}", "{terminate: {grace: 3s}}", "{hold-down: 8s}", "kill"), limits=(WIDE,)
)
PLAIN = Wish(actions=("kill", "{terminate: {grace: 3s}}", "{pause: {for: 4s}}"), limits=(WIDE,))

FIRST = (
    Plot(
        name="taken back on a bad day",
        wish=PAUSES,
        struck=(hosts.halts_here, hosts.disk_is_full, hosts.agent_dies, hosts.agent_stops, hosts.is_cut_off),
        rest_s=3.0,
    ),
    Plot(name="reverts fail", wish=SHORT, struck=(hosts.reverts_fail,), rest_s=2.0),
    Plot(
        name="halted while cut off",
        wish=LONG,
        struck=(halts.cut_off_and_halted, halts.cut_off_and_forgotten, hosts.agent_dies),
        rest_s=9.0,
        rearmed_s=14.0,
        lease_ms=(10_000, 15_000),
    ),
    Plot(
        name="halts that crash",
        wish=PLAIN,
        now_and_then=(halts.halts_and_keeps_nothing, halts.keeps_late, halts.halts_across_a_rearm),
        rest_s=12.0,
        rearmed_s=25.0,
    ),
    Plot(
        name="nobody comes back",
        wish=KILLS,
        struck=(hosts.is_gone_for_long, hosts.is_rolled_back, hosts.another_exits),
        busy=1.0,
        rest_s=8.0,
        lease_ms=(3_000, 6_000),
    ),
    Plot(name="shares of small services", wish=SHARES, busy=1.0),
    Plot(
        name="aborted at the grant",
        wish=PAUSES,
        granted=(halts.aborts,),
        ordered=(halts.aborts_past_it, halts.halts_past_it, hosts.disk_is_full),
        struck=(halts.aborts,),
        rest_s=1.5,
    ),
    Plot(
        name="held up in the instant",
        wish=PLAIN,
        ordered=(hosts.freezes,),
        struck=(hosts.hangs_in_the_kernel,),
        rest_s=5.0,
        disk_slow_ns=60_000_000,
    ),
    Plot(name="another boot", wish=QUEUES, struck=(hosts.reboots,), rest_s=7.0),
    Plot(
        name="a namesake",
        wish=NAMESAKES,
        now_and_then=(hosts.gives_a_pid_on,),
        busy=6.0,
        rest_s=2.0,
        evidence_late_ns=4 * SECOND,
    ),
    Plot(
        name="late letters",
        wish=PLAIN,
        shared=True,
        posted=(
            halts.halts_before_it_is_read,
            halts.halts_and_rearms_before_it_is_read,
            halts.letters_are_doubted,
        ),
        rest_s=4.0,
        rearmed_s=14.0,
    ),
)

LATER = (
    Plot(
        name="answers come late",
        wish=BLOWS,
        ordered=(hosts.is_cut_off_briefly,),
        struck=(hosts.is_cut_off_briefly,),
        rest_s=7.0,
        lease_ms=(3_000, 6_000),
        answers_late_ns=1_800_000_000,
    ),
    Plot(
        name="letters wait",
        wish=PLAIN,
        shared=True,
        granted=(halts.halts_as_letters_wait,),
        rest_s=3.0,
        rearmed_s=14.0,
    ),
)
"""With seeds of their own, so that all histories stay what they were that had a plot before these were written."""

PLOTS = (*FIRST, *LATER)

MOVES = sorted({move.__name__ for plot in PLOTS for move in plot.moves})


def plot_of(seed: int) -> Plot | None:
    """Each has one history in a hundred, or nearly."""
    if seed % EVERY == PLACE:
        return FIRST[seed // EVERY % len(FIRST)]
    return LATER[seed // LATER_EVERY % len(LATER)] if seed % LATER_EVERY == LATER_PLACE else None


class Plotter(Witness):
    """Sees to it that the plot's moves are made."""

    def __init__(self, world: "World", plot: Plot) -> None:
        self._world = world
        self._plot = plot
        self._dice: random.Random = world.ground.dice("plot")
        self._rests_until_ns = 0

    def begin(self) -> None:
        world, plot = self._world, self._plot
        world.ground.reach(f"plot {plot.name}")
        world.network.answers_late_ns = plot.answers_late_ns
        for machine in world.machines:
            machine.disk.slow_ns = plot.disk_slow_ns
            machine.record.late_ns = plot.evidence_late_ns or machine.record.late_ns
        if plot.now_and_then:
            world.ground.clock.after(4 * SECOND, self._now_and_then)

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        if frame.HasField("strike"):
            victim = machine.life.table.at(frame.strike.victim.pid)
            self._perhaps(self._plot.ordered, Scene(self._world, self._dice, machine, victim, frame.strike.run_id))

    def struck(self, fell: Fell) -> None:
        run_id = self._world.oracles.deeds.orders[fell.command_id].frame.run_id
        self._perhaps(self._plot.struck, Scene(self._world, self._dice, fell.machine, fell.proc, run_id))

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            if isinstance(change, PutPermit) and change.row.permit_id not in books.permits:
                there = [one for one in self._world.machines if one.name == change.row.host]
                if there:
                    run_id = change.row.run_id
                    scene = Scene(self._world, self._dice, there[0], None, run_id, sender=coordinator)
                    self._perhaps(self._plot.granted, scene)

    def posted(self, coordinator: str, letters: Sequence[Letter]) -> None:
        strikes = list(strikes_of(letters))
        if strikes:
            there = next(one for one in self._world.machines if one.name == strikes[0].victim.host)
            recipient = next(one.recipient for one in letters if one.host == there.name)
            scene = Scene(
                self._world, self._dice, there, None, strikes[0].run_id, sender=coordinator, recipient=recipient
            )
            self._perhaps(self._plot.posted, scene)

    def _now_and_then(self) -> None:
        if self._world.faults.over:
            return
        self._world.ground.clock.after(SECOND, self._now_and_then)
        machine = self._dice.choice(self._world.machines)
        self._perhaps(self._plot.now_and_then, Scene(self._world, self._dice, machine, None, ""))

    def _perhaps(self, some: tuple[Move, ...], scene: Scene) -> None:
        ground = self._world.ground
        if not some or self._world.faults.over or ground.clock.now_ns < self._rests_until_ns:
            return
        if self._dice.random() < 0.5:
            return
        move = self._dice.choice(some)
        self._rests_until_ns = ground.clock.now_ns + int(self._plot.rest_s * SECOND)
        ground.reach(f"move {move.__name__}")
        ground.trace.line("PLOT", f"{move.__name__} at {scene.machine}")
        move(scene)
