"""Several coordinators on one store: what is lost on its way, who is cut off, and by when all is over."""

from collections.abc import Callable

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.books import Audited, Decide, Letter, Permit
from killdeer_coordinator.core.grant import Granted
from killdeer_coordinator.core.presence import AWAY_MS, BEAT_EVERY_NS
from tests.support.fake_agent import FakeAgent
from tests.support.rows import putting
from tests.support.world import MS, World
from tests.unit.test_core_far import Coordinators, started, struck, two
from tests.unit.test_core_runs import file


def cut_off(effect: w.Effect) -> list[w.Input] | None:
    """The store, for a coordinator that alone has no way to it."""
    match effect:
        case w.Transact(token, _):
            return [w.Decided(token, None, StorePosition(), "no way to it")]
        case w.Post(token, _):
            return [w.Posted(token, "no way to it")]
        case w.ReadStore() | w.Collect():
            return []
    return None


def halted(world: World, ask: int) -> o.HaltResponse:
    answer = world.replies[ask][-1]
    assert isinstance(answer, o.HaltResponse)
    return answer


def holds_strike(letter: Letter) -> bool:
    return a.ConnectResponse.FromString(letter.told).HasField("strike")


# --- halts --------------------------------------------------------------------------------------------------


def test_r9_a_halt_that_is_not_in_the_store_is_not_complete_for_hosts_that_others_may_serve() -> None:
    one, other, both = two(FakeAgent("a-1"))
    one.intercept = cut_off
    ask = one.ask(o.HaltRequest(), "viewer")
    both.run(30_000)
    assert other.core.roster.served()[0].leased(other.now_ns), "nobody there has heard of it"
    assert not halted(one, ask).complete
    one.intercept = lambda _: None
    both.run(1_500)
    assert halted(one, ask).stored
    assert not halted(one, ask).complete
    assert halted(one, ask).hosts[0].stops_by_unix_ms > one.unix_ms
    both.run(20_000)
    assert halted(one, ask).complete


def test_r9_who_has_not_read_the_store_lately_counts_on_coordinators_that_came_since() -> None:
    one = World([FakeAgent("b-1")], name="c1", instance="i1")
    both = Coordinators(one)
    one.leave("b-1")
    both.run(60_000)
    one.intercept = cut_off
    both.run(10_000)
    other = World([one.agents.pop("b-1")], name="c2", instance="i2", shares=one)
    both.worlds.append(other.start())
    both.run(1_000)
    ask = one.ask(o.HaltRequest(), "viewer")
    assert not halted(one, ask).complete


def test_r22_every_coordinator_has_its_hosts_begin_anew_when_one_has_noticed_a_restored_store() -> None:
    one, other, both = two(FakeAgent("a-1"))
    own = one.agents["b-1"] = FakeAgent("b-1")
    one.join("b-1")
    both.run(3_000)
    one.ask(o.SetLimitRequest(scope="in_flight", limit=2, reason="to learn"), "approver")
    one.store.heads[-1] = "of another history"
    for _ in range(3):
        one.store.decide(putting(audit=(Audited("bob", "limit.set", "in_flight"),)))
    both.run(BEAT_EVERY_NS // MS + 2_000)
    assert [
        frame.dismissal.detail
        for world, host in ((one, own.host), (other, "a-1"))
        for frame in world.told(host, "dismissal")
    ] == ["the store was restored: each host is to say anew what is open on it"] * 2


# --- permits and letters ------------------------------------------------------------------------------------


def test_r20_an_agent_never_has_longer_than_its_permit_says_however_long_the_grant_took() -> None:
    world = World([FakeAgent("a-1")]).start()
    granted: list[Permit] = []
    decide_now: Callable[[int, Decide], w.Decided] = world._decide

    def slow(token: int, decide: Decide) -> w.Decided:
        decided = decide_now(token, decide)
        if isinstance(decided.answer, Granted):
            world.store.held = True
            granted.append(decided.answer.permit)
        return decided

    world._decide = slow  # type: ignore[method-assign]
    world.ask(o.RunRequest(source=file(), file="f.yaml", key="k"), "operator")
    world.run(20_000, lambda: bool(granted))
    world.run(5_000)
    world._decide = decide_now  # type: ignore[method-assign, assignment]
    world.release_answers()
    [frame] = world.told("a-1", "strike")
    by_the_store = frame.strike.not_after_boot_ns // MS + world.unix_ms - world.now_ns // MS
    assert by_the_store <= granted[0].not_after_ms


def test_r16_a_strike_that_was_collected_and_lost_has_its_id_used_up() -> None:
    one, other, both = two(FakeAgent("a-1"))
    started(both, one, file())
    lost: list[Letter] = []

    def lose(effect: w.Effect) -> list[w.Input] | None:
        """Taken out of the store, by a commit whose answer never came."""
        if isinstance(effect, w.Collect) and not lost and any(map(holds_strike, other.store.letters)):
            lost.extend(other.store.collect("c2"))
            return []
        return None

    other.intercept = lose
    both.run(20_000, lambda: bool(lost))
    assert one.store.in_flight
    both.run(60_000)
    assert not other.told("a-1", "strike")
    assert not one.store.in_flight


def test_letters_wait_together_while_others_are_on_their_way() -> None:
    """3,000 hosts answer a scan one by one: a transaction for each would keep halts waiting for many seconds."""
    agents = [FakeAgent(f"a-{n}") for n in range(50)]
    one, other, both = two(*agents)
    held: list[w.Post] = []

    def hold(effect: w.Effect) -> list[w.Input] | None:
        if not isinstance(effect, w.Post):
            return None
        held.append(effect)
        return []

    other.intercept = hold
    one.ask(o.PlanRequest(source=file(), file="f.yaml"), "viewer")
    both.run(1_500)
    assert len(held) == 1
    other.intercept = lambda _: None
    other.store.letters.extend(held[0].letters)
    other.give(w.Posted(held[0].token))
    assert sum(bool(letter.heard) for letter in other.store.letters) == len(agents)


def test_r10_a_strike_that_waits_to_be_posted_is_recalled_by_a_halt() -> None:
    agents = [FakeAgent(f"a-{n}") for n in range(3)]
    one, _, both = two(*agents)
    posts: list[w.Post] = []

    def hold(effect: w.Effect) -> list[w.Input] | None:
        """From the first strike on."""
        if not isinstance(effect, w.Post) or not (posts or any(map(holds_strike, effect.letters))):
            return None
        posts.append(effect)
        return []

    three = file("{name: all, strikes: 3}", "in_flight: 3, per_host: 1")
    one.intercept = hold
    one.ask(o.RunRequest(source=three, file="f.yaml", seed=7, key="k"), "operator")
    both.run(3_000)
    one.ask(o.HaltRequest(id="h1", reason="enough"), "viewer")
    one.give(w.Posted(posts[0].token))
    both.run(1_000, lambda: len(posts) > 1)
    told = [a.ConnectResponse.FromString(letter.told) for letter in posts[1].letters]
    assert not any(frame.HasField("strike") for frame in told)
    assert sum(frame.HasField("revert") for frame in told) >= 2


# --- coordinators that end ----------------------------------------------------------------------------------


def test_a_coordinator_that_stops_grants_nothing_more() -> None:
    one, other, both = two(FakeAgent("a-1", workers=30, recovers_ms=300))
    started(both, one, file("{name: all, strikes: 30}", "in_flight: 5, per_host: 5"))
    both.run(20_000, struck(other, "a-1"))
    one.give(w.Stop())
    granted = len(one.store.said("permit.granted"))
    for _ in range(20):  # it settles: what the store says still comes in
        other.run(100)
        one.now_ns = other.now_ns
        one.give(w.Woken())
        if heard := one.store.collect("c1"):
            one.give(w.Delivered(begun_ns=one.now_ns, now_ms=one.store.clock(), letters=heard))
    assert len(one.store.said("permit.granted")) == granted


def test_i6_strikes_are_reverted_though_who_ended_their_run_has_died_before_it_told() -> None:
    one, other, both = two(FakeAgent("a-1", recovers_ms=None))
    run_id = started(both, one, file(action="{hold-down: {for: 10m}}"))
    both.run(20_000, struck(other, "a-1"))
    third = World((), name="c3", instance="i3", shares=one)
    both.worlds.append(third.start())
    both.run(AWAY_MS + 2_000)
    both.frozen.add("c1")

    def dies(effect: w.Effect) -> list[w.Input] | None:
        if isinstance(effect, w.Transact):
            third._decide(effect.token, effect.decide)
            both.frozen.add("c3")
        return []

    both.run(AWAY_MS - 1_000)
    both.frozen.add("c2")
    third.intercept = dies
    both.run(4_000, lambda: one.store.runs[run_id].state == o.RUN_STATE_ENDED)
    third.intercept = lambda _: None
    both.frozen.remove("c2")
    both.run(2 * AWAY_MS, lambda: bool(other.told("a-1", "revert")))


def test_r23_a_strike_whose_letter_is_in_a_restored_store_again_is_told_once() -> None:
    one, other, both = two(FakeAgent("a-1"))
    taken: list[Letter] = []
    collect = other.store.collect

    def collected(recipient: str) -> tuple[Letter, ...]:
        letters = collect(recipient)
        if recipient == "c2":
            taken.extend(letters)
        return letters

    other.store.collect = collected  # type: ignore[method-assign]
    started(both, one, file())
    both.run(20_000, lambda: any(map(holds_strike, taken)))
    told = len(other.told("a-1", "strike"))
    letters = tuple(filter(holds_strike, taken))
    other.give(w.Delivered(begun_ns=other.now_ns, now_ms=other.store.clock(), letters=letters))
    assert (told, len(other.told("a-1", "strike"))) == (1, 1)
    assert not other.told("a-1", "revert")


def test_r24_a_store_that_was_down_for_all_lets_nobody_end_the_runs_of_those_who_beat_later() -> None:
    one, other, both = two(FakeAgent("a-1"))
    run_id = started(both, one, file(action="{hold-down: {for: 10m}}"))
    both.run(20_000, struck(other, "a-1"))
    both.run(AWAY_MS + 5_000)
    one.intercept = other.intercept = cut_off
    both.run(AWAY_MS - 1_500)
    other.intercept = lambda _: None
    both.run(2_500)
    one.intercept = lambda _: None
    both.run(5_000)
    assert one.store.runs[run_id].state == o.RUN_STATE_RUNNING


# --- hosts --------------------------------------------------------------------------------------------------


def test_r23_a_machine_of_another_boot_is_not_served_while_the_first_may_act_elsewhere() -> None:
    one, other, both = two(FakeAgent("a-1"))
    one.agents["a-1"] = FakeAgent("a-1", boot_id="boot-of-a-copy", session=other.agents["a-1"].session)
    one.join("a-1")
    assert "an earlier boot of this host may act still" in one.told("a-1", "dismissal")[-1].dismissal.detail
    both.run(3_000)
    assert other.core.roster.link_of("a-1") is not None
    other.leave("a-1")
    both.run(3_000)
    one.join("a-1")
    assert one.core.roster.link_of("a-1") is not None, "a machine that was booted is served in the end"


def test_a_restarted_coordinator_serves_no_host_until_it_has_come_back() -> None:
    one, other, both = two(FakeAgent("a-1"))
    other.instance = "i3"
    other.restart(join=False)
    both.run(3_000)
    assert "a-1" not in one.core.roster.far
    one.agents["a-1"] = other.agents.pop("a-1")
    one.agents["a-1"].boot_id = "boot-2"
    one.join("a-1")
    assert one.core.roster.link_of("a-1") is not None
