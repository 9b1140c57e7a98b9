"""`killdeer inspect`: as it is typed and shown, through a real coordinator, and of a real host."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from tests.support.commandline import Said, ended, killdeer, start
from tests.support.coordinator import Coordinator, WireAgent, coordinator, environment, wire_agent
from tests.support.fleet import fleet
from tests.support.operator import FakeOperator

NEVER = a.InspectionFinding(
    severity=a.SEVERITY_PROBLEM,
    name="restart-never",
    fact="Restart=no: once it is killed, it stays down until somebody starts it",
    section="Service",
    directive="Restart=on-failure",
    units=["worker@1.service", "worker@2.service"],
)
ALWAYS = a.InspectionFinding(
    severity=a.SEVERITY_WARNING, name="x", fact="y", section="Service", directive="Restart=always"
)
REBOOTS = a.InspectionFinding(
    severity=a.SEVERITY_PROBLEM, name="r", fact="z", section="Unit", directive="FailureAction=none"
)
FILES = a.InspectionFinding(
    severity=a.SEVERITY_WARNING, name="files", fact="800 of 1,024 files are open", change="raise it", pids=[12]
)
CAUGHT = a.InspectionFinding(severity=a.SEVERITY_INFO, name="term-caught", fact="it handles SIGTERM", pids=[12, 13])
WORKER = a.Subject(
    service="worker@",
    units=["worker@1.service", "worker@2.service"],
    processes=[a.SubjectProcess(pid=12, main=True), a.SubjectProcess(pid=13)],
    findings=[NEVER, REBOOTS, ALWAYS, FILES, CAUGHT],
)


# --- what is typed, and shown -------------------------------------------------------------------------------


@pytest.fixture
def answered(operator: FakeOperator) -> FakeOperator:
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(hosts=[o.HostView(host="a-1")])
    operator.answers["Inspect"] = lambda request, context: o.InspectResponse(host="a-1", subjects=[WORKER])
    return operator


def test_what_is_asked_for_is_what_was_typed(answered: FakeOperator) -> None:
    assert killdeer("inspect", "a-1", "unit=worker@*", "user!=root").code == 0
    assert killdeer("inspect", "a-1").code == 0
    some, everything = answered.requests("Inspect")
    assert some.host == everything.host == "a-1"
    assert [(term.field, term.negated) for term in some.selector.terms] == [
        (p.FIELD_UNIT, False),
        (p.FIELD_USER, True),
    ]
    assert list(everything.selector.terms) == []


def test_each_finding_has_its_severity_its_number_and_what_to_change(answered: FakeOperator) -> None:
    said = killdeer("inspect", "a-1")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == "worker@ worker@1.service, worker@2.service; 2 processes, main 12"
    assert lines[1] == "problem Restart=no: once it is killed, it stays down until somebody starts it"
    assert lines[2] == "[Service] Restart=on-failure"
    assert "warning 800 of 1,024 files are open (pid 12)" in lines
    assert "info it handles SIGTERM" in lines, "of all of them, so no pid is named"
    assert lines[-1] == "1 service on a-1: 2 problems, 2 warnings, 1 fact"
    assert max(len(line) for line in said.out.splitlines()) <= 100


def test_a_drop_in_holds_each_directive_once_by_the_gravest_finding(answered: FakeOperator) -> None:
    out = killdeer("inspect", "a-1").out
    lines = "systemctl edit worker@.service\n[Unit]\nFailureAction=none\n[Service]\nRestart=on-failure\n"
    assert lines in out
    assert out.count("systemctl edit") == 1


def test_json_is_the_answer_under_the_wire_s_names(answered: FakeOperator) -> None:
    said = killdeer("inspect", "a-1", "--json")
    (subject,) = json.loads(said.out)["subjects"]
    assert subject["findings"][0]["directive"] == "Restart=on-failure"
    assert subject["findings"][0]["severity"] == "SEVERITY_PROBLEM"
    assert subject["unasked"] == ""


def test_that_systemd_could_not_be_asked_is_said(answered: FakeOperator) -> None:
    blind = a.Subject(service="w", unasked="cannot ask systemd: pid 1 of this host is init")
    answered.answers["Inspect"] = lambda request, context: o.InspectResponse(host="a-1", subjects=[blind])
    assert "what its unit says is not known: cannot ask systemd: pid 1" in killdeer("inspect", "a-1").out


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("a-1",), "the guard of a-1 lets nothing be hit"),
        (("a-1", "name=x"), "nothing on a-1 matches name=x"),
        (("a-9",), "there is no host 'a-9'"),
        (("a-1", "nam=x"), "nam"),
    ],
)
def test_nothing_to_tell_is_exit_2_with_why(answered: FakeOperator, typed: tuple[str, ...], why: str) -> None:
    answered.answers["Inspect"] = lambda request, context: o.InspectResponse(host="a-1")
    said = killdeer("inspect", *typed)
    assert (said.code, said.out) == (2, "")
    assert why in said.err


# --- with a coordinator -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with coordinator(tmp_path_factory.mktemp("coordinator"), "alpha", lease="30s") as started:
        yield started
        assert "Traceback" not in started.said


@pytest.fixture(scope="module")
def alpha(made: Coordinator) -> Iterator[WireAgent]:
    """A host whose frames the tests write."""
    with wire_agent(made, "alpha") as agent:
        agent.hello("alpha")
        assert agent.read("welcome")
        agent.beat(1)
        assert agent.read("lease_renewal")
        yield agent


def inspected(made: Coordinator, agent: WireAgent, answer: a.Inspected, *typed: str) -> tuple[a.Inspect, Said]:
    """What the agent is asked, and what an operator who may only look is told once it has answered."""
    asking = start("inspect", "alpha", *typed, env=environment(made.context("viewer")))
    frame = agent.read("inspect")
    assert frame is not None
    answer.ask = frame.inspect.ask
    agent.send(a.ConnectRequest(inspected=answer))
    return frame.inspect, ended(asking)


def test_the_host_s_own_words_reach_whoever_may_look(made: Coordinator, alpha: WireAgent) -> None:
    mail = a.Subject(service="mail.service", findings=[CAUGHT])
    asked, said = inspected(made, alpha, a.Inspected(subjects=[WORKER, mail]), "unit=*", "--json")
    assert [term.field for term in asked.selector.terms] == [p.FIELD_UNIT]
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["host"] == "alpha"
    assert [one["service"] for one in told["subjects"]] == ["mail.service", "worker@"]


def test_a_host_that_could_not_look_is_exit_2_in_its_own_words(made: Coordinator, alpha: WireAgent) -> None:
    failed = a.Inspected(failure=p.REASON_CANNOT_EVALUATE, failure_detail="its exe cannot be read")
    _, said = inspected(made, alpha, failed)
    assert (said.code, said.out) == (2, "")
    assert "cannot inspect alpha: its exe cannot be read" in said.err


# --- of a real host -----------------------------------------------------------------------------------------


def test_a_real_host_tells_of_its_own_processes(tmp_path: Path) -> None:
    """Of the sandbox, whose pid 1 is no systemd and whose workers are in no unit of their own."""
    with fleet(tmp_path, "--agents", "1") as sandbox:
        (host,) = sandbox.killdeer("hosts", "--json").json["hosts"]
        told = sandbox.killdeer("inspect", host["host"], "--json").json["subjects"]
        workers = next(one for one in told if one["service"].endswith("sandbox-worker"))
        found = {finding["name"]: finding for finding in workers["findings"]}
        assert len(workers["processes"]) == len(sandbox.workers())
        assert {"files", "oom-order", "restart-nobody"} & found.keys()
        assert [name for name in found if name.startswith("term-")]
        text = sandbox.killdeer("inspect", host["host"], "name=sandbox-worker").out
        assert f"1 service on {host['host']}" in text
        assert sandbox.killdeer("inspect", host["host"], "name=nobody-is-called-that", code=2).out == ""
