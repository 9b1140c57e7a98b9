"""A run told line by line: each thing once, nothing that evidence does not show."""

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_cli.live import standing
from killdeer_cli.run_view import Narrator, closing
from tests.support import runs


def told(*updates: o.WatchRunResponse) -> list[list[str]]:
    """The lines of each update; without the first of all, which names the run."""
    narrator = Narrator()
    lines = [[line.plain for line in narrator.tell(update)] for update in updates]
    assert lines[0].pop(0).startswith("run r7f3 of worker-survives, seed 7")
    return lines


def update(*strikes: o.StrikeView, log: tuple[str, ...] = ()) -> o.WatchRunResponse:
    return o.WatchRunResponse(run=runs.run(*strikes), log=log)


AT = "  a-1 worker@[0]  "
SENT = p.Blow(number=1, signal=15, sent_boot_ns=5)
SEEN = p.Blow(number=1, signal=15, sent_boot_ns=5, kernel_verdict="ignored", sender_pid=88)


def test_each_thing_is_said_once() -> None:
    first, second, third = told(update(runs.strike()), update(runs.recovered()), update(runs.recovered()))
    assert first == ["wave one", AT + "terminate, SIGKILL after 10s (pid 412, python3)"]
    assert len(second) == 4
    assert third == []


def test_what_waits_for_a_permit_is_not_a_strike_yet() -> None:
    waiting, sent = told(update(runs.strike("c1", p.STRIKE_STATE_PLANNED)), update(runs.strike("c1")))
    assert waiting == []
    assert sent == ["wave one", AT + "terminate, SIGKILL after 10s (pid 412, python3)"]


def test_a_signal_is_said_when_sent_and_again_when_the_kernel_has_spoken() -> None:
    _, sent, seen = told(
        update(runs.strike()),
        update(runs.strike("c1", p.STRIKE_STATE_STRUCK, blows=[SENT])),
        update(runs.strike("c1", p.STRIKE_STATE_STRUCK, blows=[SEEN])),
    )
    assert sent == [AT + "SIGTERM sent to pid 412"]
    assert seen == [AT + "the kernel saw SIGTERM sent by pid 88, ignored"]


def test_a_revert_is_called_one() -> None:
    resumed = p.Blow(number=2, signal=18, sent_boot_ns=9, revert=True)
    _, reverted = told(update(runs.strike()), update(runs.strike("c1", p.STRIKE_STATE_STRUCK, blows=[resumed])))
    assert reverted == [AT + "SIGCONT (revert) sent to pid 412"]


def test_a_resumed_process_is_not_said_to_have_ignored_it() -> None:
    resumed = p.Blow(number=2, signal=18, sent_boot_ns=9, revert=True, kernel_verdict="ignored", sender_pid=88)
    _, reverted = told(update(runs.strike()), update(runs.strike("c1", p.STRIKE_STATE_STRUCK, blows=[resumed])))
    assert reverted == [AT + "the kernel saw SIGCONT (revert) sent by pid 88"]


def test_a_refusal_has_its_named_reason() -> None:
    (lines,) = told(update(runs.strike("c1", p.STRIKE_STATE_REFUSED, reason=p.REASON_ZOMBIE, detail="state Z")))
    assert lines[-1] == AT + "refused: zombie: state Z"


def test_a_rehearsal_says_would() -> None:
    (lines,) = told(update(runs.strike("c1", p.STRIKE_STATE_PLANNED, dry_run=True)))
    assert lines == ["wave one: dry run", AT + "would be hit: terminate, SIGKILL after 10s"]


def test_the_coordinators_lines_are_said_unless_they_repeat_the_strikes() -> None:
    log = (
        "run r7f3 of worker-survives, seed 7, started by op",
        "wave one: 1 of 30 candidates",
        "permit granted, sent: a-1 worker@[0] pid 412",
        "permit withheld: a-2 worker@[1] pid 9: in_flight: 1 of 1 used",
        "struck: a-1 worker@[0] pid 412",
        "not recovered: x",
        "wave one: done",
    )
    first, again = told(update(runs.strike(), log=log), update(runs.strike(), log=log))
    assert first[:2] == ["wave one: 1 of 30 candidates", log[3]]
    assert len(first) == 3, "the wave is announced once"
    assert again == [], "after a reconnect the log may come again"


def test_waves_that_come_in_one_update_are_told_in_their_order() -> None:
    rehearsed = runs.strike("c1", p.STRIKE_STATE_PLANNED, dry_run=True)
    rehearsed.wave = "rehearsal"
    log = ("wave rehearsal: 1 of 9 candidates", "wave rehearsal: done", "wave one: 1 of 9 candidates")
    (lines,) = told(update(rehearsed, runs.strike("c2"), log=log))
    assert lines == [
        "wave rehearsal: 1 of 9 candidates",
        AT + "would be hit: terminate, SIGKILL after 10s",
        "wave one: 1 of 9 candidates",
        AT + "terminate, SIGKILL after 10s (pid 412, python3)",
    ]


def test_an_exit_by_itself_is_not_called_a_kill() -> None:
    own = runs.strike("c1", p.STRIKE_STATE_GONE, exit=p.Exit(code=3, source="bpf"))
    assert told(update(runs.strike()), update(own))[1] == [AT + "exited by itself with code 3 (bpf)"]


def test_what_a_pidfd_saw_is_not_called_an_exit_with_code_0() -> None:
    seen = runs.strike("c1", p.STRIKE_STATE_GONE, exit=p.Exit(source="pidfd"))
    (line,) = told(update(runs.strike()), update(seen))[1]
    assert "how is not known" in line
    assert "code" not in line


def test_the_closing_words_count_outcomes_and_times() -> None:
    refused = runs.strike("c2", p.STRIKE_STATE_REFUSED)
    view = runs.ended(o.RUN_VERDICT_HELD, runs.recovered(), refused, why="all recovered")
    lines = [line.plain for line in closing(view)]
    assert lines[0] == "HELD  all recovered"
    assert "run         r7f3 · 2 of 2 waves in 12.40 s · seed 7" in lines
    assert "strikes     1 recovered, 1 refused" in lines
    assert "recovery    3.20 s" in lines


def test_how_it_stands_names_what_is_in_flight_and_counts_what_waits() -> None:
    strikes = [runs.strike(f"c{n}", p.STRIKE_STATE_STRUCK) for n in range(5)]
    strikes += [runs.strike("d", p.STRIKE_STATE_PLANNED), runs.strike("e", p.STRIKE_STATE_RECOVERED)]
    text = standing(runs.run(*strikes), 0).plain
    assert text.startswith("wave 1 of 2 one · 1 recovered · in flight: a-1 worker@[0] struck, ")
    assert text.endswith(" and 2 more · 1 waiting for a permit")


def test_an_enum_value_newer_than_this_program_is_no_error() -> None:
    newer = runs.strike()
    newer.state = 99  # type: ignore[assignment]
    assert told(update(newer))[0][0] == "wave one"
    view = runs.ended(o.RUN_VERDICT_HELD)
    view.verdict = 99  # type: ignore[assignment]
    assert closing(view)[0].plain.startswith("UNKNOWN (99)")


def test_a_hold_says_whom_each_blow_hit_and_what_it_came_to() -> None:
    hold = p.Action(hold_down=p.HoldDown(length_ms=5_000))
    blows = [
        p.Blow(number=1, signal=9, sent_boot_ns=5, kernel_verdict="delivered", sender_pid=88),
        p.Blow(
            number=2, signal=9, sent_boot_ns=9, kernel_verdict="delivered", sender_pid=88, pid=500, start_ticks=7
        ),
        p.Blow(number=3, signal=9, sent_boot_ns=9, pid=501, start_ticks=8),
    ]
    begun = runs.strike()
    begun.action.CopyFrom(hold)
    done = runs.strike("c1", p.STRIKE_STATE_RECOVERED, blows=blows, detail="held for its time: 2 successors struck")
    done.action.CopyFrom(hold)
    first, second = told(update(begun), update(done))
    assert first[-1] == AT + "hold down for 5s (pid 412, python3)"
    assert second == [
        AT + "the kernel saw SIGKILL sent by pid 88, delivered",
        AT + "the kernel saw SIGKILL to its successor, pid 500, sent by pid 88, delivered",
        AT + "SIGKILL sent to its successor, pid 501",
        AT + "recovered: held for its time: 2 successors struck",
    ]


FIRST = "run r7f3 of worker-survives, seed 7, started by op"
MEASURING = "measuring for 10 s before anything is hit"
DEVIATES = "the steady state deviates: 'errors < 0.1%': errors 2.3%, wanted < 0.1%"
AGAIN = "the steady state holds again"


def test_what_is_measured_and_done_besides_is_told() -> None:
    lines = ("load.start: done", MEASURING, DEVIATES, AGAIN, "not back to normal: start_unit")
    deeds = ("start_unit for r7f3-1: active", "recovery.then[1]: answered 500", "on_end[0]: done")
    (told_lines,) = told(update(log=(FIRST, *lines, *deeds)))
    assert told_lines == [*lines, *deeds]


def test_what_happens_twice_is_told_twice_and_once_more_after_a_broken_stream_is_not() -> None:
    log = (FIRST, AGAIN)
    first, second, broken, third = told(
        update(log=log), update(log=(AGAIN,)), update(log=(*log, AGAIN)), update(log=(AGAIN,))
    )
    assert [first, second, broken, third] == [[AGAIN], [AGAIN], [], [AGAIN]]


def test_an_abort_names_the_rule_that_came_true() -> None:
    aborting = update()
    aborting.run.state = o.RUN_STATE_ABORTING
    aborting.run.findings.findings.append(
        finding(m.PART_ABORT_WHEN, "errors > 2%", m.STANDING_MET, "errors 2.3%, aborts when > 2%")
    )
    _, (line,) = told(update(), aborting)
    assert line.startswith("aborting: 'errors > 2%' came true (errors 2.3%, aborts when > 2%): no more strikes")


def finding(part: m.Part, sentence: str, standing: m.Standing, detail: str = "", **times: int) -> m.Finding:
    return m.Finding(part=part, sentence=sentence, standing=standing, detail=detail, **times)


def closed(*findings: m.Finding, verdict: o.RunVerdict = o.RUN_VERDICT_DEVIATED, **times: int) -> list[str]:
    view = runs.ended(verdict, runs.recovered())
    view.findings.findings.extend(findings)
    for name, time_ms in times.items():
        setattr(view.findings, name, time_ms)
    return [line.plain for line in closing(view)]


def test_the_closing_words_say_what_became_of_each_sentence() -> None:
    measured = "errors 2.3%, wanted < 0.1%"
    lines = closed(
        finding(m.PART_PRECONDITION, "cpu < 70%", m.STANDING_MET),
        finding(m.PART_STEADY_STATE, "healthy", m.STANDING_MET),
        finding(m.PART_STEADY_STATE, "errors < 0.1%", m.STANDING_MET, measured, unmet_unix_ms=5, unmet_ms=3_200),
        finding(m.PART_STEADY_STATE, "p95 < 300ms", m.STANDING_UNKNOWN, "p95 is unknown: refused"),
        finding(m.PART_STEADY_STATE, "queue < 9", m.STANDING_MET, unknown_ms=2_000),
        finding(m.PART_ABORT_WHEN, "oom in target", m.STANDING_UNMET),
        finding(m.PART_ABORT_WHEN, "errors > 2%", m.STANDING_MET, "errors 2.3%, aborts when > 2%"),
        finding(m.PART_STEADY_STATE, "cpu < 90%", m.STANDING_UNSPECIFIED),
    )
    assert lines[-9:] == [
        "before      cpu < 70%: held",
        "steady      healthy: held",
        f"steady      errors < 0.1%: did not hold for 3.20 s: {measured}",
        "steady      p95 < 300ms: unknown: p95 is unknown: refused",
        "steady      queue < 9: held, unknown for 2.00 s",
        "abort when  oom in target: did not come true",
        "abort when  errors > 2%: came true: errors 2.3%, aborts when > 2%",
        "steady      cpu < 90%: not looked at",
        "report      killdeer report r7f3",
    ]


def test_the_closing_words_say_when_it_was_noticed_and_when_it_was_over() -> None:
    held = finding(m.PART_STEADY_STATE, "healthy", m.STANDING_MET)
    noticed = "detected    1.20 s after the first strike"
    assert closed(held, detected_after_ms=1_200, recovered_after_ms=3_000)[-3:-1] == [
        noticed,
        "held again  3.00 s later",
    ]
    assert closed(held, detected_after_ms=1_200)[-3:-1] == [noticed, "held again  not by the run's end"]


def test_the_closing_words_say_how_long_victims_took_to_be_ready() -> None:
    strikes = [runs.recovered("c1"), runs.recovered("c2")]
    strikes[0].ready_after_ns, strikes[1].ready_after_ns = 4_000 * runs.MS, 5_000 * runs.MS
    lines = [line.plain for line in closing(runs.ended(o.RUN_VERDICT_HELD, *strikes))]
    assert lines[-1] == "ready       median 5.00 s, longest 5.00 s"


def test_a_run_without_probes_ends_as_ever() -> None:
    lines = [line.plain for line in closing(runs.ended(o.RUN_VERDICT_HELD, runs.recovered()))]
    assert [line.split()[0] for line in lines] == ["HELD", "run", "strikes", "exit", "successor", "recovery"]


def test_a_refused_run_says_once_that_nothing_was_hit() -> None:
    for why in ("nothing was hit: 'cpu < 70%' does not hold (cpu 80%, wanted < 70%)", "cpu is high", ""):
        first = closing(runs.ended(o.RUN_VERDICT_REFUSED, why=why))[0].plain
        assert first.startswith("REFUSED  nothing was hit")
        assert first.count("nothing was hit") == 1
