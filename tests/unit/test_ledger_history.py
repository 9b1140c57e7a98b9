"""I3: no history of grants, blows, exits, recoveries, delays and clears takes victims past any limit.

The oracle below knows the true world, second by second, and counts for itself; of the ledger it uses only what
was granted. The ledger sees scans as old as they are, and reports as late as they come.
"""

import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from killdeer.v1.operator_pb2 import StrikeView
from killdeer.v1.process_pb2 import Action, Blow, Exit, Identity, Kill, Pause, StrikeState, Successor
from killdeer_coordinator.core.books import Decide, RunLimits
from killdeer_coordinator.core.ledger import Granted, GrantRequest, Standing, clear, grant, release, struck, update
from tests.support.books import books, decided, host, later, run

HOSTS = {"web-1": "a", "web-2": "a", "web-3": "b"}
SERVICES = ("worker@", "cache")
RUNS = ("r1", "r2")
RIGHT_MS = 10_000

# Few limits at a time: where all are set, the first withholds everything and the others are not tried.
FLEET_SCOPES = ("in_flight", "per_host", "per_zone", "per_service", "per_minute")
RUN_LIMITS: dict[str, tuple[int, ...]] = {
    "in_flight": (1, 2, 3),
    "per_host": (1, 2),
    "per_service": (1, 2, 3),
    "per_service_percent": (20, 34, 50, 67),
    "per_minute": (1, 2, 3),
    "min_healthy": (1, 3, 5, 7),
    "min_healthy_percent": (20, 50, 67, 80),
    "cooldown_ms": (5_000, 100_000),
}


@dataclass(slots=True)
class Victim:
    """The truth about one victim, in ms; -1: it has not happened."""

    command: str
    run: str
    host: str
    service: str
    pid: int
    pause: bool
    granted: int
    signal: int = -1
    down: int = -1
    up: int = -1
    held: bool = True

    @property
    def lacking(self) -> bool:
        return self.down >= 0 and self.up < 0

    @property
    def doomed(self) -> bool:
        return self.held and self.down < 0

    def view(self) -> StrikeView:
        view = StrikeView(
            command_id=self.command,
            victim=Identity(host=self.host, boot_id="b", pid=self.pid, start_ticks=self.pid),
            service=self.service,
            action=Action(pause=Pause(length_ms=5)) if self.pause else Action(kill=Kill(signal=15)),
            state=StrikeState.STRIKE_STATE_SENT,
        )
        if self.signal >= 0:
            view.state = StrikeState.STRIKE_STATE_STRUCK
            view.blows.append(Blow(number=1, sent_boot_ns=self.signal * 1_000_000))
        if self.pause and self.up >= 0:
            view.blows.append(Blow(number=2, sent_boot_ns=self.up * 1_000_000, revert=True))
        if not self.pause and self.down >= 0:
            view.state = StrikeState.STRIKE_STATE_GONE
            view.exit.CopyFrom(Exit(at_boot_ns=self.down * 1_000_000))
        if not self.pause and self.up >= 0:
            view.successor.CopyFrom(Successor(at_boot_ns=self.up * 1_000_000))
        return view


@dataclass(slots=True)
class World:
    size: dict[tuple[str, str], int]  # (service, host) -> processes when nobody strikes
    victims: list[Victim] = field(default_factory=list)

    def whole(self, service: str) -> int:
        return sum(size for (name, _), size in self.size.items() if name == service)

    def of(self, service: str) -> list[Victim]:
        return [victim for victim in self.victims if victim.service == service]

    def ready(self, service: str, on: str) -> int:
        down = sum(victim.lacking and victim.host == on for victim in self.of(service))
        return self.size[service, on] - down


class History:
    """One seed, one history."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        sizes = {(service, name): self.dice.randint(0, 4) for service in SERVICES for name in HOSTS}
        self.world = World(size=sizes)
        self.limits = {name: self._run_limits() for name in RUNS}
        self.fleet = {scope: self.dice.randint(1, 4) for scope in FLEET_SCOPES if self.dice.random() < 0.2}
        self.books = books(
            hosts=tuple(host(name, zone=zone) for name, zone in HOSTS.items()),
            runs=tuple(run(name, self.limits[name]) for name in RUNS),
            limits=self.fleet,
        )
        self.scans = {service: self._scanned(service) for service in SERVICES}
        self.granted = 0

    def _run_limits(self) -> RunLimits:
        chosen = self.dice.sample(sorted(RUN_LIMITS), self.dice.randint(0, 2))
        values = {name: self.dice.choice(RUN_LIMITS[name]) for name in chosen}
        return replace(RunLimits(in_flight=None, per_host=None), **values)

    @property
    def now(self) -> int:
        return self.books.now_ms

    def step(self) -> None:
        held = [victim for victim in self.world.victims if victim.held]
        if not held or self.dice.random() < 0.4:
            self.ask()
        elif self.dice.random() < 0.2:
            self.books = later(self.books, self.dice.choice((1, 100, 3_000, 9_000, 12_000, 61_000)))
        else:
            verb = self.dice.choice((self.signal, self.exits, self.comes_back, self.report, self.settles))
            verb(self.dice.choice(held))
        self.check()

    def ask(self) -> None:
        service, run_id = self.dice.choice(SERVICES), self.dice.choice(RUNS)
        if self.dice.random() < 0.7:
            self.books = later(self.books, 1)
            self.scans[service] = self._scanned(service)
        here = [name for name in HOSTS if self._alive(service, name) > 0]
        if not here:
            return
        on = self.dice.choice(here)
        self.granted += 1
        name = f"c{self.granted}"
        victim = Victim(name, run_id, on, service, self.granted, self.dice.random() < 0.3, self.now)
        answer = self.decide(
            grant(
                GrantRequest(
                    permit_id=f"p-{name}",
                    command_id=name,
                    run_id=run_id,
                    host=on,
                    service=service,
                    zone=HOSTS[on],
                    not_after_ms=self.now + RIGHT_MS,
                    limits=self.limits[run_id],
                    standing=self.scans[service],
                    view=victim.view(),
                    who="ada",
                )
            )
        )
        if isinstance(answer, Granted):
            self.world.victims.append(victim)

    def signal(self, victim: Victim) -> None:
        """Reported at once or later; its exit comes at once or later."""
        if victim.signal >= 0 or self.now > victim.granted + RIGHT_MS:
            return
        victim.signal = self.now
        if victim.pause or self.dice.random() < 0.5:
            victim.down = self.now
        if self.dice.random() < 0.5:
            self.books = later(self.books, self.dice.choice((0, 50, 2_000)))
            self.decide(struck(victim.command, victim.view()))

    def exits(self, victim: Victim) -> None:
        if victim.signal >= 0 and victim.down < 0:
            victim.down = self.now

    def comes_back(self, victim: Victim) -> None:
        if victim.lacking:
            victim.up = self.now

    def report(self, victim: Victim) -> None:
        self.decide(update(victim.view()))

    def settles(self, victim: Victim) -> None:
        """Recovered, refused, or cleared by an operator who knows that nothing more will come of it."""
        over = victim.signal < 0 and self.now > victim.granted + RIGHT_MS
        if (victim.up >= 0 or over) and self.dice.random() < 0.3:
            self.decide(clear(f"p-{victim.command}", "eve", "looked at it"))
        elif victim.up >= 0:
            self.decide(release(victim.command, "recovered", view=victim.view()))
        elif victim.signal < 0 and self.dice.random() < 0.3:
            self.decide(release(victim.command, "refused", never_sent=True, view=victim.view()))
        else:
            return
        victim.held = False

    def decide(self, decide: Decide) -> object:
        self.books, decision = decided(self.books, decide)
        return decision.answer

    def _alive(self, service: str, on: str) -> int:
        """Processes that nobody has a permit for yet."""
        return self.world.ready(service, on) - sum(v.doomed and v.host == on for v in self.world.of(service))

    def _scanned(self, service: str) -> Standing:
        """A host tells of the successors it knows before it answers a scan that counts them."""
        for victim in self.world.of(service):
            if victim.held and victim.up >= 0:
                self.report(victim)
        return Standing(
            service=service,
            ready_by_host={name: self.world.ready(service, name) for name in HOSTS},
            begun_ms=self.now,
            begun_boot_ns=dict.fromkeys(HOSTS, self.now * 1_000_000),
        )

    # --- the oracle: what must hold after every step -------------------------------------------------------

    def check(self) -> None:
        flying = [victim for victim in self.world.victims if victim.held]
        self._fleets(flying)
        for name, limits in self.limits.items():
            own = [victim for victim in flying if victim.run == name]
            assert len(own) <= (limits.in_flight or 99), "a run's in_flight"
            self._rate([v for v in self.world.victims if v.run == name], limits.per_minute or 99)
            for on in {victim.host for victim in own}:
                assert sum(v.host == on for v in flying) <= (limits.per_host or 99), "a run's per_host"
            for service in {victim.service for victim in own}:
                self._service(service, limits, [v for v in flying if v.service == service])
        for service in SERVICES:
            self._cooldown(self.world.of(service))

    def _fleets(self, flying: list[Victim]) -> None:
        assert len(flying) <= self.fleet.get("in_flight", 99), "the fleet's in_flight"
        for name, zone in HOSTS.items():
            assert sum(v.host == name for v in flying) <= self.fleet.get("per_host", 99), "per_host"
            assert sum(HOSTS[v.host] == zone for v in flying) <= self.fleet.get("per_zone", 99), "per_zone"
        for service in SERVICES:
            assert sum(v.service == service for v in flying) <= self.fleet.get("per_service", 99), "per_service"
        self._rate(self.world.victims, self.fleet.get("per_minute", 99))

    def _service(self, service: str, limits: RunLimits, flying: list[Victim]) -> None:
        whole = self.world.whole(service)
        assert len(flying) <= (limits.per_service or 99), "a run's per_service"
        if limits.per_service_percent is not None:
            assert len(flying) * 100 <= limits.per_service_percent * whole, "a run's per_service %"
        if limits.min_healthy is None and limits.min_healthy_percent is None:
            return
        # However soon those that were struck will go, so many are left.
        left = whole - sum(victim.up < 0 for victim in flying)
        assert left >= (limits.min_healthy or 0), "min_healthy"
        assert left * 100 >= (limits.min_healthy_percent or 0) * whole, "min_healthy %"

    def _rate(self, victims: list[Victim], most: int) -> None:
        signals = sorted(victim.signal for victim in victims if victim.signal >= 0)
        for first, later_one in zip(signals, signals[most:], strict=False):
            assert later_one - first >= 60_000, "per_minute"

    def _cooldown(self, victims: list[Victim]) -> None:
        struck_ones = sorted((v for v in victims if v.signal >= 0), key=lambda victim: victim.signal)
        for before, after in pairwise(struck_ones):
            if after.granted > before.granted:
                assert after.signal - before.signal >= self.limits[after.run].cooldown_ms, "cooldown"


@settings(max_examples=150, deadline=None)
@example(seed=42090)  # a victim exits in the very instant in which a scan begins
@given(seed=st.integers(0, 2**32 - 1))
def test_no_history_takes_victims_past_a_limit(seed: int) -> None:
    history = History(seed)
    for _ in range(120):
        history.step()


def test_histories_reach_the_states_that_matter() -> None:
    """The oracle proves nothing about histories in which nothing is granted."""
    victims = []
    for seed in range(20):
        history = History(seed)
        for _ in range(120):
            history.step()
        victims += history.world.victims
    assert len(victims) > 100
    assert any(victim.held and victim.lacking for victim in victims)
    assert any(not victim.held and victim.signal < 0 for victim in victims)
    assert any(victim.pause and victim.up >= 0 for victim in victims)
