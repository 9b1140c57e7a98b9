"""The second line: what lasts is taken back from the journal alone (I6, R13)."""

from killdeer.v1.agent_pb2 import Hello
from killdeer_agent import reverting
from killdeer_agent.core.facts import Now
from killdeer_agent.core.words import Record, Revert, Reverted, Started
from killdeer_agent.journal import JournalError
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
            append=self.append,
            now=lambda: Now(host.world.boot_ns + int(self.waited * h.SECOND)),
            pause=self.pause,
        )


def test_i6_every_pause_is_resumed_and_that_is_recorded() -> None:
    hand = Hand()
    assert hand.left() == {} and hand.asked == ["c0", "c1", "c2"] and hand.waited == 0
    assert [record.kind for record in hand.kept] == ["reverted"] * 3


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
