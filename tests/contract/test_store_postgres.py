"""PostgreSQL on bad days: gone, back, hung, frozen in the middle, a standby, two coordinators at once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, event

from killdeer.v1.probe_pb2 import Reading
from killdeer.v1.process_pb2 import HaltRecord, KernelEvent
from killdeer_coordinator.core.books import Audited, Books, Decision, Letter, PutHalt, PutPermit, PutRun
from killdeer_coordinator.store import NewerStore, Store, StoreFailure
from killdeer_coordinator.store import postgres as module
from tests.support.postgres import PASSWORD, Server
from tests.support.rows import NOW_MS, a_run_with, permit, putting, run_row

WITHIN_S = 60

OPENED = """
import sys
from killdeer_coordinator.core.books import Audited, Decision
from killdeer_coordinator.store import Store

store = Store.open(sys.argv[1])
store.decide(lambda books: Decision(audit=(Audited("alice", "limit.set", "x"),)))
store.close()
"""


@pytest.fixture
def url(postgres: Server, database: str) -> str:
    return postgres.url(database)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


def audited(number: int) -> Callable[[Books], Decision]:
    return putting(audit=(Audited("alice", "limit.set", str(number)),))


# --- a server that is not there, or does not answer -------------------------------------------------------


def test_a_server_that_was_stopped_is_a_failure_and_one_that_is_back_goes_on(
    postgres: Server, store: Store
) -> None:
    store.decide(a_run_with(2))
    before = store.read().position
    postgres.stop()
    try:
        for _ in range(3):
            with pytest.raises(StoreFailure, match=r"cannot decide in the store .*; look at the server's log"):
                store.decide(audited(1))
        with pytest.raises(StoreFailure, match="cannot read"):
            store.read()
    finally:
        postgres.start()
    assert store.read().position == before
    assert store.decide(audited(2)).position.length == before.length + 1
    assert set(store.read().permits) == {"p1", "p2"}


def test_a_server_that_crashes_in_the_middle_of_a_decision_has_kept_nothing_of_it(
    postgres: Server, store: Store
) -> None:
    def decide(books: Books) -> Decision:
        postgres.stop(signal.SIGQUIT)
        return a_run_with(1)(books)

    try:
        with pytest.raises(StoreFailure, match="cannot decide"):
            store.decide(decide)
    finally:
        postgres.start()
    assert not store.read().runs
    store.decide(a_run_with(1))


def test_a_server_that_hangs_is_given_up(postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRANSACTION_S", 0.3)
    store = Store.open(url)
    store.decide(audited(1))
    [(backend,)] = postgres.execute(
        "postgres", f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(url)}'"
    )
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(StoreFailure, match="cannot decide"):
            store.decide(audited(2))
        assert store.decide(audited(3)).position.length == 2, "on another connection"
    finally:
        os.kill(backend, signal.SIGCONT)
        store.close()


def test_who_freezes_in_the_middle_of_a_decision_loses_it_and_holds_up_nobody(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store.open(url)
    monkeypatch.setattr(module, "IDLE_MS", 200)
    frozen = Store.open(url)
    holding, thawed = Event(), Event()

    def decide(books: Books) -> Decision:
        holding.set()
        assert thawed.wait(WITHIN_S)
        return a_run_with(1)(books)

    failures: list[Exception] = []
    inside = Thread(target=lambda: failures.extend(failure_of(lambda: frozen.decide(decide))))
    inside.start()
    assert holding.wait(WITHIN_S)
    try:
        assert other.decide(audited(1)).position.length == 1
    finally:
        thawed.set()
        inside.join(WITHIN_S)
    [failure] = failures
    assert isinstance(failure, StoreFailure)
    assert not other.read().runs
    assert frozen.decide(a_run_with(1)).position.length == 3
    frozen.close()
    other.close()


def test_a_fleet_row_that_is_not_given_back_is_a_failure(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_MS", 50)
    holding, waiting = Store.open(url), Store.open(url)

    def decide(books: Books) -> Decision:
        return Decision(answer=failure_of(lambda: waiting.decide(audited(1))))

    failures = holding.decide(decide).answer
    assert "lock timeout" in str(failures)
    assert waiting.read().position.length == 0, "reading waits for nobody"
    holding.close()
    waiting.close()


def test_the_record_of_a_run_waits_for_no_decision(store: Store) -> None:
    store.decide(a_run_with(1))

    def decide(books: Books) -> Decision:
        beside = Thread(target=store.append_record, args=("r1", [Reading(probe="p95", value=1.0)], []))
        beside.start()
        beside.join(WITHIN_S)
        return Decision(answer=len(store.report("r1").readings))

    assert store.decide(decide).answer == 1


# --- what is opened, and as what --------------------------------------------------------------------------


def test_a_password_comes_from_its_file_and_never_from_the_url(
    postgres: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bad in (
        f"postgresql://killdeer:{PASSWORD}@127.0.0.1:{postgres.port}/{database}",
        f"{postgres.loopback_url(database)}?password={PASSWORD}",
    ):
        with pytest.raises(StoreFailure, match="PGPASSFILE") as caught:
            Store.open(bad)
        assert PASSWORD not in str(caught.value)
    with pytest.raises(StoreFailure, match="no password supplied"):
        Store.open(postgres.loopback_url(database))
    monkeypatch.setenv("PGPASSFILE", str(postgres.passfile))
    store = Store.open(postgres.loopback_url(database))
    assert store.decide(audited(1)).position.length == 1
    store.close()


def test_a_server_that_takes_no_writes_is_never_read_either(postgres: Server, url: str) -> None:
    Store.open(url).close()
    postgres.execute("postgres", f"ALTER DATABASE {database_of(url)} SET default_transaction_read_only = on")
    with pytest.raises(StoreFailure, match="read-only"):
        Store.open(url)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Server) -> None:
    name = postgres.create(encoding="LATIN1")
    with pytest.raises(StoreFailure, match="ENCODING 'UTF8'"):
        Store.open(postgres.url(name))
    postgres.drop(name)


def test_a_commit_is_durable_also_where_the_database_promises_less(postgres: Server, url: str) -> None:
    postgres.execute("postgres", f"ALTER DATABASE {database_of(url)} SET synchronous_commit = off")
    store = Store.open(url)
    seen: list[tuple[str, str]] = []

    def look(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE fleet SET decisions"):
            shown = cursor.connection.execute(  # type: ignore[attr-defined]
                "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')"
            )
            seen.append(shown.fetchone())

    event.listen(Engine, "before_cursor_execute", look)
    try:
        store.decide(audited(1))
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    assert seen == [("on", "read committed")]
    store.close()


def test_a_store_of_a_later_version_is_refused_by_name(postgres: Server, url: str) -> None:
    Store.open(url).close()
    postgres.execute(database_of(url), "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerStore, match=r"revision 9999.*install the version that wrote it"):
        Store.open(url)


def test_the_clock_is_the_servers(postgres: Server, url: str, store: Store) -> None:
    ask = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    [(before,)] = postgres.execute(database_of(url), ask)
    seen = store.decide(lambda books: Decision(answer=books.now_ms)).answer
    [kept] = store.append_events("alpha", [KernelEvent()])
    [(after,)] = postgres.execute(database_of(url), ask)
    assert isinstance(before, int) and isinstance(seen, int) and isinstance(after, int)
    assert before <= seen <= kept.received_unix_ms <= after


# --- several coordinators ---------------------------------------------------------------------------------


def test_coordinators_that_start_at_once_migrate_one_after_the_other(url: str) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", OPENED, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for one in started:
        _, said = one.communicate(timeout=WITHIN_S)
        assert one.returncode == 0, said
    store = Store.open(url)
    assert store.read().position.length == 3
    store.close()


def test_sixteen_contenders_of_two_coordinators_never_pass_a_limit(url: str) -> None:
    limit, tries = 5, 10
    stores = [Store.open(url), Store.open(url)]
    stores[0].decide(putting(PutRun(run_row())))
    most, failures = list[int](), list[Exception]()

    def decide(books: Books) -> Decision:
        held = [known for known in books.permits.values() if not known.released_ms]
        most.append(len(held))
        if len(held) >= limit:
            return Decision((PutPermit(replace(held[0], released_ms=NOW_MS, released_why="recovered")),))
        return Decision((PutPermit(permit(len(books.permits))),), (Audited("t", "permit.granted", "p"),))

    def contender(store: Store) -> None:
        for _ in range(tries):
            failures.extend(failure_of(lambda: store.decide(decide)))

    together([lambda store=stores[n % 2]: contender(store) for n in range(16)])  # type: ignore[misc]
    assert not failures
    assert len(most) == 16 * tries
    assert max(most) == limit
    assert stores[0].verify_audit() == ""
    for store in stores:
        store.close()


def test_who_follows_the_evidence_by_number_misses_nothing_of_another_coordinator(url: str) -> None:
    rounds, writers, follower = 20, [Store.open(url), Store.open(url)], Store.open(url)
    failures, done, followed = list[Exception](), Event(), list[int]()

    def follow() -> None:
        after = 0
        while True:
            last = done.is_set()
            for one in follower.events(after, 1_000):
                followed.append(after := one.number)
            if last:
                return

    following = Thread(target=follow)
    following.start()

    def write(store: Store) -> None:
        for _ in range(rounds):
            failures.extend(failure_of(lambda: store.append_events("alpha", [KernelEvent(), KernelEvent()])))

    together([lambda store=store: write(store) for store in writers])  # type: ignore[misc]
    done.set()
    following.join(WITHIN_S)
    assert not failures
    assert followed == [one.number for one in follower.events(0, 1_000)]
    assert len(followed) == 2 * 2 * rounds
    for store in (*writers, follower):
        store.close()


def test_who_listens_is_woken_by_halts_runs_and_letters_and_again_after_a_restart(
    postgres: Server, url: str
) -> None:
    store, listener = Store.open(url), Store.open(url)
    some = Letter(sender="north", recipient="south", host="alpha")

    async def listen() -> None:
        async with aclosing(listener.listen()) as wakes:
            await anext(wakes)  # it listens
            for act in (
                lambda: store.decide(putting(PutHalt(HaltRecord(id="h1", by="alice")))),
                lambda: store.decide(putting(PutRun(run_row()))),
                lambda: store.post([some]),
            ):
                act()
                async with asyncio.timeout(WITHIN_S):
                    await anext(wakes)
            again = asyncio.ensure_future(anext(wakes))
            store.decide(audited(1))  # nothing that others wait for
            postgres.stop()
            postgres.start()
            async with asyncio.timeout(WITHIN_S):
                await again

    asyncio.run(listen())
    late = Store.open(url)
    assert late.collect("south")[1] == [some], "the rows are read again"
    late.close()
    store.close()
    listener.close()


def database_of(url: str) -> str:
    return url.partition("/killdeer_")[1].lstrip("/") + url.partition("/killdeer_")[2].partition("?")[0]


def failure_of(act: Callable[[], object]) -> list[Exception]:
    try:
        act()
    except Exception as failure:
        return [failure]
    return []


def together(acts: list[Callable[[], None]]) -> None:
    running = [Thread(target=act) for act in acts]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(WITHIN_S)
