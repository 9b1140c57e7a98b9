"""What a script can build on: the exit code says how it went."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from tests.support import runs
from tests.support.commandline import killdeer
from tests.support.operator import FakeOperator, refuse


@pytest.fixture
def experiment(tmp_path: Path, operator: FakeOperator) -> str:
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan())
    operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3", plan=runs.plan())
    path = tmp_path / "experiment.yaml"
    path.write_text(runs.EXPERIMENT)
    return str(path)


def ends_as(operator: FakeOperator, view: o.RunView) -> None:
    operator.answers["WatchRun"] = lambda request, context: [
        o.WatchRunResponse(run=runs.run(runs.strike())),
        o.WatchRunResponse(run=view),
    ]


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (o.RUN_VERDICT_HELD, 0),
        (o.RUN_VERDICT_DEVIATED, 1),
        (o.RUN_VERDICT_ABORTED, 3),
        (o.RUN_VERDICT_HALTED, 3),
        (o.RUN_VERDICT_INCONCLUSIVE, 5),
        (o.RUN_VERDICT_NOT_RECOVERED, 6),
        (o.RUN_VERDICT_UNSPECIFIED, 5),
    ],
)
def test_the_verdict_is_the_exit_code_of_run_and_watch(
    operator: FakeOperator, experiment: str, verdict: o.RunVerdict, code: int
) -> None:
    ends_as(operator, runs.ended(verdict, runs.recovered()))
    assert killdeer("run", experiment).code == code
    assert killdeer("watch").code == code


def test_a_run_is_told_line_by_line_with_its_evidence(operator: FakeOperator, experiment: str) -> None:
    ends_as(operator, runs.ended(o.RUN_VERDICT_HELD, runs.recovered(), why="every victim has recovered"))
    said = killdeer("run", experiment)
    assert said.out.splitlines()[0] == "test: 1 host, 1 with victims"
    for line in (
        "the kernel saw SIGTERM sent by pid 88, delivered",
        "killed by SIGTERM 2.0 ms after the signal (bpf)",
        "successor: pid 733 104 ms after the exit (bpf)",
        "recovered 3.20 s after the first signal",
        "HELD  every victim has recovered",
    ):
        assert said.out.count(line) == 1, said.out


def test_a_run_is_asked_for_with_the_seed_that_was_shown_and_a_key(operator: FakeOperator, experiment: str) -> None:
    ends_as(operator, runs.ended(o.RUN_VERDICT_HELD))
    killdeer("run", experiment)
    request = operator.requests("Run")[0]
    assert request.seed == runs.plan().seed
    assert request.key
    assert request.source == runs.EXPERIMENT


def test_a_run_that_was_not_answered_is_asked_for_again_with_the_same_key(
    operator: FakeOperator, experiment: str
) -> None:
    def at_the_second_try(request: Any, context: grpc.ServicerContext) -> o.RunResponse:
        if len(operator.requests("Run")) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        return o.RunResponse(run_id="r7f3")

    ends_as(operator, runs.ended(o.RUN_VERDICT_HELD))
    operator.answers["Run"] = at_the_second_try
    assert killdeer("run", experiment).code == 0
    first, second = operator.requests("Run")
    assert first.key == second.key


def test_a_detached_run_is_started_and_left(operator: FakeOperator, experiment: str) -> None:
    said = killdeer("run", experiment, "--detach")
    assert said.code == 0
    assert "r7f3" in said.out
    assert not operator.requests("WatchRun")


def test_a_plan_that_cannot_be_run_is_exit_2_and_starts_nothing(operator: FakeOperator, experiment: str) -> None:
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan(refusals=("5% of 3 is 0",)))
    for verb in ("plan", "run"):
        said = killdeer(verb, experiment)
        assert said.code == 2
        assert "5% of 3 is 0" in said.out + said.err
    assert not operator.requests("Run")


def test_a_plan_hash_may_be_cut_and_another_is_refused(operator: FakeOperator, experiment: str) -> None:
    ends_as(operator, runs.ended(o.RUN_VERDICT_HELD))
    shown = killdeer("plan", experiment).out
    assert runs.plan().hash[:12] in shown
    assert killdeer("run", experiment, "--plan", runs.plan().hash[:12]).code == 0
    assert operator.requests("Run")[0].plan_hash == runs.plan().hash
    said = killdeer("run", experiment, "--plan", "0123456789ab")
    assert said.code == 2
    assert "changed" in said.err
    assert len(operator.requests("Run")) == 1


def test_production_without_a_terminal_and_without_yes_is_exit_2(operator: FakeOperator, experiment: str) -> None:
    ends_as(operator, runs.ended(o.RUN_VERDICT_HELD))
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan(production=True))
    said = killdeer("run", experiment)
    assert said.code == 2
    assert "--yes" in said.err
    assert not operator.requests("Run")
    assert killdeer("run", experiment, "--yes").code == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, 2),
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 2),
        (grpc.StatusCode.PERMISSION_DENIED, 2),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 2),
        (grpc.StatusCode.UNAVAILABLE, 4),
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 4),
        (grpc.StatusCode.INTERNAL, 4),
    ],
)
def test_an_error_of_the_coordinator_is_said_with_its_remedy(
    operator: FakeOperator, status: grpc.StatusCode, code: int
) -> None:
    def no(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, status, "cannot rearm the fleet: so it is", field="reason", remedy="do this instead")

    operator.answers["Rearm"] = no
    said = killdeer("rearm", "--reason", "x")
    assert said.code == code
    assert "cannot rearm the fleet: so it is" in said.err
    assert "do this instead" in said.err
    assert "Traceback" not in said.err


def test_a_halted_fleet_refuses_a_run_with_the_reason(operator: FakeOperator, experiment: str) -> None:
    def halted(request: Any, context: grpc.ServicerContext) -> None:
        refuse(
            context,
            grpc.StatusCode.FAILED_PRECONDITION,
            "cannot run: the fleet is halted by op: fire",
            remedy="killdeer rearm --reason …",
        )

    operator.answers["Run"] = halted
    said = killdeer("run", experiment)
    assert said.code == 2
    assert "halted by op: fire" in said.err


@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_a_fault_in_a_file_is_shown_with_its_place_before_anybody_is_asked(
    operator: FakeOperator, tmp_path: Path, verb: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(runs.EXPERIMENT.replace("environment:", "enviroment:"))
    said = killdeer(verb, str(bad))
    assert said.code == 2
    assert f"{bad}:3:1: " in said.out + said.err
    assert "did you mean 'environment'?" in said.out + said.err
    assert not operator.asked


@pytest.mark.parametrize(
    "typed",
    [
        ["halts"],
        ["rearm"],
        ["runs", "--limit", "many"],
        ["plan"],
        ["plan", "/nowhere/x.yaml"],
        ["candidates", "nme=x"],
        ["candidates", "name=x", "--on", "role"],
        ["candidates", "name=x", "--action", "nuke"],
        ["halt", "--timeout", "soon"],
        ["--context", "elsewhere", "status"],
        ["limits", "set", "in_flight", "-1", "--reason", "x"],
    ],
)
def test_what_is_typed_wrongly_is_exit_2_and_asks_nobody(operator: FakeOperator, typed: list[str]) -> None:
    said = killdeer(*typed)
    assert said.code == 2, said
    assert said.err
    assert not operator.asked


def test_abort_is_done_when_it_was_asked_for(operator: FakeOperator) -> None:
    operator.answers["AbortRun"] = lambda request, context: o.AbortRunResponse(
        run=runs.run(state=o.RUN_STATE_ABORTING)
    )
    assert killdeer("abort", "--reason", "enough").code == 0
    request = operator.requests("AbortRun")[0]
    assert (request.run, request.reason) == ("latest", "enough")


def test_a_broken_audit_chain_is_not_exit_0(operator: FakeOperator) -> None:
    operator.answers["ListAudit"] = lambda request, context: o.ListAuditResponse(
        verified=not request.verify, problem="entry 7 does not follow from entry 6"
    )
    said = killdeer("audit", "--verify")
    assert said.code == 1
    assert "entry 7" in said.out
    assert killdeer("audit").code == 0


def test_a_broken_stream_is_taken_up_again(operator: FakeOperator) -> None:
    def twice(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        yield o.WatchRunResponse(run=runs.run(runs.strike()))
        if len(operator.requests("WatchRun")) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        yield o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_HELD, runs.recovered()))

    operator.answers["WatchRun"] = twice
    said = killdeer("watch")
    assert said.code == 0
    assert "trying again" in said.err
    assert said.out.count("terminate, SIGKILL after 10s") == 1
    assert [request.run for request in operator.requests("WatchRun")] == ["latest", "r7f3"]


def test_lost_evidence_and_a_changed_victim_are_said(operator: FakeOperator) -> None:
    ends_as(
        operator,
        runs.ended(
            o.RUN_VERDICT_ABORTED,
            runs.strike("c1", p.STRIKE_STATE_UNKNOWN, changed=True, events_lost=12, detail="x"),
        ),
    )
    said = killdeer("watch")
    assert "12 kernel events lost" in said.out
    assert "changed: it ran another program" in said.out
    assert "unknown: x" in said.out


def test_a_run_that_stays_out_of_sight_is_exit_4_with_its_id(
    operator: FakeOperator, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        if len(operator.requests("WatchRun")) == 1:
            yield o.WatchRunResponse(run=runs.run(runs.strike()))
        context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    monkeypatch.setattr("killdeer_client.following.PAUSES_S", (0.0, 0.0, 0.0))
    operator.answers["WatchRun"] = breaks
    said = killdeer("run", experiment)
    assert said.code == 4
    assert "killdeer watch r7f3" in said.err
    assert not operator.requests("AbortRun")


@pytest.mark.parametrize(
    "typed", [["events", "--host", "a-9"], ["candidates", "name=x", "--on", "role=x,host=a-1,host=a-9"]]
)
def test_a_host_that_nobody_knows_is_refused_by_name(operator: FakeOperator, typed: list[str]) -> None:
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(hosts=[o.HostView(host="a-1")])
    said = killdeer(*typed)
    assert said.code == 2
    assert "there is no host 'a-9'" in said.err
    assert "did you mean a-1?" in said.err
    assert {name for name, _ in operator.asked} == {"ListHosts"}
    assert killdeer(*[word.replace("a-9", "a-1") for word in typed]).code == 0


def test_a_glob_of_hosts_is_known_by_any_that_it_matches(operator: FakeOperator) -> None:
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(hosts=[o.HostView(host="a-1")])
    assert killdeer("candidates", "name=x", "--on", "host=a-*").code == 0
    assert killdeer("candidates", "name=x", "--on", "host=b-*").code == 2


def test_who_follows_may_wait_for_a_host_that_has_yet_to_come(operator: FakeOperator) -> None:
    assert killdeer("events", "--host", "a-9", "--follow").code == 0
    assert operator.requests("WatchEvents")[0].host == "a-9"


def test_a_limit_of_0_is_shown_as_one_and_no_limit_as_none(operator: FakeOperator) -> None:
    operator.answers["ListLimits"] = lambda request, context: o.ListLimitsResponse(
        limits=[
            o.LimitView(scope="in_flight", limit=0, source="op"),
            o.LimitView(scope="per_zone", limit=0, source="not limited"),
        ]
    )
    _, zero, none = killdeer("limits").out.splitlines()
    assert zero.split()[:3] == ["in_flight", "0", "0"]
    assert none.split()[:3] == ["per_zone", "0", "none"]
