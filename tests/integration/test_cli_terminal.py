"""What differs on a terminal: it asks, it shows how things stand; and nothing of that without one."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import HALT_STAGE_STOPPED
from tests.support import runs
from tests.support.commandline import Terminal, ended, killdeer, start
from tests.support.operator import DEADLINE_S, FakeOperator, refuse

OnTerminal = Callable[..., Terminal]

SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    from killdeer_cli.main import main
    main()
print(f"job {job}", flush=True)
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    echoes = bool(termios.tcgetattr(0)[3] & termios.ECHO)
    if not os.WIFSTOPPED(status):
        print(f"ended with {os.waitstatus_to_exitcode(status)}, echo is {echoes}", flush=True)
        break
    print(f"stopped, echo is {echoes}", flush=True)
    if "fg" in sys.stdin.readline():
        os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
"""
"""A shell with one job, which is continued by `fg` or `bg` once it is stopped."""


@pytest.fixture
def on_terminal() -> Iterator[OnTerminal]:
    opened = []

    def open_one(*arguments: str, **settings: str) -> Terminal:
        opened.append(Terminal(*arguments, **settings))
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
    terminal.waits_for_an_answer()
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


class Watched:
    """A run with probes that goes on until the fleet is halted, or `over` is set."""

    def __init__(self, operator: FakeOperator) -> None:
        self.operator = operator
        self.over, self.halted = threading.Event(), threading.Event()
        self.complete = True
        operator.answers["WatchRun"] = self._watch
        operator.answers["Halt"] = self._halt

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        context.add_callback(self.over.set)
        yield o.WatchRunResponse(run=self._run(), log=["measuring for 10 s before anything is hit"])
        self.over.wait(DEADLINE_S)
        verdict = o.RUN_VERDICT_HALTED if self.halted.is_set() else o.RUN_VERDICT_HELD
        ended = runs.ended(
            verdict, runs.recovered(), why="the fleet was halted by op" if self.halted.is_set() else ""
        )
        ended.findings.CopyFrom(self._run().findings)
        yield o.WatchRunResponse(run=ended)

    def _halt(self, request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        self.halted.set()
        self.over.set()
        host = o.HaltHost(host="a-1", stage=HALT_STAGE_STOPPED, connected=True)
        yield o.HaltResponse(halt_id=request.id, hosts=[host], total=1, stopped=1, complete=True, stored=True)

    def _run(self) -> o.RunView:
        finding = m.Finding(
            part=m.PART_STEADY_STATE,
            sentence="errors < 0.1%",
            standing=m.STANDING_MET,
            detail="errors 0.02%, wanted < 0.1%",
        )
        return runs.run(
            runs.strike("c1", p.STRIKE_STATE_STRUCK),
            phase=o.RUN_PHASE_WAVES,
            findings=m.Findings(findings=[finding]),
            latest=[m.Reading(probe="errors", at_unix_ms=1_000_000, value=0.0002)],
            permits_held=1,
        )


@pytest.fixture
def watched(operator: FakeOperator) -> Watched:
    return Watched(operator)


def test_a_terminal_shows_what_is_measured_against_its_limits(watched: Watched, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("watch")
    terminal.until("H H")
    for shown in ("holds", "errors < 0.1%", "0.02%", "permits in use: 1", "halts the fleet", "in flight"):
        assert shown in terminal.read
    watched.over.set()
    assert terminal.ended() == 0
    assert "killdeer report r7f3" in terminal.read


def test_nothing_of_it_is_shown_without_a_terminal(watched: Watched) -> None:
    watched.over.set()
    plain = killdeer("watch")
    assert "steady      errors < 0.1%: held" in plain.out
    for line in plain.out.splitlines():
        assert "halts the fleet" not in line
        assert "permits in use" not in line
    assert "\x1b" not in plain.out + plain.err


def test_h_twice_halts_the_fleet_and_the_watch_goes_on_to_the_end(
    watched: Watched, on_terminal: OnTerminal
) -> None:
    terminal = on_terminal("watch")
    terminal.until("halts the fleet")
    terminal.type("h")
    terminal.until("press H again within 2 s")
    assert not watched.operator.requests("Halt")
    terminal.type("HH")  # even where the first was long ago
    assert terminal.ended() == 3
    assert len(watched.operator.requests("Halt")) == 1
    assert "r7f3" in watched.operator.requests("Halt")[0].reason
    for said in ("1 of 1 stopped", "killdeer rearm", "HALTED", "the fleet was halted by op"):
        assert said in terminal.read


def test_a_run_that_is_started_here_can_be_halted_here(
    watched: Watched, experiment: str, on_terminal: OnTerminal
) -> None:
    watched.operator.answers["WatchRun"] = watched._watch
    terminal = on_terminal("run", experiment, "--yes")
    terminal.until("halts the fleet")
    terminal.type("HH")
    assert terminal.ended() == 3
    assert watched.halted.is_set()
    assert not watched.operator.requests("AbortRun")


def test_a_halt_that_is_refused_is_said_and_the_watch_goes_on(watched: Watched, on_terminal: OnTerminal) -> None:
    def refused(request: Any, context: grpc.ServicerContext) -> Any:
        refuse(context, grpc.StatusCode.PERMISSION_DENIED, "no role of yours may halt")

    watched.operator.answers["Halt"] = refused
    terminal = on_terminal("watch")
    terminal.until("halts the fleet")
    terminal.type("HH")
    terminal.until("cannot halt the fleet: ")
    terminal.until("no role of yours may halt")
    watched.over.set()
    assert terminal.ended() == 0


def test_a_run_that_ends_before_the_halt_is_complete_is_waited_for(
    watched: Watched, on_terminal: OnTerminal
) -> None:
    acknowledged = threading.Event()

    def slow(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        watched.halted.set()
        watched.over.set()
        host = o.HaltHost(host="a-1", connected=True)
        yield o.HaltResponse(halt_id=request.id, hosts=[host], total=1, stored=True)
        acknowledged.wait(DEADLINE_S)
        host.stage = HALT_STAGE_STOPPED
        yield o.HaltResponse(halt_id=request.id, hosts=[host], total=1, stopped=1, complete=True, stored=True)

    watched.operator.answers["Halt"] = slow
    terminal = on_terminal("watch")
    terminal.until("halts the fleet")
    terminal.type("HH")
    terminal.until("0 of 1 stopped; 1 not answered yet")
    assert terminal.process.poll() is None
    acknowledged.set()
    assert terminal.ended() == 3
    assert terminal.read.index("killdeer rearm") < terminal.read.index("HALTED")


def test_a_warning_is_written_above_the_panel_and_not_into_it(watched: Watched, on_terminal: OnTerminal) -> None:
    def unstored(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        host = o.HaltHost(host="a-1", stage=HALT_STAGE_STOPPED, connected=True)
        yield o.HaltResponse(halt_id=request.id, hosts=[host], total=1, stopped=1, complete=True)

    watched.operator.answers["Halt"] = unstored
    terminal = on_terminal("watch")
    terminal.until("halts the fleet")
    terminal.type("HH")
    terminal.until("The halt is latched")
    before = terminal.read.split("the halt is not in the store yet")[0]
    assert before.removesuffix("\x1b[33m").endswith("\x1b[2K"), "the panel was taken away first"


def job_of(terminal: Terminal) -> int:
    return int(terminal.until("halts the fleet").split("job ", 1)[1].split()[0])


def test_the_terminal_is_as_before_when_the_watch_is_over(watched: Watched, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("watch", program=SHELL)
    terminal.until("halts the fleet")
    assert not terminal.echoes
    watched.over.set()
    terminal.until("ended with 0, echo is True")


def test_an_error_leaves_the_terminal_as_before(watched: Watched, on_terminal: OnTerminal) -> None:
    def lost(request: Any, context: grpc.ServicerContext) -> Iterator[o.WatchRunResponse]:
        yield o.WatchRunResponse(run=watched._run())
        watched.over.wait(DEADLINE_S)
        refuse(context, grpc.StatusCode.NOT_FOUND, "no such run any more")

    watched.operator.answers["WatchRun"] = lost
    terminal = on_terminal("watch", program=SHELL)
    terminal.until("halts the fleet")
    watched.over.set()
    terminal.until("ended with 2, echo is True")


def test_ctrl_c_still_only_leaves_and_the_terminal_is_as_before(watched: Watched, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("watch", program=SHELL)
    terminal.until("halts the fleet")
    terminal.type("\x03")
    terminal.until("ended with 130, echo is True")
    assert "run r7f3 goes on" in terminal.read


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_the_terminal_as_before(
    watched: Watched, on_terminal: OnTerminal, number: signal.Signals
) -> None:
    terminal = on_terminal("watch", program=SHELL)
    job = job_of(terminal)
    assert not terminal.echoes
    os.kill(job, number)
    terminal.until(f"ended with {-number}, echo is True")
    assert not watched.operator.requests("AbortRun")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(watched: Watched, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("watch", program=SHELL)
    terminal.until("halts the fleet")
    terminal.type("\x1a")
    terminal.until("stopped, echo is True")
    terminal.read = ""
    terminal.type("fg\n")
    terminal.until("halts the fleet")
    assert not terminal.echoes
    terminal.type("HH")
    terminal.until("ended with 3, echo is True")
    assert len(watched.operator.requests("Halt")) == 1


def test_in_the_background_it_takes_no_key_and_shows_no_panel(watched: Watched, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("watch", program=SHELL)
    terminal.until("halts the fleet")
    terminal.type("\x1a")
    terminal.until("stopped, echo is True")
    terminal.read = ""
    terminal.type("bg\n")
    watched.over.set()
    terminal.until("ended with 0, echo is True")
    assert "halts the fleet" not in terminal.read
    assert "HELD" in terminal.read
