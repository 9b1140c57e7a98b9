"""The shell carries out and never decides; a fault of its own ends the agent, never half of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import probe_pb2
from killdeer.v1 import process_pb2 as p
from killdeer_agent import shell as shells
from killdeer_agent.core import words as w
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import Now, Process, Refusal
from killdeer_agent.core.unit import UnitState
from killdeer_agent.journal import Journal, JournalError
from killdeer_agent.kernel.collector import Collector
from killdeer_agent.kernel.striker import Striker
from killdeer_agent.shell import Outside, Shell
from killdeer_agent.systemd import Systemd

VICTIM = Process(boot_id="b", pid=7, start_ticks=8)
SUCCESSOR = Process(boot_id="b", pid=9, start_ticks=10)


class Script:
    """A core that answers each kind of input with the effects that a test gave it."""

    def __init__(self, **effects: list[w.Effect]) -> None:
        self.effects = effects
        self.heard: list[w.Input] = []

    def handle(self, message: w.Input, now: Now) -> list[w.Effect]:
        self.heard.append(message)
        return self.effects.pop(type(message).__name__, [])


class Hand:
    """Striker, journal and collector in one, all of them willing unless told otherwise."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.table_full = self.disk_full = False
        self.gone = self.stranger = self.no_bus = False
        self.holds_after = 0
        self.held_often = asyncio.Event()
        self.silent = False
        self.probed = asyncio.Event()

    def open(self, effect: w.Open) -> Refusal | None:
        self.done.append("open")
        return None

    def unit(self, command_id: str) -> str:
        return "worker.service"

    def follow(self, effect: w.Follow) -> Process | Refusal:
        self.done.append("follow")
        return Refusal(p.REASON_NOT_MATCHING, "") if self.stranger else replace(SUCCESSOR, program="aa")

    def look(self, unit: str) -> UnitState:
        if self.no_bus:
            raise OSError("Failed to connect to bus")
        return UnitState(name=unit, loaded=True, active="active")

    def start(self, unit: str) -> None:
        self.done.append(f"start {unit}")
        if self.no_bus:
            raise OSError("Access denied")

    def hold(self, command_id: str, process: Process) -> bool:
        self.done.append("hold")
        self.holds_after -= 1
        if self.holds_after <= 0:
            self.held_often.set()
        return not self.gone

    def fileno(self, command_id: str) -> int | None:
        return None

    def close(self, command_id: str) -> None:
        self.done.append("close")

    async def probe(self, effect: w.Probe) -> w.Probed:
        self.probed.set()
        if self.silent:
            await asyncio.Event().wait()
        return w.Probed(command_id=effect.command_id, turn=effect.turn, met=True)

    def append(self, record: w.Record) -> None:
        if self.disk_full:
            raise JournalError("no space left")
        self.done.append(f"write {record.kind}")

    def compact(self, keep: tuple[w.Record, ...]) -> None:
        if self.disk_full:
            raise JournalError("no space left")
        self.done.append(f"compact {len(keep)}")

    def watch(self, pid: int, start_ticks: int) -> None:
        if self.table_full:
            raise OSError(7, "Argument list too long")
        self.done.append("watch")

    def unwatch(self, pid: int) -> None:
        self.done.append("unwatch")


def opening() -> w.Open:
    warrant = type("AnyWarrant", (), {"process": VICTIM})()
    return w.Open(command_id="c1", service="worker", warrant=warrant)


def begun(script: Script, hand: Hand, members: Callable[[str], tuple[Process, ...]] = lambda s: (VICTIM,)) -> Shell:
    outside = Outside(
        journal=cast(Journal, hand),
        striker=cast(Striker, hand),
        scan=lambda effect: w.Scanned(scan_id=effect.scan_id),
        members=members,
        clock=lambda: Now(5),
        send=lambda frame, urgent: hand.done.append("send urgent" if urgent else "send"),
        unlink=lambda after: hand.done.append(f"unlink {after}"),
        systemd=cast(Systemd, hand),
        probe=hand.probe,
    )
    shell = Shell(cast(Core, script), outside)
    shell.attach(cast(Collector, hand))
    return shell


def carried_out(
    script: Script,
    hand: Hand,
    *messages: w.Input,
    members: Callable[[str], tuple[Process, ...]] = lambda s: (VICTIM,),
) -> Shell:
    """Posts the messages and waits for all that follows."""

    async def run() -> Shell:
        shell = begun(script, hand, members)
        for message in messages:
            shell.post(message)
        await shell.settle()
        for _ in range(3):  # what a settled task has posted
            await asyncio.sleep(0)
            await shell.settle()
        if hand.holds_after > 0:
            await asyncio.wait_for(hand.held_often.wait(), 20)
        shell.close()
        return shell

    return asyncio.run(run())


def test_records_are_written_in_the_order_they_were_asked_for_and_answered_in_it() -> None:
    effects: list[w.Effect] = [w.Write(number, w.Record(f"r{number}")) for number in range(20)]
    effects.append(w.Compact((w.Record("all"),)))
    script, hand = Script(Linked=effects), Hand()
    carried_out(script, hand, w.Linked())
    assert hand.done == [f"write r{number}" for number in range(20)] + ["compact 1"]
    assert script.heard[1:] == [w.Written(number) for number in range(20)] + [w.Compacted()]


def test_r13_a_full_disk_is_an_answer_and_no_fault() -> None:
    script, hand = Script(Linked=[w.Write(1, w.Record("r")), w.Compact(())]), Hand()
    hand.disk_full = True
    carried_out(script, hand, w.Linked())
    assert script.heard[1:] == [w.Written(1, "no space left"), w.Compacted("no space left")]


def test_an_opened_victim_is_watched_before_it_is_looked_at() -> None:
    script, hand = Script(Linked=[opening()]), Hand()
    carried_out(script, hand, w.Linked())
    assert hand.done == ["watch", "open"]
    assert script.heard[1] == w.Opened(command_id="c1", members=(VICTIM,), unit="worker.service")


def test_i8_a_victim_that_the_kernel_cannot_watch_is_refused_and_nothing_breaks() -> None:
    script, hand = Script(Linked=[opening()]), Hand()
    hand.table_full = True
    shell = carried_out(script, hand, w.Linked())
    (opened,) = [one for one in script.heard if isinstance(one, w.Opened)]
    assert opened.refusal is not None and opened.refusal.reason == p.REASON_UNREADABLE
    assert "open" not in hand.done and not shell.exited.done()


def test_i10_a_service_that_cannot_be_counted_is_not_opened() -> None:
    def members(service: str) -> tuple[Process, ...]:
        raise OSError("cannot read /proc")

    script, hand = Script(Linked=[opening(), w.Census(service="worker")]), Hand()
    carried_out(script, hand, w.Linked(), members=members)
    opened, counted = script.heard[1:]
    assert isinstance(opened, w.Opened) and opened.refusal is not None
    assert isinstance(counted, w.Counted) and counted.problem
    assert "open" not in hand.done


@pytest.mark.parametrize("gone", [True, False])
def test_i8_after_a_restart_only_a_victim_that_is_gone_is_said_to_be(
    gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shells, "HOLD_AGAIN_S", 0.001)
    script, hand = Script(Started=[w.Watch(command_id="c1", process=VICTIM)]), Hand()
    hand.gone, hand.holds_after = gone, 0 if gone else 3
    carried_out(script, hand, w.Started(boot_id="b", records=(), journal_problem="", hello=a.Hello()))
    assert [type(one) for one in script.heard[1:]] == ([w.Seen] if gone else [])
    assert gone or hand.done.count("hold") >= 3


def test_a_fault_of_the_core_ends_the_agent_and_nothing_more_is_carried_out() -> None:
    class Broken(Script):
        def handle(self, message: w.Input, now: Now) -> list[w.Effect]:
            if isinstance(message, w.Unlinked):
                raise KeyError("c1")
            return super().handle(message, now)

    script, hand = Broken(Linked=[w.Send(a.ConnectRequest())]), Hand()
    shell = carried_out(script, hand, w.Unlinked(), w.Linked())
    assert isinstance(shell.exited.exception(), KeyError)
    assert script.heard == [] and hand.done == []


def test_a_fault_beside_the_loop_ends_the_agent_too() -> None:
    def members(service: str) -> tuple[Process, ...]:
        raise ZeroDivisionError

    script, hand = Script(Linked=[w.Census(service="worker")]), Hand()
    shell = carried_out(script, hand, w.Linked(), members=members)
    assert isinstance(shell.exited.exception(), ZeroDivisionError)


def test_frames_the_end_of_the_stream_scans_and_the_exit_are_passed_on() -> None:
    scan = w.Scan(scan_id="s1", matcher=None, action=p.Action(), guard=None, deadline_boot_ns=9)  # type: ignore[arg-type]
    effects: list[w.Effect] = [
        w.Send(a.ConnectRequest(), True),
        w.Send(a.ConnectRequest()),
        w.Unlink(70),
        scan,
        w.Note("something"),
        w.Close("c1"),
        w.Exit(("c9",)),
        w.Exit(),
    ]
    script, hand = Script(Linked=effects), Hand()
    shell = carried_out(script, hand, w.Linked())
    assert hand.done == ["send urgent", "send", "unlink 70", "close"]
    assert script.heard[1] == w.Scanned(scan_id="s1")
    assert shell.exited.result() == ("c9",)


def following() -> w.Follow:
    warrant = type("AnyWarrant", (), {"process": SUCCESSOR})()
    return w.Follow(command_id="c1", service="worker", warrant=warrant)


def test_a_stranger_s_exec_costs_a_look_and_no_count() -> None:
    script, hand = Script(Linked=[opening()], Unlinked=[following()]), Hand()
    hand.stranger = True
    counted: list[str] = []

    def members(service: str) -> tuple[Process, ...]:
        counted.append(service)
        return (VICTIM,)

    carried_out(script, hand, w.Linked(), w.Unlinked(), members=members)
    assert "follow" in hand.done and len(counted) == 1
    assert any(isinstance(one, w.Followed) and one.refusal is not None for one in script.heard)


def test_a_successor_is_watched_in_the_kernel_and_counted_before_it_is_told() -> None:
    script, hand = Script(Linked=[following()]), Hand()
    carried_out(script, hand, w.Linked())
    assert hand.done == ["follow", "watch"]
    found = replace(SUCCESSOR, program="aa")
    assert script.heard[1] == w.Followed(command_id="c1", process=found, members=(VICTIM,))


@pytest.mark.parametrize("fault", ["table", "count"])
def test_i10_a_successor_that_cannot_be_watched_or_counted_is_refused(fault: str) -> None:
    script, hand = Script(Linked=[following()]), Hand()
    hand.table_full = fault == "table"

    def members(service: str) -> tuple[Process, ...]:
        raise OSError("cannot read /proc")

    carried_out(script, hand, w.Linked(), members=members)
    (answer,) = [one for one in script.heard if isinstance(one, w.Followed)]
    assert answer.refusal is not None and answer.refusal.reason == p.REASON_UNREADABLE


@pytest.mark.parametrize("no_bus", [False, True])
def test_what_systemd_says_of_a_unit_or_why_it_says_nothing_is_the_next_input(no_bus: bool) -> None:
    look, start = w.LookUnit(command_id="c1", unit="a.service"), w.StartUnit(command_id="c1", unit="a.service")
    script, hand = Script(Linked=[look, start]), Hand()
    hand.no_bus = no_bus
    carried_out(script, hand, w.Linked())
    seen, started = script.heard[1:]
    assert isinstance(seen, w.UnitSeen) and isinstance(started, w.UnitStarted)
    assert (seen.state is None) == no_bus and bool(seen.problem) == bool(started.problem) == no_bus
    assert hand.done == ["start a.service"]


@pytest.mark.parametrize("silent", [False, True])
def test_a_probe_s_answer_is_the_next_input_and_one_that_never_answers_holds_nothing_up(silent: bool) -> None:
    probe = w.Probe(command_id="c1", turn=3, probe=probe_pb2.Probe())
    script, hand = Script(Linked=[probe, w.Write(1, w.Record("r"))]), Hand()
    hand.silent = silent

    async def run() -> None:
        shell = begun(script, hand)
        shell.post(w.Linked())
        await hand.probed.wait()
        await shell.settle()
        shell.close()
        assert not shell.exited.done()

    asyncio.run(asyncio.wait_for(run(), 20))
    probed = [one for one in script.heard if isinstance(one, w.Probed)]
    assert probed == ([] if silent else [w.Probed(command_id="c1", turn=3, met=True)])
    assert w.Written(1) in script.heard
