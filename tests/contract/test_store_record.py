"""The record of a run: readings, lines, notes and findings, and the report that is made of them."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from killdeer.v1.operator_pb2 import RUN_STATE_ENDED, RUN_VERDICT_DEVIATED, LogLine, RunNote
from killdeer.v1.probe_pb2 import STANDING_UNMET, Finding, Findings, Reading
from killdeer_coordinator.core import notes
from killdeer_coordinator.core.books import PutRun
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.store import AmbiguousRun, AsyncStore, NoSuchRun, Store, StoreFailure, record, statements
from tests.support.rows import NOW_MS, SetClock, a_run_with, putting, run_row

DAY_MS = 24 * 3_600_000


def reading(probe: str, after_ms: int, value: float | None = 1.0, detail: str = "") -> Reading:
    return Reading(probe=probe, at_unix_ms=NOW_MS + after_ms, value=value, detail=detail)


def line(after_ms: int, said: str) -> LogLine:
    return LogLine(at_unix_ms=NOW_MS + after_ms, line=said)


# --- readings and lines -------------------------------------------------------------------------------------


def test_a_report_has_all_that_was_measured_and_said_of_its_run(store: Store) -> None:
    store.decide(a_run_with(2, "a1"))
    store.decide(putting(PutRun(run_row("b1"))))
    first = [reading("p95", 0, 0.25), reading("healthy", 5), reading("p95", 1_000, None, "no answer in 500ms")]
    store.append_record("a1", first, [line(0, "wave one")])
    store.append_record("b1", [reading("p95", 1)], [line(1, "of another run")])
    store.append_record("a1", [reading("healthy", 900, 0.0)], [line(0, "1 struck"), line(950, "recovered")])
    store.append_record("a1", [], [])
    report = store.report("a")
    assert list(report.readings) == [first[0], first[1], reading("healthy", 900, 0.0), first[2]], "in time"
    assert not report.readings[3].HasField("value")
    assert [one.line for one in report.log] == ["wave one", "1 struck", "recovered"]
    assert report.run == store.run("a1")
    assert len(report.run.strikes) == 2
    assert (report.source, report.file) == ("killdeer: 1\nname: one\n", "one.yaml")


def test_a_run_without_probes_has_a_report_too(store: Store) -> None:
    store.decide(a_run_with(0, "a1"))
    report = store.report("latest")
    assert (len(report.readings), len(report.log), len(report.notes), len(report.earlier)) == (0, 0, 0, 0)
    assert not report.run.HasField("findings")


def test_a_report_of_no_run_or_of_several_is_refused_by_name(store: Store) -> None:
    store.decide(putting(PutRun(run_row("ab1")), PutRun(run_row("ab2"))))
    with pytest.raises(NoSuchRun, match="cannot find"):
        store.report("x")
    with pytest.raises(AmbiguousRun, match="ab2, ab1"):
        store.report("ab")


def test_what_no_column_holds_is_told_alike_whatever_the_database(store: Store) -> None:
    store.decide(a_run_with(0, "a1"))
    sent = [
        Reading(probe="a", at_unix_ms=1, value=float("nan")),
        Reading(probe="b", at_unix_ms=2, value=float("inf")),
        Reading(probe="c", at_unix_ms=3, detail="the body is 'a\0b'"),
        Reading(probe="d", at_unix_ms=2**64 - 1, value=-0.1),
    ]
    store.append_record("a1", sent, [LogLine(at_unix_ms=2**64 - 1, line="a\0b")])
    report = store.report("a1")
    nan, infinite, nul, late = report.readings
    assert (nan.HasField("value"), nan.detail) == (False, "not a number")
    assert infinite.value == float("inf")
    assert nul.detail == "the body is 'a\ufffdb'"
    assert (late.at_unix_ms, late.value) == (2**63 - 1, -0.1)
    assert report.log[0] == LogLine(at_unix_ms=2**63 - 1, line="a\ufffdb")


def test_readings_and_lines_are_kept_together_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.decide(a_run_with(0, "a1"))
    with monkeypatch.context() as broken:
        broken.setattr(statements, "APPEND_LINES", text("INSERT INTO nowhere VALUES (1)"))
        with pytest.raises(StoreFailure, match="cannot append a record to the store"):
            store.append_record("a1", [reading("p95", 0)], [line(0, "wave one")])
    assert not store.report("a1").readings
    store.append_record("a1", [reading("p95", 0)], [line(0, "wave one")])
    assert len(store.report("a1").readings) == 1


# --- more of them than a report holds -----------------------------------------------------------------------


def test_readings_beyond_the_most_are_thinned_evenly_and_the_report_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.decide(a_run_with(0, "a1"))
    often = [reading("often", second * 1_000, second) for second in range(100)]
    other = [reading("other", second * 1_000 + 1, second) for second in range(50)]
    rare = [reading("rare", second * 20_000, second) for second in range(5)]
    store.append_record("a1", often + other + rare, [line(0, "wave one")])
    monkeypatch.setattr(record, "READINGS_MOST", 155)
    assert len(store.report("a1").readings) == 155
    assert [one.line for one in store.report("a1").log] == ["wave one"]
    monkeypatch.setattr(record, "READINGS_MOST", 45)
    report = store.report("a1")
    of = {name: [one.value for one in report.readings if one.probe == name] for name in ("often", "other", "rare")}
    assert of["rare"] == [0, 1, 2, 3, 4], "what is measured rarely is told whole"
    assert of["often"] == list(range(0, 100, 5))
    assert len(of["other"]) == 20
    assert of["other"][0] == 0
    apart = {after - before for before, after in zip(of["other"], of["other"][1:], strict=False)}
    assert apart == {2.0, 3.0}
    assert [one.at_unix_ms for one in report.readings] == sorted(one.at_unix_ms for one in report.readings)
    assert report.log[-1].line.startswith("this report has 45 of the run's 155 readings")


@pytest.mark.parametrize(
    ("counts", "most", "told"),
    [
        ({"a": 10}, 4, {"a": 4}),
        ({"a": 10, "b": 10}, 5, {"a": 2, "b": 3}),
        ({"a": 1, "b": 100, "c": 100}, 21, {"a": 1, "b": 10, "c": 10}),
        ({"a": 2, "b": 3}, 9, {"a": 2, "b": 3}),
        ({}, 9, {}),
    ],
)
def test_each_probe_has_the_same_share_and_none_more_than_it_has(
    counts: dict[str, int], most: int, told: dict[str, int]
) -> None:
    assert record.shares(counts, most) == told


# --- findings and earlier runs ------------------------------------------------------------------------------


def test_what_a_run_found_comes_with_it_wherever_it_is_shown(store: Store) -> None:
    found = Findings(findings=[Finding(sentence="errors < 0.1%", standing=STANDING_UNMET)], detected_after_ms=900)
    store.decide(a_run_with(1, "a1"))
    ended = replace(
        run_row("a1"),
        state=RUN_STATE_ENDED,
        verdict=RUN_VERDICT_DEVIATED,
        ended_ms=NOW_MS + 9,
        findings=found.SerializeToString(),
    )
    store.decide(putting(PutRun(ended)))
    for run in (store.run("a1"), store.runs()[0], store.report("a1").run):
        assert run.findings == found
        assert (run.phase, len(run.latest)) == (0, 0)
    assert store.read().ended["a1"].findings == found.SerializeToString()


def test_a_report_names_the_ten_runs_of_its_experiment_before_it_newest_first(store: Store) -> None:
    store.decide(a_run_with(1, "r00"))
    store.decide(putting(*(PutRun(run_row(f"r{number:02}")) for number in range(1, 14))))
    store.decide(putting(PutRun(replace(run_row("x"), experiment="another"))))
    store.decide(putting(PutRun(run_row("later"))))
    assert [run.run_id for run in store.report("r13").earlier] == [f"r{number:02}" for number in range(12, 2, -1)]
    [first] = store.report("r01").earlier
    assert (first.run_id, len(first.strikes)) == ("r00", 0)
    assert not store.report("x").earlier


# --- notes --------------------------------------------------------------------------------------------------


def test_a_note_is_kept_with_its_run_and_whole_in_the_audit(store: Store, clock: SetClock) -> None:
    store.decide(a_run_with(0, "a1"))
    done = store.decide(notes.added("a1", "ada", " the queue did not drain\nlook at its limit ", "payments"))
    clock.now_ms += 5
    store.decide(notes.added("a1", "bob", "done", ""))
    first, second = store.report("a1").notes
    assert isinstance(done.answer, RunNote) and done.answer.run == "a1"
    done.answer.ClearField("run")
    assert first == done.answer
    assert (first.who, first.action, first.at_unix_ms) == ("ada", "payments", NOW_MS)
    assert first.text == "the queue did not drain\nlook at its limit"
    assert second == RunNote(at_unix_ms=NOW_MS + 5, who="bob", text="done")
    entry = store.audit()[-2]
    assert (entry.what, entry.subject, entry.who) == ("note.added", "a1", "ada")
    assert (entry.why, entry.details) == (first.text, '{"action":"payments"}')
    assert store.verify_audit() == ""


@pytest.mark.parametrize(
    ("said", "action", "field"),
    [("", "", "text"), (" \n", "ada", "text"), ("x" * 10_001, "", "text"), ("look", "x" * 201, "action")],
)
def test_a_note_that_says_nothing_or_too_much_is_refused_and_not_on_the_record(
    store: Store, said: str, action: str, field: str
) -> None:
    store.decide(a_run_with(0, "a1"))
    before = len(store.audit())
    refused = store.decide(notes.added("a1", "ada", said, action)).answer
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", field)
    assert refused.message.startswith("cannot add a note: ")
    assert refused.remedy
    assert not store.report("a1").notes
    assert len(store.audit()) == before


def test_the_longest_note_is_kept_whole(store: Store) -> None:
    store.decide(a_run_with(0, "a1"))
    store.decide(notes.added("a1", "ada", "ü" * 10_000, "x" * 200))
    [note] = store.report("a1").notes
    assert (note.text, note.action) == ("ü" * 10_000, "x" * 200)


def test_a_note_to_a_run_that_is_not_there_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreFailure):
        store.decide(notes.added("nobody", "ada", "look", ""))
    assert not store.audit()


# --- retention ----------------------------------------------------------------------------------------------


def test_old_readings_and_lines_go_in_batches_and_notes_and_runs_stay(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killdeer_coordinator.store.store.EVIDENCE_BATCH", 3)
    store.decide(a_run_with(1, "a1"))
    store.decide(notes.added("a1", "ada", "look", ""))
    store.append_record("a1", [reading("p95", 0, second) for second in range(7)], [line(0, "one"), line(0, "two")])
    kept, said = reading("p95", 1, 9.0), line(1, "three")
    store.append_record("a1", [kept], [said])
    clock.now_ms = NOW_MS + 30 * DAY_MS
    assert store.retain(30) == 0
    clock.now_ms += 1
    assert store.retain(30) == 9
    report = store.report("a1")
    assert (list(report.readings), list(report.log)) == ([kept], [said])
    assert (len(report.notes), len(report.run.strikes)) == (1, 1)


# --- for asyncio --------------------------------------------------------------------------------------------


def test_a_report_waits_for_what_is_still_being_kept(store: Store) -> None:
    async def use() -> None:
        beside = AsyncStore(store)
        await beside.decide(a_run_with(0, "a1"))
        keeping = [
            asyncio.create_task(beside.append_record("a1", [reading("p95", number)], [line(number, str(number))]))
            for number in range(20)
        ]
        report = await asyncio.create_task(beside.report("a1"))
        assert len(report.readings) == 20
        assert [one.line for one in report.log] == [str(number) for number in range(20)]
        await asyncio.gather(*keeping)
        with pytest.raises(NoSuchRun):
            await beside.report("nobody")
        await beside.close()

    asyncio.run(use())
