"""Streams, sessions and the updates that outlive them (R16, R22, R23)."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from tests.support import host as h


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def hello(host: h.Host) -> a.Hello:
    return [frame.hello for frame in host.sent if frame.HasField("hello")][-1]


def beats(host: h.Host) -> int:
    return sum(frame.HasField("heartbeat") for frame in host.sent)


def held(host: h.Host, victim: h.Proc, kind: str = "pause", command_id: str = "c1") -> a.OpenStrike:
    command = host.coordinator.strike(command_id, victim, kind)
    return a.OpenStrike(command_id=command_id, victim=command.victim, action=command.action)


def word(host: h.Host, command_id: str = "c1") -> a.StrikeUpdate:
    return host.coordinator.updates[command_id]


def test_r23_the_token_is_durable_before_the_first_heartbeat_and_the_next_hello_shows_it() -> None:
    host = h.Host()
    host.start()
    host.stalled = {w.Write}
    host.coordinator.link()
    host.run(10 * h.SECOND)
    assert hello(host).session == "" and beats(host) == 0
    host.release()
    host.run(100 * h.MS)
    assert beats(host) == 1
    host.coordinator.link()
    assert hello(host).session == "s1"


def test_r23_without_a_durable_token_there_is_no_heartbeat() -> None:
    host = h.Host()
    host.start()
    host.journal_problem = "no space left"
    host.coordinator.link()
    host.run(10 * h.SECOND)
    assert beats(host) == 0


def test_r23_a_token_that_becomes_durable_on_a_later_stream_begins_nothing_there() -> None:
    host = h.Host()
    host.start()
    host.stalled = {w.Write}
    host.coordinator.link()
    host.coordinator.unlink()
    host.coordinator.link(welcomes=False)
    host.release()
    host.run(10 * h.SECOND)
    assert beats(host) == 0


def test_r23_frames_before_a_welcome_are_dropped_but_for_a_halt(host: h.Host) -> None:
    command = host.coordinator.strike("c1", host.world.first)
    host.coordinator.unlink()
    host.coordinator.link(welcomes=False)
    host.coordinator.say(strike=command)
    host.coordinator.say(scan=a.Scan(scan_id="s", selector=h.SELECTOR))
    assert host.world.log == [] and not [f for f in host.sent if f.HasField("candidates")]
    host.coordinator.halt()
    assert [f for f in host.sent if f.HasField("halt_ack")]


def test_an_unknown_frame_is_noted_and_nothing_else(host: h.Host) -> None:
    host.give(w.Heard(a.ConnectResponse()))
    assert host.notes[-1].event == "frame_not_known"


def test_a_dismissal_ends_the_stream_for_as_long_as_it_says(host: h.Host) -> None:
    host.coordinator.say(dismissal=a.Dismissal(detail="draining", retry_after_ms=700))
    assert host.unlinked_for == 700


def test_i8_what_was_not_acknowledged_is_told_again_after_a_reconnect(host: h.Host) -> None:
    host.coordinator.acknowledges = False
    one, other, _ = host.world.processes.values()
    host.coordinator.order("c1", one, not_after_boot_ns=1)
    host.coordinator.order("c2", other, "pause")
    host.coordinator.unlink()
    host.run(4 * h.SECOND)
    host.coordinator.updates.clear()
    host.coordinator.acknowledges = True
    host.coordinator.link()
    assert hello(host).open_commands == ["c2"], "nothing was sent for the other"
    assert word(host, "c1").used_up and word(host, "c2").state == p.STRIKE_STATE_SURVIVED
    host.coordinator.updates.clear()
    host.coordinator.link()
    assert hello(host).open_commands == [] and host.coordinator.updates == {}


def test_an_acknowledgement_of_an_older_word_ends_nothing(host: h.Host) -> None:
    host.coordinator.acknowledges = False
    host.coordinator.order("c1", host.world.first, "pause")
    first = word(host).number
    host.run(4 * h.SECOND)
    host.coordinator.say(ack=a.Ack(number=first))
    host.coordinator.link()
    assert hello(host).open_commands == ["c1"]


def test_r16_a_whole_journal_answers_an_id_it_does_not_hold_as_used_up(host: h.Host) -> None:
    host.coordinator.unlink()
    host.coordinator.link(held(host, host.world.first))
    assert word(host).used_up and word(host).reason == p.REASON_CANCELLED
    host.coordinator.order("c1", host.world.first)
    assert host.world.log == []


@pytest.mark.parametrize("acknowledged", [True, False])
def test_r16_an_id_that_is_held_is_answered_with_its_state(host: h.Host, acknowledged: bool) -> None:
    asked = held(host, host.world.first)
    host.coordinator.acknowledges = acknowledged
    host.coordinator.order("c1", host.world.first, "pause")
    host.run(4 * h.SECOND)
    host.coordinator.updates.clear()
    host.coordinator.link(asked)
    assert word(host).settled and not word(host).used_up


def test_r23_a_new_journal_resumes_a_pause_it_is_asked_about_and_never_says_that_nothing_was_sent() -> None:
    host = h.Host()
    victim = host.world.spawn()
    host.world.signal(victim, h.STOP, h.AGENT_PID)  # by an agent whose journal is lost
    host.start()
    host.coordinator.link(held(host, victim))
    assert victim.state == "S"
    assert word(host).state == p.STRIKE_STATE_UNKNOWN and word(host).settled and not word(host).used_up


@pytest.mark.parametrize("kind", ["kill", "pause"])
def test_r23_a_new_journal_never_becomes_one_that_denies_what_an_older_one_did(kind: str) -> None:
    host = h.Host()
    victim = host.world.spawn()
    asked = held(host, victim, kind)
    host.world.end(victim, 9)
    host.start()
    for restarts in (False, False, True, False):
        host.coordinator.updates.clear()
        if restarts:
            host.crash()
            host.start()
        host.coordinator.link(asked)
        host.coordinator.unlink()
        assert word(host).state in (p.STRIKE_STATE_UNKNOWN, p.STRIKE_STATE_GONE)
        assert not word(host).used_up and not word(host).settled


def test_r23_an_orphan_that_cannot_be_written_stays_known() -> None:
    host = h.Host()
    victim = host.world.spawn()
    host.start()
    host.journal_problem = "no space left"
    host.coordinator.link(held(host, victim, "kill"))
    host.journal_problem = ""
    host.coordinator.unlink()
    host.coordinator.link(held(host, victim, "kill"))
    assert word(host).state == p.STRIKE_STATE_UNKNOWN


def test_r23_a_journal_that_is_not_trusted_uses_nothing_up(host: h.Host) -> None:
    host.crash()
    host.start(problem="line 7 is damaged")
    host.coordinator.link(held(host, host.world.first))
    assert not word(host).used_up


def test_r22_the_highest_position_is_kept_and_shown_again(host: h.Host) -> None:
    for length in (5, 9, 7):
        renewal = a.LeaseRenewal(position=p.StorePosition(length=length, head=f"h{length}"))
        host.coordinator.say(lease_renewal=renewal)
    position = p.StorePosition(length=12, head="h12")
    host.coordinator.order("c1", host.world.first, position=position)
    host.crash()
    host.start()
    host.coordinator.link()
    assert (hello(host).position.length, hello(host).position.head) == (12, "h12")


def test_r22_a_position_is_written_once_and_again_if_that_failed(host: h.Host) -> None:
    renewal = a.LeaseRenewal(position=p.StorePosition(length=5, head="h5"))
    host.stalled = {w.Write}
    for _ in range(3):
        host.coordinator.say(lease_renewal=renewal)
    assert [record.kind for record in host.journal].count("position") == 1
    host.release()
    renewal.position.length = 6
    host.journal_problem = "no space left"
    host.coordinator.say(lease_renewal=renewal)
    host.journal_problem = ""
    host.coordinator.say(lease_renewal=renewal)
    assert [record.body["length"] for record in host.journal if record.kind == "position"] == [5, 6]


def test_hello_says_why_the_host_takes_no_strikes(host: h.Host) -> None:
    host.revert_problem = "EPERM"
    host.coordinator.order("c1", host.world.first, "pause", action=p.Action(pause=p.Pause(length_ms=100)))
    host.run(h.SECOND)
    host.coordinator.link()
    assert hello(host).problem == "not reverted: c1"
