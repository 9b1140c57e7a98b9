"""Hold-down: successors are struck as they appear, one place is held, and stopping takes it back (R4, R15)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.hold import MOST_APPEARED, MOST_BLOWS, Hold
from killdeer_agent.core.memory import Memory
from tests.support import host as h
from tests.support.hostworld import Fell

UNIT = "worker@1.service"


def word(host: h.Host, command_id: str = "c1") -> a.StrikeUpdate:
    return host.coordinator.updates[command_id]


def state(host: h.Host, command_id: str = "c1") -> str:
    return p.StrikeState.Name(word(host, command_id).state).removeprefix("STRIKE_STATE_").lower()


def fell(host: h.Host, command_id: str = "c1") -> list[Fell]:
    return [one for one in host.world.log if one.command_id == command_id]


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def in_unit(gives_up_after: int = -1) -> h.Host:
    """A host with one worker, in a unit of its own."""
    host = h.Host()
    host.world.gives_up_after = gives_up_after
    host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    return host


def hold(host: h.Host, command_id: str = "c1", **changed: object) -> h.Proc:
    """A hold of five seconds on the oldest worker."""
    victim = host.world.first
    host.coordinator.order(command_id, victim, "hold-down", **changed)
    return victim


# --- holding ------------------------------------------------------------------------------------------------


def test_each_successor_is_struck_as_it_appears_until_the_time_is_over(host: h.Host) -> None:
    victim = hold(host)
    host.run(5 * h.SECOND)
    blows = fell(host)
    assert [one.blow for one in blows] == list(range(1, 11)) and {one.signal for one in blows} == {9}
    assert len({one.victim for one in blows}) == 10 and blows[0].victim == victim.key
    # Each within the moment in which it appeared: 500 ms after the death before it.
    assert {later.at_ns - one.at_ns for one, later in pairwise(blows)} == {500 * h.MS}
    assert len(host.world.processes) in (2, 3)


def test_r18_it_has_recovered_only_after_the_hold_and_the_permit_is_held_until_then(host: h.Host) -> None:
    hold(host)
    for _ in range(49):
        host.run(100 * h.MS)
        assert state(host) in ("struck", "gone") and word(host).effect_open and not word(host).settled
    host.run(2 * h.SECOND)
    update = word(host)
    assert state(host) == "recovered" and update.settled and not update.effect_open
    assert update.detail == "held for its time: 9 successors struck"
    assert update.successor.identity.pid in host.world.processes


def test_r11_from_the_first_blow_on_no_word_says_that_none_is_to_come(host: h.Host) -> None:
    hold(host)
    host.run(2 * h.SECOND)
    words = [frame.strike_update for frame in host.sent if frame.HasField("strike_update")]
    assert words[0].state == p.STRIKE_STATE_STRUCK
    assert all(word.effect_open and not word.stopped for word in words)


def test_what_the_kernel_saw_of_each_blow_is_the_strike_s(host: h.Host) -> None:
    hold(host)
    host.run(7 * h.SECOND)
    blows = word(host).blows
    assert not blows[0].pid and [(one.pid, one.start_ticks) for one in blows[1:]] == [
        one.victim for one in fell(host)[1:]
    ]
    assert {(one.kernel_verdict, one.sender_pid) for one in blows} == {("delivered", h.AGENT_PID)}
    told = [event for frame in host.sent for event in frame.evidence.events]
    struck = {one.victim for one in fell(host)}
    for kind in ("signal", "exit"):
        of_it = [event for event in told if event.WhichOneof("kind") == kind and event.command_id == "c1"]
        assert len(of_it) == len(struck)


def test_r1_r3_r4_each_blow_has_its_own_intent_first_and_a_fresh_warrant(host: h.Host) -> None:
    hold(host)
    host.stalled = {w.Write}
    host.run(h.SECOND)
    assert len(fell(host)) == 1 and host.journal[-1].kind == "intent" and host.journal[-1].body["blow"] == 2
    host.halt_file = True  # seen by the last look alone
    host.release()
    host.run(h.SECOND)
    assert len(fell(host)) == 1
    assert "blow 2 was not sent: the halt file is on this host" in word(host).detail


def test_r5_a_successor_that_somebody_has_stopped_is_left_alone(host: h.Host) -> None:
    hold(host)
    host.stalled = {w.Write}
    host.run(h.SECOND)
    successor = list(host.world.processes.values())[-1]
    host.world.signal(successor, h.STOP, 1)
    host.release()
    host.run(3 * h.SECOND)
    assert len(fell(host)) == 1 and successor.state == "T"


def test_a_successor_that_becomes_another_program_is_looked_at_again(host: h.Host) -> None:
    """As a shell that becomes the service: first it is none of it, then it is struck."""
    host.world.restart_after_ns = -1
    hold(host)
    shell = host.world.spawn(name="sh")
    host.run(200 * h.MS)
    assert len(fell(host)) == 1
    shell.name, shell.program = "worker", "bb"
    host.world.executed(shell)
    host.run(200 * h.MS)
    assert [one.victim for one in fell(host)][1:] == [shell.key]


def test_without_the_kernel_s_record_it_is_refused_by_name() -> None:
    host = h.Host()
    host.bpf = False
    host.world.spawn()
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    hold(host)
    assert state(host) == "refused" and word(host).reason == p.REASON_NO_EVIDENCE and word(host).used_up
    host.coordinator.say(scan=a.Scan(scan_id="s1", selector=h.SELECTOR, action=h.ACTIONS["hold-down"]))
    assert host.sent[-1].candidates.failure == p.REASON_NO_EVIDENCE
    host.coordinator.say(scan=a.Scan(scan_id="s2", selector=h.SELECTOR, action=h.ACTIONS["kill"]))
    assert not host.sent[-1].candidates.failure


def test_a_host_that_does_not_allow_it_refuses_it() -> None:
    host = h.leased()
    rule = replace(h.GUARD.allow[0], actions=frozenset(["kill"]))
    host.give(w.Configured(guard=replace(h.GUARD, allow=(rule,), version="2")))
    hold(host)
    assert word(host).reason == p.REASON_ACTION_NOT_ALLOWED and fell(host) == []


def test_the_number_of_blows_has_a_bound(host: h.Host) -> None:
    host.world.restart_after_ns = 0
    hold(
        host,
        action=p.Action(hold_down=p.HoldDown(length_ms=600_000)),
        not_after_boot_ns=host.world.boot_ns + 10**12,
    )
    host.run(60 * h.SECOND)
    assert len(fell(host)) == MOST_BLOWS
    assert state(host) == "recovered" and f"{MOST_BLOWS} blows fell" in word(host).detail


def test_the_host_s_own_rate_ends_it(host: h.Host) -> None:
    host.give(w.Configured(guard=replace(h.GUARD, per_minute=4)))
    hold(host)
    host.run(8 * h.SECOND)
    assert len(fell(host)) == 4 and state(host) == "recovered" and "4 blows a minute" in word(host).detail


def test_execs_that_wait_for_the_place_are_bounded() -> None:
    waiting = Hold(length_ns=1)
    for pid in range(3 * MOST_APPEARED):
        waiting.has_appeared((pid, 1))
    assert len(waiting.appeared) == MOST_APPEARED and waiting.next_key() == (2 * MOST_APPEARED, 1)
    waiting.end(1, cut_short=False)
    assert waiting.cut_short and "execs came before they could be looked at" in waiting.filled


# --- what was not held is not told as held --------------------------------------------------------------------


def test_i8_a_successor_that_never_matches_fills_the_place_and_that_is_told() -> None:
    host = in_unit()
    host.world.restart_after_ns = -1
    hold(host)
    host.run(200 * h.MS)
    host.world.spawn(unit=UNIT, name="thief")
    host.run(8 * h.SECOND)
    assert state(host) == "recovered" and word(host).cut_short
    assert "its service was whole before the end" in word(host).detail and len(fell(host)) == 1


def test_i8_a_successor_that_was_only_forked_fills_the_place_and_that_is_told(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    hold(host)
    host.run(200 * h.MS)
    host.world.spawn()
    host.world.events.clear()
    host.run(8 * h.SECOND)
    assert len(fell(host)) == 1 and word(host).cut_short


def test_i8_a_successor_that_was_another_strike_s_for_a_while_fills_the_place_and_that_is_told(
    host: h.Host,
) -> None:
    """The other one is over, and its victim's own successor never comes: this one is not looked at again."""
    host.world.restart_after_ns = -1
    hold(host)
    host.run(200 * h.MS)
    host.stalled = {w.Follow}
    successor = host.world.spawn()
    host.settle()
    host.coordinator.order("c2", successor, "pause", action=p.Action(pause=p.Pause(length_ms=1_000)))
    host.release()
    host.run(8 * h.SECOND)
    assert len(fell(host)) == 1 and state(host, "c2") == "survived"
    assert state(host) == "recovered" and word(host).cut_short


def test_i8_a_successor_that_is_left_alone_while_others_are_missing_is_told(host: h.Host) -> None:
    hold(host)
    host.run(200 * h.MS)
    host.world.restart_after_ns = -1
    host.world.end(host.world.first, 11)
    host.run(8 * h.SECOND)
    assert word(host).cut_short and "left alone while others of its service were missing" in word(host).detail


def test_i8_another_that_is_restarted_meanwhile_does_not_fill_the_place(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    hold(host, action=p.Action(hold_down=p.HoldDown(length_ms=3_000)))
    host.run(200 * h.MS)
    host.world.end(host.world.first, 11)
    host.world.spawn(name="stranger")  # in its place
    host.run(4 * h.SECOND)
    host.world.spawn()
    host.run(2 * h.SECOND)
    assert state(host) == "recovered" and not word(host).cut_short


def test_i8_that_the_place_was_not_empty_is_known_after_a_restart() -> None:
    host = in_unit()
    host.world.restart_after_ns = -1
    hold(host, stable_for_ms=3_000)
    host.run(200 * h.MS)
    host.world.spawn(unit=UNIT, name="thief")
    host.run(6 * h.SECOND)
    assert state(host) == "gone" and word(host).cut_short
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(8 * h.SECOND)
    assert state(host) == "recovered" and word(host).cut_short
    assert word(host).detail.count("whole before the end") == 1


# --- one place ----------------------------------------------------------------------------------------------


def test_i3_no_more_than_one_place_is_ever_empty(host: h.Host) -> None:
    """Another worker dies by itself in mid-hold, and comes back before the victim's place is taken again."""
    hold(host)
    host.run(200 * h.MS)
    bystander = host.world.first
    host.world.end(bystander, 11)
    least = []
    for _ in range(60):
        host.run(100 * h.MS)
        least.append(len(host.world.processes))
    # Its own death leaves two of three down for a moment; the hold itself never does.
    assert min(least[6:]) == 2
    host.run(3 * h.SECOND)
    assert state(host) == "recovered" and len(host.world.processes) == 3


def test_what_was_there_before_is_no_successor(host: h.Host) -> None:
    hold(host)
    host.run(100 * h.MS)
    other = host.world.first
    host.world.executed(other)
    host.run(100 * h.MS)
    assert len(fell(host)) == 1 and other.pid in host.world.processes


def test_r18_the_successor_of_another_strike_is_left_to_it(host: h.Host) -> None:
    first, second, _ = list(host.world.processes.values())
    host.coordinator.order("c2", second, "kill", stable_for_ms=2_000)
    host.run(700 * h.MS)  # its successor is here, and claimed
    host.coordinator.order("c1", first, "hold-down")
    claimed = word(host, "c2").successor.identity.pid
    assert claimed
    host.run(8 * h.SECOND)
    assert claimed not in [one.victim[0] for one in fell(host)]
    assert state(host, "c1") == state(host, "c2") == "recovered"


def test_r18_two_strikes_on_one_service_end_well_beside_a_hold(host: h.Host) -> None:
    first, second, _ = list(host.world.processes.values())
    host.coordinator.order("c1", first, "hold-down")
    host.coordinator.order("c2", second, "kill")
    for _ in range(50):
        host.run(100 * h.MS)
        assert len(host.world.processes) >= 1  # of three, with two permits
    host.run(3 * h.SECOND)
    assert state(host, "c1") == state(host, "c2") == "recovered" and len(host.world.processes) == 3


def test_a_successor_that_is_taken_is_busy_for_others(host: h.Host) -> None:
    hold(host)
    host.stalled = {w.Write}
    host.run(600 * h.MS)
    successor = list(host.world.processes.values())[-1]
    host.coordinator.order("c2", successor, "kill")
    host.release()
    assert word(host, "c2").reason == p.REASON_BUSY
    assert len(fell(host)) == 2 and fell(host, "c2") == []


@pytest.mark.parametrize(
    "other", [{"service": "worker-of-others@"}, {"unit": "worker@2.service"}, {"name": "thief"}]
)
def test_i1_who_is_not_of_the_victim_s_service_is_not_struck(other: dict[str, str]) -> None:
    host = in_unit()
    host.world.restart_after_ns = -1
    hold(host)
    stranger = host.world.spawn(**({"unit": UNIT} | other))
    host.run(h.SECOND)
    assert len(fell(host)) == 1 and stranger.pid in host.world.processes


# --- taken back ---------------------------------------------------------------------------------------------


def halt(host: h.Host) -> None:
    host.coordinator.halt()


def abort(host: h.Host) -> None:
    host.coordinator.say(revert=a.Revert(command_id="c1"))


def end_lease(host: h.Host) -> None:
    host.coordinator.renews = False


def stop(host: h.Host) -> None:
    host.give(w.Stop("SIGTERM"))


def halt_here(host: h.Host) -> None:
    host.halt_file = True
    host.give(w.LocalHalt(engaged=True))


def close_guard(host: h.Host) -> None:
    host.give(w.Configured(guard=Guard(version="closed")))


def lose_guard(host: h.Host) -> None:
    host.give(w.Configured(guard=Guard(problem="cannot read it", version="1")))


ENDS = [halt, abort, end_lease, stop, halt_here, close_guard, lose_guard]


def quick() -> h.Host:
    """With a lease of three seconds."""
    host = h.Host()
    host.coordinator.lease_ms, host.coordinator.heartbeat_ms = 3_000, 1_000
    for _ in range(3):
        host.world.spawn()
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    return host


def steps_of(length: int) -> int:
    host = quick()
    before = host.steps
    hold(host)
    host.run(length)
    return host.steps - before


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_i4_i5_i6_it_ends_at_once_wherever_it_is(end: object) -> None:
    """Before each effect of two seconds of a hold once: no blow falls after it, and the service is whole again."""
    for at in range(0, steps_of(2 * h.SECOND), 1 if end in (halt, abort) else 5):
        host = quick()
        command = host.coordinator.strike("c1", host.world.first, "hold-down")
        host.inputs.append(w.Heard(a.ConnectResponse(strike=command)))
        goal = host.steps + at
        while host.steps < goal:
            if not host.step():
                host.world.pass_time(100 * h.MS)
                host.inputs.append(w.Tick(a.Heartbeat()))
        end(host)  # type: ignore[operator]
        if end is end_lease:
            host.run(3 * h.SECOND)
        sent = len(host.world.log)
        host.run(4 * h.SECOND)
        assert len(host.world.log) == sent
        assert len(host.world.processes) == 3
        if end is stop:
            assert host.left == ()
        else:
            assert state(host) in ("refused", "recovered") and not word(host).effect_open


def test_r12_a_halt_in_mid_hold_is_acknowledged_as_reverted(host: h.Host) -> None:
    hold(host)
    host.run(2 * h.SECOND)
    host.coordinator.halt()
    acks = [frame.halt_ack for frame in host.sent if frame.WhichOneof("frame") == "halt_ack"]
    assert [ack.stage for ack in acks] == [a.HALT_STAGE_REVERTED]
    assert acks[-1].reverted == 1 and not acks[-1].left


def test_not_after_bounds_the_first_blow_and_the_length_the_others(host: h.Host) -> None:
    hold(host, not_after_boot_ns=host.world.boot_ns + 200 * h.MS)
    host.run(7 * h.SECOND)
    assert len(fell(host)) == 10


def test_a_blow_that_is_too_late_ends_a_hold_that_had_its_time(host: h.Host) -> None:
    hold(host)
    host.run(4_400 * h.MS)
    host.stalled = {w.Write}
    host.run(200 * h.MS)
    sent = len(fell(host))
    host.world.pass_time(h.SECOND)  # no tick has said that the time is over: the last look does
    host.release()
    assert len(fell(host)) == sent
    host.run(h.SECOND)
    assert state(host) == "recovered" and not word(host).cut_short and "held for its time" in word(host).detail


def test_r2_a_successor_that_comes_when_no_fuse_s_length_is_left_is_let_alone_and_the_hold_was_held(
    host: h.Host,
) -> None:
    host.least_left_ns = 20 * h.MS
    hold(host, action=p.Action(hold_down=p.HoldDown(length_ms=5_010)))
    host.run(5 * h.SECOND)  # the tenth has just come, 10 ms before the end
    assert len(fell(host)) == 10
    host.run(h.SECOND)
    assert len(fell(host)) == 10 and state(host) == "recovered"
    assert not word(host).cut_short and word(host).detail == "held for its time: 9 successors struck"


def test_one_that_is_halted_is_told_as_cut_short(host: h.Host) -> None:
    hold(host)
    host.run(h.SECOND)
    host.coordinator.halt()
    host.run(h.SECOND)
    assert word(host).cut_short and state(host) == "recovered"


def test_recovery_within_counts_from_the_end_of_the_hold(host: h.Host) -> None:
    hold(host, recover_within_ms=2_000)
    host.run(4 * h.SECOND)
    host.world.restart_after_ns = -1
    host.run(2_500 * h.MS)
    assert state(host) == "gone"
    host.run(h.SECOND)
    assert state(host) == "lost" and not word(host).settled


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_r4_after_a_restart_no_more_blows_fall(host: h.Host, at: int) -> None:
    hold(host)
    host.run(at * 100 * h.MS)
    sent = len(host.world.log)
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(8 * h.SECOND)
    assert len(host.world.log) == sent and state(host) == "recovered"


@pytest.mark.parametrize("away_ms", [0, 2_000, 10_000])
def test_i8_a_hold_whose_agent_died_was_cut_short_however_late_it_is_back(host: h.Host, away_ms: int) -> None:
    hold(host)
    host.run(h.SECOND)
    host.crash()
    host.run(away_ms * h.MS)
    host.start()
    host.coordinator.link()
    host.run(8 * h.SECOND)
    assert word(host).cut_short and "the agent was restarted" in word(host).detail


def test_i8_a_hold_that_had_its_time_had_it_after_a_restart_too(host: h.Host) -> None:
    hold(host, stable_for_ms=3_000)
    host.run(6 * h.SECOND)
    assert state(host) == "gone"
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(8 * h.SECOND)
    assert state(host) == "recovered" and not word(host).cut_short
    assert word(host).detail == "held for its time: 9 successors struck"


# --- the unit that was given up -------------------------------------------------------------------------------


def starts(host: h.Host) -> int:
    return sum(note.event == "unit_started" for note in host.notes)


def test_r15_a_supervisor_that_gives_up_ends_the_hold_and_the_unit_is_started() -> None:
    host = in_unit(gives_up_after=3)
    hold(host)
    host.run(9 * h.SECOND)
    assert len(fell(host)) == 4 and starts(host) == 1
    assert state(host) == "recovered" and not word(host).effect_open
    assert word(host).detail == (
        "3 successors struck; the hold ended before its time: systemd gave worker@1.service up after 4 blows "
        "(start-limit-hit); worker@1.service was started again"
    )


def test_r15_what_gives_up_only_after_the_hold_is_started_too() -> None:
    host = in_unit(gives_up_after=0)
    host.stalled = {w.LookUnit}
    hold(host, action=p.Action(hold_down=p.HoldDown(length_ms=400)))
    host.release()
    host.run(3 * h.SECOND)
    assert starts(host) == 1 and state(host) == "recovered"


def test_r15_a_unit_that_somebody_has_stopped_stays_stopped() -> None:
    host = in_unit(gives_up_after=3)
    hold(host)
    host.run(1_700 * h.MS)
    host.world.units[UNIT] = replace(host.world.units[UNIT], active="inactive")
    host.run(20 * h.SECOND)
    assert starts(host) == 0 and not word(host).effect_open and state(host) == "gone"
    host.run(20 * h.SECOND)
    assert state(host) == "lost"


def test_r15_a_unit_that_failed_for_a_reason_of_its_own_is_left_alone() -> None:
    host = in_unit()
    hold(host)
    host.run(700 * h.MS)
    host.world.restart_after_ns = -1
    host.run(300 * h.MS)
    host.world.units[UNIT] = replace(host.world.units[UNIT], active="failed", main_pid=77, main_signal=11)
    host.run(20 * h.SECOND)
    assert starts(host) == 0


def test_r15_a_unit_that_was_not_active_when_struck_is_never_started() -> None:
    host = in_unit(gives_up_after=1)
    host.world.units[UNIT] = replace(host.world.units[UNIT], active="deactivating")
    hold(host)
    host.run(20 * h.SECOND)
    assert starts(host) == 0 and len(fell(host)) == 2


def test_i10_where_systemd_does_not_say_how_the_unit_is_nothing_is_struck() -> None:
    host = in_unit()
    host.unit_problem = "Failed to connect to bus"
    hold(host)
    assert word(host).reason == p.REASON_UNREADABLE and word(host).used_up and fell(host) == []


def test_r13_a_unit_that_cannot_be_started_is_named_as_left_until_it_is() -> None:
    host = in_unit(gives_up_after=1)
    host.start_problem = "Access denied"
    hold(host)
    host.run(8 * h.SECOND)
    assert word(host).effect_open and "cannot start worker@1.service: Access denied" in word(host).detail
    beats = [frame.heartbeat for frame in host.sent if frame.WhichOneof("frame") == "heartbeat"]
    assert list(beats[-1].reverts_left) == ["c1"]
    other = host.world.spawn("other@")
    host.coordinator.order("c2", other)
    assert word(host, "c2").reason == p.REASON_REVERT_PENDING
    host.run(30 * h.SECOND)
    assert state(host) == "lost" and word(host).effect_open
    host.start_problem = ""
    host.run(8 * h.SECOND)
    assert state(host) == "recovered" and not word(host).effect_open and starts(host) == 1


def test_r13_a_unit_that_somebody_else_has_started_is_no_longer_left() -> None:
    host = in_unit(gives_up_after=1)
    host.start_problem = "Access denied"
    hold(host)
    host.run(8 * h.SECOND)
    host.world.start(UNIT)
    host.run(6 * h.SECOND)
    assert state(host) == "recovered" and not word(host).effect_open and starts(host) == 0


@pytest.mark.parametrize("forgotten", [False, True])
def test_r13_r15_a_unit_that_was_reset_and_not_started_is_not_taken_for_stopped(forgotten: bool) -> None:
    """`reset-failed` has worked, `start` has not: it is `inactive`, as what somebody stops, but by our doing."""
    host = in_unit(gives_up_after=1)
    host.start_problem = "Connection timed out"
    hold(host)
    host.stalled = {w.StartUnit}
    host.run(3 * h.SECOND)
    failed = host.world.units[UNIT]
    assert failed.active == "failed"
    host.world.units[UNIT] = replace(failed, active="inactive", result="success")
    if forgotten:  # nothing refers to it, so systemd has unloaded it
        host.world.units[UNIT] = replace(host.world.units[UNIT], main_pid=0, main_signal=0)
    host.stalled = set()
    host.give(w.UnitStarted(command_id="c1", problem="Connection timed out", reset=True))
    host.run(3 * h.SECOND)
    assert word(host).effect_open and "cannot start worker@1.service" in word(host).detail
    host.start_problem = ""
    host.run(8 * h.SECOND)
    assert starts(host) == 1 and state(host) == "recovered" and not word(host).effect_open


def given_up_late() -> h.Host:
    """The second blow has used up the start limit; systemd will notice when it is to restart the unit."""
    host = in_unit(gives_up_after=1)
    host.world.gives_up_late = True
    hold(host)
    host.run(700 * h.MS)
    assert len(fell(host)) == 2 and host.world.units[UNIT].active == "activating"
    return host


@pytest.mark.parametrize("end", [stop, halt, abort, end_lease], ids=lambda end: end.__name__)
def test_i6_r13_a_unit_that_is_about_to_be_restarted_is_looked_at_until_it_is_up_or_given_up(end: object) -> None:
    host = given_up_late()
    end(host)  # type: ignore[operator]
    assert host.left is None and word(host).effect_open
    host.run(20 * h.SECOND)
    assert starts(host) == 1 and not word(host).effect_open and len(host.world.processes) == 1
    assert host.left == (() if end is stop else None)


def test_r12_a_halt_is_acknowledged_as_reverted_only_once_the_unit_is_up_again() -> None:
    host = given_up_late()
    host.coordinator.halt()

    def stages() -> list[a.HaltStage]:
        return [frame.halt_ack.stage for frame in host.sent if frame.WhichOneof("frame") == "halt_ack"]

    assert set(stages()) == {a.HALT_STAGE_STOPPED}
    host.run(3 * h.SECOND)
    assert stages()[-1] == a.HALT_STAGE_REVERTED and len(host.world.processes) == 1


def test_i6_a_unit_that_systemd_restarts_is_not_started_by_us() -> None:
    host = in_unit()
    hold(host)
    host.run(700 * h.MS)
    stop(host)
    assert word(host).effect_open
    host.run(2 * h.SECOND)
    assert host.left == () and starts(host) == 0 and len(host.world.processes) == 1


def test_i6_a_unit_whose_death_systemd_has_not_heard_of_is_not_taken_for_one_that_runs() -> None:
    host = given_up_late()
    noticed = host.world.units[UNIT]
    host.world.units[UNIT] = replace(noticed, active="active", main_signal=0)
    stop(host)
    assert word(host).effect_open
    host.world.units[UNIT] = noticed
    host.run(3 * h.SECOND)
    assert host.left == () and starts(host) == 1


def test_i6_a_unit_that_never_ends_activating_is_named_as_left() -> None:
    host = given_up_late()
    host.world.restart_after_ns = -1
    host.run(h.SECOND // 2)
    host.world.units[UNIT] = replace(host.world.units[UNIT], active="activating")
    stop(host)
    host.run(25 * h.SECOND)
    assert host.left == ("c1",)


def stopped_after_a_blow() -> h.Host:
    """Our blow has the unit deactivate, which takes a while (ExecStopPost=); meanwhile somebody stops it."""
    host = in_unit()
    host.world.restart_after_ns = -1
    victim = hold(host)
    host.world.units[UNIT] = replace(
        host.world.units[UNIT], active="deactivating", main_pid=victim.pid, main_signal=9, stop_ordered=True
    )
    host.run(2 * h.SECOND)
    assert word(host).cut_short and "somebody has stopped worker@1.service" in word(host).detail
    host.world.units[UNIT] = replace(host.world.units[UNIT], active="failed", stop_ordered=False)
    return host


def test_r15_a_unit_that_somebody_stops_while_it_deactivates_after_a_blow_is_never_started() -> None:
    host = stopped_after_a_blow()
    host.run(20 * h.SECOND)
    assert starts(host) == 0 and not word(host).effect_open and len(fell(host)) == 1


@pytest.mark.parametrize("compacted", [False, True])
def test_r15_that_somebody_has_stopped_it_is_known_after_a_restart(compacted: bool) -> None:
    host = stopped_after_a_blow()
    host.crash()
    if compacted:
        memory = Memory()
        for record in host.journal:
            memory.apply(record)
        host.journal[:] = memory.essential()
    host.start()
    host.coordinator.link()
    host.run(20 * h.SECOND)
    assert starts(host) == 0 and not word(host).effect_open and word(host).cut_short


def test_r15_a_unit_that_is_stopped_after_the_hold_s_end_is_never_started() -> None:
    host = in_unit()
    host.world.restart_after_ns = -1
    victim = hold(host)
    down = replace(host.world.units[UNIT], active="deactivating", main_pid=victim.pid, main_signal=9)
    host.world.units[UNIT] = down
    abort(host)
    assert word(host).effect_open
    host.world.units[UNIT] = replace(down, stop_ordered=True)
    host.run(2 * h.SECOND)
    host.world.units[UNIT] = replace(down, active="failed")
    host.run(20 * h.SECOND)
    assert starts(host) == 0 and not word(host).effect_open


def test_i6_an_agent_that_stops_waits_for_the_start_and_names_what_is_left() -> None:
    host = in_unit(gives_up_after=1)
    host.start_problem = "Access denied"
    hold(host)
    host.run(h.SECOND)
    host.give(w.Stop("SIGTERM"))
    assert host.left is None
    host.run(25 * h.SECOND)
    assert host.left == ("c1",)


@pytest.mark.parametrize("crash_ms", range(0, 3_000, 200))
def test_r4_r15_after_a_restart_the_unit_is_started_and_nothing_else_done(crash_ms: int) -> None:
    host = in_unit(gives_up_after=2)
    hold(host)
    host.run(crash_ms * h.MS)
    sent = len(host.world.log)
    host.crash()
    host.run(h.SECOND)
    host.start()
    host.coordinator.link()
    host.run(8 * h.SECOND)
    assert len(host.world.log) == sent and state(host) == "recovered" and len(host.world.processes) == 1


def test_r15_nothing_outlives_a_reboot() -> None:
    host = in_unit(gives_up_after=1)
    host.start_problem = "Access denied"
    hold(host)
    host.run(3 * h.SECOND)
    host.crash()
    host.world.boot_id = "boot-2"
    host.world.spawn(unit=UNIT)
    host.start_problem = ""
    host.start()
    host.coordinator.link()
    host.run(3 * h.SECOND)
    assert starts(host) == 0 and state(host) == "recovered"


@pytest.mark.parametrize("run_ms", [2_000, 5_200])
def test_a_journal_that_was_compacted_still_knows_whom_it_struck_which_unit_and_its_end(run_ms: int) -> None:
    host = in_unit()
    hold(host, stable_for_ms=3_000)
    host.run(run_ms * h.MS)
    memory, again = Memory(), Memory()
    for record in host.journal:
        memory.apply(record)
    for record in memory.essential():
        again.apply(record)
    assert again.strikes == memory.strikes
    assert again.strikes["c1"].unit == UNIT and (again.strikes["c1"].held is not None) == (run_ms > 5_000)
    assert [(one.pid, one.start_ticks) for one in again.strikes["c1"].successors.values()] == [
        one.victim for one in fell(host)[1:]
    ]
