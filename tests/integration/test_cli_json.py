"""--json: every verb that prints gives what the coordinator said, under the wire's own names."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from tests.support import runs
from tests.support.commandline import killdeer
from tests.support.operator import FakeOperator

PERMIT = o.PermitView(permit_id="p1", victim=p.Identity(host="a-1", pid=3), held_ms=9_000, why="no answer")

ONE_OBJECT: dict[str, tuple[list[str], Any]] = {
    "ListHosts": (["hosts"], o.ListHostsResponse(hosts=[o.HostView(host="a-1", labels={"zone": "a"})])),
    "AcceptHost": (
        ["hosts", "accept", "a-1", "--reason", "x"],
        o.AcceptHostResponse(host=o.HostView(host="a-1")),
    ),
    "ListCandidates": (
        ["candidates", "name=python3", "--on", "role=x,zone=a,zone=b"],
        o.ListCandidatesResponse(hosts=[runs.planned_host("a-1", runs.candidate("a-1", pid=4))]),
    ),
    "ListRuns": (["runs"], o.ListRunsResponse(runs=[runs.ended(o.RUN_VERDICT_HELD)])),
    "AbortRun": (["abort"], o.AbortRunResponse(run=runs.run(state=o.RUN_STATE_ABORTING))),
    "Rearm": (["rearm", "--reason", "x"], o.RearmResponse(released=[p.HaltRecord(id="h1")])),
    "GetStatus": (["status"], o.GetStatusResponse(version="0.1.0", halts=[p.HaltRecord(id="h1", by="op")])),
    "ListLimits": (["limits"], o.ListLimitsResponse(limits=[o.LimitView(scope="in_flight", limit=3)])),
    "SetLimit": (
        ["limits", "set", "in_flight", "5", "--reason", "x"],
        o.SetLimitResponse(limit=o.LimitView(scope="in_flight", limit=5)),
    ),
    "ListPermits": (["permits"], o.ListPermitsResponse(permits=[PERMIT])),
    "ClearPermit": (["permits", "clear", "p1", "--reason", "x"], o.ClearPermitResponse(permit=PERMIT)),
    "ListAudit": (["audit"], o.ListAuditResponse(entries=[o.AuditEntry(number=1, what="run.started")])),
}


@pytest.mark.parametrize("verb", ONE_OBJECT)
def test_one_answer_is_one_object(operator: FakeOperator, verb: str) -> None:
    typed, answer = ONE_OBJECT[verb]
    operator.answers[verb] = lambda request, context: answer
    said = killdeer(*typed, "--json")
    assert said.code == 0, said
    assert json_format.Parse(said.out, type(answer)()) == answer
    assert said.err == ""


@pytest.mark.parametrize("verb", ONE_OBJECT)
def test_the_same_answer_for_people_fits_and_names_what_it_is_about(operator: FakeOperator, verb: str) -> None:
    typed, answer = ONE_OBJECT[verb]
    operator.answers[verb] = lambda request, context: answer
    said = killdeer(*typed)
    assert said.code == 0, said
    assert said.out
    assert max(len(line) for line in said.out.splitlines()) <= 100


def test_names_are_those_of_the_wire(operator: FakeOperator) -> None:
    operator.answers["ListPermits"] = lambda request, context: ONE_OBJECT["ListPermits"][1]
    permit = json.loads(killdeer("permits", "--json").out)["permits"][0]
    assert permit["permit_id"] == "p1"
    assert permit["held_ms"] == "9000"
    assert permit["zone"] == "", "a field without a value is there too"


def test_a_plan_is_one_object(operator: FakeOperator, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(runs.EXPERIMENT)
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan())
    said = killdeer("plan", str(path), "--seed", "9", "--json")
    assert json_format.Parse(said.out, o.PlanResponse()).plan == runs.plan()
    assert operator.requests("Plan")[0].seed == 9


def test_a_run_is_a_line_for_each_update(operator: FakeOperator, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(runs.EXPERIMENT)
    updates = [
        o.WatchRunResponse(run=runs.run(runs.strike())),
        o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_HELD, runs.recovered())),
    ]
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan())
    operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3")
    operator.answers["WatchRun"] = lambda request, context: updates
    for typed in (["run", str(path)], ["watch"]):
        said = killdeer(*typed, "--json")
        assert [json_format.Parse(line, o.WatchRunResponse()) for line in said.out.splitlines()] == updates
    said = killdeer("run", str(path), "--detach", "--json")
    assert json.loads(said.out)["run_id"] == "r7f3"


def test_events_are_a_line_each_and_none_is_left_out(operator: FakeOperator) -> None:
    events = [
        o.WatchEventsResponse(number=number, event=p.KernelEvent(host="a-1", exit=p.ExitSeen(code=number)))
        for number in range(1, 6)
    ]
    operator.answers["WatchEvents"] = lambda request, context: events
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(hosts=[o.HostView(host="a-1")])
    said = killdeer("events", "--host", "a-1", "--run", "latest", "--json")
    assert [json.loads(line)["number"] for line in said.out.splitlines()] == ["1", "2", "3", "4", "5"]
    request = operator.requests("WatchEvents")[0]
    assert (request.host, request.run, request.follow) == ("a-1", "latest", False)
    assert len(killdeer("events").out.splitlines()) == 5


def test_faults_and_contexts_are_json_too(operator: FakeOperator, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(runs.EXPERIMENT)
    bad.write_text(runs.EXPERIMENT.replace("environment:", "enviroment:"))
    said = killdeer("validate", str(good), str(bad), "--json")
    assert said.code == 2
    first, second = json.loads(said.out)["files"]
    assert first == {"file": str(good), "valid": True, "faults": []}
    assert (second["faults"][0]["line"], second["faults"][0]["nearest"]) == (3, "environment")
    contexts = json.loads(killdeer("context", "--json").out)
    assert contexts["current"] == "test"
    assert contexts["contexts"]["test"]["server_name"] == "killdeer-coordinator"
