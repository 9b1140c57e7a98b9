"""Two runs side by side: what changed, how sure that is, and what makes them less comparable."""

import json

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_report.account import Asked, account
from killdeer_report.as_json import comparison_json
from killdeer_report.comparison import Comparison, compare
from killdeer_report.markdown import comparison_markdown
from tests.support import reports

ASKED = Asked(units=reports.UNITS)


def compared(first: o.GetReportResponse, second: o.GetReportResponse) -> Comparison:
    return compare(account(first, ASKED), account(second, ASKED))


@pytest.fixture(scope="module")
def told() -> Comparison:
    return compared(reports.deviated(), reports.held())


def test_the_same_experiment_before_and_after_a_fix_differs_by_nothing_else(told: Comparison) -> None:
    assert told.differs == ()
    assert told.file_changes == ()


def test_a_fix_shows_in_verdict_findings_and_probes(told: Comparison) -> None:
    text = comparison_markdown(told)
    assert "| r7f3 | deviated |" in text
    assert "| r8c4 | held |" in text
    assert "unmet, not met for 19.00 s: errors was 2%, not below 0.1% | met |" in text
    (errors,) = [one for one in told.probes if one.what == "errors"]
    assert errors.difference is not None and errors.interval is not None
    assert errors.difference < 0
    (gone,) = [one for one in told.lengths if one.what.startswith("exit")]
    assert (gone.first, gone.second, gone.difference) == (1_021.5, 40.0, -981.5)
    assert gone.no_interval == "too few: 2 and 2, 8 of each are needed"


def test_each_impact_has_its_interval_over_repetitions_and_over_the_runs_so_far(told: Comparison) -> None:
    (p95,) = [one for one in told.probes if one.what == "p95"]
    assert p95.difference == pytest.approx(-0.029)
    assert p95.interval is not None and p95.interval.method == "t"
    assert p95.interval.low < -0.029 < p95.interval.high
    text = comparison_markdown(told)
    assert "+30 ms (x1.25) in 2 repetitions, of +27 ms to +33 ms; 95% confidence: +3 ms to +57 ms (t)" in text
    assert "| p95 | +16 ms in 2 runs; 95% confidence: -169 ms to +200 ms (t) | one run, or none |" in text


def test_with_one_repetition_on_a_side_the_difference_has_no_interval_and_it_is_said() -> None:
    once = reports.held()
    del once.run.findings.impacts[:]
    once.run.findings.impacts.extend(reports.impacts(reports.UNHURT, 1))
    found = {one.what: one for one in compared(reports.deviated(), once).probes}["p95"]
    assert found.interval is None
    assert found.difference == pytest.approx(-0.029)
    assert found.no_interval == "too few: 2 and 1 repetitions, two of each are needed"


def test_json_names_both_and_their_differences(told: Comparison) -> None:
    found = json.loads(comparison_json(told))
    assert (found["first"]["verdict"], found["second"]["verdict"]) == ("deviated", "held")
    assert {one["what"]: one["unit"] for one in found["probes"]}["p95"] == "seconds"
    assert "readings" not in found["first"]


def test_what_makes_them_less_comparable_is_said() -> None:
    other = reports.held()
    other.run.seed = 7
    other.run.environment = "production"
    other.run.experiment = "another"
    other.source = other.source.replace("strikes: 2", "strikes: 3")
    other.run.strikes[1].victim.host = "pay-9"
    other.run.state = o.RUN_STATE_RUNNING
    told = compared(reports.deviated(), other)
    text = " ".join(told.differs)
    assert "Run r8c4 has not ended." in text
    assert "two experiments" in text
    assert "The environments differ" in text
    assert "The seeds differ, 20261120 and 7" in text
    assert "The files differ" in text
    assert "Only run r7f3 hit pay-2 payment@[0]." in text
    assert "Only run r8c4 hit pay-9 payment@[0]." in text
    assert "+waves: [{name: one, strikes: 3}]" in told.file_changes


def test_a_drifted_plan_and_one_run_twice_are_said() -> None:
    other = reports.held()
    other.run.plan_hash = "other"
    assert compared(reports.deviated(), other).differs == (
        "The plans differ though file and seed are the same: candidates, limits or the guard have changed.",
    )
    assert compared(reports.held(), reports.held()).differs == ("Both are the same run.",)


def test_runs_that_measured_nothing_alike_are_no_error() -> None:
    told = compared(reports.deviated(), o.GetReportResponse())
    assert "not measured" in comparison_markdown(told)


def test_hostile_text_stays_text() -> None:
    told = compared(reports.hostile(), reports.held())
    assert "<script>" not in comparison_markdown(told).split("```")[0]
