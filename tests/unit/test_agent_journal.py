"""What the agent remembers: a fold of its journal, compacted without a loss (R1, R10, R22, R23)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.memory import (
    KEEP_KNOWN_NS,
    Memory,
    halt_record,
    intent_record,
    position_record,
    refused_record,
    used_record,
)
from killdeer_agent.core.words import Record
from tests.support import host as h

ids = st.sampled_from(["c1", "c2", "c3"])
numbers = st.integers(0, 2**40)
blows = st.integers(1, 2)
REFUSAL = Refusal(p.REASON_GONE, "it has exited")


def command(command_id: str, length: int = 0) -> a.Strike:
    return a.Strike(
        command_id=command_id,
        run_id="r1",
        run_fence=length,
        victim=p.Identity(boot_id="b", pid=7, start_ticks=8),
        not_after_boot_ns=500,
        position=p.StorePosition(length=length, head="h"),
    )


def body(kind: str) -> st.SearchStrategy[Record]:
    fields: dict[str, st.SearchStrategy[object]] = {"command": ids}
    if kind in ("sent", "not_sent"):
        fields["blow"] = blows
    if kind in ("sent", "exit"):
        fields["at"] = numbers
    if kind == "not_sent":
        fields |= {"reason": st.just("REASON_GONE"), "detail": st.text(max_size=3)}
    return st.fixed_dictionaries(fields).map(lambda made: Record(kind, made))


MEMBERS = (Process(boot_id="b", pid=7, start_ticks=8),)
records = st.one_of(
    st.builds(lambda token: Record("session", {"token": token}), st.text(max_size=3)),
    st.builds(lambda i: halt_record(p.HaltRecord(id=i, by="ops", reason="x", at_unix_ms=5)), ids),
    st.builds(lambda found: Record("released", {"ids": found}), st.lists(ids)),
    st.builds(lambda n: position_record(p.StorePosition(length=n, head=f"h{n}")), numbers),
    st.builds(lambda run, n: Record("fence", {"run": run, "fence": n}), ids, numbers),
    st.builds(lambda i, n: used_record(i, REFUSAL, n), ids, numbers),
    st.builds(lambda i, n: refused_record(command(i, n), REFUSAL, n), ids, numbers),
    st.builds(lambda i, n, blow: intent_record(command(i, n), MEMBERS, blow, 15), ids, numbers, blows),
    *(body(kind) for kind in ("sent", "not_sent", "exit", "reverted", "closed", "orphan")),
)


def fold(found: list[Record] | tuple[Record, ...]) -> Memory:
    memory = Memory()
    for record in found:
        try:
            memory.apply(record)
        except (KeyError, ValueError):
            continue  # a word of a strike that this history did not begin
    return memory


@settings(max_examples=300, deadline=None)
@given(history=st.lists(records, max_size=25))
def test_a_compacted_journal_folds_to_the_same_memory(history: list[Record]) -> None:
    memory = fold(history)
    assert fold(memory.essential()) == memory


def test_ids_that_no_live_command_can_carry_are_forgotten_and_no_other() -> None:
    memory = fold(
        [
            used_record("old", REFUSAL, 5),
            used_record("live", REFUSAL, 50),
            Record("closed", {"command": "old too", "not_after": 5}),
            Record("closed", {"command": "live too", "not_after": 50}),
            intent_record(command("open"), MEMBERS, 1, 9),
        ]
    )
    memory.forget(KEEP_KNOWN_NS + 10)
    assert (set(memory.used), set(memory.closed), set(memory.strikes)) == ({"live"}, {"live too"}, {"open"})


def test_a_long_journal_is_compacted_while_the_agent_runs_and_nothing_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("killdeer_agent.core.desk.LONG_JOURNAL", 30)
    host = h.leased()
    host.core._desk._long = 30
    paused = host.world.first
    host.coordinator.order("c0", paused, "pause", action=h.long_pause())
    for number in range(1, 40):
        host.coordinator.order(f"c{number}", paused, not_after_boot_ns=host.world.boot_ns - 1)
        host.world.pass_time(3_000 * h.SECOND)
        host.run(100 * h.MS)
    assert [note.event for note in host.notes].count("compacted") >= 1
    assert len(host.journal) < 60
    host.crash()
    host.start()
    assert paused.state == "S"
    host.coordinator.link()
    host.coordinator.say(strike=host.oracle.commands["c39"])
    assert host.coordinator.updates["c39"].reason == p.REASON_TOO_LATE
    assert len(host.core._desk.memory.used) < 40


def test_a_journal_is_not_compacted_while_a_record_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    host = h.leased()
    host.core._desk._long = 1
    host.stalled = {w.Write}
    host.coordinator.order("c1", host.world.first, not_after_boot_ns=1)
    host.run(h.SECOND)
    assert not any(note.event == "compacted" for note in host.notes)
    host.release()
    host.run(h.SECOND)
    assert any(note.event == "compacted" for note in host.notes)
    assert "c1" in fold(host.journal).used


def test_a_journal_that_is_not_understood_is_left_as_it_is() -> None:
    host = h.leased()
    host.crash()
    host.journal.append(Record("from_later"))
    before = list(host.journal)
    host.start()
    host.core._desk._long = 1
    host.run(h.SECOND)
    assert host.journal == before
