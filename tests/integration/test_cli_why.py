"""`killdeer why` and the filters of `killdeer events`: as they are typed, and with a real coordinator."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from tests.support.commandline import killdeer, read_until, start
from tests.support.coordinator import Coordinator, WireAgent, coordinator, wire_agent
from tests.support.deaths import AT_NS, SECOND_NS, death, exec_of, exit_of, party
from tests.support.fleet import wait_until
from tests.support.operator import FakeOperator

# --- what is typed ------------------------------------------------------------------------------------------


def test_what_is_asked_for_is_what_was_typed(operator: FakeOperator) -> None:
    assert killdeer("events", "--unit", "worker@*", "--cause", "oom-cgroup", "--since", "10m").code == 0
    (request,) = operator.requests("WatchEvents")
    assert (request.unit, request.cause, request.limit) == ("worker@*", p.CAUSE_OOM_CGROUP, 100)
    assert request.since_unix_ms > 1_600_000_000_000
    killdeer("why", "a-1", "worker", "--limit", "7")
    (asked,) = operator.requests("Explain")
    assert (asked.host, asked.process, asked.limit) == ("a-1", "worker", 7)


@pytest.mark.parametrize("typed", [("--cause", "nothing"), ("--since", "soon")])
def test_a_filter_that_cannot_be_read_is_exit_2_before_anything_is_asked(
    operator: FakeOperator, typed: tuple[str, str]
) -> None:
    said = killdeer("events", *typed)
    assert said.code == 2
    assert repr(typed[1]) in said.err
    assert not operator.asked


def test_the_newest_death_is_told_in_full_and_those_before_in_a_line_each(operator: FakeOperator) -> None:
    answer = o.ExplainResponse(
        explanations=[
            o.Explanation(death=death(pid).death, at_unix_ms=1_000_000, at_boot_ns=AT_NS) for pid in (3, 2, 1)
        ]
    )
    operator.answers["Explain"] = lambda request, context: answer
    said = killdeer("why", "a-1", "worker")
    assert said.code == 0
    head, successor, before, *earlier = said.out.splitlines()
    assert head.startswith("payment-worker@3.service (pid 3) died at ")
    assert (successor, before) == ("no successor was seen", "before it:")
    assert ["(pid 2)" in earlier[0], "(pid 1)" in earlier[1], len(earlier)] == [True, True, 2]
    as_json = json.loads(killdeer("why", "a-1", "worker", "--json").out)
    assert [one["death"]["process"]["pid"] for one in as_json["explanations"]] == [3, 2, 1]


def test_no_death_is_exit_2_with_the_reason(operator: FakeOperator) -> None:
    operator.answers["Explain"] = lambda request, context: o.ExplainResponse(nothing="there is no host 'a-9'")
    said = killdeer("why", "a-9", "worker")
    assert (said.code, said.out) == (2, "")
    assert "cannot explain 'worker' on a-9: there is no host 'a-9'" in said.err
    said = killdeer("why", "a-9", "worker", "--json")
    assert said.code == 2
    assert json.loads(said.out)["nothing"] == "there is no host 'a-9'"


# --- with a coordinator -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with coordinator(tmp_path_factory.mktemp("coordinator"), "alpha", "beta", "gamma") as started:
        yield started
        assert "Traceback" not in started.said


@pytest.fixture(scope="module")
def alpha(made: Coordinator) -> Iterator[WireAgent]:
    """A host whose evidence is known: an exit, a death by OOM with its successor, a death by its own exit."""
    with wire_agent(made, "alpha") as agent:
        serve(agent, "alpha", a.EVIDENCE_LEVEL_BPF)
        tell(
            agent,
            exit_of(party(), at_ns=AT_NS),
            death(),
            exec_of(party(4802), at_ns=AT_NS + SECOND_NS // 4),
            death(
                12,
                at_ns=AT_NS + SECOND_NS,
                cause=p.CAUSE_EXIT,
                unit="nginx.service",
                service="nginx.service",
                signal=0,
                code=1,
            ),
        )
        yield agent


@pytest.fixture(scope="module")
def beta(made: Coordinator) -> Iterator[WireAgent]:
    """A host without kernel evidence."""
    with wire_agent(made, "beta") as agent:
        serve(agent, "beta", a.EVIDENCE_LEVEL_PIDFD, "no BTF in this kernel")
        yield agent


def serve(agent: WireAgent, host: str, evidence: a.EvidenceLevel, detail: str = "") -> None:
    agent.hello(host, evidence=evidence, evidence_detail=detail)
    assert agent.read("welcome")
    agent.beat(1)
    assert agent.read("lease_renewal")


def tell(agent: WireAgent, *events: p.KernelEvent) -> None:
    agent.send(a.ConnectRequest(evidence=a.Evidence(events=events)))


@pytest.fixture
def context(made: Coordinator, alpha: WireAgent, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = made.context("viewer")
    monkeypatch.setenv("KILLDEER_CONFIG", str(path))
    wait_until(lambda: "nginx" in killdeer("events", "--cause", "exit").out, "its evidence is kept")
    return path


def test_a_death_is_explained_to_whoever_may_look(context: Path) -> None:
    said = killdeer("why", "alpha", "payment-worker@*")
    assert said.code == 0, said.err
    head, exited, back, successor = said.out.splitlines()
    assert "payment-worker@3.service (pid 4711) died at " in head
    assert head.endswith("after 3h12m: killed by SIGKILL: the OOM killer, for a memory limit")
    assert exited.split()[:2] == ["0", "exit"]
    assert back.split()[:3] == ["+250", "ms", "exec"]
    assert successor == "pid 4802 took over 250 ms after the death (bpf)"
    assert killdeer("why", "alpha", "12").out.startswith("nginx.service (pid 12) died at ")


@pytest.mark.parametrize(
    ("host", "process", "why"),
    [
        ("alfa", "nginx", "there is no host 'alfa'; did you mean alpha?"),
        ("nowhere", "nginx", "there is no host 'nowhere'; `killdeer hosts` lists"),
        ("alpha", "redis", "no death of 'redis' on alpha has been reported since 20"),
        (
            "beta",
            "nginx",
            "beta has reported no kernel event yet; its evidence is pidfd only, which tells no causes: no",
        ),
    ],
)
def test_where_there_is_nothing_to_explain_it_says_why(
    context: Path, beta: WireAgent, host: str, process: str, why: str
) -> None:
    said = killdeer("why", host, process)
    assert said.code == 2
    assert why in said.err


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (("--cause", "exit"), ["nginx.service"]),
        (("--unit", "payment-*"), ["payment-worker@3.service"]),
        (("--unit", "*", "--since", "10m"), ["payment-worker@3.service", "nginx.service"]),
        (("--unit", "*", "--limit", "1"), ["nginx.service"]),
        (("--unit", "*", "--host", "beta"), []),
        (("--unit", "*", "--cause", "fault"), []),
    ],
)
def test_deaths_are_found_by_unit_cause_and_time(context: Path, typed: tuple[str, ...], found: list[str]) -> None:
    lines = killdeer("events", "--json", *typed).out.splitlines()
    assert [json.loads(line)["event"]["death"]["unit"] for line in lines] == found


def test_who_follows_one_cause_hears_of_no_other(made: Coordinator, context: Path) -> None:
    """Of a host of its own, for what others see not to depend on this."""
    following = start("events", "--follow", "--host", "gamma", "--cause", "fault")
    try:
        with wire_agent(made, "gamma") as gamma:
            serve(gamma, "gamma", a.EVIDENCE_LEVEL_BPF)
            tell(gamma, death(20), exit_of(party(21), at_ns=1), death(22, cause=p.CAUSE_FAULT, signal=11))
            read = read_until(following, "a fault of its own")
    finally:
        following.kill()
        following.communicate()
    assert len(read.splitlines()) == 1
    assert "(pid 22) died after 3h12m: killed by SIGSEGV" in read
