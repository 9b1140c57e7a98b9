"""Inspections at the coordinator: one answer for each, from the host that was asked, or a named no in time."""

import pytest

from killdeer.v1.agent_pb2 import ConnectResponse, Hello, Inspect, Inspected, Subject
from killdeer.v1.process_pb2 import Reason, Selector
from killdeer_coordinator.core import letters
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.inspecting import DEADLINE_MS, Inspections
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster
from killdeer_coordinator.core.words import Now, Tell

FOUND = [Subject(service="worker.service")]


class Desk:
    """Inspections of a coordinator with two hosts, and what came of them."""

    def __init__(self, *, instance: str = "") -> None:
        self.roster = Roster(coordinator="c1", instance=instance)
        self.errands = Errands(now=Now(1_000_000_000, 0))
        self.inspections = Inspections(self.roster, self.errands)
        self.links = [
            Link(number=number, host=host, hello=Hello(host=host, version="0.9"), token="t", lease_until_ns=2**62)
            for number, host in enumerate(("a-1", "a-2"), 1)
        ]
        for link in self.links:
            self.roster.links[link.number] = link
            self.roster.serve(link)
        self.answers: list[Inspected | Refused] = []

    def ask(self, host: str = "a-1") -> str:
        """The ask that its agent is told; empty: none was."""
        self.inspections.inspect(host, Selector(), self.answers.append)
        told = [effect for effect in self.errands.taken() if isinstance(effect, Tell)]
        return told[0].frame.inspect.ask if told else ""

    def refused(self) -> Refused:
        (answer,) = self.answers
        assert isinstance(answer, Refused)
        return answer

    def at(self, mono_ns: int) -> None:
        self.errands.now = Now(mono_ns, 0)
        self.inspections.tick()


def test_the_answer_is_that_of_the_host_that_was_asked_once() -> None:
    desk = Desk()
    ask = desk.ask()
    answer = Inspected(ask=ask, subjects=FOUND)
    desk.inspections.answered(desk.links[1], answer)
    assert desk.answers == [], "another host has no say in it"
    desk.inspections.answered(desk.links[0], answer)
    desk.inspections.answered(desk.links[0], answer)
    assert desk.answers == [answer]
    assert desk.ask() != ask


def test_the_agent_is_given_less_time_than_is_waited_for_it() -> None:
    desk = Desk()
    desk.inspections.inspect("a-1", Selector(), desk.answers.append)
    (told,) = [effect.frame.inspect for effect in desk.errands.taken() if isinstance(effect, Tell)]
    assert 0 < told.deadline_ms < DEADLINE_MS


def test_a_host_that_is_not_known_and_one_without_a_lease_are_refused_by_name() -> None:
    unknown, expired = Desk(), Desk()
    assert unknown.ask("b-9") == ""
    assert (unknown.refused().code, unknown.refused().field) == ("NOT_FOUND", "host")
    expired.links[0].lease_until_ns = 0
    assert expired.ask() == ""
    assert expired.refused().code == "FAILED_PRECONDITION"
    assert "no lease" in expired.refused().message


def test_an_agent_that_does_not_answer_is_given_up_with_its_version() -> None:
    desk = Desk()
    ask = desk.ask()
    desk.at(1_000_000_000 + DEADLINE_MS * NS_PER_MS - 1)
    assert desk.answers == []
    desk.at(1_000_000_000 + DEADLINE_MS * NS_PER_MS)
    assert "has not answered in 12 s" in desk.refused().message
    assert "0.9" in desk.refused().remedy
    desk.inspections.answered(desk.links[0], Inspected(ask=ask))
    assert len(desk.answers) == 1


def test_a_link_that_is_lost_ends_its_inspections_alone() -> None:
    desk = Desk()
    desk.ask("a-1")
    other = desk.ask("a-2")
    desk.inspections.lost(desk.links[0])
    assert "a-1" in desk.refused().message
    desk.inspections.answered(desk.links[1], Inspected(ask=other, subjects=FOUND))
    assert len(desk.answers) == 2


@pytest.mark.parametrize(
    ("failure", "field"), [(Reason.REASON_CANNOT_EVALUATE, "selector"), (Reason.REASON_UNREADABLE, "")]
)
def test_a_failure_of_the_agent_is_said_in_its_words(failure: Reason, field: str) -> None:
    desk = Desk()
    ask = desk.ask()
    desk.inspections.answered(desk.links[0], Inspected(ask=ask, failure=failure, failure_detail="why not"))
    assert desk.refused().message == "cannot inspect a-1: why not"
    assert desk.refused().field == field


def test_between_coordinators_an_inspection_travels_as_a_scan_does() -> None:
    desk = Desk(instance="x")
    assert desk.ask().endswith("@c1")
    link = desk.links[0]
    frame = ConnectResponse(inspect=Inspect(ask="inspect-1@c1"))
    letter = letters.to_host("c1", link, frame, 0)
    assert letters.opened(letter, link, 0, 0, halted=True) == frame, "it strikes nobody"
    link.token = "another"
    assert letters.opened(letter, link, 0, 0, halted=False) is None
