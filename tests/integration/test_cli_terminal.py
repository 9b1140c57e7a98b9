"""What differs on a terminal: it asks, it shows how things stand; and nothing of that without one."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import HALT_STAGE_STOPPED
from tests.support import runs
from tests.support.commandline import Terminal, ended, killdeer, start
from tests.support.operator import DEADLINE_S, FakeOperator

OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal() -> Iterator[OnTerminal]:
    opened = []

    def open_one(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.fixture
def experiment(tmp_path: Path, operator: FakeOperator) -> str:
    operator.answers["Plan"] = lambda request, context: o.PlanResponse(plan=runs.plan(production=True))
    operator.answers["Run"] = lambda request, context: o.RunResponse(run_id="r7f3")
    operator.answers["WatchRun"] = lambda request, context: [
        o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_HELD, runs.recovered()))
    ]
    path = tmp_path / "experiment.yaml"
    path.write_text(runs.EXPERIMENT)
    return str(path)


def test_production_asks_and_runs_exactly_what_was_shown(
    operator: FakeOperator, experiment: str, on_terminal: OnTerminal
) -> None:
    terminal = on_terminal("run", experiment)
    terminal.until("Go ahead? [y/N]")
    assert not operator.requests("Run")
    terminal.type("y\n")
    assert terminal.ended() == 0
    assert operator.requests("Run")[0].plan_hash == runs.plan().hash
    assert "HELD" in terminal.read


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x03", "\x04"])
def test_anything_but_a_yes_is_exit_2_and_hits_nothing(
    operator: FakeOperator, experiment: str, on_terminal: OnTerminal, answer: str
) -> None:
    terminal = on_terminal("run", experiment)
    terminal.until("Go ahead? [y/N]")
    terminal.type(answer)
    assert terminal.ended() == 2
    assert "nothing was hit" in terminal.read
    assert not operator.requests("Run")


def test_a_terminal_shows_what_is_in_flight(operator: FakeOperator, on_terminal: OnTerminal) -> None:
    seen = threading.Event()

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        waiting = runs.strike("c2", p.STRIKE_STATE_PLANNED)
        yield o.WatchRunResponse(run=runs.run(runs.strike("c1", p.STRIKE_STATE_STRUCK), waiting))
        seen.wait(DEADLINE_S)
        yield o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_HELD, runs.recovered()))

    operator.answers["WatchRun"] = watch
    terminal = on_terminal("watch")
    terminal.until("in flight: a-1 worker@[0] struck · 1 waiting for a permit")
    seen.set()
    assert terminal.ended() == 0
    plain = killdeer("watch")
    assert "in flight" not in plain.out
    assert "\x1b" not in plain.out + plain.err


def test_a_terminal_that_is_gone_does_not_stop_the_run(
    operator: FakeOperator, experiment: str, on_terminal: OnTerminal
) -> None:
    left = threading.Event()

    def watch(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        context.add_callback(left.set)
        yield o.WatchRunResponse(run=runs.run(runs.strike()))
        left.wait(DEADLINE_S)

    operator.answers["WatchRun"] = watch
    terminal = on_terminal("run", experiment, "--yes")
    terminal.until("in flight: a-1")
    terminal.close()
    assert left.wait(DEADLINE_S), "the stream outlived the terminal"
    assert not operator.requests("AbortRun")


def test_no_color_is_respected(
    operator: FakeOperator, on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = on_terminal("status")
    coloured.ended()
    assert "\x1b[32m" in coloured.read
    monkeypatch.setenv("NO_COLOR", "1")
    plain = on_terminal("status")
    plain.ended()
    assert "\x1b[32m" not in plain.read
    assert "armed" in plain.read


def test_halt_never_asks(operator: FakeOperator, on_terminal: OnTerminal) -> None:
    host = o.HaltHost(host="a-1", stage=HALT_STAGE_STOPPED, connected=True)
    operator.answers["Halt"] = lambda request, context: [
        o.HaltResponse(halt_id=request.id, hosts=[host], total=1, stopped=1, complete=True, stored=True)
    ]
    terminal = on_terminal("halt")
    assert terminal.ended() == 0
    assert "1 of 1 stopped" in terminal.read


def test_a_reader_that_has_gone_is_no_traceback(operator: FakeOperator) -> None:
    gone = threading.Event()

    def many(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchEventsResponse]:
        event = p.KernelEvent(host="a-1", exit=p.ExitSeen(code=3))
        yield o.WatchEventsResponse(number=1, event=event)
        gone.wait(DEADLINE_S)
        for number in range(2, 5_000):
            yield o.WatchEventsResponse(number=number, event=event)

    operator.answers["WatchEvents"] = many
    for typed in (["events"], ["events", "--json"]):
        gone.clear()
        process = start(*typed)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        gone.set()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(DEADLINE_S) == 141
        process.stderr.close()


def test_completion_of_verbs_needs_no_coordinator(operator: FakeOperator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_KILLDEER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "killdeer ha")
    monkeypatch.setenv("COMP_CWORD", "1")
    said = ended(start())
    assert said.out.split() == ["halt"]
    assert not operator.asked
