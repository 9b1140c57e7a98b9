"""The second line: what lasts is taken back from the journal alone (I6, R13)."""

from dataclasses import replace
from typing import cast

import pytest

from killdeer.v1.agent_pb2 import Hello
from killdeer_agent import reverting
from killdeer_agent.core.facts import Now
from killdeer_agent.core.memory import Memory
from killdeer_agent.core.unit import UnitState
from killdeer_agent.core.words import Record, Revert, Reverted, Started
from killdeer_agent.journal import JournalError
from killdeer_agent.systemd import Systemd
from tests.support import host as h


class Hand:
    """Answers reverts; those of `failing` fail the first `times` times."""

    def __init__(self, failing: str = "", times: int = 0) -> None:
        self.failing, self.times = failing, times
        self.asked: list[str] = []
        self.kept: list[Record] = []
        self.full = False
        self.waited = 0.0

    def revert(self, effect: Revert) -> Reverted:
        self.asked.append(effect.command_id)
        if effect.command_id == self.failing and self.asked.count(self.failing) <= self.times:
            return Reverted(command_id=effect.command_id, problem="EPERM")
        return Reverted(command_id=effect.command_id, sent_boot_ns=5)

    def append(self, record: Record) -> None:
        if self.full:
            raise JournalError("no space left")
        self.kept.append(record)

    def pause(self, seconds: float) -> None:
        self.waited += seconds

    def left(self, problem: str = "") -> dict[str, str]:
        host = h.leased()
        for number, victim in enumerate(list(host.world.processes.values())):
            host.coordinator.order(f"c{number}", victim, "pause")
        started = Started(
            boot_id="boot-1", records=tuple(host.journal), journal_problem=problem, hello=Hello(host="h1")
        )
        return reverting.reverted(
            started,
            revert=self.revert,
            systemd=cast(Systemd, self),
            append=self.append,
            now=lambda: Now(host.world.boot_ns + int(self.waited * h.SECOND)),
            pause=self.pause,
        )


def test_i6_every_pause_is_resumed_and_that_is_recorded() -> None:
    hand = Hand()
    assert hand.left() == {} and hand.asked == ["c0", "c1", "c2"] and hand.waited == 0
    assert [record.kind for record in hand.kept] == ["reverted"] * 3


@pytest.mark.parametrize("compacted", [False, True])
def test_i8_the_sigcont_of_the_second_line_is_told_by_the_agent_that_comes_next(compacted: bool) -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "pause")
    host.crash()
    hand = Hand()
    reverting.reverted(
        Started(boot_id="boot-1", records=tuple(host.journal), journal_problem="", hello=Hello(host="h1")),
        revert=hand.revert,
        systemd=cast(Systemd, hand),
        append=host.journal.append,
        now=lambda: host.world.now,
        pause=hand.pause,
    )
    if compacted:
        memory = Memory()
        for record in host.journal:
            memory.apply(record)
        host.journal[:] = memory.essential()
    host.start()
    host.coordinator.link()
    word = host.coordinator.updates["c1"]
    assert [(blow.number, blow.signal, blow.revert) for blow in word.blows] == [(1, h.STOP, False), (2, 18, True)]
    assert word.blows[1].sent_boot_ns == 5 and word.settled and word.detail == "resumed"


def test_i8_where_the_victim_was_gone_no_sigcont_is_told() -> None:
    host = h.leased()
    victim = host.world.first
    host.coordinator.order("c1", victim, "pause")
    host.world.end(victim, 9)
    host.crash()
    for _ in range(2):
        host.start()
        host.coordinator.link()
        assert [blow.signal for blow in host.coordinator.updates["c1"].blows] == [h.STOP]
        host.crash()


def test_i6_a_journal_of_an_older_agent_which_does_not_say_when_it_resumed_is_read() -> None:
    host = h.leased()
    host.coordinator.acknowledges = False
    host.coordinator.order("c1", host.world.first, "pause")
    host.crash()
    host.journal.append(Record("reverted", {"command": "c1"}))
    host.start()
    host.coordinator.link()
    word = host.coordinator.updates["c1"]
    assert word.settled and [blow.signal for blow in word.blows] == [h.STOP]


def test_i6_a_revert_that_fails_stops_no_other_and_is_tried_again() -> None:
    hand = Hand("c0", times=2)
    assert hand.left() == {}
    assert hand.asked == ["c0", "c1", "c2", "c0", "c0"]


def test_i6_what_cannot_be_resumed_is_named_in_the_end() -> None:
    hand = Hand("c1", times=10_000)
    assert hand.left() == {"c1": "EPERM"}
    assert hand.waited == reverting.PATIENCE_S


def test_r13_reverts_need_no_disk_and_no_journal_that_is_understood() -> None:
    hand = Hand()
    hand.full = True
    assert hand.left("it is of version 2, this agent knows 1") == {}
    assert hand.asked == ["c0", "c1", "c2"]


class Supervisor:
    """Has given its unit up after the death of `main_pid`, or will once it was asked `about_to` times; starts it
    after so many refusals."""

    def __init__(self, main_pid: int, refusals: int = 0, about_to: int = 0) -> None:
        self.state = UnitState(name="w.service", loaded=True, active="failed", main_pid=main_pid, main_signal=9)
        self.refusals, self.about_to = refusals, about_to
        self.started = 0

    def look(self, unit: str) -> UnitState:
        if self.about_to:
            self.about_to -= 1
            return replace(self.state, active="activating")
        return self.state

    def start(self, unit: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("Access denied")
        self.started += 1
        self.state = replace(self.state, active="activating", main_pid=0, main_signal=0)


def held_down(supervisor: Supervisor) -> dict[str, str]:
    """An agent has died in mid-hold of a worker in a unit."""
    host = h.Host()
    victim = host.world.spawn(unit="w.service")
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    host.coordinator.order("c1", victim, "hold-down")
    supervisor.state = replace(supervisor.state, main_pid=supervisor.state.main_pid or victim.pid)
    hand = Hand()
    started = Started(boot_id="boot-1", records=tuple(host.journal), journal_problem="", hello=Hello(host="h1"))
    return reverting.reverted(
        started,
        revert=hand.revert,
        systemd=cast(Systemd, supervisor),
        append=hand.append,
        now=lambda: Now(host.world.boot_ns + int(hand.waited * h.SECOND)),
        pause=hand.pause,
    )


def test_r15_a_unit_that_failed_by_our_blows_is_started() -> None:
    supervisor = Supervisor(0, refusals=1)
    assert held_down(supervisor) == {} and supervisor.started == 1


def test_r15_a_unit_that_failed_by_itself_is_not() -> None:
    supervisor = Supervisor(4711)
    assert held_down(supervisor) == {} and supervisor.started == 0


def test_r13_a_unit_that_cannot_be_started_is_named() -> None:
    assert held_down(Supervisor(0, refusals=1_000)) == {"c1": "Access denied"}


def test_i6_a_unit_that_is_about_to_be_restarted_is_waited_for_and_started_if_that_fails() -> None:
    supervisor = Supervisor(0, about_to=3)
    assert held_down(supervisor) == {} and supervisor.started == 1


def test_i6_a_unit_that_is_about_to_be_restarted_for_too_long_is_named() -> None:
    supervisor = Supervisor(0, about_to=1_000)
    assert held_down(supervisor) == {"c1": reverting.NOT_SAID} and supervisor.started == 0
