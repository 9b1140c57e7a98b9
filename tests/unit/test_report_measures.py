"""Measures: what the evidence shows, in milliseconds and the probes' own units, and how sure it is."""

import numpy as np
import pytest
from scipy import stats

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_report import intervals
from killdeer_report.marks import marks
from killdeer_report.measures import Impact, Measures, measures
from killdeer_report.series import series
from killdeer_report.victims import term, victims
from tests.support import reports


@pytest.fixture(scope="module")
def measured() -> Measures:
    return measures(reports.deviated(), reports.UNITS)


def test_each_length_of_a_victim_has_its_own_beginning() -> None:
    (victim,) = victims(reports.run(reports.honoured()))
    assert victim.exit_after_ms == 40
    assert victim.successor_after_exit_ms == 104
    assert victim.ready_after_ms == 900
    assert victim.recovered_after_ms == 3_200
    assert [(what, at - reports.FIRST_MS) for what, at in victim.steps()] == [
        ("struck", 0),
        ("gone", 40),
        ("successor", 144),
        ("ready", 900),
        ("recovered", 3_200),
    ]


def test_an_exit_after_sigkill_is_counted_from_the_first_signal() -> None:
    (victim,) = victims(reports.run(reports.escalated()))
    assert victim.exit_after_ms == 2_003
    assert victim.signals == ("SIGTERM: by pid 88, delivered", "SIGKILL: by pid 88, delivered")
    assert (victim.exit, victim.cause) == ("killed by SIGKILL", "our strike")


def test_a_rehearsal_is_no_victim() -> None:
    rehearsed = reports.honoured()
    rehearsed.dry_run = True
    found = measures(o.GetReportResponse(run=reports.run(rehearsed)), {})
    assert (found.victims, found.rehearsed) == ((), 1)


@pytest.mark.parametrize(
    ("seen", "answer"),
    [
        (p.Exit(code=0, source="bpf"), "honoured"),
        (p.Exit(signal=15, source="bpf"), "honoured"),
        (p.Exit(signal=11, source="bpf"), "unknown"),
        (p.Exit(signal=9, source="bpf"), "unknown"),  # not our SIGKILL: none was sent
        (p.Exit(source="pidfd"), "honoured"),
    ],
)
def test_sigterm_is_honoured_by_an_end_that_nobody_else_brought_about(seen: p.Exit, answer: str) -> None:
    strike = reports.honoured()
    strike.exit.CopyFrom(seen)
    assert term(strike) == answer


def test_sigterm_is_escalated_by_our_sigkill_and_ignored_by_who_lives_on() -> None:
    assert term(reports.escalated()) == "escalated"
    deaf = reports.honoured()
    deaf.ClearField("exit")
    deaf.state = p.STRIKE_STATE_SURVIVED
    assert term(deaf) == "ignored"
    killed = reports.honoured()
    killed.blows[0].signal = 9
    assert term(killed) == ""


def test_what_was_not_seen_has_no_length() -> None:
    unseen = o.StrikeView(state=p.STRIKE_STATE_UNKNOWN, victim=p.Identity(host="pay-1"))
    (victim,) = victims(reports.run(unseen))
    lengths = (
        victim.exit_after_ms,
        victim.successor_after_exit_ms,
        victim.ready_after_ms,
        victim.recovered_after_ms,
    )
    assert lengths == (None, None, None, None)
    assert victim.steps() == []


def test_without_the_kernels_record_no_cause_is_named() -> None:
    strike = reports.honoured()
    strike.exit.CopyFrom(p.Exit(source="pidfd"))
    (victim,) = victims(reports.run(strike))
    assert victim.cause == "not known without the kernel's record"
    assert "code" not in victim.exit


def test_another_process_signal_is_not_called_ours() -> None:
    strike = reports.honoured()
    strike.exit.CopyFrom(p.Exit(signal=11, source="bpf"))
    (victim,) = victims(reports.run(strike))
    assert victim.cause == "SIGSEGV, not sent by this strike"


def impact_on(measured: Measures, probe: str) -> Impact:
    (found,) = [one for one in measured.impacts if one.probe == probe]
    return found


def test_the_interval_of_an_impact_is_students_over_the_repetitions(measured: Measures) -> None:
    p95 = impact_on(measured, "p95")
    assert p95.before is not None and p95.during is not None
    assert (p95.before.count, p95.during.count) == (20, 40)
    assert p95.repeated is not None and p95.repeated.interval is not None
    assert p95.baseline == pytest.approx(0.12)
    assert (p95.repeated.sample.count, p95.repeated.sample.mean) == (2, 0.03)
    margin = 12.7062 * 0.003 / 2**0.5  # the quantile of t with one degree of freedom
    assert p95.repeated.interval.low == pytest.approx(0.03 - margin, rel=1e-4)
    assert p95.repeated.interval.high == pytest.approx(0.03 + margin, rel=1e-4)
    assert (p95.repeated.interval.method, p95.why_not) == ("t", "")


def test_a_share_changes_by_no_more_than_all_of_it() -> None:
    report = reports.deviated()
    for one in report.run.findings.impacts:
        one.mean, one.deviation = -0.9, 0.3
    found = impact_on(measures(report, reports.UNITS), "healthy")
    assert found.repeated is not None and found.repeated.interval is not None
    assert (found.repeated.interval.low, found.repeated.interval.high) == (-1.0, 1.0)
    assert found.unknown == 4


def test_over_the_runs_each_is_one_value(measured: Measures) -> None:
    (p95,) = [one for one in measured.history.impacts if one.probe == "p95"]
    assert p95.repeated.sample.count == 2
    assert p95.repeated.sample.mean == pytest.approx(0.0155)
    assert p95.repeated.interval is not None
    assert p95.repeated.interval.low < 0 < p95.repeated.interval.high


def test_one_run_alone_has_no_impact_over_runs() -> None:
    assert measures(reports.held(), reports.UNITS).history.impacts == ()


def test_a_report_is_the_same_each_time() -> None:
    assert measures(reports.deviated(), reports.UNITS) == measures(reports.deviated(), reports.UNITS)


def test_of_one_repetition_there_is_no_interval_and_it_is_said() -> None:
    report = reports.deviated()
    del report.run.findings.impacts[:]
    report.run.findings.impacts.extend(reports.impacts(reports.HURT, 1))
    for one in measures(report, reports.UNITS).impacts:
        assert one.repeated is not None and one.repeated.interval is None
        assert one.why_not == "one repetition, and an interval needs two: repeat the wave, or run it again"


def without(part: str) -> o.GetReportResponse:
    report = reports.deviated()
    del report.run.findings.impacts[:]
    if part == "strikes":
        del report.run.strikes[:]
    elif part == "baselines":
        del report.run.findings.baselines[:]
    elif part == "end":
        report.run.state = o.RUN_STATE_RUNNING
    elif part == "its baseline":
        del report.run.findings.baselines[1:]
    return report


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("strikes", "nothing was struck"),
        ("end", "the run has not ended"),
        ("baselines", "no baseline is on the record"),
        ("its baseline", "it has no baseline"),
        ("values", "no value of it is known since the first strike"),
    ],
)
def test_where_there_is_no_impact_it_is_said_why(part: str, why: str) -> None:
    found = impact_on(measures(without(part), reports.UNITS), "p95")
    assert (found.repeated, found.why_not) == (None, why)


def test_values_that_do_not_differ_have_an_interval_without_width() -> None:
    found = intervals.of_difference([2.0] * 9, [1.0] * 9, 7)
    assert found == intervals.Interval(low=1.0, high=1.0, method="percentile")


def test_repetitions_that_all_came_to_the_same_make_nothing_certain() -> None:
    same = intervals.sample([2.0, 2.0, 2.0])
    assert intervals.of_mean(same) is None
    assert intervals.of_difference_of_means(same, same) is None
    report = reports.deviated()
    for one in report.run.findings.impacts:
        one.deviation = 0
    found = impact_on(measures(report, reports.UNITS), "p95")
    assert found.why_not == "each repetition came to the same: there is no spread to tell by"


def test_the_difference_of_two_runs_is_welchs() -> None:
    one, other = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5]
    found = intervals.of_difference_of_means(intervals.sample(one), intervals.sample(other))
    assert found is not None
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert intervals.of_difference_of_means(intervals.sample([1.0]), intervals.sample(other)) is None


def test_an_interval_over_repetitions_holds_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(7).normal(5.0, 2.0, size=(2_000, 4))
    held = 0
    for values in draws:
        found = intervals.of_mean(intervals.sample([float(value) for value in values]))
        held += found is not None and found.low <= 5.0 <= found.high
    assert 0.935 < held / len(draws) < 0.965


def test_where_bca_has_no_answer_the_percentile_method_does() -> None:
    found = intervals.of_difference([1.0] * 20 + [5.0], [1.0] * 20, 7)
    assert found is not None
    assert (found.low, found.high, found.method) == (0.0, 0.0, "percentile")


def test_the_interval_of_a_known_difference_holds_it() -> None:
    before = [float(number % 10) for number in range(100)]
    found = intervals.of_difference([value + 3 for value in before], before, 7)
    assert found is not None
    assert found.method == "BCa"
    assert found.low < 3 < found.high
    assert found.high - found.low < 4


def test_history_counts_ended_runs_and_not_those_that_hit_nothing(measured: Measures) -> None:
    assert (measured.history.runs, measured.history.held) == (3, 1)
    report = reports.deviated()
    report.earlier.append(reports.run(run_id="r4", verdict=o.RUN_VERDICT_REFUSED))
    report.earlier.append(report.run)
    running = reports.run(run_id="r3")
    running.state = o.RUN_STATE_RUNNING
    report.earlier.append(running)
    assert measures(report, reports.UNITS).history == measured.history


def test_a_gap_lasts_from_the_first_unknown_reading_to_the_next_known() -> None:
    (healthy,) = [one for one in series(reports.deviated(), reports.UNITS) if one.probe == "healthy"]
    assert healthy.gaps(reports.END_MS) == [(reports.START_MS + 31_000, reports.START_MS + 35_000)]
    assert healthy.reasons == ("no answer in 500ms",)


def test_a_gap_at_the_end_lasts_to_the_end_and_no_number_is_unknown() -> None:
    nothing = m.Reading(probe="p", at_unix_ms=reports.START_MS, value=float("nan"))
    report = o.GetReportResponse(run=reports.run(), readings=[nothing])
    (one,) = series(report, {})
    assert one.gaps(reports.END_MS) == [(reports.START_MS, reports.END_MS)]


def test_an_abort_is_marked_when_its_rule_came_true() -> None:
    report = reports.deviated()
    assert marks(report, victims(report.run)).aborts_ms == (reports.FIRST_MS + 12_000,)


def test_an_abort_by_an_operator_is_marked_when_the_log_says_so() -> None:
    report = reports.held()
    assert marks(report, victims(report.run)).aborts_ms == ()
    report.run.verdict = o.RUN_VERDICT_ABORTED
    report.log.add(at_unix_ms=reports.FIRST_MS + 5, line="ending: aborted by op")
    assert marks(report, victims(report.run)).aborts_ms == (reports.FIRST_MS + 5,)
