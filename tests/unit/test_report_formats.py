"""The same facts in Markdown and JSON; and text from afar is only ever text."""

import json
import re

import pytest
from google.protobuf import json_format

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_report.account import Account, Asked, account
from killdeer_report.as_json import as_json
from killdeer_report.markdown import fenced, markdown, plain
from tests.support import reports

ASKED = Asked(units=reports.UNITS, notes=(("runbook", "https://wiki.example.com/payments"),))


@pytest.fixture(scope="module")
def told() -> Account:
    return account(reports.deviated(), ASKED)


@pytest.fixture(scope="module")
def hostile() -> Account:
    return account(reports.hostile(), ASKED)


@pytest.mark.parametrize("fact", reports.FACTS)
def test_the_markdown_says(told: Account, fact: str) -> None:
    text = markdown(told)
    assert fact in text or plain(fact) in text


def test_hostile_text_is_text_in_markdown(hostile: Account) -> None:
    text = markdown(hostile)
    assert "\x1b" not in text
    assert "<script>" not in text.split("```")[0]
    cells = 0
    for line in text.splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert found == cells or not (found and cells), line
        cells = found


def test_a_fence_is_longer_than_any_it_holds() -> None:
    assert next(iter(fenced("a\n````\nb"))) == "`````"


def test_json_has_the_wires_own_parts_and_the_measures(told: Account) -> None:
    found = json.loads(as_json(told))
    assert (found["report"], found["title"]) == (1, "killdeer report of run r7f3")
    assert found["verdict"] == "deviated"
    assert found["units"] == {"healthy": "met", "errors": "fraction", "p95": "seconds"}
    assert found["file_notes"] == {"runbook": "https://wiki.example.com/payments"}
    assert found["measures"]["detected_after_ms"] == 1_400
    assert found["measures"]["victims"][1]["term"] == "escalated"
    assert found["measures"]["victims"][1]["recovered_after_ms"] is None
    wire = {key: found[key] for key in o.GetReportResponse.DESCRIPTOR.fields_by_name if key in found}
    assert json_format.ParseDict(wire, o.GetReportResponse()) == reports.deviated()


@pytest.mark.parametrize("report", [o.GetReportResponse(), o.GetReportResponse(run=reports.run())])
def test_a_run_with_nothing_in_it_has_a_report(report: o.GetReportResponse) -> None:
    empty = account(report, Asked())
    assert "Nothing was measured." in markdown(empty)
    assert json.loads(as_json(empty))["measures"]["victims"] == []


def test_values_newer_than_this_program_are_no_error() -> None:
    report = reports.held()
    report.run.verdict = 99  # type: ignore[assignment]
    report.run.strikes[0].state = 99  # type: ignore[assignment]
    report.run.strikes[0].action.CopyFrom(p.Action())
    report.run.findings.findings.add(part=99, standing=99, sentence="x")
    text = markdown(account(report, Asked(units={"p95": 99})))
    assert "UNKNOWN (99)" in text
    assert "an action newer than this program" in text
