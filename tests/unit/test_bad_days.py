"""What simulated histories have broken once, each as short as it can be told (tests/simulation)."""

from dataclasses import replace

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.process_pb2 import HaltRecord, StorePosition
from killdeer_agent.core import words as w_agent
from killdeer_agent.core.facts import Process
from killdeer_agent.core.memory import Memory
from killdeer_agent.core.recovery import Recovery, Wait
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.books import NOT_HEARD, Decide, Decision, RunRow
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.takeover import restored
from tests.support import host as h
from tests.support.books import books
from tests.support.fake_agent import FakeAgent
from tests.support.world import LEASE_MS, MS, World

FILE = """\
killdeer: 1
name: workers-heal
environment: staging
target: {process: {name: worker}}
limits: {in_flight: 1, per_host: 1}
action: kill
waves: [{name: one, strikes: 1}]
recovery: {within: 20s}
"""


class Liar(World):
    """Its store commits starts of runs, and says that it has not."""

    lies = True

    def _decide(self, token: int, decide: Decide) -> w.Decided:
        decided = super()._decide(token, decide)
        if self.lies and isinstance(decided.answer, RunRow):
            self.lies = False
            return w.Decided(token, None, StorePosition(), "the connection was lost at the commit")
        return decided


def started(world: World) -> int:
    ask = world.ask(o.RunRequest(source=FILE, file="f.yaml", key="k"), "operator")
    world.run(300)
    return ask


# --- coordinator --------------------------------------------------------------------------------------------------


def test_r10_a_failed_write_of_the_state_directory_is_not_tried_again_over_a_later_one() -> None:
    errands, later = Errands(), Halts().engage(HaltRecord(id="h1"))
    errands.keep(Halts(), StorePosition())
    errands.keep(later, StorePosition())
    first, second = errands.taken()
    assert isinstance(first, w.Keep)
    assert isinstance(second, w.Keep)
    errands.kept(w.Kept(first.token, "no space left on device"))
    errands.kept(w.Kept(second.token))
    errands.now = w.Now(2_000 * MS, 0)
    errands.tick()
    assert not [effect for effect in errands.taken() if isinstance(effect, w.Keep)]


def test_r10_the_last_write_of_the_state_directory_is_tried_until_it_works() -> None:
    errands, later = Errands(), Halts().engage(HaltRecord(id="h1"))
    errands.keep(Halts(), StorePosition())
    errands.keep(later, StorePosition())
    for effect in errands.taken():
        assert isinstance(effect, w.Keep)
        errands.kept(w.Kept(effect.token, "no space left on device"))
    errands.now = w.Now(2_000 * MS, 0)
    errands.tick()
    again = [effect.halts for effect in errands.taken() if isinstance(effect, w.Keep)]
    assert again == [later]


def test_r17_a_run_whose_start_was_stored_and_called_failed_is_ended() -> None:
    world = Liar([FakeAgent("a-1")]).start()
    ask = started(world)
    assert world.refusals[ask].code == "UNAVAILABLE"
    (run,) = world.store.runs.values()
    assert run.state == o.RUN_STATE_ENDED
    assert run.why.startswith("its start could not be stored")


def test_r16_a_permit_whose_grant_was_called_failed_is_given_back_when_its_turn_is_over() -> None:
    agent = FakeAgent("a-1", deaf_to_strikes=True)
    world = World([agent]).start()
    world.store.lies_about_the_next_grant = True
    ask = world.ask(o.RunRequest(source=FILE, file="f.yaml", key="k"), "operator")
    world.run(5_000, lambda: bool(world.store.permits))
    run_id = world.answer(ask, o.RunResponse).run_id
    world.ask(o.AbortRunRequest(run=run_id), "operator")
    world.run(1_000)
    assert not world.store.in_flight


def test_r23_a_machine_of_another_boot_is_not_served_while_the_first_may_act() -> None:
    world = World([FakeAgent("a-1")]).start()
    session = world.store.hosts["a-1"].session
    world.agents["a-1"].boot_id = "boot-of-a-copy"
    world.join("a-1")
    assert "an earlier boot of this host may act still" in world.told("a-1", "dismissal")[-1].dismissal.detail
    assert world.store.hosts["a-1"].session == session


def test_r23_a_machine_that_was_booted_is_served_once_its_last_right_is_over() -> None:
    world = World([FakeAgent("a-1")]).start()
    world.leave("a-1")
    world.agents["a-1"].boot_id = "boot-2"
    world.run(2 * LEASE_MS)
    world.join("a-1")
    world.run(200)
    assert world.store.hosts["a-1"].boot_id == "boot-2"


def test_r22_a_restored_store_drives_no_run_of_before_and_every_host_begins_anew() -> None:
    world = World([FakeAgent("a-1")]).start()
    started(world)
    runs, heads, audit = dict(world.store.runs), list(world.store.heads), list(world.store.audit)
    world.run(30_000, lambda: all(run.state == o.RUN_STATE_ENDED for run in world.store.runs.values()))
    world.store.runs, world.store.heads, world.store.audit = runs, heads, audit
    world.run(5_000)
    assert [run.state for run in world.store.runs.values()] == [o.RUN_STATE_ENDED]
    assert world.store.halts.active
    assert "the store was restored" in world.told("a-1", "dismissal")[-1].dismissal.detail


def test_r22_a_host_with_a_strike_that_the_store_has_lost_waits_for_an_operator() -> None:
    agent = FakeAgent("a-1", recovers_ms=None)
    world = World([agent]).start()
    started(world)
    world.run(5_000, lambda: bool(agent.strikes))
    world.store.permits.clear()
    world.store.strikes.clear()
    world.leave("a-1")
    world.join("a-1")
    world.run(200)
    assert "that this store does not hold" in world.store.hosts["a-1"].quarantined


def test_r23_after_a_boot_no_journal_says_that_nothing_was_sent() -> None:
    agent = FakeAgent("a-1", recovers_ms=None)
    world = World([agent]).start()
    started(world)
    world.run(5_000, lambda: bool(agent.strikes))
    world.leave("a-1")
    world.run(2 * LEASE_MS)
    agent.boot_id = "boot-2"
    world.join("a-1")
    world.run(200)
    (held,) = world.told("a-1", "welcome")[-1].welcome.open
    assert held.doubtful


# --- agent --------------------------------------------------------------------------------------------------------


def test_i7_the_hosts_own_rate_outlives_its_agent_and_the_strike() -> None:
    host = h.leased()
    guard = replace(h.GUARD, per_minute=1, version="2")
    host.start(guard=guard)
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first)
    host.run(5 * h.SECOND)
    assert not memory_of(host).strikes
    host.crash()
    host.start(guard=guard)
    host.coordinator.link()
    host.coordinator.order("c2", host.world.first)
    host.run(h.SECOND)
    assert host.coordinator.updates["c2"].reason == p.REASON_HOST_RATE


def memory_of(host: h.Host) -> Memory:
    memory = Memory()
    for record in host.journal:
        memory.apply(record)
    return memory


def test_i7_a_compacted_journal_still_knows_the_blows_of_the_last_minute() -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first)
    host.run(5 * h.SECOND)
    again = Memory()
    for record in memory_of(host).essential():
        again.apply(record)
    assert again.fell == memory_of(host).fell
    assert len(again.fell) == 1


def test_r11_a_word_that_crosses_a_revert_does_not_say_that_the_next_blow_is_off() -> None:
    host = h.leased()
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(200 * h.MS)
    assert not host.coordinator.updates["c1"].stopped
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert host.coordinator.updates["c1"].stopped


def test_r23_what_an_unknown_journal_had_struck_is_never_called_gone() -> None:
    host = h.leased()
    victim = p.Identity(host="h1", boot_id="boot-0", pid=7, start_ticks=7)
    host.coordinator.link(
        a.OpenStrike(command_id="c9", victim=victim, action=h.ACTIONS["pause"], doubtful=True),
    )
    assert host.coordinator.updates["c9"].state == p.STRIKE_STATE_UNKNOWN


def test_r18_the_victim_of_an_earlier_boot_stands_in_for_nobody() -> None:
    recovery = Recovery()
    for command_id, victim in (("c1", (104, 502)), ("c2", (7, 9))):
        wait = Wait(command_id=command_id, victim=victim, since_ticks=0, stable_ns=0, before=frozenset({victim}))
        wait.gone, wait.here = True, command_id == "c1"
        recovery.wait(wait)
    found, _ = recovery.counted((Process(boot_id="boot-2", pid=125, start_ticks=700),), h.SECOND)
    claimed = {wait.command_id: wait.successor.pid for wait in found if wait.successor is not None}
    assert claimed["c1"] == 125


def test_i8_an_agent_that_was_held_up_hears_of_an_exit_before_it_says_that_the_victim_lives_on() -> None:
    host = h.leased()
    host.world.first.outlives_term_ns = 15 * h.SECOND
    host.coordinator.lease_ms = 600_000
    host.coordinator.order("c1", host.world.first, "kill", action=p.Action(kill=p.Kill(signal=15)))
    host.run(10 * h.SECOND)
    host.world.pass_time(20 * h.SECOND)  # the agent stands still, and the victim exits
    host.inputs.append(w_agent.Tick(a.Heartbeat()))  # what it is woken by first
    host.settle()
    host.run(h.SECOND)
    assert host.coordinator.updates["c1"].HasField("exit")
    assert host.coordinator.updates["c1"].state != p.STRIKE_STATE_SURVIVED


def test_r22_nothing_is_decided_by_a_store_that_has_lost_what_was_seen_in_it() -> None:
    world = World([FakeAgent("a-1")]).start()
    world.store.audit.pop()
    world.store.heads.pop()
    asked = world.ask(o.SetLimitRequest(scope="in_flight", limit=9, reason="as agreed"), "approver")
    assert "the store was restored" in world.refusals[asked].message
    world.run(500)
    assert world.store.halts.active
    again = world.ask(o.SetLimitRequest(scope="in_flight", limit=9, reason="as agreed"), "approver")
    assert again not in world.refusals


def test_r22_a_decision_that_waited_while_the_store_was_restored_does_not_rest_on_it() -> None:
    seen, decided = StorePosition(length=1, head="seen"), StorePosition(length=2, head="by the one before it")
    errands = Errands(known=lambda: seen)
    errands.transact(lambda books: Decision(answer="granted"), lambda _: None)
    (waiting,) = errands.taken()
    assert isinstance(waiting, w.Transact)
    whole = replace(books(), committed=decided)
    lacking = replace(whole, position_known=lambda position: position != decided)
    assert waiting.decide(whole).answer == "granted"
    assert waiting.decide(lacking).answer != "granted"
    halt = restored(seen, "coordinator c1", 0)(lacking)
    assert isinstance(halt.answer, Halts)
    assert "store restored" in halt.answer.active[0].reason


def test_r22_after_a_restore_nothing_is_granted_until_every_host_has_been_heard_or_accepted() -> None:
    world = World([FakeAgent("a-1"), FakeAgent("a-2")]).start()
    world.store.audit.pop()
    world.store.heads.pop()
    world.run(1_500)
    for host in ("a-1", "a-2"):
        assert world.store.hosts[host].quarantined == NOT_HEARD
    world.ask(o.RearmRequest(reason="looked at it"), "approver")
    world.join("a-1")
    world.run(1_500)
    started(world)
    world.run(5_000)
    assert not world.store.permits, "a-2 has not been heard"
    world.ask(o.AcceptHostRequest(host="a-2", reason="it is switched off"), "approver")
    world.run(5_000, lambda: bool(world.store.permits))


def test_r12_a_host_that_comes_to_know_of_a_pause_and_of_a_halt_at_once_has_not_reverted_yet() -> None:
    host = h.leased()
    host.coordinator.halts = host.coordinator.halts.engage(h.HALT)
    victim = host.world.first
    host.world.signal(victim, h.STOP, h.AGENT_PID)
    identity = p.Identity(
        host="h1",
        boot_id=host.world.boot_id,
        pid=victim.pid,
        start_ticks=victim.start_ticks,
        program=victim.program,
    )
    host.revert_problem = "operation not permitted"
    host.coordinator.link(
        a.OpenStrike(command_id="c9", victim=identity, action=h.ACTIONS["pause"], doubtful=True),
    )
    acks = [frame.halt_ack for frame in host.sent if frame.HasField("halt_ack")]
    assert acks
    assert all(ack.stage == a.HALT_STAGE_STOPPED and list(ack.left) == ["c9"] for ack in acks)


def test_r18_a_successor_stays_claimed_when_the_agent_is_started_anew() -> None:
    host = h.leased()
    host.world.restart_after_ns = -1
    one, other, third = host.world.processes.values()
    host.coordinator.order("c1", one)
    host.run(300 * h.MS)
    host.coordinator.order("c2", other)
    host.run(300 * h.MS)
    host.world.spawn()
    host.run(2 * h.SECOND)
    assert host.coordinator.updates["c1"].state == p.STRIKE_STATE_RECOVERED
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(3 * h.SECOND)
    assert host.coordinator.updates["c2"].state == p.STRIKE_STATE_GONE, "the one that came is c1's"
    host.world.spawn()
    host.run(3 * h.SECOND)
    assert host.coordinator.updates["c2"].state == p.STRIKE_STATE_RECOVERED
    assert not memory_of(host).claims
    assert third.state == "S"


def test_i8_events_that_were_lost_are_not_forgotten_by_a_restart() -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "pause")
    host.run(200 * h.MS)
    host.give(w_agent.Seen(p.KernelEvent(lost=p.EventsLost(kind="signal", count=3))))
    host.world.end(host.world.first, 9)
    host.coordinator.unlink()
    host.settle()
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(3 * h.SECOND)
    assert host.coordinator.updates["c1"].events_lost == 3


def test_i8_events_that_were_lost_after_the_exit_are_not_forgotten_by_a_restart() -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "pause")
    host.run(200 * h.MS)
    host.world.end(host.world.first, 9)
    host.settle()
    host.give(w_agent.Seen(p.KernelEvent(lost=p.EventsLost(kind="signal", count=1))))
    host.coordinator.unlink()
    host.settle()
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(3 * h.SECOND)
    assert host.coordinator.updates["c1"].events_lost == 1
