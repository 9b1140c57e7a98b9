"""A revert that fails: tried until it works, named with its remedy, and logged ever more seldom (I6, R13)."""

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.failure import MOST_PAUSE_NS, Failure, to_start
from tests.support import host as h

UNIT = "worker@1.service"
REMEDY = (
    'the agent may not start it: name "worker@" in /etc/polkit-1/rules.d/60-killdeer.rules on that host, of which '
    "killdeer.rules is the example; or systemctl start worker@1.service"
)


def given_up(problem: str = "Access denied", *, denied: bool = True) -> h.Host:
    """A host whose one worker is given up under a hold-down, by an agent that cannot start its unit."""
    host = h.Host()
    host.world.gives_up_after = 1
    host.world.spawn(unit=UNIT)
    host.world.pass_time(h.SECOND)
    host.start_problem, host.start_denied = problem, denied
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", host.world.first, "hold-down")
    return host


def failures(host: h.Host) -> list[w.Note]:
    return [note for note in host.notes if note.event == "revert_failed"]


def last_beat(host: h.Host) -> a.Heartbeat:
    return [frame.heartbeat for frame in host.sent if frame.HasField("heartbeat")][-1]


def test_r13_a_unit_that_the_agent_may_not_start_is_logged_with_the_rule_that_would_let_it() -> None:
    host = given_up()
    host.run(3 * h.SECOND)
    [note] = failures(host)
    assert note.wrong and note.fields == {
        "command": "c1",
        "problem": f"cannot start {UNIT}: Access denied",
        "remedy": REMEDY,
    }


def test_r13_the_operator_reads_the_remedy_in_the_outcome_and_in_each_heartbeat() -> None:
    host = given_up()
    host.run(8 * h.SECOND)
    said = f"cannot start {UNIT}: Access denied; {REMEDY}"
    assert host.coordinator.updates["c1"].detail.endswith(said)
    assert (list(last_beat(host).reverts_left), list(last_beat(host).revert_problems)) == (["c1"], [said])
    host.run(30 * h.SECOND)
    word = host.coordinator.updates["c1"]
    assert word.state == p.STRIKE_STATE_LOST and word.detail == f"no recovery in time: {said}"


def test_r13_a_start_that_failed_for_another_reason_sends_nobody_to_the_rules() -> None:
    host = given_up("Connection timed out", denied=False)
    host.run(8 * h.SECOND)
    [note, *_] = failures(host)
    assert note.fields["remedy"] == f"look why: systemctl status {UNIT}; then systemctl start {UNIT}"
    assert "killdeer.rules" not in host.coordinator.updates["c1"].detail


def test_r13_the_same_cause_is_logged_ever_more_seldom_and_tried_as_often_as_before() -> None:
    host = given_up()
    host.run(300 * h.SECOND)
    assert 7 <= len(failures(host)) <= 9, "5 s, 10, 20, 40, then once a minute"
    host.start_problem = ""
    host.run(6 * h.SECOND)
    word = host.coordinator.updates["c1"]
    assert word.state == p.STRIKE_STATE_RECOVERED and not word.effect_open, "I6: it is started soon after it may be"
    host.run(6 * h.SECOND)
    assert not last_beat(host).reverts_left and not last_beat(host).revert_problems


def test_r13_a_new_cause_is_logged_at_once() -> None:
    host = given_up()
    host.run(60 * h.SECOND)
    before = len(failures(host))
    host.start_problem, host.start_denied = "Connection timed out", False
    host.run(6 * h.SECOND)
    assert len(failures(host)) == before + 1 and "timed out" in str(failures(host)[-1].fields["problem"])


def test_r13_a_process_that_cannot_be_resumed_is_logged_with_its_remedy_and_tried_four_times_a_second() -> None:
    host = h.leased()
    victim = host.world.first
    host.revert_problem = "EPERM"
    host.coordinator.order("c1", victim, "pause")
    host.run(63 * h.SECOND)
    assert 3 <= len(failures(host)) <= 6
    assert f"kill -CONT {victim.pid}" in str(failures(host)[0].fields["remedy"])
    assert list(last_beat(host).revert_problems) == [f"EPERM; {failures(host)[0].fields['remedy']}"]
    host.revert_problem = ""
    host.run(500 * h.MS)
    assert victim.state == "S"


def test_a_repeat_waits_twice_as_long_as_the_one_before_up_to_a_minute() -> None:
    failure, said = Failure(), []
    for second in range(300):
        if failure.again("EPERM", "", second * h.SECOND):
            said.append(second)
    assert said == [0, 5, 15, 35, 75, 135, 195, 255] and MOST_PAUSE_NS == 60 * h.SECOND


def test_the_remedy_names_the_service_as_the_rule_does() -> None:
    assert '"redis.service"' in to_start("redis.service", denied=True)
