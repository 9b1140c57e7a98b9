"""What to look at next follows from what the run shows, and from nothing else."""

from collections.abc import Callable

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_report.advice import advice
from killdeer_report.measures import measures
from tests.support import reports


def said(report: o.GetReportResponse) -> str:
    return "\n".join(advice(report, measures(report, reports.UNITS)))


def test_a_run_that_deviated_points_at_each_thing_that_went_wrong() -> None:
    text = said(reports.deviated())
    assert '"errors < 0.1%" was not met for 19.00 s' in text
    assert "1 victim of 2 did not end on SIGTERM within the grace (pay-2 payment@[0]): look at the handler" in text
    assert "No successor came in time for pay-2 payment@[0]" in text
    assert "The probe healthy had no answer 4 times of 60, mostly: no answer in 500ms." in text
    assert "The same plan ended differently before (held, run r6aa)" in text


def test_a_run_that_held_finds_no_fault_and_widens() -> None:
    (only,) = advice(reports.held(), measures(reports.held(), reports.UNITS))
    assert only.startswith("It held. Widen the blast radius")


def refused(report: o.GetReportResponse) -> None:
    report.run.verdict = o.RUN_VERDICT_REFUSED
    del report.run.strikes[:]


def deaf(report: o.GetReportResponse) -> None:
    for strike in report.run.strikes:
        strike.ClearField("exit")
        strike.state = p.STRIKE_STATE_SURVIVED


def not_struck(report: o.GetReportResponse) -> None:
    for strike in report.run.strikes:
        strike.CopyFrom(o.StrikeView(state=p.STRIKE_STATE_REFUSED, reason=p.REASON_NOT_ALLOWED))


def unknown(report: o.GetReportResponse) -> None:
    report.run.verdict = o.RUN_VERDICT_INCONCLUSIVE
    report.run.why = "healthy had no answer"
    report.run.findings.findings[1].standing = m.STANDING_UNKNOWN


def lost_events(report: o.GetReportResponse) -> None:
    report.run.strikes[0].events_lost = 12


def changed(report: o.GetReportResponse) -> None:
    report.run.strikes[0].changed = True


def blind(report: o.GetReportResponse) -> None:
    report.run.strikes[0].evidence = 1  # type: ignore[assignment]


def unjudged(report: o.GetReportResponse) -> None:
    del report.run.findings.findings[:]


def aborted(report: o.GetReportResponse) -> None:
    report.run.verdict = o.RUN_VERDICT_ABORTED


def running(report: o.GetReportResponse) -> None:
    report.run.state = o.RUN_STATE_RUNNING


def once(report: o.GetReportResponse) -> None:
    for one in report.run.findings.impacts:
        one.repetitions, one.deviation = 1, 0


def load_goes_on(report: o.GetReportResponse) -> None:
    report.run.findings.deeds.append("load.stop: no answer")


def not_whole(report: o.GetReportResponse) -> None:
    report.log.add(line="not on the record: 12 readings and 1 line: disk full")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (refused, "Nothing was hit. Make true first: errors < 0.1%."),
        (deaf, "2 victims of 2 lived on after SIGTERM"),
        (not_struck, "No victim was struck: not allowed (2)."),
        (unknown, "Inconclusive is not held: healthy had no answer."),
        (unknown, '"errors < 0.1%" could not be judged, and unknown is not met: errors was 2%'),
        (lost_events, "12 kernel events were lost"),
        (changed, "ran another program in the instant of its signal"),
        (blind, "Without the kernel's record on pay-1"),
        (unjudged, "add a steady_state"),
        (aborted, '"p95 > 1.3x baseline for 10s" came true and stopped the run'),
        (running, "The run has not ended"),
        (once, "Of healthy, errors, p95 there is the impact of one repetition, which may be chance"),
        (load_goes_on, "The load may still be there: load.stop: no answer. Stop it by hand."),
        (not_whole, "not whole, as the store did not keep 12 readings and 1 line: disk full."),
    ],
)
def test_each_fact_that_asks_for_something_is_said(
    change: Callable[[o.GetReportResponse], None], words: str
) -> None:
    report = reports.deviated()
    change(report)
    assert words in said(report)


def test_an_abort_rule_that_did_not_come_true_is_no_cause_of_a_refusal() -> None:
    report = reports.deviated()
    refused(report)
    report.run.findings.findings[2].standing = m.STANDING_UNMET
    assert "p95" not in said(report).splitlines()[0]


def test_a_run_without_anything_in_it_is_no_error() -> None:
    assert "steady_state" in said(o.GetReportResponse())
