"""The store's one deciding verb (rule R17), on SQLite in memory and in a file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Barrier, Thread

import pytest

from killdeer.v1.operator_pb2 import RUN_STATE_ENDED, RUN_VERDICT_HALTED, RUN_VERDICT_HELD
from killdeer.v1.process_pb2 import STRIKE_STATE_STRUCK, HaltRecord, KernelEvent, StorePosition
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    CoordinatorRow,
    Decision,
    FleetLimits,
    Letter,
    PutCoordinator,
    PutHalt,
    PutHost,
    PutPermit,
    PutRun,
    PutStrike,
    ReleaseHalts,
    SetLimit,
    VoidLetters,
)
from killdeer_coordinator.store import Store, StoreFailure
from tests.support.rows import (
    NOW_MS,
    SetClock,
    a_run_with,
    host_row,
    permit,
    putting,
    run_row,
    strike,
)

DAY_MS = 24 * 3_600_000
CONFIGURED = FleetLimits(
    limits={"in_flight": 3, "per_host": 1}, sources={"in_flight": "coordinator.toml", "per_host": "built in"}
)


@pytest.fixture
def store(store_url: str, clock: SetClock) -> Iterator[Store]:
    opened = Store.open(store_url, limits=CONFIGURED, clock=clock)
    yield opened
    opened.close()


def test_what_one_decision_writes_the_next_one_reads(store: Store) -> None:
    halt = HaltRecord(id="h1", by="alice", reason="enough", at_unix_ms=2**64 - 1)
    done = store.decide(
        putting(
            PutStrike(strike(1)),  # before what it refers to: the order within a decision is free
            PutPermit(permit(1)),
            PutRun(run_row(key="k1")),
            PutHost(host_row()),
            PutHalt(halt),
            audit=(Audited("alice", "run.started", "r1"),),
            answer="yes",
        )
    )
    seen = store.decide(lambda books: Decision(answer=books)).answer
    for books in (seen, store.read()):
        assert isinstance(books, Books)
        assert books.runs == {"r1": run_row(key="k1")}
        assert books.permits == {"p1": permit(1)}
        assert books.strikes == {"c1": strike(1)}
        assert books.hosts == {"alpha": host_row()}
        assert books.halts.engaged == {"h1": halt}
        assert books.position == done.position
        assert books.now_ms == NOW_MS
    assert done.answer == "yes"
    assert done.position.length == 1


def test_an_empty_store_has_an_empty_position_that_every_chain_contains(store: Store) -> None:
    books = store.read()
    assert books.position == StorePosition()
    assert books.position_known(StorePosition())
    assert books.last_decision_ms == 0


@pytest.mark.parametrize("fault", [ValueError("mine"), OSError("mine"), OverflowError("mine")])
def test_an_exception_of_the_decision_rolls_back_and_is_raised_as_it_is(store: Store, fault: Exception) -> None:
    def decide(books: Books) -> Decision:
        raise fault

    before = store.read()
    with pytest.raises(type(fault)) as caught:
        store.decide(decide)
    assert caught.value is fault
    assert store.read().position == before.position
    assert store.decide(putting(answer=1)).answer == 1


def test_a_change_that_cannot_be_written_takes_back_those_before_it(store: Store) -> None:
    too_large = replace(permit(2), struck_ms=2**63)
    with pytest.raises(StoreFailure, match="PutPermit"):
        store.decide(
            putting(
                PutRun(run_row()),
                PutPermit(permit(1)),
                PutPermit(too_large),
                audit=(Audited("alice", "run.started", "r1"),),
            )
        )
    books = store.read()
    assert not books.runs and not books.permits
    assert books.position.length == 0


def test_eight_threads_never_pass_a_limit(store: Store) -> None:
    limit, tries, threads = 5, 20, 8
    store.decide(putting(PutRun(run_row())))
    start = Barrier(threads)
    most: list[int] = []
    failures: list[Exception] = []

    def contender(name: int) -> None:
        def decide(books: Books) -> Decision:
            held = [known for known in books.permits.values() if not known.released_ms]
            most.append(len(held))
            if len(held) >= limit:
                return Decision((PutPermit(replace(held[0], released_ms=NOW_MS, released_why="recovered")),))
            return Decision((PutPermit(permit(len(books.permits))),), (Audited(f"t{name}", "permit.granted", "p"),))

        start.wait()
        try:
            for _ in range(tries):
                store.decide(decide)
        except Exception as failure:
            failures.append(failure)

    running = [Thread(target=contender, args=(name,)) for name in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert not failures
    assert len(most) == threads * tries
    assert max(most) == limit
    assert store.verify_audit() == ""


def test_decisions_evidence_and_reads_wait_for_each_other_and_none_fails(store: Store) -> None:
    store.decide(a_run_with(1))
    start, failures, rounds = Barrier(6), list[Exception](), 25

    def repeated(act: Callable[[], object]) -> None:
        start.wait()
        try:
            for _ in range(rounds):
                act()
        except Exception as failure:
            failures.append(failure)

    event = KernelEvent(command_id="c1")
    acts: list[Callable[[], object]] = [
        *[lambda: store.append_events("alpha", [event])] * 3,
        *[lambda: store.decide(putting(audit=(Audited("a", "limit.set", "x"),)))] * 2,
        store.read,
    ]
    running = [Thread(target=repeated, args=(act,)) for act in acts]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert not failures
    assert len(store.events()) == 3 * rounds
    assert store.read().position.length == 2 + 2 * rounds
    assert store.verify_audit() == ""


def test_the_books_hold_what_is_open_and_a_day_of_what_was_released(store: Store, clock: SetClock) -> None:
    store.decide(a_run_with(3))
    store.decide(
        putting(
            PutRun(run_row("r1", key="key of r1", state=RUN_STATE_ENDED)),
            PutPermit(permit(1, released_ms=NOW_MS + 1)),
            PutPermit(permit(2, released_ms=NOW_MS + 2)),
        )
    )
    clock.now_ms = NOW_MS + DAY_MS + 2
    books = store.read()
    assert not books.runs
    assert set(books.ended) == {"r1"}, "its limits bind while it holds a permit"
    assert set(books.permits) == {"p2", "p3"}
    assert set(books.strikes) == {"c3"}, "of an ended run, only the strike whose permit is held"
    store.decide(putting(PutStrike(strike(9, permit_id="")), PutRun(run_row("r1"))))
    assert set(store.read().strikes) == {"c1", "c2", "c3", "c9"}, "of a running one all, rehearsals too"


def test_a_strike_is_written_over_by_its_command(store: Store) -> None:
    store.decide(a_run_with(1))
    later = strike(1)
    later.view.state = STRIKE_STATE_STRUCK
    store.decide(putting(PutStrike(later)))
    assert store.read().strikes == {"c1": later}


def test_a_client_key_is_found_also_when_its_run_has_ended(store: Store) -> None:
    store.decide(putting(PutRun(run_row("r1", key="k1", state=RUN_STATE_ENDED)), PutRun(run_row("r2"))))
    found = store.decide(lambda books: Decision(answer=(books.run_of_key("k1"), books.run_of_key("k2"))))
    assert found.answer == ("r1", "")
    assert store.read().run_of_key("") == "", "runs without a key are not one another's"


def test_a_halt_stays_known_and_its_first_record_stands(store: Store) -> None:
    store.decide(putting(ReleaseHalts(("h2",)), PutHalt(HaltRecord(id="h1", by="alice"))))
    store.decide(putting(PutHalt(HaltRecord(id="h1", by="mallory")), PutHalt(HaltRecord(id="h2", by="bob"))))
    halts = store.read().halts
    assert halts.engaged["h1"].by == "alice"
    assert [halt.id for halt in halts.active] == ["h1"], "h2 was released before it was heard of"
    store.decide(putting(ReleaseHalts(("h1",))))
    store.decide(putting(PutHalt(HaltRecord(id="h1", by="alice"))))
    assert store.read().halts.active == ()


def test_the_books_hold_the_runs_that_the_halts_in_force_have_stopped(store: Store, clock: SetClock) -> None:
    for run_id, ended_ms, verdict in (
        ("r1", NOW_MS - DAY_MS, RUN_VERDICT_HALTED),  # by an earlier halt
        ("r2", NOW_MS - 60_000, RUN_VERDICT_HALTED),  # clocks differ
        ("r3", NOW_MS + 1, RUN_VERDICT_HALTED),
        ("r4", NOW_MS + 1, RUN_VERDICT_HELD),
    ):
        row = run_row(run_id, state=RUN_STATE_ENDED)
        store.decide(putting(PutRun(replace(row, verdict=verdict, ended_ms=ended_ms))))
    clock.now_ms = NOW_MS + DAY_MS
    assert not store.read().halted
    store.decide(putting(PutHalt(HaltRecord(id="h1", by="alice", at_unix_ms=NOW_MS))))
    assert set(store.read().halted) == {"r2", "r3"}
    store.decide(putting(ReleaseHalts(("h1",))))
    assert not store.read().halted


def test_a_limit_that_an_operator_set_goes_before_the_configured_one(store: Store) -> None:
    store.decide(putting(SetLimit("in_flight", 1, "alice"), SetLimit("per_zone", 4, "alice")))
    store.decide(putting(SetLimit("in_flight", 2, "bob")))
    limits = store.read().limits
    assert limits.limits == {"in_flight": 2, "per_host": 1, "per_zone": 4}
    assert limits.sources == {"in_flight": "operator", "per_host": "built in", "per_zone": "operator"}


def test_a_clock_that_runs_back_shows_until_it_has_caught_up(store: Store, clock: SetClock) -> None:
    store.decide(putting())
    clock.now_ms = NOW_MS - 3_600_000
    for _ in range(2):
        committed = store.decide(lambda books: Decision(answer=books.last_decision_ms - books.now_ms))
        assert committed.answer == 3_600_000
    clock.now_ms = NOW_MS + 1
    store.decide(putting())
    assert store.read().last_decision_ms == NOW_MS + 1


def test_positions_are_known_by_their_hash(store: Store) -> None:
    first = store.decide(putting(audit=(Audited("a", "run.started", "r1"),))).position
    second = store.decide(putting(audit=(Audited("a", "run.ended", "r1"), Audited("a", "x", "y")))).position
    assert second.length == 3

    def decide(books: Books) -> Decision:
        known = books.position_known
        return Decision(
            answer=(
                known(first),
                known(second),
                known(StorePosition(length=1, head=second.head)),
                known(StorePosition(length=4, head=second.head)),
                known(StorePosition(length=2**64 - 1, head=first.head)),
            )
        )

    assert store.decide(decide).answer == (True, True, False, False, False)
    assert store.read().position_known(first)


def test_r22_a_decision_is_told_where_the_last_one_of_this_coordinator_has_led_to(store: Store) -> None:
    assert store.decide(lambda books: Decision(answer=books.committed)).answer == StorePosition()
    first = store.decide(putting(audit=(Audited("a", "run.started", "r1"),))).position
    assert store.decide(lambda books: Decision(answer=books.committed)).answer == first


# --- what coordinators share --------------------------------------------------------------------------------


def letter(recipient: str, told: bytes = b"", heard: bytes = b"") -> Letter:
    return Letter(
        sender="north", recipient=recipient, host="alpha", session="s", told=told, heard=heard, until_ms=7
    )


def test_a_letter_is_collected_once_by_whom_it_is_for_and_in_order(store: Store, clock: SetClock) -> None:
    store.post([letter("south", b"1"), letter("west", b"2")])
    store.post([letter("south", heard=b"3")])
    clock.now_ms += 5
    assert store.collect("south") == (NOW_MS + 5, [letter("south", b"1"), letter("south", heard=b"3")])
    assert store.collect("south")[1] == []
    assert store.collect("west")[1] == [letter("west", b"2")]


def test_the_strikes_in_a_coordinators_letters_end_with_the_decision_that_says_so(store: Store) -> None:
    strike_, revert = letter("south", b"a strike"), replace(letter("south", b"a revert"), until_ms=0)
    of_another = replace(strike_, sender="west")
    told, answer = replace(letter("north", b"told"), sender="west"), replace(letter("north"), sender="west")
    store.post([strike_, revert, of_another, told, answer])
    store.decide(putting(VoidLetters("north")))
    assert store.collect("south")[1] == [replace(strike_, until_ms=1), revert, of_another]
    assert store.collect("north")[1] == [told], "nobody waits for the answer any more"


def test_coordinators_are_known_by_their_rows(store: Store) -> None:
    row = CoordinatorRow(coordinator="north", instance="i1", since_ms=1, seen_ms=2)
    store.decide(putting(PutCoordinator(row)))
    store.decide(putting(PutCoordinator(replace(row, seen_ms=3))))
    assert store.read().coordinators == {"north": replace(row, seen_ms=3)}


# --- the second belt ----------------------------------------------------------------------------------------


def test_a_released_permit_is_never_held_again(store: Store) -> None:
    store.decide(a_run_with(1))
    store.decide(putting(PutPermit(permit(1, released_ms=NOW_MS + 1))))
    with pytest.raises(StoreFailure, match="p1 again"):
        store.decide(putting(PutPermit(permit(1))))
    store.decide(putting(PutPermit(permit(1, released_ms=NOW_MS + 1, struck_ms=NOW_MS))))
    assert store.read().permits["p1"].struck_ms == NOW_MS, "a signal that is reported late still counts"


def test_a_release_before_its_grant_is_a_release_all_the_same(store: Store) -> None:
    store.decide(a_run_with(1))
    store.decide(putting(PutPermit(permit(1, released_ms=NOW_MS - 5_000))))
    assert store.read().permits["p1"].released_ms == NOW_MS


def test_no_command_has_two_permits(store: Store) -> None:
    store.decide(a_run_with(1))
    with pytest.raises(StoreFailure, match="command_id"):
        store.decide(putting(PutPermit(replace(permit(1), permit_id="p9"))))


def test_no_client_key_starts_two_runs(store: Store) -> None:
    store.decide(putting(PutRun(run_row("r1", key="k1"))))
    with pytest.raises(StoreFailure, match="key"):
        store.decide(putting(PutRun(run_row("r2", key="k1"))))


def test_no_permit_is_without_a_run(store: Store) -> None:
    with pytest.raises(StoreFailure, match=r"(?i)foreign key"):
        store.decide(putting(PutPermit(permit(1))))
    assert not store.read().permits


def test_a_driver_with_an_older_fence_changes_nothing(store: Store) -> None:
    store.decide(putting(PutRun(run_row(fence=2))))
    with pytest.raises(StoreFailure, match="fence"):
        store.decide(putting(PutRun(run_row(fence=1, state=RUN_STATE_ENDED))))
    assert store.read().runs["r1"].fence == 2


def test_what_no_database_text_holds_is_kept_readable_and_the_chain_stays_whole(store: Store) -> None:
    store.decide(
        putting(PutRun(run_row(key="a\0b")), audit=(Audited("a\0b", "run.started", "r1", "\0", {"x": "\0"}),))
    )
    assert store.verify_audit() == ""
    [entry] = store.audit()
    assert (entry.who, entry.why, entry.details) == ("a\ufffdb", "\ufffd", '{"x":"\\u0000"}')
    assert store.read().run_of_key("a\0b") == "r1"


@pytest.mark.parametrize("url", ["mysql://localhost/killdeer", "not a url", "sqlite:///x.db?mode=ro"])
def test_only_sqlite_and_postgresql_are_opened(url: str) -> None:
    with pytest.raises(StoreFailure, match="cannot open the store"):
        Store.open(url)
