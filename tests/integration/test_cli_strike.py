"""`strike` is a run of one wave on one host, and its options may stand alone or carry a value."""

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_experiment.file import load
from tests.support import runs
from tests.support.commandline import killdeer
from tests.support.operator import FakeOperator


@pytest.fixture
def fleet(operator: FakeOperator) -> FakeOperator:
    labelled = o.HostView(host="a-1", labels={"environment": "staging"}, connected=True)
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(
        hosts=[labelled, o.HostView(host="b-1", connected=True)]
    )
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan())
    operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3")
    operator.answers["WatchRun"] = lambda request, context: [
        o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_HELD, runs.recovered()))
    ]
    return operator


@pytest.mark.parametrize(
    ("options", "written"),
    [
        (["--kill"], {"kill": {"signal": 9}}),
        (["--kill=SIGHUP"], {"kill": {"signal": 1}}),
        (["--kill=12"], {"kill": {"signal": 12}}),
        (["--terminate"], {"terminate": {"grace_ms": 10_000}}),
        (["--terminate=3s"], {"terminate": {"grace_ms": 3_000}}),
        (["--terminate=0s"], {"terminate": {"grace_ms": 0}}),
        (["--pause=5s"], {"pause": {"length_ms": 5_000}}),
        (["--pause", "5s"], {"pause": {"length_ms": 5_000}}),
        (["--hold-down=5s"], {"hold_down": {"length_ms": 5_000}}),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_action_is_what_was_typed_wherever_it_stands(
    fleet: FakeOperator, options: list[str], written: dict[str, dict[str, int]], first: bool
) -> None:
    terms = ["unit=worker@*.service", "user!=root"]
    typed = [*options, *terms] if first else [*terms, *options]
    assert killdeer("strike", "a-1", *typed).code == 0
    request = fleet.requests("Run")[0]
    experiment = load(request.source, "strike")
    (wave,) = experiment.waves
    action = experiment.action_of(wave).to_wire()
    ((kind, fields),) = written.items()
    assert action.WhichOneof("kind") == kind
    assert {name: getattr(getattr(action, kind), name) for name in fields} == fields
    assert experiment.environment == "staging"
    assert [(label.key, list(label.values)) for label in experiment.target.label_matches()] == [("host", ["a-1"])]
    assert len(experiment.target.selector().terms) == 2
    assert request.seed == runs.plan().seed


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["a-1", "name=x"], "no action"),
        (["a-1", "name=x", "--kill", "--terminate"], "--kill and --terminate"),
        (["a-1", "name=x", "--kill=SIGHUPP"], "did you mean SIGHUP"),
        (["a-1", "name=x", "--pause"], "requires an argument"),
        (["a-1", "name=x", "--pause=soon"], "soon"),
        (["a-1", "name=x", "--hold-down"], "requires an argument"),
        (["a-1", "name=x", "--pause=1s", "--hold-down=1s"], "--pause and --hold-down"),
        (["a-1", "nme=x", "--kill"], "did you mean 'name'"),
        (["a-1", "--kill"], "KEY=VALUE"),
        (["a-2", "name=x", "--kill"], "did you mean a-1"),
        (["b-1", "name=x", "--kill"], "no `environment` label"),
    ],
)
def test_what_makes_no_strike_is_exit_2_and_hits_nothing(fleet: FakeOperator, typed: list[str], words: str) -> None:
    said = killdeer("strike", *typed)
    assert said.code == 2, said
    assert words in said.err, said.err
    assert not fleet.requests("Run")


def test_production_asks_for_a_strike_too(fleet: FakeOperator) -> None:
    fleet.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan(production=True))
    assert killdeer("strike", "a-1", "name=x", "--kill").code == 2
    assert not fleet.requests("Run")
    assert killdeer("strike", "a-1", "name=x", "--kill", "--yes", "--detach").code == 0


def test_a_strike_that_the_host_refuses_shows_why(fleet: FakeOperator) -> None:
    refused = runs.plan(refusals=("nothing may be hit",))
    refused.hosts[0].candidates[0].verdict.allowed = False
    refused.hosts[0].candidates[0].verdict.remedy = 'add allow = ["name=x"]'
    fleet.answers["Plan"] = lambda request, context: o.PlanResponse(plan=refused)
    said = killdeer("strike", "a-1", "name=x", "--kill")
    assert said.code == 2
    assert 'add allow = ["name=x"]' in said.err
