"""Ctrl-C and lost terminals: what ends the run, and what only ends the watching."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_client.client import Client
from killdeer_client.contexts import load_contexts
from killdeer_client.errors import ClientError
from tests.support import runs
from tests.support.commandline import ended, read_until, start
from tests.support.operator import DEADLINE_S, FakeOperator


class Fleet:
    """A run that goes on until it is aborted, and then until `reverted` is set."""

    def __init__(self, operator: FakeOperator, tmp_path: Path) -> None:
        self.operator = operator
        self.aborted = threading.Event()
        self.reverted = threading.Event()
        self.file = str(tmp_path / "experiment.yaml")
        Path(self.file).write_text(runs.EXPERIMENT)
        operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan())
        operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3")
        operator.answers["AbortRun"] = self._abort
        operator.answers["WatchRun"] = self._watch

    def _abort(self, request: Any, context: grpc.ServicerContext) -> o.AbortRunResponse:
        self.aborted.set()
        return o.AbortRunResponse(run=runs.run(state=o.RUN_STATE_ABORTING))

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        context.add_callback(self.reverted.set)
        context.add_callback(self.aborted.set)
        yield o.WatchRunResponse(run=runs.run(runs.strike("c1", p.STRIKE_STATE_STRUCK)))
        self.aborted.wait(DEADLINE_S)
        yield o.WatchRunResponse(run=runs.run(runs.strike("c1"), state=o.RUN_STATE_ABORTING))
        self.reverted.wait(DEADLINE_S)
        yield o.WatchRunResponse(
            run=runs.ended(o.RUN_VERDICT_ABORTED, runs.strike("c1", p.STRIKE_STATE_SURVIVED), why="aborted by op")
        )


@pytest.fixture
def fleet(operator: FakeOperator, tmp_path: Path) -> Fleet:
    return Fleet(operator, tmp_path)


def test_ctrl_c_in_run_aborts_and_waits_for_the_reverts(fleet: Fleet) -> None:
    process = start("run", fleet.file)
    read_until(process, "terminate, SIGKILL after 10s (pid 412")
    process.send_signal(signal.SIGINT)
    assert fleet.operator.wait_for("AbortRun").run == "r7f3"
    read_until(process, "waiting for the reverts")
    assert process.poll() is None
    fleet.reverted.set()
    said = ended(process)
    assert said.code == 3
    assert "ABORTED  aborted by op" in said.out
    assert "Traceback" not in said.err


def test_a_second_ctrl_c_in_run_leaves_and_says_the_runs_id(fleet: Fleet) -> None:
    process = start("run", fleet.file)
    read_until(process, "terminate, SIGKILL after 10s (pid 412")
    process.send_signal(signal.SIGINT)
    fleet.operator.wait_for("AbortRun")
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 3
    assert "killdeer watch r7f3" in said.err
    assert len(fleet.operator.requests("AbortRun")) == 1


@pytest.mark.parametrize("verb", ["run", "watch"])
def test_ctrl_c_in_the_instant_of_the_end_changes_nothing_and_keeps_nobody(fleet: Fleet, verb: str) -> None:
    """While gRPC closes, a KeyboardInterrupt could leave it waiting for ever."""
    fleet.aborted.set()
    fleet.reverted.set()
    process = start(verb, *([fleet.file] if verb == "run" else []))
    read_until(process, "ABORTED  aborted by op")
    while process.poll() is None:  # until it has left, however long that takes
        process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 3
    assert not said.err


def test_close_ends_the_calls_beside_and_waits_for_them(fleet: Fleet) -> None:
    heard, left = threading.Event(), threading.Event()
    client = Client(load_contexts().choose(""))

    def watch() -> None:
        with pytest.raises(ClientError) as ended:
            for _ in client.watch_run("r7f3"):
                heard.set()
        assert ended.value.code == "CANCELLED"
        with pytest.raises(ValueError, match="losed"):
            client.status()
        left.set()

    client.beside(watch)
    assert heard.wait(DEADLINE_S)
    client.close()
    assert left.is_set()


def test_ctrl_c_in_watch_only_leaves(fleet: Fleet) -> None:
    process = start("watch")
    read_until(process, "terminate, SIGKILL after 10s (pid 412")
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 130
    assert "run r7f3 goes on" in said.err
    assert not fleet.operator.requests("AbortRun")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_lost_terminal_does_not_stop_the_run(fleet: Fleet, number: signal.Signals) -> None:
    process = start("run", fleet.file)
    read_until(process, "terminate, SIGKILL after 10s (pid 412")
    process.send_signal(number)
    assert ended(process).code == -number
    assert fleet.reverted.wait(DEADLINE_S), "the stream outlived the process"
    assert not fleet.operator.requests("AbortRun")


def test_ctrl_c_while_the_run_is_being_started_aborts_it_once_it_is(fleet: Fleet) -> None:
    started = threading.Event()

    def slow(request: Any, context: grpc.ServicerContext) -> o.RunResponse:
        started.wait(DEADLINE_S)
        return o.RunResponse(run_id="r7f3")

    fleet.operator.answers["Run"] = slow
    process = start("run", fleet.file)
    fleet.operator.wait_for("Run")
    process.send_signal(signal.SIGINT)
    started.set()
    fleet.operator.wait_for("AbortRun")
    fleet.reverted.set()
    assert ended(process).code == 3


def test_ctrl_c_ends_following_events_with_exit_0(operator: FakeOperator) -> None:
    def endless(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchEventsResponse]:
        yield o.WatchEventsResponse(number=1, event=p.KernelEvent(host="a-1", exit=p.ExitSeen(code=3)))
        operator.closing.wait(DEADLINE_S)

    operator.answers["WatchEvents"] = endless
    process = start("events", "--follow")
    read_until(process, "exited with code 3")
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 0
    assert not said.err
