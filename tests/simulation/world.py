"""One simulated world: machines with agents, coordinators with a store, a network, people, and the bad day."""

from killdeer_coordinator.core.books import FleetLimits
from tests.simulation.agent import Agent
from tests.simulation.clock import MS, Clock
from tests.simulation.coordinator import T0_MS, Coordinator, Settings
from tests.simulation.faults import Faults
from tests.simulation.ground import Ground
from tests.simulation.host import Machine
from tests.simulation.murphy import Murphy
from tests.simulation.network import Network
from tests.simulation.operators import Operators
from tests.simulation.oracle_liveness import Liveness
from tests.simulation.oracles import oracles
from tests.simulation.plots import Plotter, plot_of
from tests.simulation.services import ACTIONS, EVERY, GuardFiles
from tests.simulation.store import FaultyStore
from tests.simulation.trace import Sink, Trace
from tests.simulation.troubles import Troubles

SWEEP_NS = 250 * MS
CALM_TICK_NS = 250 * MS
SHARED = 0.25  # of the histories have several coordinators


class World:
    """Made from a seed alone."""

    def __init__(self, seed: int, sink: Sink | None) -> None:
        clock = Clock()
        self.ground = Ground(seed=seed, clock=clock, trace=Trace(clock, sink))
        self.plot = plot = plot_of(seed)
        self._dice = self.ground.dice("world")
        self._wakes = self.ground.dice("wakes")
        self.environment = self.ground.dice("environment").choice(("staging", "staging", "production"))
        self.settings = _settings(self)
        self.troubles: list[Troubles] = []
        self.coordinators: list[Coordinator] = []
        self.ground.store_ms = self._store_ms
        self.store = FaultyStore(self.ground, self.settings.limits, self._store_ms, self._wake)
        self.coordinators.extend(self._coordinator(f"c{number}") for number in range(1, self._how_many() + 1))
        if self.settings.shared:
            self.ground.reach("several coordinators")
        self.network = Network(self.ground, self.coordinators)
        self.machines = [self._machine(f"h{number}") for number in range(1, self._dice.randint(2, 4) + 1)]
        self.operators = Operators(
            self.ground,
            self.coordinators,
            environment=self.environment,
            busy=self._dice.choice((2.0, 4.0, 8.0)) if plot is None else plot.busy,
            meddling=self._dice.choice((0.0, 0.5, 1.0, 2.0)) if plot is None else 0.0,
            wish=plot.wish if plot is not None else None,
            rearmed_s=plot.rearmed_s if plot is not None else 8.0,
        )
        self.faults = Faults(self)
        self.oracles = oracles(self)
        self.liveness = Liveness(self)
        self.ground.witnesses.extend(self.oracles.all)
        self.plotter = Plotter(self, plot) if plot is not None else None
        self.ground.witnesses.append(self.plotter or Murphy(self))

    def begin(self) -> None:
        for machine in self.machines:
            for proc in machine.life.table:
                for oracle in self.oracles.all:
                    oracle.spawned(machine, proc)
        for coordinator in self.coordinators:
            coordinator.start()
        for machine in self.machines:
            if machine.agent is not None:
                machine.agent.start_in(self._dice.randint(0, 2_000) * MS)
        self.ground.clock.after(SWEEP_NS, self._sweep)
        self.operators.begin()
        self.faults.begin()
        if self.plotter is not None:
            self.plotter.begin()

    def calm(self) -> None:
        """The last fault has been. Clones are switched off."""
        for machine in [one for one in self.machines if one.name != one.identity]:
            self.machines.remove(machine)
            if machine.agent is not None:
                machine.agent.wanted = False
            machine.power_off()
        self.faults.calm()
        self.operators.rest()
        for machine in self.machines:
            if machine.agent is not None:
                machine.agent.tick_ns = CALM_TICK_NS
        for coordinator in self.coordinators:
            coordinator.tick_ns = CALM_TICK_NS

    def clone(self, original: Machine) -> None:
        """A second machine from the image of a first: its name, its certificate, its journal."""
        if any(machine.identity == original.identity for machine in self.machines if machine is not original):
            return
        clone = self._machine(f"{original.name}x", identity=original.name)
        clone.disk.records = original.disk.records
        clone.labels = original.labels
        self.machines.append(clone)
        for proc in clone.life.table:
            for oracle in self.oracles.all:
                oracle.spawned(clone, proc)
        assert clone.agent is not None
        clone.agent.start_in(500 * MS)

    def back_up(self) -> None:
        """A backup of the store and of each disk."""
        self.store.copy()
        for machine in self.machines:
            machine.disk.copy()

    def close(self) -> None:
        self.store.close()

    def _sweep(self) -> None:
        self.ground.clock.after(SWEEP_NS, self._sweep)
        for oracle in self.oracles.all:
            oracle.swept()

    def _machine(self, name: str, *, identity: str = "") -> Machine:
        dice = self._dice
        every = ACTIONS
        machine = Machine(
            self.ground,
            name,
            identity=identity or name,
            labels={
                "environment": self.environment if dice.random() < 0.9 else "development",
                "role": "app",
                "zone": dice.choice("ab"),
            },
            services=EVERY,
            guard=GuardFiles(
                allow=(
                    ("worker@", every),
                    ("mail.service", every if dice.random() < 0.5 else every[:2]),
                    ("session-1.scope", every),  # which opens nothing: it is a login's
                ),
                deny_users=("root",),
                per_minute=dice.choice((None, None, 3, 12)) if self.plot is None else None,
            ),
            rtc=dice.random() < 0.7,
            drift_ppm=dice.choice((-4_000, -200, 0, 200, 4_000)),
            bpf=dice.random() < 0.7,
        )
        machine.agent = Agent(machine, self.network, self._trouble(name))
        return machine

    def _how_many(self) -> int:
        return self.ground.dice("coordinators").choice((2, 2, 3)) if self.settings.shared else 1

    def _coordinator(self, name: str) -> Coordinator:
        troubles = self._trouble(name)
        return Coordinator(self.ground, name, store=self.store, settings=self.settings, troubles=troubles)

    def _store_ms(self) -> int:
        """The clock of a store that is shared is its server's, else that of its only coordinator."""
        if not self.settings.shared:
            return self.coordinators[0].unix_ms
        return T0_MS + self.ground.clock.since_begin_ns // MS + self.store.wall_ms

    def _wake(self) -> None:
        """Most of those who listen hear of it, some later than others."""
        dice = self._wakes
        for coordinator in self.coordinators if self.settings.shared else ():
            if dice.random() < 0.9:
                self.ground.clock.after(dice.randint(MS // 2, 20 * MS), coordinator.woken)

    def _trouble(self, name: str) -> Troubles:
        troubles = Troubles(self.ground.dice(f"troubles of {name}"))
        self.troubles.append(troubles)
        return troubles


def _settings(world: World) -> Settings:
    dice = world.ground.dice("settings")
    limits = {"in_flight": dice.randint(1, 5), "per_host": dice.randint(1, 3), "per_service": dice.randint(1, 4)}
    if dice.random() < 0.3:
        limits["per_zone"] = dice.randint(1, 3)
    if dice.random() < 0.4:
        limits["per_minute"] = dice.choice((3, 8, 20))
    lease_ms = dice.choice((3_000, 6_000, 10_000, 15_000))
    shared = world.ground.dice("coordinators").random() < SHARED
    if world.plot is not None:
        limits = {"in_flight": 5, "per_host": 3, "per_service": 4}
        lease_ms, shared = dice.choice(world.plot.lease_ms), world.plot.shared
    return Settings(
        lease_ms=lease_ms,
        heartbeat_ms=lease_ms // 5,
        limits=FleetLimits(limits=limits),
        shared=shared,
    )
