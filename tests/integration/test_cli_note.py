"""`killdeer note`, and an experiment as a step of a pipeline."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as xml

import grpc
import pytest
from google.protobuf import json_format

from killdeer.v1 import operator_pb2 as o
from killdeer_client import Client, load_contexts
from killdeer_coordinator.core.books import PutRun
from killdeer_coordinator.store import Store
from tests.support import runs
from tests.support.commandline import killdeer
from tests.support.coordinator import Coordinator, coordinator, stub
from tests.support.operator import DEADLINE_S, FakeOperator, refuse
from tests.support.rows import putting, run_row

ROOT = Path(__file__).parents[2]


# --- the command line ---------------------------------------------------------------------------------------


def test_a_note_is_asked_for_as_it_was_typed(operator: FakeOperator) -> None:
    note = o.RunNote(at_unix_ms=1, who="op", text="the queue did not drain", action="payments")
    operator.answers["AddNote"] = lambda request, context: o.AddNoteResponse(note=note)
    said = killdeer("note", "r7f", "the queue did not drain", "--action", "payments")
    assert (said.code, said.out) == (0, "noted on run r7f; payments is to act on it\n")
    assert operator.requests("AddNote") == [
        o.AddNoteRequest(run="r7f", text="the queue did not drain", action="payments")
    ]
    said = killdeer("note", "latest", "x", "--json")
    assert json_format.Parse(said.out, o.AddNoteResponse()).note == note


def test_a_note_names_the_run_s_own_id_whatever_was_typed(operator: FakeOperator) -> None:
    note = o.RunNote(at_unix_ms=1, who="op", text="x", run="r7f3")
    operator.answers["AddNote"] = lambda request, context: o.AddNoteResponse(note=note)
    assert killdeer("note", "latest", "x").out == "noted on run r7f3\n"


def test_a_note_that_is_refused_is_exit_2_with_the_remedy(operator: FakeOperator) -> None:
    operator.answers["AddNote"] = lambda request, context: refuse(
        context,
        grpc.StatusCode.INVALID_ARGUMENT,
        "cannot add a note: the text is empty",
        field="text",
        remedy="say",
    )
    said = killdeer("note", "latest", "")
    assert said.code == 2
    assert "text: cannot add a note: the text is empty\nsay" in said.err
    assert killdeer("note", "latest").code == 2


# --- a real coordinator -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    """One that finds two ended runs in its store."""
    folder = tmp_path_factory.mktemp("coordinator")
    with coordinator(folder) as started:
        started.stop()
        store = Store.open(f"sqlite:///{started.state}/killdeer.db")
        store.decide(putting(*(PutRun(run_row(name, state=o.RUN_STATE_ENDED)) for name in ("aa1", "bb2"))))
        store.close()
        started.start()
        yield started
        assert "Traceback" not in started.said


def test_a_note_is_in_the_report_and_in_the_audit(made: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILLDEER_CONFIG", str(made.context()))
    noted = killdeer("note", "aa", "look at the queue", "--action", "payments")
    assert (noted.code, noted.out) == (0, "noted on run aa1; payments is to act on it\n")
    with Client(load_contexts().choose()) as client:
        other = client.add_note("latest", "and of the other")
        assert (other.text, other.run) == ("and of the other", "bb2")
        report = client.report("aa")
        assert [(note.who, note.text, note.action) for note in report.notes] == [
            ("all", "look at the queue", "payments")
        ]
        assert (report.run.run_id, report.file) == ("aa1", "one.yaml")
        latest = client.report("")
        assert (latest.run.run_id, [run.run_id for run in latest.earlier]) == ("bb2", ["aa1"])
        audit = client.list_audit(verify=True)
    assert audit.verified
    assert [(entry.subject, entry.why) for entry in audit.entries if entry.what == "note.added"] == [
        ("aa1", "look at the queue"),
        ("bb2", "and of the other"),
    ]


def test_a_viewer_reads_reports_and_adds_no_note(made: Coordinator) -> None:
    with stub(made, "viewer") as operators:
        assert operators.GetReport(o.GetReportRequest(run="aa1"), timeout=DEADLINE_S).run.run_id == "aa1"
        with pytest.raises(grpc.RpcError) as ended:
            operators.AddNote(o.AddNoteRequest(run="aa1", text="x"), timeout=DEADLINE_S)
        assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "viewer has viewer, and it needs admin or approver or operator" in (ended.value.details() or "")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["zz", "x"], "cannot find the run 'zz'"),
        (["aa1", "  "], "the text is empty"),
        (["aa1", "x" * 10_001], "the text has 10,001 characters, and 10,000 is the most"),
    ],
    ids=["no such run", "nothing", "too long"],
)
def test_what_cannot_be_noted_is_refused_by_name(
    made: Coordinator, monkeypatch: pytest.MonkeyPatch, typed: list[str], said: str
) -> None:
    monkeypatch.setenv("KILLDEER_CONFIG", str(made.context()))
    noted = killdeer("note", *typed)
    assert noted.code == 2
    assert said in noted.err
    with stub(made) as operators:
        for verb, request in (("GetReport", o.GetReportRequest(run="zz")), ("AddNote", o.AddNoteRequest(run="zz"))):
            with pytest.raises(grpc.RpcError) as ended:
                getattr(operators, verb)(request, timeout=DEADLINE_S)
            assert ended.value.code() is grpc.StatusCode.NOT_FOUND


# --- a pipeline ---------------------------------------------------------------------------------------------


def pipeline(file: Path, junit: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "pipeline.py", file, junit],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


@pytest.mark.parametrize(("verdict", "code"), [(o.RUN_VERDICT_HELD, 0), (o.RUN_VERDICT_DEVIATED, 1)])
def test_the_example_of_a_pipeline_ends_as_run_does_and_leaves_junit(
    operator: FakeOperator, tmp_path: Path, verdict: o.RunVerdict, code: int
) -> None:
    file, junit = tmp_path / "one.yaml", tmp_path / "killdeer.xml"
    file.write_text(runs.EXPERIMENT)
    ended = runs.ended(verdict, runs.recovered(), why="so it was")
    operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3")
    operator.answers["WatchRun"] = lambda request, context: [o.WatchRunResponse(run=ended, log=["wave one"])]
    operator.answers["GetReport"] = lambda request, context: o.GetReportResponse(run=ended)
    said = pipeline(file, junit)
    assert (said.returncode, said.stdout) == (code, "wave one\nrun r7f3: so it was\n"), said.stderr
    [suite] = xml.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", str(code))
    assert operator.requests("Run")[0].source == runs.EXPERIMENT


def test_the_example_of_a_pipeline_says_why_nothing_was_run(operator: FakeOperator, tmp_path: Path) -> None:
    file, junit = tmp_path / "one.yaml", tmp_path / "killdeer.xml"
    file.write_text(runs.EXPERIMENT)
    operator.answers["Run"] = lambda request, context: refuse(
        context, grpc.StatusCode.FAILED_PRECONDITION, "cannot run: the fleet is halted", remedy="rearm"
    )
    said = pipeline(file, junit)
    assert (said.returncode, said.stderr) == (2, "cannot run: the fleet is halted\nrearm\n")
    assert not junit.exists()
    assert pipeline(tmp_path / "none.yaml", junit).returncode == 2
