"""A store that is killed, full, locked, broken or too new: all or nothing, named, never granted in doubt."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from killdeer_coordinator.core.books import Audited, Books, Decision
from killdeer_coordinator.store import NewerStore, Store, StoreFailure, StoreInUse
from tests.support.rows import a_run_with, putting

ROOT = Path(__file__).parents[2]

# Opens the store, decides, and is killed by itself at the moment named.
KILLED_AT = """
import os, signal, sys
from sqlalchemy import Engine, event
from killdeer_coordinator.store import Store
from tests.support.rows import a_run_with

url, moment = sys.argv[1:]
store = Store.open(url)
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)

def before(connection, cursor, statement, *_):
    if statement.startswith(moment):
        die()

event.listen(Engine, "before_cursor_execute", before)
if moment == "COMMIT":
    event.listen(Engine, "commit", die)
store.decide(a_run_with(3))
die()
"""

# Lets no file grow past what it has: a full disk, as SQLite sees it.
NO_SPACE = """
import os, resource, sys
from killdeer_coordinator.core.books import Audited
from killdeer_coordinator.store import Store, StoreFailure
from tests.support.rows import a_run_with, putting

store = Store.open(sys.argv[1])
store.decide(putting(audit=(Audited("alice", "limit.set", "before"),)))
largest = max(os.stat(sys.argv[2] + end).st_size for end in ("", "-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
try:
    while True:
        store.decide(putting(audit=(Audited("alice", "limit.set", "x" * 100_000),)))
except StoreFailure as failure:
    print(failure)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.decide(a_run_with(1))
print(store.verify_audit() or "whole")
"""


def run_python(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(entry for entry in [str(ROOT), *sys.path] if entry)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "killdeer.db"


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ("UPDATE fleet SET decisions", False),
        ("INSERT INTO permits", False),
        ("INSERT INTO audit", False),
        ("UPDATE fleet SET last_decision_ms", False),
        ("COMMIT", False),
        ("after it", True),
    ],
)
def test_a_kill_at_any_moment_leaves_all_or_nothing(durable_url: str, moment: str, written: bool) -> None:
    killed = run_python(KILLED_AT, durable_url, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = Store.open(durable_url)  # the dead one's lock is gone with it
    books = store.read()
    assert (len(books.runs), len(books.permits), len(books.strikes)) == ((1, 3, 3) if written else (0, 0, 0))
    assert books.position.length == (4 if written else 0)
    assert store.verify_audit() == ""
    store.decide(a_run_with(3, "r1"))
    store.close()


def test_a_second_coordinator_on_one_directory_is_refused_by_name(file: Path) -> None:
    first = Store.open(f"sqlite:///{file}")
    for name in (file.name, "other.db"):
        with pytest.raises(StoreInUse, match=rf"another coordinator \(pid {os.getpid()}\)"):
            Store.open(f"sqlite:///{file.with_name(name)}")
    script = "import sys; from killdeer_coordinator.store import Store; Store.open(sys.argv[1])"
    refused = run_python(script, f"sqlite:///{file}")
    assert refused.returncode == 1
    assert f"pid {os.getpid()}" in refused.stderr
    first.decide(a_run_with(1))
    first.close()
    second = Store.open(f"sqlite:///{file}")
    assert set(second.read().permits) == {"p1"}
    second.close()


def test_a_full_disk_is_a_failure_and_no_more(file: Path) -> None:
    result = run_python(NO_SPACE, f"sqlite:///{file}", str(file))
    assert result.returncode == 0, result.stderr
    failure, state = result.stdout.splitlines()
    assert failure.startswith(f"cannot decide in the store ({file})")
    assert state == "whole"


def test_a_store_that_takes_no_writes_is_a_failure(file: Path) -> None:
    def forbid_writes(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    store = Store.open(f"sqlite:///{file}")
    event.listen(Engine, "checkout", forbid_writes)
    try:
        with pytest.raises(StoreFailure, match="readonly"):
            store.decide(putting(audit=(Audited("alice", "limit.set", "x"),)))
        assert store.read().position.length == 0, "it can still be read"
    finally:
        event.remove(Engine, "checkout", forbid_writes)
    store.close()


def test_a_failure_of_the_store_within_a_decision_is_no_fault_of_the_decision(file: Path) -> None:
    store = Store.open(f"sqlite:///{file}")
    store.decide(a_run_with(1))
    stranger = sqlite3.connect(file, isolation_level=None)
    stranger.execute("DROP TABLE audit")
    stranger.close()

    def decide(books: Books) -> Decision:
        return Decision(answer=books.position_known(books.position))

    with pytest.raises(StoreFailure, match="no such table"):
        store.decide(decide)
    store.close()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(file: Path) -> None:
    file.write_bytes(b"not a database, but long enough to look like something\n" * 100)
    before = file.read_bytes()
    with pytest.raises(StoreFailure, match="not a database"):
        Store.open(f"sqlite:///{file}")
    assert file.read_bytes() == before
    with pytest.raises(StoreFailure, match="cannot open"):
        Store.open("sqlite:////proc/nowhere/killdeer.db")


def test_a_store_of_a_later_version_is_refused_by_name(file: Path) -> None:
    Store.open(f"sqlite:///{file}").close()
    stranger = sqlite3.connect(file, isolation_level=None)
    stranger.execute("UPDATE alembic_version SET version_num = '9999'")
    stranger.close()
    with pytest.raises(NewerStore, match=r"revision 9999.*install the version that wrote it"):
        Store.open(f"sqlite:///{file}")


def test_the_store_is_its_owners_alone_and_durable(file: Path) -> None:
    store = Store.open(f"sqlite:///{file}")
    store.decide(a_run_with(1))
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(("coordinator.lock", file.name, f"{file.name}-wal", f"{file.name}-shm"), 0o600)
    seen: list[tuple[Any, ...]] = []

    def look(connection: Any, *_: object) -> None:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        seen.append(tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas))

    event.listen(Engine, "checkout", look)
    try:
        store.read()
    finally:
        event.remove(Engine, "checkout", look)
    assert seen == [("wal", 2, 1)], "2: full"
    store.close()
