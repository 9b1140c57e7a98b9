"""What a strike does and what it says of it, from command to outcome."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.guard import Guard
from tests.support import host as h


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def word(host: h.Host, command_id: str = "c1") -> a.StrikeUpdate:
    return host.coordinator.updates[command_id]


def state(host: h.Host, command_id: str = "c1") -> str:
    return p.StrikeState.Name(word(host, command_id).state).removeprefix("STRIKE_STATE_").lower()


def signals(host: h.Host, command_id: str = "c1") -> list[int]:
    return [fell.signal for fell in host.world.log if fell.command_id == command_id]


# --- one signal, at most once -------------------------------------------------------------------------------


def test_a_kill_says_what_the_kernel_saw_from_signal_to_recovery(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim)
    assert state(host) == "gone"
    host.run(2 * h.SECOND)
    update = word(host)
    assert state(host) == "recovered" and update.settled and not update.used_up
    (blow,) = update.blows
    assert (blow.number, blow.signal, blow.kernel_verdict) == (1, 9, "delivered")
    assert (blow.sender_pid, blow.seen_boot_ns) == (h.AGENT_PID, update.exit.at_boot_ns)
    assert (update.exit.signal, update.exit.source, update.exit.after_blow_ns) == (9, "bpf", 0)
    assert update.successor.identity.pid != victim.pid
    assert update.successor.after_exit_ns == 500 * h.MS


def test_r1_the_intent_is_durable_before_the_signal(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first)
    assert host.journal[-1].kind == "intent" and signals(host) == []
    host.release()
    assert signals(host) == [9]


def test_r1_an_intent_that_cannot_be_written_is_a_refusal(host: h.Host) -> None:
    host.stalled = {w.Open}
    host.coordinator.order("c1", host.world.first)
    host.journal_problem = "no space left"
    host.release()
    assert signals(host) == [] and state(host) == "refused" and not word(host).used_up
    host.journal_problem = ""
    host.coordinator.order("c1", host.world.first)
    assert signals(host) == []


@pytest.mark.parametrize("stalled", [w.Open, w.Write, w.Census, None])
def test_i2_a_command_heard_again_is_answered_and_never_acted_on(
    host: h.Host, stalled: type[object] | None
) -> None:
    host.stalled = {stalled} if stalled else set()
    command = host.coordinator.strike("c1", host.world.first)
    for _ in range(3):
        host.coordinator.say(strike=command)
    host.release()
    host.coordinator.say(strike=command)
    host.run(3 * h.SECOND)
    host.coordinator.say(strike=command)
    assert signals(host) == [9] and word(host).settled


def test_i2_a_command_heard_again_while_its_end_is_being_written_is_not_acted_on(host: h.Host) -> None:
    command = host.coordinator.strike("c1", host.world.first, "pause")
    host.coordinator.acknowledges = False
    host.coordinator.say(strike=command)
    host.run(4 * h.SECOND)
    host.stalled = {w.Write}
    host.coordinator.acknowledges = True
    host.coordinator.say(strike=command)
    assert host.journal[-1].kind == "closed"
    host.coordinator.say(strike=command)
    host.release()
    assert signals(host) == [19] and word(host).settled


def test_i2_a_refused_command_heard_again_stays_refused(host: h.Host) -> None:
    command = host.coordinator.strike("c1", host.world.first, not_after_boot_ns=1)
    host.coordinator.say(strike=command)
    host.coordinator.updates.clear()
    command.not_after_boot_ns = host.world.boot_ns + h.SECOND
    host.coordinator.say(strike=command)
    assert word(host).used_up and word(host).reason == p.REASON_TOO_LATE
    assert signals(host) == []


# --- revert -------------------------------------------------------------------------------------------------


def test_r11_a_revert_that_comes_before_its_strike_uses_the_id_up(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert "c1" not in host.coordinator.updates
    host.coordinator.order("c1", host.world.first)
    host.release()
    assert word(host).used_up and word(host).reason == p.REASON_CANCELLED
    host.coordinator.order("c1", host.world.first)
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert signals(host) == [] and word(host).used_up


@pytest.mark.parametrize("stalled", [w.Open, w.Write])
def test_r11_a_revert_before_the_blow_cancels_it(host: h.Host, stalled: type[object]) -> None:
    host.stalled = {stalled}
    host.coordinator.order("c1", host.world.first)
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    host.release()
    assert signals(host) == [] and word(host).used_up and word(host).reason == p.REASON_CANCELLED


def test_r11_a_revert_after_the_end_is_answered(host: h.Host) -> None:
    host.coordinator.acknowledges = False
    host.coordinator.order("c1", host.world.first)
    host.run(3 * h.SECOND)
    host.coordinator.updates.clear()
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert state(host) == "recovered"


def test_r11_a_revert_resumes_a_pause_and_cancels_a_kill_to_come(host: h.Host) -> None:
    one, other, _ = host.world.processes.values()
    other.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", one, "pause")
    host.coordinator.order("c2", other, "terminate")
    assert one.state == "T"
    for command_id in ("c1", "c2"):
        host.coordinator.say(revert=a.Revert(command_id=command_id))
    assert one.state == "S" and state(host) == "survived"
    host.run(5 * h.SECOND)
    assert signals(host, "c2") == [15]


# --- pause --------------------------------------------------------------------------------------------------


def test_i6_a_pause_ends_by_itself_and_says_so(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    assert victim.state == "T" and word(host).effect_open
    host.run(3_100 * h.MS)
    assert victim.state == "S" and not word(host).effect_open
    assert state(host) == "survived" and word(host).settled
    assert [(blow.signal, blow.revert) for blow in word(host).blows] == [(19, False), (18, True)]
    host.oracle.quiet()


def test_r13_a_revert_that_fails_is_tried_until_it_works_and_named_meanwhile(host: h.Host) -> None:
    host.coordinator.heartbeat_ms = 200
    host.coordinator.unlink()
    host.coordinator.link()
    host.revert_problem = "EPERM"
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.run(5 * h.SECOND)
    beats = [f.heartbeat for f in host.sent if f.HasField("heartbeat")]
    assert list(beats[-1].reverts_left) == ["c1"]
    host.revert_problem = ""
    host.run(300 * h.MS)
    assert victim.state == "S" and state(host) == "survived"


def test_r13_a_paused_process_that_is_gone_needs_no_revert(host: h.Host) -> None:
    victim = host.world.first
    host.bpf = False
    host.coordinator.order("c1", victim, "pause")
    del host.world.processes[victim.pid]  # and nobody has told
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert state(host) == "gone" and word(host).exit.source == "revert"


def test_a_paused_process_that_is_killed_by_another_has_to_recover(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.world.signal(victim, 9, 1)
    host.settle()
    assert state(host) == "gone" and not word(host).effect_open
    host.run(2 * h.SECOND)
    assert state(host) == "recovered"


@pytest.mark.parametrize("guard", [Guard(version="2"), Guard(version="1", problem="cannot read guard.d")])
def test_r29_a_guard_that_changes_ends_a_pause(host: h.Host, guard: Guard) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.give(w.Configured(guard=h.GUARD))
    assert victim.state == "T"  # nothing has changed
    host.give(w.Configured(guard=guard))
    assert victim.state == "S" and state(host) == "survived"


def test_r29_a_new_guard_judges_the_blow_to_come(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.give(w.Configured(guard=Guard(version="2")))
    host.run(5 * h.SECOND)
    assert signals(host) == [15] and "blow 2 was not sent" in word(host).detail


# --- terminate ----------------------------------------------------------------------------------------------


def test_terminate_is_term_then_grace_then_kill(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(1_900 * h.MS)
    assert signals(host) == [15] and state(host) == "struck"
    host.run(3 * h.SECOND)
    assert signals(host) == [15, 9] and state(host) == "recovered"
    assert [(blow.number, blow.kernel_verdict) for blow in word(host).blows] == [(1, "delivered"), (2, "delivered")]
    assert word(host).exit.after_blow_ns == 0  # of the second blow


def test_terminate_of_one_that_exits_in_its_grace_sends_no_kill(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 700 * h.MS
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(5 * h.SECOND)
    assert signals(host) == [15] and state(host) == "recovered"
    assert word(host).exit.after_blow_ns == 700 * h.MS


def test_terminate_without_a_grace_sends_no_kill_and_survives(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    action = p.Action(terminate=p.Terminate())
    host.coordinator.order("c1", host.world.first, action=action)
    host.run(21 * h.SECOND)
    assert signals(host) == [15] and state(host) == "survived" and word(host).settled


def test_r4_one_that_exits_and_recovers_while_the_second_intent_is_written_gets_no_second_blow(
    host: h.Host,
) -> None:
    host.world.first.outlives_term_ns = 2_100 * h.MS
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(1_900 * h.MS)
    host.stalled = {w.Write}
    host.run(2 * h.SECOND)
    assert state(host) == "recovered"
    host.release()
    host.run(h.SECOND)
    assert signals(host) == [15] and state(host) == "recovered"


def test_r4_a_second_intent_that_cannot_be_written_is_no_second_blow(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.journal_problem = "no space left"
    host.run(3 * h.SECOND)
    assert signals(host) == [15] and "blow 2 was not sent" in word(host).detail
    host.run(20 * h.SECOND)
    assert state(host) == "survived"


# --- evidence -----------------------------------------------------------------------------------------------


def test_i8_a_signal_that_the_kernel_ignored_is_survived_at_once(host: h.Host) -> None:
    host.world.first.ignores = frozenset({10})
    host.coordinator.order("c1", host.world.first, action=p.Action(kill=p.Kill(signal=10)))
    assert state(host) == "survived" and word(host).settled
    assert "ignores" in word(host).detail


def test_i8_an_ignored_term_is_no_survival_while_the_kill_is_to_come(host: h.Host) -> None:
    host.world.first.ignores = frozenset({15})
    host.coordinator.order("c1", host.world.first, "terminate")
    assert state(host) == "struck"
    host.run(4 * h.SECOND)
    assert signals(host) == [15, 9] and state(host) == "recovered"


def test_i8_an_ignored_term_that_is_told_late_does_not_take_the_kill_back(host: h.Host) -> None:
    host.bpf = False
    host.world.first.ignores = frozenset({15})
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(1_900 * h.MS)
    host.stalled = {w.Write}
    host.run(200 * h.MS)
    late = p.SignalSeen(
        sender=p.Party(pid=h.AGENT_PID),
        target=p.Party(pid=host.world.first.pid, start_ticks=host.world.first.start_ticks),
        signal=15,
        verdict="ignored",
    )
    host.give(w.Seen(p.KernelEvent(at_boot_ns=5, signal=late)))
    host.release()
    assert signals(host) == [15, 9]


def test_i8_the_same_signal_by_somebody_else_is_not_our_blow(host: h.Host) -> None:
    victim = host.world.first
    host.bpf = False
    host.coordinator.order("c1", victim, action=p.Action(kill=p.Kill(signal=10)))
    target = p.Party(pid=victim.pid, start_ticks=victim.start_ticks)
    for sender in (p.Party(pid=1), None):
        seen = p.SignalSeen(sender=sender, target=target, signal=10, verdict="ignored")
        host.give(w.Seen(p.KernelEvent(at_boot_ns=5, signal=seen)))
    assert not word(host).blows[0].seen_boot_ns


def test_i8_evidence_that_comes_before_the_word_of_the_blow_is_not_lost(host: h.Host) -> None:
    victim = host.world.first
    host.stalled = {w.Strike}
    host.coordinator.order("c1", victim)
    host.release()
    host.run(h.SECOND)
    assert state(host) == "recovered"
    assert word(host).blows[0].kernel_verdict == "delivered"
    assert word(host).exit.signal == 9


def test_i6_a_pause_whose_victim_died_before_its_word_leaves_nothing_open(host: h.Host) -> None:
    victim = host.world.first
    host.stalled = {w.Strike}
    host.coordinator.order("c1", victim, "pause")
    host.world.signal(victim, 9, 1)
    host.settle()
    host.release()
    assert state(host) == "gone" and not word(host).effect_open
    host.run(2 * h.SECOND)
    assert state(host) == "recovered"


def test_an_exit_that_is_seen_while_a_revert_is_out_is_no_survival(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.stalled = {w.Revert}
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    host.world.signal(victim, 9, 1)
    host.settle()
    host.release()
    assert state(host) == "gone"
    host.run(2 * h.SECOND)
    assert state(host) == "recovered"


def test_i8_the_kernels_word_of_an_exit_replaces_a_pidfds(host: h.Host) -> None:
    victim = host.world.first
    party = p.Party(pid=victim.pid, start_ticks=victim.start_ticks)
    host.bpf = False
    host.coordinator.order("c1", victim)
    assert word(host).exit.source == "pidfd"
    host.give(w.Seen(p.KernelEvent(at_boot_ns=host.world.boot_ns, exit=p.ExitSeen(process=party, signal=9))))
    assert (word(host).exit.source, word(host).exit.signal) == ("bpf", 9)
    host.give(w.Seen(p.KernelEvent(at_boot_ns=host.world.boot_ns, exit=p.ExitSeen(process=party, code=3)), "pidfd"))
    assert word(host).exit.source == "bpf"


def test_i8_a_pidfds_word_is_not_passed_on_as_kernel_evidence(host: h.Host) -> None:
    host.bpf = False
    host.run(h.SECOND)
    host.sent.clear()
    host.coordinator.order("c1", host.world.first)
    host.run(2 * h.SECOND)
    assert [f for f in host.sent if f.HasField("evidence")] == []


def test_i8_what_ends_a_process_after_its_strike_is_over_is_not_that_strike(host: h.Host) -> None:
    host.coordinator.acknowledges = False
    host.coordinator.order("c1", host.world.first, "pause")
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    host.world.end(host.world.first, 11)
    host.settle()
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert state(host) == "survived" and not word(host).HasField("exit")


def test_i8_lost_events_are_told_with_each_strike_they_may_concern(host: h.Host) -> None:
    host.give(w.Seen(p.KernelEvent(lost=p.EventsLost(kind="exit", count=3))))
    host.coordinator.order("c1", host.world.first, "pause")
    host.give(w.Seen(p.KernelEvent(lost=p.EventsLost(kind="exit", count=2))))
    host.run(4 * h.SECOND)
    assert word(host).events_lost == 2
    beats = [f.heartbeat for f in host.sent if f.HasField("heartbeat")]
    host.until(lambda: [f for f in host.sent if f.HasField("heartbeat")][-1].heartbeat.events_lost == 5)
    assert beats[0].events_lost == 0


def test_i8_evidence_waits_for_a_session_and_what_is_given_up_is_counted(
    host: h.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killdeer_agent.core.evidence.MOST_WAITING", 5)
    monkeypatch.setattr("killdeer_agent.core.evidence.BATCH", 2)
    host.run(h.SECOND)
    host.coordinator.unlink()
    for at in range(8):
        host.give(w.Seen(p.KernelEvent(at_boot_ns=at, exec=p.ExecSeen(file="/bin/true"))))
    host.run(h.SECOND)
    host.sent.clear()
    host.coordinator.link()
    batches = [f.evidence.events for f in host.sent if f.HasField("evidence")]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    events = [event for batch in batches for event in batch]
    assert [event.at_boot_ns for event in events[:5]] == [3, 4, 5, 6, 7]
    assert (events[5].lost.kind, events[5].lost.count) == ("waiting", 3)


def test_a_kill_that_does_not_end_its_victim_is_unknown_and_holds_on(host: h.Host) -> None:
    host.world.first.ignores = frozenset({9})  # in uninterruptible sleep, say
    host.coordinator.order("c1", host.world.first)
    host.run(25 * h.SECOND)
    assert state(host) == "unknown" and not word(host).settled
    host.world.end(host.world.first, 9)
    host.run(2 * h.SECOND)
    assert state(host) == "recovered"


# --- recovery, as the strike tells it -----------------------------------------------------------------------


def test_r18_no_successor_in_time_is_lost_and_a_late_one_is_recovered(host: h.Host) -> None:
    host.world.restart_after_ns = 40 * h.SECOND
    host.coordinator.order("c1", host.world.first)
    host.run(25 * h.SECOND)
    assert state(host) == "lost" and not word(host).settled
    host.run(20 * h.SECOND)
    assert state(host) == "recovered" and word(host).settled


def test_r18_recovered_is_only_what_stays_for_long_enough(host: h.Host) -> None:
    host.coordinator.order("c1", host.world.first, stable_for_ms=2_000)
    host.run(1_500 * h.MS)
    assert word(host).successor.identity.pid
    host.world.end(host.world.processes[word(host).successor.identity.pid])
    host.run(1_500 * h.MS)
    assert state(host) == "gone"
    host.run(2_500 * h.MS)
    assert state(host) == "recovered"


def test_r18_a_census_that_failed_says_nothing(host: h.Host) -> None:
    host.coordinator.order("c1", host.world.first)
    host.census_problem = "cannot read /proc"
    host.run(3 * h.SECOND)
    assert state(host) == "gone"
    host.census_problem = ""
    host.run(h.SECOND)
    assert state(host) == "recovered"


def test_a_host_that_execs_all_the_time_is_not_counted_all_the_time(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    host.coordinator.order("c1", host.world.first)
    host.stalled = {w.Census}
    for _ in range(100):
        host.give(w.Seen(p.KernelEvent(exec=p.ExecSeen(file="/bin/true"))))
    assert len(host.late) == 0
    host.run(100 * h.MS)
    for _ in range(100):
        host.give(w.Seen(p.KernelEvent(exec=p.ExecSeen(file="/bin/true"))))
    assert len(host.late) == 1
    host.run(5 * h.SECOND)
    assert len(host.late) == 1  # one at a time


def test_an_answer_to_a_strike_that_is_not_there_is_no_fault(host: h.Host) -> None:
    host.give(
        w.Opened(command_id="c9"),
        w.Done(command_id="c9", blow=1),
        w.Reverted(command_id="c9"),
        w.Counted(service="nobody's", members=()),
    )
    host.coordinator.order("c1", host.world.first, "pause")
    host.give(w.Opened(command_id="c1"), w.Done(command_id="c1", blow=1), w.Reverted(command_id="c1"))
    assert signals(host) == [19]


def test_r13_a_revert_that_fails_while_another_intent_is_written_stops_that_strike(host: h.Host) -> None:
    one, other, _ = host.world.processes.values()
    host.coordinator.order("c1", one, "pause")
    host.revert_problem = "EPERM"
    host.stalled = {w.Write}
    host.coordinator.order("c2", other)
    host.coordinator.say(revert=a.Revert(command_id="c1"))
    host.release()
    assert signals(host, "c2") == [] and word(host, "c2").reason == p.REASON_REVERT_PENDING


def test_r18_a_census_that_a_strike_has_outdated_is_made_again(host: h.Host) -> None:
    one, other, _ = host.world.processes.values()
    host.stalled = {w.Census}
    host.coordinator.order("c1", one)
    host.coordinator.order("c2", other)
    assert len(host.late) == 1
    host.give(host.late.popleft())
    assert len(host.late) == 1
    host.give(host.late.popleft())
    assert len(host.late) == 0
