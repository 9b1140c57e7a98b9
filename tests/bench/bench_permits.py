"""Permits a second with 16 contenders for 5 places, on both stores: each is granted in the one locked transaction
with its audit entry, and given back in another. A store on SQLite is one coordinator's, whose decisions wait for
one writer; on PostgreSQL the contenders are as many coordinators.

The reference is what a permit costs at the least on the same database in the same run: lock, count, insert, commit,
and delete, commit, by hand-written SQL from 16 connections. It keeps no limits but one, no record, no chain.
"""

import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg

from killdeer.v1.operator_pb2 import StrikeView
from killdeer.v1.process_pb2 import Action, Identity, Kill, StrikeState
from killdeer_coordinator.core import ledger
from killdeer_coordinator.core.books import FleetLimits, PutHost, PutRun, RunLimits
from killdeer_coordinator.store import Store
from tests.support import postgres
from tests.support.rows import host_row, putting, run_row

CONTENDERS = 16
PLACES = 5
SECONDS = 5.0
FREE = RunLimits(in_flight=None, per_host=None)

Contender = Callable[[int], bool]
"""Tries for its permit with this number; gives it back where it got one. Whether it did."""


def run() -> list[dict[str, object]]:
    rows = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        with (
            _store(f"sqlite:///{place / 'killdeer.db'}", writers=1) as ours,
            _sqlite(place / "reference.db") as theirs,
        ):
            rows.append(_row("permits a second on SQLite", ours, theirs))
    with (
        postgres.running(durable=True) as server,
        _store(server.url(server.create()), writers=CONTENDERS) as ours,
        _postgresql(server.url(server.create())) as theirs,
    ):
        rows.append(_row("permits a second on PostgreSQL", ours, theirs))
    return rows


def _row(name: str, ours: Callable[[], Contender], theirs: Callable[[], Contender]) -> dict[str, object]:
    rates = _granted(ours), _granted(theirs)
    return {
        "name": f"{name} (against bare SQL)",
        "ours": round(rates[0], 1),
        "reference": round(rates[1], 1),
        "ratio": round(rates[0] / rates[1], 3),
        "to_hold": None,
    }


def _granted(contender: Callable[[], Contender]) -> float:
    """A second, by all contenders together."""
    ready, counts = threading.Barrier(CONTENDERS + 1), [0] * CONTENDERS
    ends = threading.Event()

    def contend(which: int) -> None:
        attempt, number = contender(), which
        ready.wait()
        while not ends.is_set():
            counts[which] += attempt(number)
            number += CONTENDERS

    threads = [threading.Thread(target=contend, args=(which,)) for which in range(CONTENDERS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.monotonic()
    ends.wait(SECONDS)  # the measure itself
    ends.set()
    took = time.monotonic() - began
    for thread in threads:
        thread.join()
    return sum(counts) / took


@contextmanager
def _store(url: str, *, writers: int) -> Iterator[Callable[[], Contender]]:
    pool = ThreadPoolExecutor(writers)
    store = Store.open(url, limits=FleetLimits(limits={"in_flight": PLACES}))
    running = run_row("r1")
    store.decide(putting(PutHost(host_row("h1")), PutRun(running)))
    store.decide(putting(*(PutHost(host_row(f"h{number}")) for number in range(2, 101))))

    def attempt(number: int) -> bool:
        command_id = f"c{number}"
        victim = Identity(host="h1", boot_id="b", pid=number + 1, start_ticks=number + 1)
        asked = ledger.GrantRequest(
            permit_id=f"p-{command_id}",
            command_id=command_id,
            run_id="r1",
            host="h1",
            service="worker@",
            zone="a",
            not_after_ms=int(time.time() * 1_000) + 60_000,
            limits=FREE,
            standing=ledger.Standing(
                service="worker@", ready_by_host={"h1": 1_000}, begun_ms=int(time.time() * 1_000) + 1_000
            ),
            view=StrikeView(
                command_id=command_id,
                victim=victim,
                action=Action(kill=Kill(signal=9)),
                state=StrikeState.STRIKE_STATE_PLANNED,
            ),
            who="bench",
        )
        if not isinstance(pool.submit(store.decide, ledger.grant(asked)).result().answer, ledger.Granted):
            return False
        pool.submit(store.decide, ledger.release(command_id, "refused", never_sent=True)).result()
        return True

    with pool:
        yield lambda: attempt
    store.close()


@contextmanager
def _sqlite(file: Path) -> Iterator[Callable[[], Contender]]:
    with sqlite3.connect(file) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE permit (number INTEGER PRIMARY KEY)")

    def contender() -> Contender:
        connection = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")

        def attempt(number: int) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            held = connection.execute("SELECT count(*) FROM permit").fetchone()[0]
            if held < PLACES:
                connection.execute("INSERT INTO permit VALUES (?)", (number,))
            connection.execute("COMMIT")
            if held < PLACES:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM permit WHERE number = ?", (number,))
                connection.execute("COMMIT")
            return bool(held < PLACES)

        return attempt

    yield contender


@contextmanager
def _postgresql(url: str) -> Iterator[Callable[[], Contender]]:
    with psycopg.connect(url) as made:
        made.execute("CREATE TABLE fleet (id integer PRIMARY KEY)")
        made.execute("INSERT INTO fleet VALUES (1)")
        made.execute("CREATE TABLE permit (number bigint PRIMARY KEY)")

    def contender() -> Contender:
        connection = psycopg.connect(url)

        def attempt(number: int) -> bool:
            connection.execute("SELECT id FROM fleet FOR UPDATE")
            counted = connection.execute("SELECT count(*) FROM permit").fetchone()
            granted = counted is not None and counted[0] < PLACES
            if granted:
                connection.execute("INSERT INTO permit VALUES (%s)", (number,))
            connection.commit()
            if granted:
                connection.execute("SELECT id FROM fleet FOR UPDATE")
                connection.execute("DELETE FROM permit WHERE number = %s", (number,))
                connection.commit()
            return granted

        return attempt

    yield contender


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
