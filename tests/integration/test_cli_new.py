"""`new` writes a first file from processes that are there, `schema` says what a file may hold; nothing is hit."""

import json
from pathlib import Path

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_experiment.action import Terminate
from killdeer_experiment.file import Experiment, load
from tests.support.commandline import Said, killdeer
from tests.support.operator import FakeOperator


def candidate(unit: str, *, service: str = "", restarts: bool = True, allowed: bool = True) -> p.Candidate:
    return p.Candidate(
        service=service or unit.removesuffix(".service"),
        unit=unit,
        restarts=restarts,
        verdict=p.Verdict(allowed=allowed),
    )


def hosted(**candidates: list[p.Candidate]) -> o.ListCandidatesResponse:
    return o.ListCandidatesResponse(
        hosts=[
            o.PlannedHost(host=host.replace("_", "-"), verdict=p.Verdict(allowed=True), candidates=listed)
            for host, listed in candidates.items()
        ]
    )


def answer(operator: FakeOperator, response: o.ListCandidatesResponse) -> None:
    operator.answers["ListCandidates"] = lambda request, context: response


@pytest.fixture
def fleet(operator: FakeOperator) -> FakeOperator:
    environments = {"a-1": "staging", "a-2": "staging", "b-1": "production", "c-1": ""}
    operator.answers["ListHosts"] = lambda request, context: o.ListHostsResponse(
        hosts=[
            o.HostView(host=host, labels={"environment": label} if label else {}, connected=True)
            for host, label in environments.items()
        ]
    )
    workers = [candidate(f"payment-worker@{number}.service", service="payment-worker@") for number in (1, 2)]
    answer(operator, hosted(a_1=workers, a_2=workers[:1]))
    return operator


def written(said: Said) -> Experiment:
    assert said.code == 0, said
    return load(said.out, "new")


def test_the_file_loads_opens_with_a_rehearsal_and_then_strikes_once(fleet: FakeOperator) -> None:
    experiment = written(killdeer("new", "name=payment-worker", "user!=root"))
    assert [(wave.dry_run, wave.strikes and wave.strikes.number) for wave in experiment.waves] == [
        (True, None),
        (False, 1),
    ]
    assert experiment.action_of(experiment.waves[1]) == Terminate(grace_ms=10_000)
    assert (experiment.limits.in_flight, experiment.limits.per_host) == (1, 1)
    assert experiment.environment == "staging"
    assert experiment.recovery.within_ms == 120_000
    assert not fleet.requests("Run") and not fleet.requests("Plan")


def test_the_target_is_what_was_asked_for_within_the_unit_that_was_found(fleet: FakeOperator) -> None:
    experiment = written(killdeer("new", "name=payment-worker", "user!=root"))
    assert [(term.field, term.negated, term.values) for term in experiment.target.process] == [
        ("unit", False, ("payment-worker@*.service",)),
        ("name", False, ("payment-worker",)),
        ("user", True, ("root",)),
    ]
    assert experiment.name == "payment-worker-survives-a-stop"


def test_a_unit_that_was_named_stays_as_it_was_named(fleet: FakeOperator) -> None:
    experiment = written(killdeer("new", "unit=payment-*", "--on", "role=pay,zone=a,zone=b"))
    assert [(term.field, term.values) for term in experiment.target.process] == [("unit", ("payment-*",))]
    assert [(label.key, label.values) for label in experiment.target.hosts] == [
        ("role", ("pay",)),
        ("zone", ("a", "b")),
    ]


def test_processes_of_several_units_are_not_narrowed_to_one(fleet: FakeOperator) -> None:
    answer(fleet, hosted(a_1=[candidate("redis.service"), candidate("cache.service"), candidate("")]))
    experiment = written(killdeer("new", "name=redis-server"))
    assert [term.field for term in experiment.target.process] == ["name"]


@pytest.mark.parametrize("unit", ["x'y.service", "a\nb.service", "a[b].service", "€.service"])
def test_a_unit_with_a_strange_name_is_in_no_line_of_the_file(fleet: FakeOperator, unit: str) -> None:
    answer(fleet, hosted(a_1=[candidate(unit)]))
    said = killdeer("new", "name=x")
    assert [term.field for term in written(said).target.process] == ["name"]
    assert unit not in said.out


def test_what_nobody_restarts_is_said_and_its_unit_is_started(fleet: FakeOperator) -> None:
    answer(fleet, hosted(a_1=[candidate("redis.service", restarts=False)]))
    said = killdeer("new", "name=redis-server")
    assert [step.kind for step in written(said).recovery.then] == ["start_unit"]
    assert "NOTHING IS KNOWN TO RESTART" in said.out


def test_what_is_restarted_needs_no_start(fleet: FakeOperator) -> None:
    said = killdeer("new", "name=payment-worker")
    assert written(said).recovery.then == ()
    assert "NOTHING IS KNOWN" not in said.out


def test_the_file_says_which_of_its_numbers_are_defaults(fleet: FakeOperator) -> None:
    said = killdeer("new", "name=payment-worker")
    assert "10s is the default" in said.out
    assert "systemctl show -p TimeoutStopUSec 'payment-worker@*.service'" in said.out
    assert "2m is the default" in said.out


def test_a_service_without_a_unit_gives_the_file_its_name(fleet: FakeOperator) -> None:
    answer(fleet, hosted(a_1=[candidate("", service="/usr/bin/redis-server")]))
    assert written(killdeer("new", "name=redis-server")).name == "redis-server-survives-a-stop"


def test_the_probes_that_the_file_suggests_are_right_once_they_are_no_comment(fleet: FakeOperator) -> None:
    text = killdeer("new", "name=payment-worker").out
    begin, end = text.index("# probes:"), text.index("# The blast radius")
    suggested = text[begin:end].replace("# ", "")
    experiment = load(text[:begin] + suggested + text[end:], "new")
    assert experiment.steady_state and experiment.abort_when


def test_the_file_goes_where_it_was_asked_for(fleet: FakeOperator, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    said = killdeer("new", "name=payment-worker", "--output", str(file))
    assert (said.code, said.out) == (0, "")
    assert load(file.read_bytes(), "first").environment == "staging"
    assert f"killdeer plan {file}" in said.err.replace("\n", "")
    assert killdeer("validate", str(file)).code == 0


def test_a_file_that_is_there_is_never_written_over(fleet: FakeOperator, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    file.write_text("mine")
    said = killdeer("new", "name=payment-worker", "--output", str(file))
    assert said.code == 2 and "there is a file already" in said.err
    assert file.read_text() == "mine"


def test_a_link_that_leads_nowhere_is_not_written_through(fleet: FakeOperator, tmp_path: Path) -> None:
    link, elsewhere = tmp_path / "first.yaml", tmp_path / "elsewhere"
    link.symlink_to(elsewhere)
    assert killdeer("new", "name=payment-worker", "--output", str(link)).code == 2
    assert not elsewhere.exists()


def test_what_may_not_be_hit_now_is_said_beside_the_file(fleet: FakeOperator) -> None:
    answer(fleet, hosted(a_1=[candidate("redis.service"), candidate("redis.service", allowed=False)]))
    said = killdeer("new", "name=redis-server")
    assert written(said) and "1 of 2 candidates may be hit now" in said.err


@pytest.mark.parametrize(
    ("typed", "response", "words"),
    [
        (["name=x"], hosted(a_1=[]), "no process matches now"),
        (["name=x"], hosted(), "no process matches now"),
        (
            ["name=x"],
            hosted(a_1=[candidate("x.service")], b_1=[candidate("x.service")]),
            "--on environment=production",
        ),
        (["name=x"], hosted(c_1=[candidate("x.service")]), "no `environment` label"),
        (["nme=x"], hosted(), "did you mean 'name'"),
        (["name=x", "--on", "host=a-11"], hosted(), "there is no host 'a-11'"),
    ],
)
def test_what_makes_no_file_is_exit_2_and_writes_none(
    fleet: FakeOperator, typed: list[str], response: o.ListCandidatesResponse, words: str, tmp_path: Path
) -> None:
    answer(fleet, response)
    file = tmp_path / "first.yaml"
    said = killdeer("new", *typed, "--output", str(file))
    assert said.code == 2, said
    assert words in said.err
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_exit_2(fleet: FakeOperator, tmp_path: Path) -> None:
    said = killdeer("new", "name=x", "--output", str(tmp_path / "nowhere" / "first.yaml"))
    assert said.code == 2 and "cannot write" in said.err


def test_the_schema_is_printed_without_a_coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILLDEER_CONFIG", str(tmp_path / "none.toml"))
    said = killdeer("schema")
    assert said.code == 0
    assert {"probes", "steady_state", "abort_when"} <= json.loads(said.out)["properties"].keys()


def test_each_fault_of_a_sentence_is_shown_under_its_word(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "killdeer: 1\nname: x\nenvironment: staging\ntarget: {process: {name: x}}\naction: kill\n"
        "waves: [{name: one, strikes: 1}]\n"
        "probes:\n  checkout: {tcp: 'x:1', take: latency}\nsteady_state:\n  - checkout < 300\n  - chekout < 300ms\n"
    )
    said = killdeer("validate", str(file))
    assert said.code == 2
    assert f"{file}:10:16: 'checkout' is a length of time: write 300ms or 0.3s" in said.out
    assert f"{file}:11:5: unknown probe 'chekout': did you mean 'checkout'?" in said.out
    listed = json.loads(killdeer("validate", "--json", str(file)).out)["files"][0]["faults"]
    assert [(one["line"], one["column"], one["nearest"]) for one in listed] == [(10, 16, ""), (11, 5, "checkout")]


def inspected(operator: FakeOperator, stop_ms: int = 0, restart_ms: int = 0) -> None:
    subject = a.Subject(service="payment-worker@", stop_ms=stop_ms, restart_ms=restart_ms)
    operator.answers["Inspect"] = lambda request, context: o.InspectResponse(host=request.host, subjects=[subject])


def test_grace_and_recovery_are_the_units_own_where_systemd_tells_them(fleet: FakeOperator) -> None:
    inspected(fleet, stop_ms=90_000, restart_ms=5_000)
    experiment = written(killdeer("new", "name=payment-worker"))
    assert experiment.action_of(experiment.waves[1]) == Terminate(grace_ms=90_000)
    assert experiment.recovery.within_ms == 190_000
    assert "within 3m10s" in experiment.hypothesis


def test_what_systemd_does_not_tell_stays_a_default_and_the_file_says_so(fleet: FakeOperator) -> None:
    inspected(fleet)
    said = killdeer("new", "name=payment-worker")
    assert written(said).action_of(written(said).waves[1]) == Terminate(grace_ms=10_000)
    assert "was not taken from" in said.out
