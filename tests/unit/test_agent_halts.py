"""Halt, lease and stop on a simulated host: what ends a strike from outside (R8, R10 to R14, I4 to I6)."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from tests.support import host as h


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def acks(host: h.Host, halt_id: str = "halt-1") -> list[tuple[str, int, list[str]]]:
    found = [f.halt_ack for f in host.sent if f.HasField("halt_ack") and f.halt_ack.halt_id == halt_id]
    return [
        (a.HaltStage.Name(ack.stage).removeprefix("HALT_STAGE_"), ack.reverted, list(ack.left)) for ack in found
    ]


def left(host: h.Host) -> tuple[str, ...] | None:
    """What the agent could not revert, once it has left."""
    return host.left


def paused(host: h.Host) -> list[h.Proc]:
    victims = list(host.world.processes.values())[:2]
    for number, victim in enumerate(victims):
        host.coordinator.order(f"pause-{number}", victim, "pause", action=h.long_pause())
    return victims


# --- halt ---------------------------------------------------------------------------------------------------


def test_r10_a_halt_is_acknowledged_when_it_is_durable_and_not_before(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.halt()
    assert acks(host) == []
    host.release()
    assert acks(host) == [("REVERTED", 0, [])]


def test_r10_a_halt_that_cannot_be_written_holds_and_is_not_acknowledged_until_it_can(host: h.Host) -> None:
    host.journal_problem = "no space left"
    host.coordinator.halt()
    host.coordinator.order("c1", host.world.first, halts_digest=host.core._desk.memory.halts.digest)
    assert acks(host) == [] and host.world.log == []
    host.journal_problem = ""
    host.run(6 * h.SECOND)  # the next renewal names it again
    assert acks(host)[0][0] == "REVERTED"


def test_i4_a_strike_that_was_overtaken_by_the_halt_is_refused_while_the_halt_is_being_written(
    host: h.Host,
) -> None:
    late = host.coordinator.strike("c1", host.world.first)  # its issuer did not know the halt
    host.stalled = {w.Write}
    host.coordinator.halt()
    host.coordinator.say(strike=late)
    host.release()
    host.run(h.SECOND)
    assert host.world.log == []
    assert host.coordinator.updates["c1"].reason == p.REASON_HALTED


def test_i4_a_halt_that_could_not_be_written_holds_when_the_disk_has_room_again(host: h.Host) -> None:
    overtaken = [host.coordinator.strike(f"c{number}", host.world.first) for number in range(3)]
    host.coordinator.unlink()
    host.coordinator.link(welcomes=False)
    host.journal_problem = "no space left"
    host.coordinator.say(halt=a.Halt(halt=h.HALT))
    host.journal_problem = ""
    host.coordinator.welcome()
    for command in overtaken:
        host.coordinator.say(strike=command)
    assert host.world.log == [] and host.coordinator.updates["c2"].reason == p.REASON_HALTED


@pytest.mark.parametrize("kind", ["kill", "terminate", "pause"])
@pytest.mark.parametrize("steps", range(12))
def test_i4_a_halt_between_any_two_effects_stops_what_has_not_been_sent(kind: str, steps: int) -> None:
    host = h.leased()
    host.inputs.append(w.Heard(a.ConnectResponse(strike=host.coordinator.strike("c1", host.world.first, kind))))
    for _ in range(steps):
        host.step()
    # The shell carries the effects of one input out before it hears the next.
    while host.effects:
        host.step()
    sent = len(host.world.log)
    host.coordinator.halts = host.coordinator.halts.engage(h.HALT)
    host.inputs.appendleft(w.Heard(a.ConnectResponse(halt=a.Halt(halt=h.HALT))))
    host.run(5 * h.SECOND)
    assert len(host.world.log) == sent
    assert acks(host)[-1][0] == "REVERTED"
    host.oracle.quiet()


def test_i4_no_signal_is_under_way_when_a_halt_is_acknowledged(host: h.Host) -> None:
    host.stalled = {w.Strike}
    host.coordinator.order("c1", host.world.first, "pause")
    host.coordinator.halt()
    assert acks(host) == []  # the word of the blow is not here: it may be paused
    host.release()
    assert acks(host)[-1] == ("REVERTED", 1, [])
    host.oracle.quiet()


def test_r12_where_nothing_lasts_one_acknowledgement_says_both(host: h.Host) -> None:
    host.coordinator.halt()
    assert acks(host) == [("REVERTED", 0, [])]


def test_r12_the_second_acknowledgement_comes_after_the_reverts_and_names_what_is_left(host: h.Host) -> None:
    victims = paused(host)
    host.revert_problem = "EPERM"
    host.coordinator.halt()
    assert acks(host) == [("STOPPED", 0, ["pause-0", "pause-1"])]
    host.revert_problem = ""
    host.run(h.SECOND)
    assert acks(host)[-1] == ("REVERTED", 2, [])
    assert [victim.state for victim in victims] == ["S", "S"]


def test_r12_no_kill_comes_after_a_term_once_halted(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.coordinator.halt()
    host.run(5 * h.SECOND)
    assert [fell.signal for fell in host.world.log] == [15]


def test_r10_the_fleet_is_halted_until_each_halt_is_released_by_its_id(host: h.Host) -> None:
    host.coordinator.halt("one")
    host.coordinator.halt("two")
    host.coordinator.rearm("one", "nobody's")
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].reason == p.REASON_HALTED
    host.coordinator.rearm("two")
    host.coordinator.order("c2", host.world.first)
    assert host.coordinator.updates["c2"].blows


def test_r10_a_rearm_that_is_not_durable_opens_nothing(host: h.Host) -> None:
    host.coordinator.halt()
    host.stalled = {w.Write}
    host.coordinator.rearm("halt-1")
    host.coordinator.order("c1", host.world.first)
    host.release()
    assert host.coordinator.updates["c1"].reason == p.REASON_HALTED
    host.coordinator.order("c2", host.world.first)
    assert host.coordinator.updates["c2"].blows


def test_r10_a_rearm_that_cannot_be_written_is_written_when_it_is_heard_again(host: h.Host) -> None:
    host.coordinator.halt()
    host.journal_problem = "no space left"
    host.coordinator.rearm("halt-1")
    assert host.core._desk.halts.active
    host.journal_problem = ""
    host.run(6 * h.SECOND)
    assert not host.core._desk.halts.active


def test_r10_a_halt_outlives_a_restart_and_is_acknowledged_again(host: h.Host) -> None:
    host.coordinator.halt()
    host.crash()
    host.sent.clear()
    host.start()
    host.coordinator.link()
    (hello,) = [f.hello for f in host.sent if f.HasField("hello")]
    assert [halt.id for halt in hello.halts.engaged] == ["halt-1"]
    assert acks(host) == [("REVERTED", 0, [])]
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].reason == p.REASON_HALTED


def test_r10_halts_are_learnt_at_each_welcome_and_renewal(host: h.Host) -> None:
    host.coordinator.halts = host.coordinator.halts.engage(p.HaltRecord(id="by another", by="ops"))
    host.run(6 * h.SECOND)
    assert acks(host, "by another") == [("REVERTED", 0, [])]
    host.coordinator.unlink()
    host.coordinator.halts = host.coordinator.halts.engage(p.HaltRecord(id="a third", by="ops"))
    host.coordinator.halts = host.coordinator.halts.release(["by another"])
    host.coordinator.link()
    assert acks(host, "a third")[0][0] == "REVERTED"
    assert [halt.id for halt in host.core._desk.halts.active] == ["a third"]


def test_r10_a_halt_that_was_released_long_ago_stops_nothing(host: h.Host) -> None:
    host.coordinator.order("c1", host.world.first, "pause")
    old = p.HaltRecord(id="old", by="ops")
    host.coordinator.halts = host.coordinator.halts.engage(old).release(["old"])
    host.coordinator.order("other", list(host.world.processes.values())[1])
    assert host.coordinator.updates["other"].reason == p.REASON_HALTS_DIFFER
    host.stalled = {w.Write}
    host.coordinator.renew(host.world.boot_ns)
    host.settle()
    assert not host.core._desk.halts.active
    host.release()
    assert not host.core._desk.halts.active and host.world.first.state == "T"
    host.coordinator.order("c2", list(host.world.processes.values())[1])
    assert host.coordinator.updates["c2"].blows
    assert acks(host, "old") == []


def test_r14_the_local_halt_resumes_pauses(host: h.Host) -> None:
    victims = paused(host)
    host.give(w.LocalHalt(engaged=True))
    assert [victim.state for victim in victims] == ["S", "S"]


# --- lease --------------------------------------------------------------------------------------------------


def test_i5_the_end_of_the_lease_resumes_pauses_and_cancels_blows(host: h.Host) -> None:
    victim = host.world.first
    other = list(host.world.processes.values())[1]
    other.outlives_term_ns = 60 * h.SECOND
    host.coordinator.renews = False
    host.run(13 * h.SECOND)
    host.coordinator.order("c1", victim, "pause", action=h.long_pause())
    host.coordinator.order("c2", other, "terminate", action=p.Action(terminate=p.Terminate(grace_ms=9_000)))
    assert victim.state == "T"
    host.run(2 * h.SECOND)
    assert victim.state == "S"
    host.run(20 * h.SECOND)
    assert [fell.signal for fell in host.world.log if fell.command_id == "c2"] == [15]


def test_i5_the_lease_outlives_the_stream_and_no_more(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause", action=h.long_pause())
    host.coordinator.unlink()
    host.run(14 * h.SECOND)
    assert victim.state == "T"
    host.run(2 * h.SECOND)
    assert victim.state == "S"


def test_r7_a_renewal_counts_from_the_stamp_of_its_heartbeat(host: h.Host) -> None:
    host.coordinator.renews = False
    host.run(6 * h.SECOND)
    stamp = [f.heartbeat for f in host.sent if f.HasField("heartbeat")][-1].stamp_boot_ns
    host.run(14 * h.SECOND)
    host.coordinator.renew(stamp)
    host.settle()
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].reason == p.REASON_NOT_LEASED


def test_r7_a_renewal_of_no_heartbeat_of_this_stream_renews_nothing(host: h.Host) -> None:
    host.coordinator.renews = False
    host.run(16 * h.SECOND)
    host.coordinator.renew(host.world.boot_ns)
    host.settle()
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].reason == p.REASON_NOT_LEASED


def test_r7_heartbeats_that_nobody_answers_are_forgotten(host: h.Host) -> None:
    host.coordinator.renews = False
    host.run(6 * h.SECOND)
    stamp = [f.heartbeat for f in host.sent if f.HasField("heartbeat")][-1].stamp_boot_ns
    host.run(100 * h.SECOND)
    host.coordinator.lease_ms = 1_000_000
    host.coordinator.renew(stamp)
    host.settle()
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].reason == p.REASON_NOT_LEASED


def test_r8_a_host_that_stood_still_has_no_lease_until_a_new_heartbeat_is_answered(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause", action=h.long_pause())
    host.coordinator.renews = False
    host.world.pass_time(20 * h.SECOND, frozen=True)
    host.run(100 * h.MS)
    assert victim.state == "S"
    host.coordinator.order("c2", victim)
    assert host.coordinator.updates["c2"].reason == p.REASON_NOT_LEASED
    host.coordinator.renews = True
    host.run(6 * h.SECOND)
    host.coordinator.order("c3", victim)
    assert host.coordinator.updates["c3"].blows


def test_r8_a_strike_whose_host_stood_still_while_the_intent_was_written_is_refused(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first)
    host.world.pass_time(20 * h.SECOND, frozen=True)
    host.release()
    assert host.coordinator.updates["c1"].reason == p.REASON_NOT_LEASED


def test_r8_without_a_real_time_clock_the_bound_is_in_running_time(host: h.Host) -> None:
    host.world.rtc = False
    host.run(6 * h.SECOND)
    host.world.pass_time(h.SECOND, frozen=True)
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].blows


# --- stop ---------------------------------------------------------------------------------------------------


def test_r13_a_stop_reverts_before_it_leaves(host: h.Host) -> None:
    victims = paused(host)
    host.give(w.Stop("SIGTERM"))
    assert [victim.state for victim in victims] == ["S", "S"]
    host.run(100 * h.MS)
    assert left(host) == () and host.sent[-1].HasField("goodbye")


def test_r13_a_stop_waits_for_reverts_that_fail_and_then_names_them(host: h.Host) -> None:
    paused(host)
    host.revert_problem = "EPERM"
    host.give(w.Stop("SIGTERM"))
    host.run(19 * h.SECOND)
    assert left(host) is None
    host.run(2 * h.SECOND)
    assert left(host) == ("pause-0", "pause-1")
    host.sent.clear()
    host.run(10 * h.SECOND)
    assert host.sent == []  # it has left


def test_r13_a_second_stop_does_not_wait_longer_and_one_during_a_revert_that_works_late_leaves_nothing(
    host: h.Host,
) -> None:
    victims = paused(host)
    host.revert_problem = "EPERM"
    host.give(w.Stop("SIGTERM"))
    host.run(5 * h.SECOND)
    host.give(w.Stop("SIGTERM"))
    host.revert_problem = ""
    host.run(h.SECOND)
    assert left(host) == () and [victim.state for victim in victims] == ["S", "S"]


def test_a_stop_with_nothing_to_revert_leaves_at_once_and_without_a_stream_says_nothing(host: h.Host) -> None:
    host.coordinator.unlink()
    host.give(w.Stop("SIGTERM"))
    assert left(host) == ()


def test_i6_a_stop_while_the_word_of_a_pause_is_out_waits_for_it(host: h.Host) -> None:
    host.stalled = {w.Strike}
    host.coordinator.order("c1", host.world.first, "pause")
    host.give(w.Stop("SIGTERM"))
    assert left(host) is None
    host.release()
    host.run(100 * h.MS)
    assert left(host) == ()
    host.oracle.quiet()
