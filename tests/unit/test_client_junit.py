"""A report as JUnit XML: nothing is green that was not seen to hold, and every text can be in it."""

from xml.etree import ElementTree as xml

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_client.junit import to_junit
from tests.support import runs

STEADY = m.Finding(part=m.PART_STEADY_STATE, sentence="errors < 0.1%", standing=m.STANDING_MET)


def suite(run: o.RunView, **report: object) -> xml.Element:
    written = to_junit(o.GetReportResponse(run=run, **report))  # type: ignore[arg-type]
    [made] = xml.fromstring(written.encode())
    results = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    assert {name: made.get(name) for name in results} == {
        name: str(len(made.findall(f"testcase/{result}"))) for name, result in results.items()
    }
    assert made.get("tests") == str(len(made.findall("testcase")))
    return made


def results(made: xml.Element) -> dict[str, str]:
    """Name of each testcase -> what its one result is; `passed` where it has none."""
    cases = made.findall("testcase")
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    return {case.get("name", ""): case[0].tag if len(case) else "passed" for case in cases}


def the_only_result(run: o.RunView) -> str:
    [result] = [result for name, result in results(suite(run)).items() if name != "verdict"]
    return result


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (o.RUN_VERDICT_HELD, "passed"),
        (o.RUN_VERDICT_DEVIATED, "failure"),
        (o.RUN_VERDICT_NOT_RECOVERED, "failure"),
        (o.RUN_VERDICT_INCONCLUSIVE, "error"),
        (o.RUN_VERDICT_ABORTED, "error"),
        (o.RUN_VERDICT_HALTED, "error"),
        (o.RUN_VERDICT_REFUSED, "error"),
        (o.RUN_VERDICT_UNSPECIFIED, "error"),
        (99, "error"),
    ],
)
def test_only_a_hypothesis_that_held_is_green(verdict: o.RunVerdict, result: str) -> None:
    assert results(suite(runs.ended(verdict, why="so it was"))) == {"verdict": result}


def test_a_run_that_goes_on_is_not_green() -> None:
    assert results(suite(runs.run(verdict=o.RUN_VERDICT_HELD))) == {"verdict": "error"}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"standing": m.STANDING_MET}, "passed"),
        ({"standing": m.STANDING_UNMET}, "failure"),
        ({"standing": m.STANDING_MET, "unmet_unix_ms": 1_005_000, "unmet_ms": 2_000}, "failure"),
        ({"standing": m.STANDING_MET, "unknown_ms": 1}, "error"),
        ({"standing": m.STANDING_UNKNOWN}, "error"),
        ({"standing": m.STANDING_UNSPECIFIED}, "skipped"),
        ({"standing": 99}, "skipped"),
        ({"part": m.PART_ABORT_WHEN, "standing": m.STANDING_UNMET}, "passed"),
        ({"part": m.PART_ABORT_WHEN, "standing": m.STANDING_MET}, "failure"),
        ({"part": m.PART_ABORT_WHEN, "standing": m.STANDING_UNMET, "unmet_unix_ms": 1_005_000}, "failure"),
        ({"part": m.PART_ABORT_WHEN, "standing": m.STANDING_UNKNOWN}, "error"),
        ({"part": m.PART_PRECONDITION, "standing": m.STANDING_UNMET}, "failure"),
    ],
)
def test_a_sentence_is_green_only_where_it_held_all_the_time(fields: dict[str, int], result: str) -> None:
    found = m.Finding(**{"part": m.PART_STEADY_STATE, "sentence": "cpu < 70%", **fields})  # type: ignore[arg-type]
    run = runs.ended(o.RUN_VERDICT_HELD)
    run.findings.findings.append(found)
    assert the_only_result(run) == result


def test_a_sentence_that_did_not_hold_says_when_for_how_long_and_what_was_measured() -> None:
    run = runs.ended(o.RUN_VERDICT_DEVIATED)
    run.findings.findings.append(
        m.Finding(
            part=m.PART_STEADY_STATE,
            sentence="errors < 0.1%",
            unmet_unix_ms=1_005_000,
            unmet_ms=2_500,
            detail="0.4%, against 0.1%",
        )
    )
    case = suite(run).findall("testcase")[1]
    assert case.get("classname") == "worker-survives.steady state"
    assert case[0].attrib == {
        "message": "first not met at 1970-01-01T00:16:45, for 2.5s in all: 0.4%, against 0.1%",
        "type": "not met",
    }


@pytest.mark.parametrize(
    ("strike", "result"),
    [
        (runs.recovered(), "passed"),
        (runs.strike(state=p.STRIKE_STATE_LOST, detail="no successor in 30s"), "failure"),
        (runs.strike(state=p.STRIKE_STATE_REFUSED, reason=p.REASON_GONE), "skipped"),
        (runs.strike(state=p.STRIKE_STATE_EXPIRED), "skipped"),
        (runs.strike(state=p.STRIKE_STATE_HALTED), "skipped"),
        (runs.strike(state=p.STRIKE_STATE_HALTED, blows=[p.Blow(number=1, signal=15)]), "error"),
        (runs.strike(state=p.STRIKE_STATE_UNKNOWN), "error"),
        (runs.strike(state=p.STRIKE_STATE_GONE), "error"),
        (runs.strike(state=p.STRIKE_STATE_STRUCK), "error"),
        (runs.strike(state=p.STRIKE_STATE_RECOVERED, cut_short=True), "error"),
        (runs.strike(state=p.STRIKE_STATE_LOST, cut_short=True), "failure"),
        (runs.strike(state=p.STRIKE_STATE_SURVIVED), "error"),
        (runs.strike(state=p.STRIKE_STATE_SURVIVED, action=p.Action(kill=p.Kill(signal=9))), "error"),
        (runs.strike(state=p.STRIKE_STATE_SURVIVED, action=p.Action(kill=p.Kill(signal=1))), "passed"),
        (runs.strike(state=p.STRIKE_STATE_SURVIVED, action=p.Action(pause=p.Pause(length_ms=9))), "passed"),
        (
            runs.strike(
                state=p.STRIKE_STATE_SURVIVED,
                action=p.Action(kill=p.Kill(signal=1)),
                blows=[p.Blow(number=1, signal=1, kernel_verdict="ignored")],
            ),
            "error",
        ),
    ],
    ids=lambda value: p.StrikeState.Name(value.state) if isinstance(value, o.StrikeView) else value,
)
def test_a_strike_is_green_only_where_it_did_what_it_was_to_and_its_victim_is_back(
    strike: o.StrikeView, result: str
) -> None:
    assert the_only_result(runs.ended(o.RUN_VERDICT_HELD, strike)) == result


def test_a_rehearsal_is_no_testcase_and_a_victim_that_was_struck_again_is_another() -> None:
    rehearsed = runs.strike("c0", wave="rehearsal", dry_run=True, state=p.STRIKE_STATE_RECOVERED)
    run = runs.ended(o.RUN_VERDICT_HELD, rehearsed, runs.recovered("c1"), runs.recovered("c2"))
    named = [name for name in results(suite(run)) if name != "verdict"]
    assert named == [
        "strike 1: terminate a-1 worker@[0], pid 412",
        "strike 2: terminate a-1 worker@[0], pid 412",
    ]
    assert suite(run).findall("testcase")[1].get("time") == "3.200"


def test_the_suite_says_which_run_it_was_when_and_what_was_said() -> None:
    run = runs.ended(o.RUN_VERDICT_HELD, why="1 victim struck")
    run.hypothesis = "Killing one worker heals."
    run.findings.MergeFrom(m.Findings(findings=[STEADY], detected_after_ms=900))
    made = suite(
        run,
        log=[o.LogLine(at_unix_ms=1_001_000, line="wave one")],
        notes=[o.RunNote(at_unix_ms=1_020_000, who="ada", text="look at the queue", action="payments")],
    )
    assert (made.get("name"), made.get("timestamp"), made.get("time")) == (
        "worker-survives",
        "1970-01-01T00:16:40",
        "12.400",
    )
    properties = {one.get("name"): one.get("value") for one in made.findall("properties/property")}
    assert (properties["run"], properties["seed"], properties["verdict"]) == ("r7f3", "7", "held")
    assert properties["detected_after_ms"] == "900"
    assert "recovered_after_ms" not in properties
    assert results(made) == {"Killing one worker heals.": "passed", "errors < 0.1%": "passed"}
    assert made.findtext("system-out") == (
        "1970-01-01T00:16:41 wave one\n"
        "1970-01-01T00:17:00 note by ada (payments is to act on it): look at the queue"
    )


def test_what_xml_forbids_is_replaced_and_the_rest_comes_through() -> None:
    nasty = "a\0b\x1b[31m\ufffe\x7f <&>\"' ]]> ü 🐦"
    run = runs.ended(o.RUN_VERDICT_DEVIATED, runs.strike(state=p.STRIKE_STATE_LOST, detail=nasty), why=nasty)
    run.experiment = run.hypothesis = run.owner = nasty
    run.findings.findings.append(m.Finding(part=m.PART_READY, sentence=nasty, detail=nasty))
    made = suite(run, log=[o.LogLine(line=nasty, at_unix_ms=2**64 - 1)])
    seen = "a\ufffdb\ufffd[31m\ufffd\x7f <&>\"' ]]> ü 🐦"
    assert made.get("name") == seen
    assert {case.get("name") for case in made.findall("testcase")} >= {seen}
    assert made.findtext("system-out") == f"{2**64 - 1} ms {seen}"
