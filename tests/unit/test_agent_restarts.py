"""The agent dies anywhere, and is started again from what is durable (I2, I6, R4, R13)."""

import base64

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import Process
from killdeer_agent.core.memory import intent_record
from tests.support import host as h


def word(host: h.Host, command_id: str = "c1") -> a.StrikeUpdate:
    return host.coordinator.updates[command_id]


def struck(kind: str) -> h.Host:
    """A strike of this kind is under way; nothing of it is carried out yet."""
    host = h.leased()
    host.world.first.outlives_term_ns = 3 * h.SECOND
    command = host.coordinator.strike("c1", host.world.first, kind)
    host.inputs.append(w.Heard(a.ConnectResponse(strike=command)))
    return host


def steps_of(kind: str) -> int:
    host = struck(kind)
    before = host.steps
    host.run(8 * h.SECOND)
    return host.steps - before


@pytest.mark.parametrize("kind", ["kill", "terminate", "pause", "hold-down"])
def test_i2_i6_a_crash_at_every_boundary_of_a_strike(kind: str) -> None:
    """Before each effect of the whole strike once; the world's own oracle judges each signal."""
    outcomes = set()
    for crash_at in range(steps_of(kind)):
        host = struck(kind)
        goal = host.steps + crash_at
        while host.steps < goal:
            if not host.step():
                host.world.pass_time(100 * h.MS)
                host.inputs.append(w.Tick(a.Heartbeat()))
        sent = len(host.world.log)
        host.crash()
        host.start()
        host.oracle.quiet()  # at once, without a coordinator
        host.run(500 * h.MS)
        host.coordinator.link(
            a.OpenStrike(
                command_id="c1",
                victim=host.oracle.commands["c1"].victim,
                action=host.oracle.commands["c1"].action,
            )
        )
        host.coordinator.say(strike=host.oracle.commands["c1"])
        host.run(25 * h.SECOND)
        assert len(host.world.log) == sent, "R4: after a restart only reverts are sent"
        update = word(host)
        assert update.used_up == (sent == 0 and not update.settled)
        assert update.used_up or update.settled, "R16: its permit is released"
        said = [f.strike_update.state for f in host.sent if f.HasField("strike_update") and f.strike_update.state]
        outcomes.add(p.StrikeState.Name(said[-1]).removeprefix("STRIKE_STATE_"))
    ended = "SURVIVED" if kind == "pause" else "RECOVERED"
    assert {"REFUSED", "UNKNOWN", ended} <= outcomes


@pytest.mark.parametrize("crash_at", range(12))
def test_i6_a_crash_in_the_midst_of_the_reverts_leaves_nothing_stopped(crash_at: int) -> None:
    host = h.leased()
    for number, victim in enumerate(list(host.world.processes.values())):
        host.coordinator.order(f"c{number}", victim, "pause")
    host.crash()
    host.inputs.clear()
    host.core = type(host.core)()
    started = w.Started(
        boot_id="boot-1", records=tuple(host.journal), journal_problem="", hello=a.Hello(host="h1"), pid=h.AGENT_PID
    )
    host.inputs.append(started)
    for _ in range(crash_at):
        host.step()
    host.crash()
    host.start()
    host.oracle.quiet()


def test_i6_pauses_are_resumed_before_anything_else() -> None:
    host = h.leased()
    for number, victim in enumerate(list(host.world.processes.values())):
        host.coordinator.order(f"c{number}", victim, "pause")
    host.crash()
    host.inputs.append(
        w.Started(boot_id="boot-1", records=tuple(host.journal), journal_problem="", hello=a.Hello(host="h1"))
    )
    host.step()
    assert [type(effect) for effect in host.effects][:3] == [w.Revert] * 3


def test_i6_r13_a_pause_is_resumed_before_systemd_is_asked_of_a_unit_that_was_held_down_earlier() -> None:
    """The second line carries its effects out one by one, and systemd may take seconds to answer."""
    host = h.Host()
    held, paused = host.world.spawn(unit="w.service"), host.world.spawn("other@")
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", held, "hold-down")
    host.coordinator.order("c2", paused, "pause")
    host.crash()
    host.inputs.append(
        w.Started(boot_id="boot-1", records=tuple(host.journal), journal_problem="", hello=a.Hello(host="h1"))
    )
    host.step()
    asked = [type(effect) for effect in host.effects if isinstance(effect, w.Revert | w.LookUnit)]
    assert asked == [w.Revert, w.LookUnit]


def test_i6_one_record_that_is_not_understood_stops_no_revert_and_every_strike() -> None:
    host = h.leased()
    victim, other, _ = host.world.processes.values()
    host.coordinator.order("c1", victim, "pause")
    host.crash()
    strange = [
        w.Record("held_down", {"command": "c9"}),
        w.Record("_init__", {}),
        w.Record(
            "intent", {"strike": base64.b64encode(b"\xff\xff").decode(), "members": [], "blow": 1, "signal": 9}
        ),
        w.Record("intent", {"strike": "", "members": [], "blow": "one", "signal": 9}),
        w.Record("intent", {"strike": "", "members": 3, "blow": True, "signal": 9}),
        w.Record("sent", {"command": "c1", "blow": 2, "at": 5}),
        w.Record("sent", {"command": "c1", "blow": 1, "at": -1}),
        w.Record("released", {"ids": 7}),
        w.Record("used", {"command": "c2", "reason": "REASON_FROM_LATER", "detail": "", "not_after": 1}),
    ]
    host.journal[:0] = strange[:3]
    host.journal += strange[3:]
    host.start()
    assert victim.state == "S"
    host.coordinator.link()
    host.coordinator.order("c2", other)
    assert word(host, "c2").reason == p.REASON_JOURNAL
    assert "held_down" in [f.hello.problem for f in host.sent if f.HasField("hello")][-1]


def test_r13_a_journal_of_another_version_refuses_strikes_and_still_reverts() -> None:
    host = h.leased()
    victim, other, _ = host.world.processes.values()
    host.coordinator.order("c1", victim, "pause")
    host.crash()
    host.start(problem="it is of version 2, this agent knows 1")
    assert victim.state == "S"
    host.coordinator.link()
    host.coordinator.order("c2", other)
    assert word(host, "c2").reason == p.REASON_JOURNAL and "version 2" in word(host, "c2").detail


def test_r13_a_revert_that_fails_after_a_restart_is_tried_again() -> None:
    host = h.leased()
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.crash()
    host.revert_problem = "EPERM"
    host.start()
    host.run(h.SECOND)
    host.revert_problem = ""
    host.run(300 * h.MS)
    assert victim.state == "S"


def test_r13_a_pause_that_was_reverted_is_not_reverted_again() -> None:
    host = h.leased()
    host.coordinator.acknowledges = False
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.run(4 * h.SECOND)
    host.world.signal(victim, h.STOP, 1)  # somebody else
    host.crash()
    host.start()
    assert victim.state == "T"
    host.coordinator.link()
    assert word(host).state == p.STRIKE_STATE_SURVIVED and word(host).settled


def test_r4_after_a_restart_the_kill_of_a_terminate_is_not_sent() -> None:
    host = h.leased()
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(30 * h.SECOND)
    assert [fell.signal for fell in host.world.log] == [15]
    assert word(host).state == p.STRIKE_STATE_SURVIVED


def test_r18_the_wait_for_recovery_goes_on_after_a_restart() -> None:
    host = h.leased()
    host.world.restart_after_ns = 3 * h.SECOND
    host.coordinator.order("c1", host.world.first)
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(2 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_GONE
    host.run(2 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED


def test_r18_an_exit_while_the_agent_was_down_is_seen_at_its_start() -> None:
    host = h.leased()
    host.world.first.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", host.world.first, action=p.Action(terminate=p.Terminate()))
    host.crash()
    host.world.end(host.world.first)
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.run(h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED


def test_r15_after_a_reboot_the_victim_is_gone_and_its_service_has_to_come_back() -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "pause")
    host.crash()
    host.world.processes.clear()
    host.world.boot_id, host.world.boot_ns = "boot-2", 50 * h.SECOND
    host.start()
    host.coordinator.link()
    host.run(h.SECOND)
    assert word(host).state == p.STRIKE_STATE_GONE and word(host).exit.source == "reboot"
    for _ in range(3):
        host.world.spawn()
    host.run(h.SECOND)
    assert word(host).state == p.STRIKE_STATE_RECOVERED


def test_i1_a_pause_of_another_boot_is_not_resumed_on_whoever_has_its_pid_now() -> None:
    host = h.leased()
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.crash()
    host.world.boot_id = "boot-2"  # and by chance the same pid and start time, stopped by somebody else
    host.start()
    assert victim.state == "T"


def test_an_intent_without_members_is_read() -> None:
    host = h.leased()
    command = host.coordinator.strike("c1", host.world.first)
    host.crash()
    host.journal.append(intent_record(command, (Process(boot_id="boot-1", pid=1, start_ticks=2),), 1, 9))
    host.start()
    host.coordinator.link()
    host.run(25 * h.SECOND)
    assert word(host).state == p.STRIKE_STATE_UNKNOWN and word(host).settled and not word(host).used_up


def test_r23_after_a_quarantine_an_older_journal_does_not_deny_and_resumes_what_may_be_paused() -> None:
    host = h.leased()
    before = list(host.journal)
    victim = host.world.first
    command = host.coordinator.strike("c1", victim, "pause", action=h.long_pause())
    host.coordinator.order("c1", victim, "pause", action=h.long_pause())
    host.run(200 * h.MS)
    assert victim.state == "T"
    host.crash()
    host.journal[:] = before  # an older copy of the disk: it holds a session, and nothing of the strike
    host.coordinator.updates.clear()
    host.start()
    held = a.OpenStrike(command_id="c1", victim=command.victim, action=command.action, doubtful=True)
    host.coordinator.link(held)
    host.run(5 * h.SECOND)
    word = host.coordinator.updates["c1"]
    assert victim.state != "T"
    assert not word.used_up
