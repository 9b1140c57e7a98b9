"""The store is stopped, hangs or can't be written to in mid-run: no permit is granted meanwhile, no lease renewed
on what can't be read, a halt goes out all the same, and once it is back all is as it was (R9, R10, R17, I10)."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from killdeer_cli.fleet.layout import Layout
from tests.support import postgres as postgres_server
from tests.support.fleet import PATIENCE_S, wait_until
from tests.support.postgres import Server
from tests.support.prepared import HOST, SELECTOR, Disk, Prepared, needs_root, prepared, small_disk

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Of its own: it is not treated well."""
    if missing := postgres_server.missing():
        pytest.skip(missing)
    with postgres_server.running() as made:
        yield made


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Prepared]:
    def there(layout: Layout) -> None:
        config = layout.folder / "coordinator.toml"
        url = server.url(server.create())
        config.write_text(f'name = "north"\n{config.read_text()}\n[store]\nurl = "{url}"\n')

    with prepared(tmp_path_factory.mktemp("postgres"), there) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite")


@pytest.fixture(scope="module")
def disk(folder: Path) -> Iterator[Disk]:
    needs_root()
    with small_disk(folder / "coordinator", "2m") as made:
        yield made


@pytest.fixture(scope="module")
def on_sqlite(folder: Path, disk: Disk) -> Iterator[Prepared]:
    with prepared(folder) as fleet:
        yield fleet


@contextmanager
def crashed(server: Server) -> Iterator[None]:
    server.stop(signal.SIGQUIT)
    try:
        yield
    finally:
        server.start()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    postmaster = psutil.Process(server.pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def held(file: Path) -> Iterator[None]:
    """By a stranger, such as a backup, that has begun to write."""
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("fault", [crashed, frozen])
def test_r9_without_its_store_no_lease_is_renewed_and_no_permit_granted_and_a_halt_goes_out(
    on_postgres: Prepared, server: Server, fault: Any
) -> None:
    victim, granted, workers = on_postgres.pause(), grants(on_postgres), on_postgres.workers()
    with fault(server):
        wait_until(lambda: not on_postgres.stopped(), "without a lease, its victim goes on")
        assert victim.is_running()
        nothing_is_struck(on_postgres)
        a_halt_goes_out(on_postgres)
        assert on_postgres.workers() == workers, "nobody was hit"
    comes_back(on_postgres, granted)


def test_r17_with_a_full_disk_the_store_grants_nothing_and_a_halt_goes_out(on_sqlite: Prepared, disk: Disk) -> None:
    victim, granted, workers = on_sqlite.pause(), grants(on_sqlite), on_sqlite.workers()
    with disk.full():
        nothing_is_struck(on_sqlite)
        a_halt_goes_out(on_sqlite)
        assert not on_sqlite.stopped(), "reverted before it was acknowledged"
        assert on_sqlite.workers() == workers and victim in workers, "nobody was hit"
    comes_back(on_sqlite, granted)


def test_r17_while_a_stranger_holds_the_store_nothing_is_granted_and_a_halt_goes_out(
    on_sqlite: Prepared, disk: Disk
) -> None:
    victim, granted, workers = on_sqlite.pause(), grants(on_sqlite), on_sqlite.workers()
    with held(disk.at / "killdeer.db"):
        striking = on_sqlite.begin("strike", HOST, SELECTOR, "newest", "--kill", "--yes")
        a_halt_goes_out(on_sqlite)
        assert not on_sqlite.stopped(), "reverted before it was acknowledged"
        assert on_sqlite.workers() == workers and victim in workers, "nobody was hit"
    assert striking.process.wait(PATIENCE_S) in (2, 3, 4), "asked before the halt, and not carried out after it"
    comes_back(on_sqlite, granted)


def nothing_is_struck(fleet: Prepared) -> None:
    refused = fleet.killdeer("strike", HOST, SELECTOR, "newest", "--kill", "--yes", code=None)
    assert refused.code in (2, 4), (refused.out, refused.err)
    assert "store" in refused.err or "no lease" in refused.err, "it says why"


def a_halt_goes_out(fleet: Prepared) -> None:
    halted = fleet.killdeer("halt", "--reason", "the store is gone", "--json").lines
    assert halted[-1]["complete"]
    assert not halted[-1]["stored"], "it says that it is not in the store yet"


def comes_back(fleet: Prepared, granted: int) -> None:
    """The halt is stored by now, or will be; it holds until the rearm."""
    (halt,) = fleet.status["halts"]
    assert halt["reason"] == "the store is gone"
    wait_until(
        lambda: halt["id"] in [entry["subject"] for entry in entries(fleet, "halt.engaged")], "it is in the record"
    )
    assert grants(fleet) == granted, "nothing was granted meanwhile"
    fleet.killdeer("rearm", "--reason", "it is back")
    fleet.as_it_was()
    assert fleet.killdeer("audit", "--verify", "--json").json["verified"]
    assert not entries(fleet, "store.restored")


def entries(fleet: Prepared, what: str) -> list[Any]:
    said = fleet.killdeer("audit", "--json", code=None)
    return [] if said.code else [entry for entry in said.json["entries"] if entry["what"] == what]


def grants(fleet: Prepared) -> int:
    return len(entries(fleet, "permit.granted"))
