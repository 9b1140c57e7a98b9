"""The operators' listener of a real coordinator: who may ask, what a bad request comes to, health, reflection,
drain, and the audit's verification."""

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import REASON_STOPPING
from killdeer_coordinator import pki
from killdeer_coordinator.outside import FILE_NAME
from killdeer_coordinator.pki import Pair
from killdeer_coordinator.store import chain
from tests.support.commandline import killdeer
from tests.support.coordinator import Coordinator, channel, coordinator, make_keys, pair_at, stub, wire_agent
from tests.support.fleet import wait_until
from tests.support.operator import DEADLINE_S

SERVICE = "/killdeer.v1.OperatorService/"
FRAME_MOST = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    folder = tmp_path_factory.mktemp("coordinator")
    with coordinator(folder, "host-1", "host-2", extra="reflection = true") as started:
        yield started
        with stub(started) as operators:  # whatever was done to it, it lives
            assert operators.GetStatus(o.GetStatusRequest(), timeout=DEADLINE_S).store_ok
        assert "Traceback" not in started.said


def bytes_to(made: Coordinator, verb: str, serialised: bytes) -> grpc.RpcError:
    with channel(made.operators, made.ca, made.operator()) as opened:
        call: Any = opened.unary_stream(f"{SERVICE}{verb}")
        with pytest.raises(grpc.RpcError) as ended:
            list(call(serialised, timeout=DEADLINE_S))
    error: grpc.RpcError = ended.value
    return error


# --- bad requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["Plan", "Run", "AbortRun", "WatchRun", "Halt", "GetRun", "WatchEvents"])
def test_a_malformed_request_is_refused_by_name(made: Coordinator, verb: str) -> None:
    error = bytes_to(made, verb, b"\xff\xff\xff")
    assert f"Error parsing message with type 'killdeer.v1.{verb}Request'" in (error.details() or "")


def test_a_malformed_halt_halts_nothing(made: Coordinator) -> None:
    bytes_to(made, "Halt", b"\xff\xff\xff")
    with stub(made) as operators:
        assert not operators.GetStatus(o.GetStatusRequest(), timeout=DEADLINE_S).halts


def test_an_oversized_request_is_refused_with_its_size(made: Coordinator) -> None:
    error = bytes_to(made, "Plan", o.PlanRequest(source="x" * FRAME_MOST).SerializeToString())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(FRAME_MOST) in (error.details() or "")


# --- certificates -------------------------------------------------------------------------------------------


def refused(made: Coordinator, pair: Pair | None, verb: str = "GetStatus") -> grpc.RpcError:
    requests = {"GetStatus": o.GetStatusRequest(), "ListRuns": o.ListRunsRequest(), "AbortRun": o.AbortRunRequest()}
    requests |= {"WatchRun": o.WatchRunRequest(run="none")}
    with channel(made.operators, made.ca, pair) as opened:
        call: Any = opened.unary_stream(f"{SERVICE}{verb}")
        with pytest.raises(grpc.RpcError) as ended:
            list(call(requests[verb].SerializeToString(), timeout=DEADLINE_S))
    error: grpc.RpcError = ended.value
    return error


@pytest.mark.parametrize("verb", ["GetStatus", "ListRuns", "AbortRun", "WatchRun"])
def test_an_agent_is_told_that_this_listener_is_for_operators(made: Coordinator, verb: str) -> None:
    """Before anything is looked up: an agent learns of no run."""
    error = refused(made, made.agent("host-1"), verb)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "for operators" in (error.details() or "")


@pytest.mark.parametrize("which", ["foreign", "none", "expired"])
def test_without_a_valid_certificate_there_is_no_connection(made: Coordinator, which: str, tmp_path: Path) -> None:
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.OPERATOR_DAYS + 1)
    pairs = {
        "foreign": pair_at(make_keys(tmp_path).folder / "operators" / "all"),
        "none": None,
        "expired": pki.issue_operator(pair_at(made.keys / "ca"), "late", pki.ROLES, long_ago),
    }
    assert refused(made, pairs[which]).code() is grpc.StatusCode.UNAVAILABLE


def test_a_viewer_may_ask_the_store_and_halt_and_nothing_that_changes_more(made: Coordinator) -> None:
    with stub(made, "viewer") as operators:
        operators.ListRuns(o.ListRunsRequest(), timeout=DEADLINE_S)
        assert operators.ListAudit(o.ListAuditRequest(verify=True), timeout=DEADLINE_S).verified
        list(operators.WatchEvents(o.WatchEventsRequest(), timeout=DEADLINE_S))
        for verb, request in {
            "Rearm": o.RearmRequest(reason="x"),
            "SetLimit": o.SetLimitRequest(scope="in_flight", limit=1, reason="x"),
            "Run": o.RunRequest(source="x"),
        }.items():
            with pytest.raises(grpc.RpcError) as ended:
                getattr(operators, verb)(request, timeout=DEADLINE_S)
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED


# --- health, reflection, version ----------------------------------------------------------------------------


@pytest.mark.parametrize("listener", ["agents", "operators"])
def test_both_listeners_say_that_they_serve(made: Coordinator, listener: str) -> None:
    address, pair, service = {
        "agents": (made.agents, made.agent("host-1"), "killdeer.v1.AgentService"),
        "operators": (made.operators, made.operator(), "killdeer.v1.OperatorService"),
    }[listener]
    with channel(address, made.ca, pair) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        for name in ("", service):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as ended:
            health.Check(health_pb2.HealthCheckRequest(service="killdeer.v1.Nothing"), timeout=DEADLINE_S)
        assert ended.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_names_the_services_and_their_messages_where_it_is_configured(made: Coordinator) -> None:
    with channel(made.operators, made.ca, made.operator()) as opened:
        database = ProtoReflectionDescriptorDatabase(opened)
        assert "killdeer.v1.OperatorService" in database.get_services()
        file = database.FindFileContainingSymbol("killdeer.v1.OperatorService")
        assert "HaltRequest" in [message.name for message in file.message_type]
    with channel(made.agents, made.ca, made.agent("host-1")) as opened:
        assert "killdeer.v1.AgentService" in ProtoReflectionDescriptorDatabase(opened).get_services()


def test_status_says_which_version_answers(made: Coordinator) -> None:
    with stub(made) as operators:
        assert operators.GetStatus(o.GetStatusRequest(), timeout=DEADLINE_S).version == version("killdeer")


# --- drain --------------------------------------------------------------------------------------------------


class Ended:
    """Reads a call to its end beside the test."""

    def __init__(self, call: Any) -> None:
        self.answers: list[Any] = []
        self.code: grpc.StatusCode = grpc.StatusCode.OK
        self.begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Any) -> None:
        try:
            call.initial_metadata()
            self.begun.set()
            for answer in call:
                self.answers.append(answer)
        except grpc.RpcError as error:
            self.code = error.code()

    def wait(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def test_sigterm_dismisses_agents_spread_over_time_ends_streams_and_exits_0(tmp_path: Path) -> None:
    hosts = ("host-1", "host-2", "host-3")
    with (
        coordinator(tmp_path, *hosts) as made,
        stub(made) as operators,
        wire_agent(made, "host-1") as one,
        wire_agent(made, "host-2") as two,
        wire_agent(made, "host-3") as three,
    ):
        agents = (one, two, three)
        sessions = []
        for host, agent in zip(hosts, agents, strict=True):
            agent.hello(host)
            welcome = agent.read("welcome")
            assert welcome is not None
            sessions.append(welcome.welcome.session)
            agent.beat(1)
            assert agent.read("lease_renewal")
        # Reflection is off unless it is asked for.
        with channel(made.operators, made.ca, made.operator()) as opened, pytest.raises(grpc.RpcError) as off:
            ProtoReflectionDescriptorDatabase(opened).get_services()
        assert off.value.code() is grpc.StatusCode.UNIMPLEMENTED

        # A silent fourth host keeps the halt's stream open, and the feed follows for ever.
        followed = Ended(operators.WatchEvents(o.WatchEventsRequest(follow=True)))
        halted = Ended(operators.Halt(o.HaltRequest(reason="drill")))
        for agent in agents:
            assert agent.read("halt")
        assert made.stop() == 0
        told = []
        for agent in agents:
            frame = agent.read("dismissal")
            assert frame is not None
            told.append(frame.dismissal)
            assert agent.read() is None
        followed.wait()
        halted.wait()
        assert followed.code is halted.code is grpc.StatusCode.UNAVAILABLE
        assert {said.reason for said in told} == {REASON_STOPPING}
        waits = [said.retry_after_ms for said in told]
        assert len(set(waits)) == 3
        assert all(0 < wait <= 5_000 for wait in waits)
        assert "Traceback" not in made.said

        made.start()
        for host, session in zip(hosts, sessions, strict=True):
            with wire_agent(made, host) as agent:
                agent.hello(host, session=session)
                again = agent.read("welcome")
                assert again is not None
                assert [halt.reason for halt in again.welcome.halts.engaged] == ["drill"]


# --- the record ---------------------------------------------------------------------------------------------


def test_a_changed_row_of_the_audit_is_found_by_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with coordinator(tmp_path) as made:
        monkeypatch.setenv("KILLDEER_CONFIG", str(made.context()))
        assert killdeer("limits", "set", "in_flight", "2", "--reason", "calm").code == 0
        assert killdeer("audit", "--verify").code == 0
        change(made, "UPDATE audit SET why = 'another' WHERE what = 'limit.set'")
        said = killdeer("audit", "--verify")
        assert said.code == 1
        assert "has been changed" in said.out


def test_a_record_written_anew_as_a_whole_is_found_by_what_is_kept_outside_the_store(tmp_path: Path) -> None:
    with coordinator(tmp_path) as made, stub(made) as operators:
        outside = made.state / FILE_NAME
        wait_until(lambda: outside.exists() and "head" in outside.read_text(), "the position is kept outside")
        before = verified(operators)
        assert before.verified
        rewrite(made, list(before.entries))
        answer = verified(operators)
        assert not answer.verified
        assert answer.problem.endswith(f"{FILE_NAME} of this coordinator was shown: the chain has been rewritten")


def test_a_record_that_was_cut_is_found_by_a_host_that_was_shown_more(tmp_path: Path) -> None:
    with coordinator(tmp_path, "host-1") as made, stub(made) as operators:
        with wire_agent(made, "host-1") as agent:
            agent.hello("host-1", position={"length": 99, "head": "f" * 64})
            assert agent.read("welcome")
        answer = verified(operators)
        assert not answer.verified
        assert "host host-1 was shown 99 entries" in answer.problem


def test_a_witness_that_cannot_be_heard_has_not_agreed(tmp_path: Path) -> None:
    with coordinator(tmp_path) as made, stub(made) as operators:
        outside = made.state / FILE_NAME
        wait_until(lambda: outside.exists() and "head" in outside.read_text(), "the position is kept outside")
        outside.write_text("{")
        answer = verified(operators)
        assert not answer.verified
        assert f"cannot read {outside}" in answer.problem


def verified(operators: Any) -> Any:
    return operators.ListAudit(o.ListAuditRequest(verify=True), timeout=DEADLINE_S)


def change(made: Coordinator, statement: str, *rows: tuple[Any, ...]) -> None:
    connection = sqlite3.connect(made.state / "killdeer.db", timeout=DEADLINE_S)
    with connection:
        if rows:
            connection.executemany(statement, rows)
        else:
            connection.execute(statement)
    connection.close()


def rewrite(made: Coordinator, entries: list[o.AuditEntry]) -> None:
    """The same number of entries, by another hand, with hashes that fit."""
    head, rows = "", []
    for entry in entries:
        entry.who = "mallory"
        entry.hash = head = chain.entry_hash(head, entry)
        rows.append((entry.who, entry.hash, entry.number))
    change(made, "UPDATE audit SET who = ?, hash = ? WHERE number = ?", *rows)
    change(made, "UPDATE fleet SET audit_head = ?", (head,))
