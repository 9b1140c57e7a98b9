"""What people ask the store: runs, the audit chain, evidence, sizes."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from killdeer.v1.operator_pb2 import RUN_STATE_ENDED, RUN_VERDICT_HELD
from killdeer.v1.process_pb2 import ExitSeen, KernelEvent, Party
from killdeer_coordinator.core.books import Audited, PutRun, PutStrike
from killdeer_coordinator.store import AmbiguousRun, AsyncStore, NoSuchRun, Store, chain
from killdeer_coordinator.store.deaths import Wanted
from tests.support.rows import NOW_MS, SetClock, a_run_with, putting, run_row, strike

DAY_MS = 24 * 3_600_000


def exit_of(pid: int, command_id: str = "") -> KernelEvent:
    return KernelEvent(
        at_boot_ns=2**63 + pid, exit=ExitSeen(process=Party(pid=pid), signal=9), command_id=command_id
    )


# --- runs ---------------------------------------------------------------------------------------------------


def test_runs_come_newest_first_and_without_strikes(store: Store) -> None:
    store.decide(a_run_with(2, "a1"))
    store.decide(putting(PutRun(run_row("b1"))))
    assert [run.run_id for run in store.runs()] == ["b1", "a1"]
    assert [run.run_id for run in store.runs(1)] == ["b1"]
    assert not any(run.strikes for run in store.runs())


def test_a_run_shows_its_strikes_in_the_order_they_were_drawn(store: Store) -> None:
    store.decide(a_run_with(2, "a1"))
    store.decide(
        putting(PutStrike(strike(9, run_id="a1", permit_id="", wave="canary")), PutStrike(strike(1, run_id="a1")))
    )
    run = store.run("a1")
    assert [view.command_id for view in run.strikes] == ["c1", "c2", "c9"]
    assert (run.wave, run.waves_done, run.waves_total, run.seed) == ("canary", 1, 3, 2**64 - 1)
    ended = replace(run_row("a1"), state=RUN_STATE_ENDED, verdict=RUN_VERDICT_HELD, why="it held", wave=3)
    store.decide(putting(PutRun(ended)))
    run = store.run("a1")
    assert (run.wave, run.waves_done, run.verdict, run.why) == ("", 3, RUN_VERDICT_HELD, "it held")


def test_a_run_is_found_by_its_id_a_unique_prefix_or_latest(store: Store) -> None:
    store.decide(putting(PutRun(run_row("abc")), PutRun(run_row("abcd")), PutRun(run_row("x_y"))))
    assert store.run("latest").run_id == "x_y"
    assert store.run("abc").run_id == "abc", "a whole id wins over being a prefix"
    assert store.run("x").run_id == "x_y"
    assert store.run_id("abcd") == "abcd"


@pytest.mark.parametrize("name", ["q", "", "X", "%", "_", "abcde"])
def test_a_run_that_is_not_there_is_refused_by_name(store: Store, name: str) -> None:
    store.decide(putting(PutRun(run_row("abcd")), PutRun(run_row("x_y"))))
    with pytest.raises(NoSuchRun, match="cannot find"):
        store.run(name)


def test_latest_of_no_runs_says_so(store: Store) -> None:
    with pytest.raises(NoSuchRun, match="none has been started"):
        store.run("latest")


def test_a_prefix_of_several_runs_names_them(store: Store) -> None:
    store.decide(putting(*(PutRun(run_row(f"ab{number}")) for number in range(6))))
    with pytest.raises(AmbiguousRun, match="ab5, ab4, ab3, …"):
        store.run("ab")


# --- audit --------------------------------------------------------------------------------------------------


def test_the_audit_is_numbered_from_one_and_oldest_first(store: Store) -> None:
    done = store.decide(a_run_with(2))
    store.decide(putting(audit=(Audited("bob", "halt.engaged", "h1", "enough", {"b": 1, "a": ["ü"]}),)))
    entries = store.audit()
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert entries[2].hash == done.position.head
    assert (entries[3].who, entries[3].why, entries[3].details) == ("bob", "enough", '{"a":["ü"],"b":1}')
    assert entries[3].at_unix_ms == NOW_MS
    assert [entry.number for entry in store.audit(2)] == [3, 4]
    assert store.verify_audit() == ""


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        ("UPDATE audit SET why = 'nothing' WHERE number = 2", "entry 2 (permit.granted by alice) has been changed"),
        ("UPDATE audit SET details = '{}' WHERE number = 3", "entry 3"),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE number = 1", "entry 1"),
        ("DELETE FROM audit WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM audit WHERE number = 4", "ends at entry 3, the fleet row says 4"),
        ("UPDATE fleet SET audit_head = ''", "fleet row says 4"),
    ],
)
def test_a_changed_audit_is_seen(tmp_path: Path, tampering: str, problem: str) -> None:
    file = tmp_path / "killdeer.db"
    store = Store.open(f"sqlite:///{file}", clock=SetClock())
    store.decide(a_run_with(3))
    assert store.verify_audit() == ""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(tampering)
    connection.close()
    assert problem in store.verify_audit()
    store.close()


def test_an_entry_that_was_changed_with_its_own_hash_is_seen_by_the_next(tmp_path: Path) -> None:
    file = tmp_path / "killdeer.db"
    store = Store.open(f"sqlite:///{file}", clock=SetClock())
    store.decide(a_run_with(3))
    first, second = store.audit()[:2]
    second.why = "another reason"
    connection = sqlite3.connect(file, isolation_level=None)
    changed = (second.why, chain.entry_hash(first.hash, second))
    connection.execute("UPDATE audit SET why = ?, hash = ? WHERE number = 2", changed)
    connection.close()
    assert "entry 3" in store.verify_audit()
    store.close()


def test_a_rewritten_chain_is_seen_by_those_who_were_shown_the_first(clock: SetClock) -> None:
    positions = []
    for who in ("alice", "mallory"):
        store = Store.open("sqlite://", clock=clock)
        positions.append(store.decide(putting(audit=(Audited(who, "limit.set", "in_flight"),))).position)
        assert store.verify_audit() == ""
        if who == "mallory":
            assert "not the one that alpha was shown" in store.verify_audit({"alpha": positions[0]})
            longer = type(positions[1])(length=2, head="ab")
            assert "beta was shown 2 entries, the chain has 1" in store.verify_audit({"beta": longer})
            assert store.verify_audit({"gamma": positions[1], "new host": type(longer)()}) == ""
        store.close()


# --- evidence -----------------------------------------------------------------------------------------------


def test_evidence_is_kept_whole_and_with_the_run_of_its_command(store: Store) -> None:
    store.decide(a_run_with(2))
    events = [exit_of(1), exit_of(2, "c2"), exit_of(3, "of nobody")]
    kept = store.append_events("alpha", events)
    assert [row.event for row in kept] == events
    assert [row.run_id for row in kept] == ["", "r1", ""]
    assert kept[0].received_unix_ms == NOW_MS
    assert store.events() == kept
    assert store.append_events("alpha", []) == []


def test_evidence_is_asked_for_by_host_run_and_number(store: Store) -> None:
    store.decide(a_run_with(1, "abc"))
    kept = [row for pid in range(4) for row in store.append_events("alpha", [exit_of(pid, "c1")])]
    other = store.append_events("beta", [exit_of(9)])
    assert store.events(wanted=Wanted(host="beta")) == other
    assert store.events(wanted=Wanted(run=store.run_id("ab"))) == kept
    assert store.events(limit=2) == [kept[3], *other], "the newest, oldest first"
    assert store.events(after=kept[0].number, limit=2) == kept[1:3], "the next ones"
    assert store.events(after=other[0].number) == []


def test_old_evidence_goes_in_batches_and_the_audit_stays(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("killdeer_coordinator.store.store.EVIDENCE_BATCH", 3)
    store.decide(a_run_with(1))
    store.append_events("alpha", [exit_of(pid) for pid in range(7)])
    clock.now_ms = NOW_MS + 30 * DAY_MS
    kept = store.append_events("alpha", [exit_of(8), exit_of(9)])
    assert store.retain(30) == 0
    clock.now_ms += 1
    assert store.retain(30) == 7
    assert store.events() == kept
    assert len(store.audit()) == 2
    clock.now_ms += 90 * DAY_MS
    store.retain(30)
    later = store.append_events("alpha", [exit_of(10)])
    assert later[0].number > kept[-1].number, "a number is not given twice, so followers miss nothing"


def test_sizes_are_told(store: Store) -> None:
    store.decide(a_run_with(2))
    assert store.sizes().evidence_rows == 0
    store.append_events("alpha", [exit_of(1), exit_of(2)])
    sizes = store.sizes()
    assert (sizes.evidence_rows, sizes.evidence_since_ms, sizes.audit_length) == (2, NOW_MS, 3)
    assert sizes.store_bytes > 4096


# --- for asyncio --------------------------------------------------------------------------------------------


def test_the_loop_reaches_the_store_through_its_threads(store: Store) -> None:
    async def use() -> None:
        beside = AsyncStore(store)
        granted = await asyncio.gather(
            *(beside.decide(putting(audit=(Audited("alice", "limit.set", str(n)),), answer=n)) for n in range(5))
        )
        assert [done.answer for done in granted] == list(range(5))
        assert [done.position.length for done in granted] == [1, 2, 3, 4, 5], "decided in the order asked"
        assert (await beside.read()).position == granted[-1].position
        assert len(await beside.append_events("alpha", [exit_of(1)])) == 1
        assert await beside.ask(lambda asked: asked.verify_audit()) == ""
        assert await beside.retain(30) == 0
        with pytest.raises(NoSuchRun):
            await beside.ask(lambda asked: asked.run("nobody"))
        await beside.close()

    asyncio.run(use())
