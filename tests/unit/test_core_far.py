"""Several coordinators on one store: strikes that travel, drivers that die, hosts that move (R9, R10, R22, R24)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.core import letters
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.books import Audited, Books, CoordinatorRow, Letter
from killdeer_coordinator.core.flight import NOT_AFTER_MS
from killdeer_coordinator.core.presence import AWAY_MS, BEAT_EVERY_NS, Beaten, beat
from killdeer_coordinator.core.roster import Link
from tests.support import books as in_memory
from tests.support.fake_agent import FakeAgent
from tests.support.rows import putting
from tests.support.world import LEASE_MS, MS, World
from tests.unit.test_core_runs import file, run, states

HOUR_MS = 3_600_000


class Coordinators:
    """Worlds that share the first one's store, and one time. Who is frozen gets none of it."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = list(worlds)
        self.frozen: set[str] = set()
        for world in worlds:
            world.start(join=False)
        for world in worlds:
            for host in world.agents:
                world.join(host)
        self.run(4_000)

    def run(self, ms: int, until: Callable[[], bool] | None = None) -> None:
        for _ in range(max(1, ms // 100)):
            for world in self.worlds:
                if world.name not in self.frozen:
                    world.run(100)
                else:
                    world.now_ns += 100 * MS
            if until is not None and until():
                return
        assert until is None, f"it did not come to hold in {ms} ms"


def two(*agents: FakeAgent, limits: dict[str, int] | None = None) -> tuple[World, World, Coordinators]:
    """c1 without a host, c2 with all of them."""
    one = World((), limits, name="c1", instance="i1")
    other = World(agents or [FakeAgent("a-1")], name="c2", instance="i2", shares=one)
    return one, other, Coordinators(one, other)


def started(both: Coordinators, world: World, source: str, key: str = "k") -> str:
    ask = world.ask(o.RunRequest(source=source, file="f.yaml", seed=7, key=key), "operator")
    both.run(10_000, lambda: ask in world.ended)
    return world.answer(ask, o.RunResponse).run_id


def over(both: Coordinators, run_id: str, ms: int = 120_000) -> None:
    both.run(ms, lambda: both.worlds[0].store.runs[run_id].state == o.RUN_STATE_ENDED)


def view_of(world: World, run_id: str) -> o.RunView:
    found = world.core.runs.named(run_id)
    assert found is not None
    return world.core.runs.view(found)


def struck(world: World, host: str) -> Callable[[], bool]:
    return lambda: bool(world.told(host, "strike"))


# --- strikes that travel ------------------------------------------------------------------------------------


def test_a_run_strikes_hosts_of_another_coordinator_and_hears_what_came_of_it() -> None:
    one, other, both = two(FakeAgent("a-1"), FakeAgent("a-2"))
    run_id = started(both, one, file("{name: all, strikes: 4}", "in_flight: 1, per_host: 1"))
    over(both, run_id)
    view = view_of(one, run_id)
    assert o.RunVerdict.Name(view.verdict) == "RUN_VERDICT_HELD", view.why
    assert states(view) == ["recovered"] * 4
    assert one.store.runs[run_id].driver == "c1"
    assert not one.store.in_flight
    assert not one.store.letters
    assert {frame.strike.run_fence for frame in other.told("a-1", "strike")} == {1}


def test_i3_hosts_of_three_coordinators_never_pass_a_limit_of_two() -> None:
    agents = [FakeAgent(f"a-{n}", workers=6, recovers_ms=900) for n in (1, 2, 3)]
    one = World(agents[:1], {"in_flight": 2}, name="c1", instance="i1")
    others = [World([agent], name=f"c{n}", instance="i", shares=one) for n, agent in enumerate(agents[1:], 2)]
    both = Coordinators(one, *others)
    ids = [
        started(both, world, file("{name: all, strikes: 9}", "in_flight: 9, per_host: 9"), f"k{n}")
        for n, world in enumerate((one, others[0]))
    ]
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, sum(agent.in_flight for agent in agents), len(one.store.in_flight))
        return all(one.store.runs[run_id].state == o.RUN_STATE_ENDED for run_id in ids)

    both.run(180_000, ended)
    assert most == 2
    assert sum(len(agent.strikes) for agent in agents) == 18


def test_a_strike_travels_with_what_is_left_of_its_permit() -> None:
    agent = FakeAgent("a-1")
    one, other, both = two(agent)
    run_id = started(both, one, file())
    both.run(20_000, struck(other, "a-1"))
    [frame] = other.told("a-1", "strike")
    [permit] = [known for known in one.store.permits.values() if known.run_id == run_id]
    by_the_store = frame.strike.not_after_boot_ns // MS + other.unix_ms - other.now_ns // MS
    assert permit.granted_ms < by_the_store <= permit.not_after_ms


@pytest.mark.parametrize(
    ("late_ms", "session", "leased", "halted", "kind"),
    [
        (0, "s", True, False, "strike"),
        (NOT_AFTER_MS - 1, "s", True, False, "strike"),
        (NOT_AFTER_MS, "s", True, False, "revert"),
        (-1, "s", True, False, "revert"),  # the store's clock ran back: nothing is known of the time that is left
        (0, "another", True, False, "revert"),
        (0, "s", False, False, "revert"),
        (0, "s", True, True, "revert"),
    ],
)
def test_a_strike_that_must_not_be_delivered_has_its_id_used_up(
    late_ms: int, session: str, leased: bool, halted: bool, kind: str
) -> None:
    far = Link(number=-1, host="a-1", hello=a.Hello(), token="s", far="c2")
    letter = letters.to_host("c1", far, a.ConnectResponse(strike=a.Strike(command_id="r-1")), until_ms=NOT_AFTER_MS)
    link = Link(number=1, host="a-1", hello=a.Hello(), token=session, served=True, answered_boot_ns=5 * MS)
    link.lease_until_ns = 100 if leased else 0
    frame = letters.opened(letter, link, late_ms, 50, halted=halted)
    assert frame is not None
    assert frame.WhichOneof("frame") == kind
    if kind == "strike":
        assert frame.strike.not_after_boot_ns == (5 + NOT_AFTER_MS - late_ms) * MS
    else:
        assert frame.revert.command_id == "r-1"


def test_a_letter_that_may_not_have_been_posted_is_not_posted_again() -> None:
    agent = FakeAgent("a-1")
    one, other, both = two(agent)
    run_id = started(both, one, file())
    lost: list[w.Post] = []

    def lose(effect: w.Effect) -> list[w.Input] | None:
        if isinstance(effect, w.Post) and any(_holds_strike(letter) for letter in effect.letters):
            lost.append(effect)
            return [w.Posted(effect.token, "the connection was lost at the commit")]
        return None

    one.intercept = lose
    both.run(20_000, lambda: bool(lost))
    both.run(5_000, lambda: bool(other.told("a-1", "revert")))
    over(both, run_id)
    assert not other.told("a-1", "strike")
    assert not one.store.in_flight, "the agent's word that nothing was sent gave the permit back"


def _holds_strike(letter: Letter) -> bool:
    return a.ConnectResponse.FromString(letter.told).HasField("strike")


def test_a_revert_that_the_store_loses_on_its_way_out_is_told_again() -> None:
    one, other, both = two(FakeAgent("a-1", deaf_to_strikes=True))
    run_id = started(both, one, file())
    both.run(20_000, struck(other, "a-1"))
    lost: list[Letter] = []

    def lose(effect: w.Effect) -> list[w.Input] | None:
        if not isinstance(effect, w.Collect) or not one.store.letters or lost:
            return None
        lost.extend(one.store.collect("c2"))
        return []

    other.intercept = lose
    one.ask(o.AbortRunRequest(run=run_id), "operator")
    both.run(20_000, lambda: bool(other.told("a-1", "revert")))
    assert lost


def test_what_is_measured_by_the_store_is_measured_by_its_clock() -> None:
    agent = FakeAgent("a-1")
    one = World((), name="c1", instance="i1")
    one.store.clock = lambda: one.unix_ms - HOUR_MS
    other = World([agent], name="c2", instance="i2", shares=one)
    both = Coordinators(one, other)
    run_id = started(both, one, file("{name: all, strikes: 3}", "in_flight: 1, per_host: 1, min_healthy: 1"))
    over(both, run_id)
    assert states(view_of(one, run_id)) == ["recovered"] * 3
    for permit in one.store.permits.values():
        assert 0 <= permit.not_after_ms - permit.granted_ms - NOT_AFTER_MS <= 2_000


# --- halts and aborts ---------------------------------------------------------------------------------------


def test_a_halt_at_one_coordinator_ends_the_runs_and_stops_the_hosts_of_the_other() -> None:
    here, there = FakeAgent("a-1", recovers_ms=None), FakeAgent("b-1")
    one = World([here], name="c1", instance="i1")
    other = World([there], name="c2", instance="i2", shares=one)
    both = Coordinators(one, other)
    run_id = started(both, one, file("{name: all, strikes: 6}", "in_flight: 1, per_host: 1"))
    both.run(20_000, lambda: bool(one.store.in_flight))
    other.ask(o.HaltRequest(reason="enough"), "viewer")
    one.give(w.Woken())
    assert one.told("a-1", "halt"), "a wake is enough"
    over(both, run_id)
    assert one.store.runs[run_id].verdict == o.RUN_VERDICT_HALTED
    assert here.halts.active and there.halts.active


def test_a_host_of_another_coordinator_is_bounded_by_two_seconds_a_lease_and_a_grace() -> None:
    one, other, both = two(FakeAgent("a-1"))
    both.run(60_000)
    ask = one.ask(o.HaltRequest(), "viewer")
    [host] = one.answer(ask, o.HaltResponse).hosts
    expected = one.unix_ms + 2_000 + LEASE_MS * 101 // 100 + 1_000
    assert abs(host.stops_by_unix_ms - expected) <= 1
    assert not other.store.in_flight


def test_an_abort_asked_of_another_coordinator_ends_the_run_and_names_who_asked() -> None:
    one, other, both = two(FakeAgent("a-1", recovers_ms=None))
    run_id = started(both, one, file("{name: all, strikes: 3}"))
    both.run(20_000, struck(other, "a-1"))
    ask = other.ask(o.AbortRunRequest(run=run_id, reason="enough"), "operator", name="bob")
    assert other.answer(ask, o.AbortRunResponse).run.state == o.RUN_STATE_ABORTING
    over(both, run_id)
    row = one.store.runs[run_id]
    assert (row.verdict, row.why) == (o.RUN_VERDICT_ABORTED, "aborted by bob: enough")
    assert len(one.store.said("run.aborted")) == 1


# --- a driver that is gone ----------------------------------------------------------------------------------


def test_r24_the_runs_of_a_coordinator_that_died_are_ended_and_what_was_sent_is_counted_and_reverted() -> None:
    one, other, both = two(FakeAgent("a-1", recovers_ms=None))
    run_id = started(both, one, file("{name: all, strikes: 3}"))
    both.run(20_000, struck(other, "a-1"))
    both.frozen.add("c1")
    both.run(AWAY_MS - 3_000)
    assert other.store.runs[run_id].state != o.RUN_STATE_ENDED, "it may only be slow"
    both.run(8_000, lambda: other.store.runs[run_id].state == o.RUN_STATE_ENDED)
    row = other.store.runs[run_id]
    assert (row.fence, row.verdict) == (2, o.RUN_VERDICT_ABORTED)
    assert row.why == "its coordinator c1 is gone"
    assert len(other.store.in_flight) == 1, "the victim has not recovered"
    assert [entry.subject for entry in other.store.said("coordinator.gone")] == ["c1"]
    both.run(60_000)
    assert len(other.store.said("coordinator.gone")) == 1


def test_a_run_whose_coordinator_is_gone_is_closed_by_another_as_its_file_says() -> None:
    one, other, both = two(FakeAgent("a-1", recovers_ms=None))
    deeds = [f'on_{what}: {{webhook: "http://127.0.0.1:9/{what}"}}' for what in ("abort", "end")]
    load = 'load: {start: {webhook: "http://127.0.0.1:9/on"}, stop: {webhook: "http://127.0.0.1:9/off"}}'
    run_id = started(both, one, "\n".join([file("{name: all, strikes: 3}").rstrip(), load, *deeds]))
    both.run(20_000, struck(other, "a-1"))
    assert (one.deeds, other.deeds) == (["load.start"], [])
    both.frozen.add("c1")
    both.run(AWAY_MS + 8_000, lambda: other.store.runs[run_id].state == o.RUN_STATE_ENDED)
    assert other.deeds == ["on_abort", "load.stop", "on_end"]
    row = other.store.runs[run_id]
    assert (row.driver, row.verdict, row.why) == ("c2", o.RUN_VERDICT_ABORTED, "its coordinator c1 is gone")
    both.run(10_000)
    assert len(other.deeds) == 3


def test_r24_what_was_permitted_and_not_delivered_is_void() -> None:
    agent = FakeAgent("a-1")
    one, other, both = two(agent)
    run_id = started(both, one, file())

    def uncollected(effect: w.Effect) -> list[w.Input] | None:
        waits = isinstance(effect, w.Collect) and any(_holds_strike(letter) for letter in one.store.letters)
        return [] if waits else None

    other.intercept = uncollected
    both.run(20_000, lambda: any(_holds_strike(letter) for letter in one.store.letters))
    decision = beat("c2", "i2")(all_but_one_seen(one, "c1"))
    for change in decision.changes:
        one.store._apply(change)
    other.intercept = lambda _: None
    both.frozen.add("c1")
    both.run(2_000)
    assert not other.told("a-1", "strike")
    assert other.told("a-1", "revert")
    assert isinstance(decision.answer, Beaten)
    assert [run.run_id for run in decision.answer.runs] == [run_id]
    assert [row.view.command_id for row in decision.answer.open] == [f"{run_id}-1"]
    assert not one.store.in_flight, "its host has said that nothing was sent"


def all_but_one_seen(world: World, gone: str) -> Books:
    """The books some time later, when everybody else was seen all the time."""
    books = world.store.books()
    now_ms = books.now_ms + 2 * AWAY_MS
    rows = {
        name: row if name == gone else replace(row, seen_ms=now_ms - 1_000)
        for name, row in books.coordinators.items()
    }
    return replace(books, now_ms=now_ms, coordinators=rows)


def test_a_store_that_was_down_for_all_lets_nobody_take_over() -> None:
    one, other, both = two(FakeAgent("a-1", recovers_ms=None))
    run_id = started(both, one, file("{name: all, strikes: 3}", "in_flight: 1, per_host: 1"))
    both.run(20_000, struck(other, "a-1"))
    one.store.failing = "the server went away"
    both.run(4 * AWAY_MS)
    one.store.failing = ""
    both.frozen.add("c1")  # it is slower to come back
    both.run(AWAY_MS - 2_000)
    both.frozen.clear()
    both.run(2 * AWAY_MS)
    assert not one.store.said("coordinator.gone")
    assert one.store.runs[run_id].fence == 1


def test_a_coordinator_that_was_frozen_finds_its_run_ended_and_strikes_no_more() -> None:
    here = FakeAgent("a-1", workers=6, recovers_ms=1_000)
    one = World([here], name="c1", instance="i1")
    other = World((), name="c2", instance="i2", shares=one)
    both = Coordinators(one, other)
    both.run(AWAY_MS + 1_000)
    run_id = started(both, one, file("{name: all, strikes: 30}"))
    both.run(20_000, lambda: len(here.strikes) >= 1)
    both.frozen.add("c1")
    both.run(AWAY_MS + 5_000, lambda: one.store.runs[run_id].state == o.RUN_STATE_ENDED)
    before = len(here.strikes)
    granted = len(one.store.said("permit.granted"))
    both.frozen.clear()
    both.run(60_000)
    found = one.core.runs.named(run_id)
    assert found is not None and found.ended
    assert (len(here.strikes), len(one.store.said("permit.granted"))) == (before, granted)
    assert one.store.coordinators["c1"].seen_ms, "it is back"


def test_a_coordinator_that_stops_in_order_has_its_runs_ended_and_reverted_at_once() -> None:
    one, other, both = two(FakeAgent("a-1", deaf_to_strikes=True))
    run_id = started(both, one, file("{name: all, strikes: 3}"))
    both.run(20_000, struck(other, "a-1"))
    one.give(w.Stop())
    both.frozen.add("c1")
    both.run(BEAT_EVERY_NS // MS + 200, lambda: one.store.runs[run_id].state == o.RUN_STATE_ENDED)
    both.run(500, lambda: bool(other.told("a-1", "revert")))


def test_a_coordinator_whose_name_another_has_taken_ends() -> None:
    one, _, both = two()
    again = World((), name="c1", instance="i3", shares=one)
    both.worlds.append(again)
    again.start(join=False)
    both.run(2_200)
    assert [effect.why for effect in one.effects if isinstance(effect, w.Quit)]
    assert not [effect for effect in again.effects if isinstance(effect, w.Quit)]


def test_only_who_was_seen_without_a_break_judges_another() -> None:
    now_ms = in_memory.T0

    def judged(since_ms: int, seen_ms: int) -> tuple[str, ...]:
        rows = (
            CoordinatorRow(coordinator="c1", instance="i1", since_ms=since_ms, seen_ms=seen_ms),
            CoordinatorRow(coordinator="c2", instance="i2", since_ms=0, seen_ms=now_ms - AWAY_MS - 1),
        )
        books = replace(
            in_memory.books(now_ms=now_ms, runs=(in_memory.run(driver="c2"),)),
            coordinators={row.coordinator: row for row in rows},
        )
        answer = beat("c1", "i1")(books).answer
        assert isinstance(answer, Beaten)
        return answer.gone

    assert judged(now_ms - AWAY_MS, now_ms - 2_000) == ("c2",)
    assert judged(now_ms - AWAY_MS + 1, now_ms - 2_000) == ()
    assert judged(now_ms - 10 * AWAY_MS, now_ms - AWAY_MS - 1) == (), "it was away itself"


def test_r22_a_store_that_failed_over_and_went_on_is_noticed_by_who_had_decided_more() -> None:
    one, other, both = two(FakeAgent("a-1"))
    limit = o.SetLimitRequest(scope="in_flight", limit=2, reason="to learn")
    one.ask(limit, "approver")
    one.store.heads[-1] = "of another history"
    for _ in range(3):  # it has come further by the time that anybody looks
        one.store.decide(putting(audit=(Audited("bob", "limit.set", "in_flight"),)))
    both.run(BEAT_EVERY_NS // MS + 200)
    [halt] = one.store.halts.active
    assert halt.reason.startswith("store restored: coordinator c")
    assert other.agents["a-1"].halts.active


# --- hosts that move ----------------------------------------------------------------------------------------


def test_a_host_that_comes_to_another_coordinator_is_served_there_and_let_go_here() -> None:
    agent = FakeAgent("a-1")
    one, other, both = two(agent)
    other._link_host.pop(agent.link)  # the agent has left; its coordinator has not noticed
    one.agents["a-1"] = agent
    del other.agents["a-1"]
    one.join("a-1")
    both.run(3_000)
    assert one.core.roster.link_of("a-1") is not None
    assert other.core.roster.link_of("a-1") is None
    assert other.core.roster.far["a-1"].far == "c1"
    assert "a-1" not in one.core.roster.far
    assert not one.store.hosts["a-1"].quarantined


def test_a_clone_at_another_coordinator_ends_the_session_of_both() -> None:
    one, other, both = two(FakeAgent("a-1"))
    clone = FakeAgent("a-1", session="an old one")
    one.agents["a-1"] = clone
    one.join("a-1")
    both.run(3_000)
    assert one.store.hosts["a-1"].quarantined
    assert other.core.roster.link_of("a-1") is None
    assert one.core.roster.link_of("a-1") is None


def test_a_host_that_moves_in_mid_strike_goes_on_with_it_and_its_run_hears_of_it() -> None:
    agent = FakeAgent("a-1", recovers_ms=6_000)
    one, other, both = two(agent)
    third = World((), name="c3", instance="i3", shares=one)
    third.start(join=False)
    both.worlds.append(third)
    run_id = started(both, one, file())
    both.run(20_000, struck(other, "a-1"))
    link = agent.link
    other._link_host.pop(link)
    other.give(w.Left(link))
    third.agents["a-1"] = agent
    del other.agents["a-1"]
    third.join("a-1")
    over(both, run_id)
    assert o.RunVerdict.Name(view_of(one, run_id).verdict) == "RUN_VERDICT_HELD"
    assert not third.told("a-1", "revert"), "its run goes on elsewhere"


def test_one_coordinator_alone_writes_no_letters_and_no_presence() -> None:
    world = World([FakeAgent("a-1")]).start()
    run_id = run(world, file())
    world.run(60_000, lambda: world.store.runs[run_id].state == o.RUN_STATE_ENDED)
    kinds = (w.Post, w.Collect, w.Quit)
    assert not [effect for effect in world.effects if isinstance(effect, kinds)]
    assert not world.store.coordinators
    assert world.store.runs[run_id].verdict == o.RUN_VERDICT_HELD
