"""Three coordinators on one store through days of faults, each from a seed: frozen and restarted coordinators, a
store that fails or lies, hosts that move, halts and aborts anywhere. Limits hold, nothing is sent twice, and in the
end nothing is left."""

import random
from collections import Counter

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.presence import AWAY_MS
from tests.support.fake_agent import FakeAgent
from tests.support.world import World
from tests.unit.test_core_far import Coordinators
from tests.unit.test_core_runs import file

MOST = 2
HOSTS = 4
STEPS = 60


class BadDay:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.agents = [FakeAgent(f"a-{n}", workers=4, recovers_ms=1_500) for n in range(HOSTS)]
        first = World(self.agents[:2], {"in_flight": MOST}, name="c1", instance="i1")
        second = World(self.agents[2:3], name="c2", instance="i2", shares=first)
        third = World(self.agents[3:], name="c3", instance="i3", shares=first)
        self.store = first.store
        self.both = Coordinators(first, second, third)
        self.keys = 0
        self.instances = 3

    def step(self) -> None:
        what = [self.start, self.start, self.freeze, self.thaw, self.move, self.halt, self.rearm, self.abort]
        what += [self.break_store, self.mend_store, self.mend_store, self.restart, self.lie]
        self.dice.choice(what)()
        for _ in range(self.dice.randint(1, 40)):
            self.both.run(100)
            self.check()

    def check(self) -> None:
        assert sum(agent.in_flight for agent in self.agents) <= MOST
        for agent in self.agents:
            told = Counter(f.strike.command_id for f in agent.got if f.WhichOneof("frame") == "strike")
            assert not told or max(told.values()) == 1, "a command is told once"

    def settle(self) -> None:
        """No fault any more: everything comes to its end."""
        self.mend_store()
        self.both.frozen.clear()
        for agent in self.agents:
            if self.home(agent) is None:
                self.join(agent, self.both.worlds[0])
        self.both.run(3 * AWAY_MS)
        self.rearm()
        self.both.run(120_000)
        self.check()

    # --- what happens ---------------------------------------------------------------------------------------

    def awake(self) -> World | None:
        awake = [world for world in self.both.worlds if world.name not in self.both.frozen]
        return self.dice.choice(awake) if awake else None

    def home(self, agent: FakeAgent) -> World | None:
        return next((one for one in self.both.worlds if agent.link and one._link_host.get(agent.link)), None)

    def start(self) -> None:
        if (world := self.awake()) is not None:
            self.keys += 1
            source = file("{name: all, strikes: 5}", "in_flight: 2, per_host: 2")
            world.ask(o.RunRequest(source=source, file="f.yaml", seed=self.keys, key=f"k{self.keys}"), "operator")

    def freeze(self) -> None:
        if len(self.both.frozen) < 2 and (world := self.awake()) is not None:
            self.both.frozen.add(world.name)

    def thaw(self) -> None:
        self.both.frozen.clear()

    def halt(self) -> None:
        if (world := self.awake()) is not None:
            world.ask(o.HaltRequest(), "viewer")

    def rearm(self) -> None:
        if (world := self.awake()) is not None:
            world.ask(o.RearmRequest(reason="over"), "approver", name=f"approver {self.keys}")

    def abort(self) -> None:
        going = [row.run_id for row in self.store.runs.values() if row.state == o.RUN_STATE_RUNNING]
        if going and (world := self.awake()) is not None:
            world.ask(o.AbortRunRequest(run=self.dice.choice(going)), "operator")

    def break_store(self) -> None:
        self.store.failing = "the server went away"

    def mend_store(self) -> None:
        self.store.failing = ""

    def lie(self) -> None:
        self.store.lies_about_the_next_grant = True

    def restart(self) -> None:
        """Killed and started again, with its hosts cut off until they come to somebody."""
        if self.store.failing or (world := self.awake()) is None:
            return
        for agent in list(world.agents.values()):
            agent.link = 0
        self.instances += 1
        world.instance = f"i{self.instances}"
        world.restart(join=False)
        for agent in list(world.agents.values()):
            self.join(agent, self.dice.choice(self.both.worlds))

    def move(self) -> None:
        agent = self.dice.choice(self.agents)
        self.join(agent, self.dice.choice(self.both.worlds))

    def join(self, agent: FakeAgent, there: World) -> None:
        """It dials another coordinator; the one before hears of that, or only finds out later."""
        if there.name in self.both.frozen or self.store.failing:
            return
        for world in self.both.worlds:
            if world.agents.pop(agent.host, None) is not None:
                link = next((k for k, host in world._link_host.items() if host == agent.host), 0)
                world._link_host.pop(link, None)
                if link and world.name not in self.both.frozen and self.dice.random() < 0.5:
                    world.give(w.Left(link))
        there.agents[agent.host] = agent
        there.join(agent.host)


@pytest.mark.parametrize("seed", [*range(6), 124])
def test_a_bad_day(seed: int) -> None:
    day = BadDay(seed)
    for _ in range(STEPS):
        day.step()
    day.settle()
    assert {row.state for row in day.store.runs.values()} <= {o.RUN_STATE_ENDED}
    assert not day.store.in_flight
    assert not day.store.letters
    assert all(not row.quarantined for row in day.store.hosts.values())
    assert all(day.home(agent) is not None for agent in day.agents)
