"""Each line of the checklist says no by name, durably, and nothing is struck."""

from collections.abc import Callable
from typing import Any

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent import link
from killdeer_agent.core import words as w
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.scans import ANSWER_MOST_BYTES
from tests.support import host as h


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def refused(host: h.Host, command_id: str = "c1") -> str:
    """The named reason, once the refusal is durable."""
    update = host.coordinator.updates[command_id]
    assert update.state == p.STRIKE_STATE_REFUSED and update.used_up and not update.blows
    assert [fell for fell in host.world.log if fell.command_id == command_id] == []
    return p.Reason.Name(update.reason).removeprefix("REASON_").lower()


def not_leased(host: h.Host) -> None:
    host.coordinator.renews = False
    host.run(16 * h.SECOND)


def halted(host: h.Host) -> None:
    host.coordinator.halt()


def halted_locally(host: h.Host) -> None:
    host.give(w.LocalHalt(engaged=True))


def stopping(host: h.Host) -> None:
    host.revert_problem = "EPERM"
    host.coordinator.order("other", list(host.world.processes.values())[2], "pause")
    host.give(w.Stop("SIGTERM"))


def revert_pending(host: h.Host) -> None:
    host.revert_problem = "EPERM"
    host.coordinator.order("other", list(host.world.processes.values())[2], "pause")
    host.run(4 * h.SECOND)


def busy(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("other", host.world.first, "terminate")


def rate_spent(host: h.Host) -> None:
    guard = Guard(allow=h.GUARD.allow, version="1", per_minute=1)
    host.give(w.Configured(guard=guard))
    host.coordinator.order("other", list(host.world.processes.values())[2])


@pytest.mark.parametrize("state", [not_leased, halted, halted_locally, stopping, revert_pending, busy])
def test_what_the_host_is_in_refuses_by_name(host: h.Host, state: Callable[[h.Host], None]) -> None:
    state(host)
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == state.__name__


def test_host_rate_refuses_by_name_and_a_minute_later_no_more(host: h.Host) -> None:
    rate_spent(host)
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == "host_rate"
    host.run(61 * h.SECOND)
    host.coordinator.order("c2", host.world.first)
    assert host.coordinator.updates["c2"].blows


def test_host_rate_holds_for_two_commands_at_the_door_at_once(host: h.Host) -> None:
    host.give(w.Configured(guard=Guard(allow=h.GUARD.allow, version="1", per_minute=1)))
    host.stalled = {w.Write}
    one, other, _ = host.world.processes.values()
    host.coordinator.order("c1", one)
    host.coordinator.order("c2", other)
    host.release()
    assert [fell.command_id for fell in host.world.log] == ["c1"]
    assert refused(host, "c2") == "host_rate"


def test_r4_host_rate_counts_a_strike_once_so_terminate_escalates(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    host.give(w.Configured(guard=Guard(allow=h.GUARD.allow, version="1", per_minute=1)))
    stubborn, other, _ = host.world.processes.values()
    stubborn.outlives_term_ns = 600 * h.SECOND
    host.coordinator.order("c1", stubborn, "terminate")
    host.run(3 * h.SECOND)
    assert [fell.signal for fell in host.world.log] == [15, 9], "the same process, so the same strike"
    host.coordinator.order("c2", other)
    assert refused(host, "c2") == "host_rate"
    host.run(58 * h.SECOND)
    host.coordinator.order("c3", other)
    assert host.coordinator.updates["c3"].blows, "a minute after the first blow, not after the last"


@pytest.mark.parametrize("blows", [1, 2])
def test_host_rate_counts_a_strike_that_was_closed_before_a_restart_once(host: h.Host, blows: int) -> None:
    host.give(w.Configured(guard=Guard(allow=h.GUARD.allow, version="1", per_minute=2)))
    first = host.world.first
    first.outlives_term_ns = 600 * h.SECOND if blows == 2 else 0
    host.coordinator.order("other", first, "terminate")
    host.run(10 * h.SECOND)
    assert len(host.world.log) == blows and not host.core._strikes.open, "recovered, acknowledged and closed"
    host.crash()
    host.start(guard=Guard(allow=h.GUARD.allow, version="1", per_minute=2))
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].blows, "the second in this minute"
    host.run(10 * h.SECOND)
    host.coordinator.order("c2", host.world.first)
    assert refused(host, "c2") == "host_rate"


def test_host_rate_outlives_a_restart(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    rate_spent(host)
    host.crash()
    host.start(guard=Guard(allow=h.GUARD.allow, version="1", per_minute=1))
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == "host_rate"


CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "another digest": ("halts_differ", {"halts_digest": "00"}),
    "past its time": ("too_late", {"not_after_boot_ns": 1}),
    "another boot": ("other_boot", {"victim": p.Identity(host="h1", boot_id="boot-0", pid=1001, start_ticks=1)}),
    "another host": ("gone", {"victim": p.Identity(host="h2", boot_id="boot-1", pid=1001, start_ticks=1)}),
    "no such process": ("gone", {"victim": p.Identity(host="h1", boot_id="boot-1", pid=7, start_ticks=1)}),
    "a reused pid": ("reused", {"victim": p.Identity(host="h1", boot_id="boot-1", pid=1001, start_ticks=1)}),
    "an empty selector": ("cannot_evaluate", {"selector": p.Selector()}),
    "no action": ("newer_than_me", {"action": p.Action()}),
    "stopping by kill": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=19))}),
    "stopping by TSTP": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=20))}),
    "stopping by TTOU": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=22))}),
    "continuing": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=18))}),
    "no signal": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=0))}),
    "a signal too high": ("action_not_allowed", {"action": p.Action(kill=p.Kill(signal=65))}),
    "an enum value from later": (
        "newer_than_me",
        {"selector": p.Selector(terms=[p.Term(field=99, match=1, values=["x"])])},  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_the_command_says_refuses_by_name(host: h.Host, what: str) -> None:
    reason, changed = CHANGED[what]
    host.coordinator.order("c1", host.world.first, **changed)
    assert refused(host) == reason


def test_r25_a_field_from_later_at_any_depth_refuses(host: h.Host) -> None:
    raw = host.coordinator.strike("c1", host.world.first)
    raw.action.kill.MergeFromString(b"\x98\x06\x01")  # field 99
    host.coordinator.say(strike=raw)
    assert refused(host) == "newer_than_me"


def test_r25_a_scan_with_a_field_from_later_is_refused(host: h.Host) -> None:
    scan = a.Scan(scan_id="s1", selector=h.SELECTOR)
    scan.MergeFromString(b"\x98\x06\x01")
    host.coordinator.say(scan=scan)
    (answer,) = [f.candidates for f in host.sent if f.HasField("candidates")]
    assert (answer.scan_id, answer.failure) == ("s1", p.REASON_NEWER_THAN_ME)


def test_a_scan_that_cannot_be_read_fails_by_name(host: h.Host) -> None:
    host.coordinator.say(scan=a.Scan(scan_id="s1"))
    (answer,) = [f.candidates for f in host.sent if f.HasField("candidates")]
    assert (answer.scan_id, answer.failure) == ("s1", p.REASON_CANNOT_EVALUATE)


def test_r24_an_older_fence_is_refused_whatever_became_of_the_newer_command(host: h.Host) -> None:
    host.coordinator.order("new", host.world.first, run_fence=5, not_after_boot_ns=1)
    assert refused(host, "new") == "too_late"
    host.coordinator.order("old", host.world.first, run_fence=4)
    assert refused(host, "old") == "old_fence"
    host.crash()
    host.start()
    host.coordinator.link()
    host.coordinator.order("older", host.world.first, run_fence=4)
    assert refused(host, "older") == "old_fence"
    host.coordinator.order("another run", host.world.first, run_id="r2", run_fence=1)
    assert host.coordinator.updates["another run"].blows


def test_r24_an_older_fence_is_refused_while_the_newer_command_is_under_way(host: h.Host) -> None:
    host.stalled = {w.Open}
    one, other, _ = host.world.processes.values()
    host.coordinator.order("new", one, run_fence=5)
    host.coordinator.order("old", other, run_fence=4)
    host.release()
    assert refused(host, "old") == "old_fence"


def test_i7_a_host_that_allows_nothing_is_not_struck(host: h.Host) -> None:
    host.give(w.Configured(guard=Guard(version="2")))
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == "not_allowed"


def test_i10_a_service_that_cannot_be_counted_is_not_struck(host: h.Host) -> None:
    host.census_problem = "cannot read /proc"
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == "unreadable"


@pytest.mark.parametrize(
    ("what", "reason"),
    [({"state": "T"}, "stopped"), ({"state": "Z"}, "zombie"), ({"program": "bb"}, "changed"),
     ({"name": "other"}, "not_matching")],
)  # fmt: skip
def test_r1_the_last_look_refuses_what_changed_while_the_intent_was_written(
    host: h.Host, what: dict[str, str], reason: str
) -> None:
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first)
    for name, value in what.items():
        setattr(host.world.first, name, value)
    host.release()
    assert refused(host) == reason
    assert [record.kind for record in host.journal][-2:] == ["intent", "not_sent"]


def test_r1_one_that_exits_while_the_intent_is_written_is_gone_and_no_strike_of_ours(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first)
    host.world.end(host.world.first, 11)
    host.release()
    assert refused(host) == "gone"
    host.run(h.SECOND)
    (event,) = [e for f in host.sent for e in f.evidence.events if e.HasField("exit")]
    assert event.command_id == ""


def test_r14_a_halt_file_that_is_not_noticed_yet_is_seen_at_the_last_look(host: h.Host) -> None:
    host.halt_file = True
    host.coordinator.order("c1", host.world.first)
    assert refused(host) == "halted_locally"


def test_r14_a_local_halt_ends_with_its_file(host: h.Host) -> None:
    host.give(w.LocalHalt(engaged=True), w.LocalHalt(engaged=False))
    host.coordinator.order("c1", host.world.first)
    assert host.coordinator.updates["c1"].blows


def test_r16_a_refusal_is_durable_before_it_is_told(host: h.Host) -> None:
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first, not_after_boot_ns=1)
    assert "c1" not in host.coordinator.updates
    host.release()
    assert refused(host) == "too_late"


def test_r16_a_refusal_that_cannot_be_made_durable_is_not_told_as_used_up(host: h.Host) -> None:
    host.journal_problem = "no space left"
    host.coordinator.order("c1", host.world.first)
    update = host.coordinator.updates["c1"]
    assert (update.state, update.used_up, len(update.blows)) == (p.STRIKE_STATE_REFUSED, False, 0)
    host.journal_problem = ""
    host.coordinator.order("c1", host.world.first)  # the same id again, with room on the disk
    assert host.world.log == []


def test_r13_a_full_disk_refuses_strikes_until_there_is_room_again(host: h.Host) -> None:
    host.journal_problem = "no space left"
    host.coordinator.order("c1", host.world.first)
    host.coordinator.order("c2", host.world.first)
    assert host.coordinator.updates["c2"].reason == p.REASON_JOURNAL
    assert [note.event for note in host.notes].count("journal_failed") == 1
    host.journal_problem = ""
    host.coordinator.order("c3", host.world.first)
    assert refused(host, "c3") == "journal"  # its refusal could be written: the disk has room
    host.coordinator.order("c4", host.world.first)
    assert host.coordinator.updates["c4"].blows


def test_a_candidate_in_an_open_strike_is_busy(host: h.Host) -> None:
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    allowed = p.Verdict(allowed=True)
    candidates = [
        p.Candidate(identity=p.Identity(pid=one.pid, start_ticks=one.start_ticks), verdict=allowed)
        for one in host.world.processes.values()
    ]
    scanned = w.Scanned(scan_id="s1", candidates=tuple(candidates), services=(("worker@", 3),))
    host.coordinator.say(scan=a.Scan(scan_id="s0", selector=h.SELECTOR, deadline_ms=100))
    host.give(scanned)
    answers = [f.candidates for f in host.sent if f.HasField("candidates")]
    assert [answer.scan_id for answer in answers] == ["s0", "s1"]
    verdicts = {c.identity.pid: c.verdict for c in answers[1].candidates}
    assert [pid for pid, verdict in verdicts.items() if not verdict.allowed] == [victim.pid]
    assert verdicts[victim.pid].reason == p.REASON_BUSY
    assert [(s.service, s.ready) for s in answers[1].services] == [("worker@", 3)]


def test_i10_more_matches_than_a_frame_can_carry_are_a_named_refusal_and_no_dead_link(host: h.Host) -> None:
    """The link ends at a frame of this size, on either side."""
    assert ANSWER_MOST_BYTES < link.FRAME_MOST_BYTES

    def answered(count: int) -> a.ConnectRequest:
        host.sent.clear()
        host.give(w.Scanned(scan_id="s1", candidates=tuple(_wide(pid) for pid in range(count))))
        (answer,) = [frame for frame in host.sent if frame.HasField("candidates")]
        assert answer.ByteSize() < link.FRAME_MOST_BYTES
        return answer

    carried = ANSWER_MOST_BYTES // (_wide(1).ByteSize() + 8)
    assert len(answered(carried).candidates.candidates) == carried
    refused = answered(10_000).candidates
    assert (refused.scan_id, refused.failure) == ("s1", p.REASON_CANNOT_EVALUATE)
    assert "10,000 processes match here" in refused.failure_detail and "narrow" in refused.failure_detail
    assert not refused.candidates and not refused.services


def _wide(pid: int) -> p.Candidate:
    identity = p.Identity(
        host="host-1", boot_id="b" * 36, pid=100_000 + pid, start_ticks=1_000_000, program="f" * 16
    )
    return p.Candidate(identity=identity, service="worker@", ordinal=10_000, cmdline="x" * 600, name="worker")


@pytest.mark.parametrize("kind", ["kill", "terminate", "pause"])
def test_the_largest_numbers_that_the_wire_carries_are_no_fault(host: h.Host, kind: str) -> None:
    most = 2**64 - 1
    command = host.coordinator.strike("c1", host.world.first, kind)
    for name in ("run_fence", "not_after_boot_ns", "recover_within_ms", "stable_for_ms"):
        setattr(command, name, most)
    command.position.length = most
    command.action.CopyFrom(
        {
            "kill": p.Action(kill=p.Kill(signal=64)),
            "terminate": p.Action(terminate=p.Terminate(grace_ms=most)),
            "pause": p.Action(pause=p.Pause(length_ms=most)),
        }[kind]
    )
    host.coordinator.say(strike=command)
    late = host.coordinator.strike("c2", host.world.first, kind, run_fence=most, not_after_boot_ns=most)
    late.victim.pid, late.victim.start_ticks = 2**32 - 1, most
    host.coordinator.say(strike=late)
    host.coordinator.say(halt=a.Halt(halt=p.HaltRecord(id="h", at_unix_ms=most)))
    host.coordinator.say(lease_renewal=a.LeaseRenewal(heartbeat_boot_ns=most, lease_ms=most))
    host.run(2 * h.SECOND)
    assert host.world.log and refused(host, "c2") == "gone"
    host.crash()
    host.start()
    host.oracle.quiet()
    assert not host.core._desk.distrust
