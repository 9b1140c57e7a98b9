"""Opening SQLite as it must be opened: locked against a second coordinator, durable, deciding one at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from killdeer_coordinator.store.errors import StoreFailure, StoreInUse

LOCK_NAME = "coordinator.lock"
# Only a stranger (a backup, sqlite3 by hand) can hold the lock for longer than a decision takes.
BUSY_SECONDS = 10
_DECIDING = "killdeer_deciding"


def sqlite_url(url: str) -> URL:
    """Raises StoreFailure for what is not SQLite."""
    try:
        parsed = make_url(url)
    except ArgumentError as cause:
        raise StoreFailure(f"cannot open the store {url!r}: {cause}") from cause
    if parsed.get_backend_name() != "sqlite" or parsed.query:
        shown = parsed.render_as_string(hide_password=True)
        raise StoreFailure(f"cannot open the store {shown!r}: give sqlite:////PATH/killdeer.db")
    return parsed


def file_of(url: URL) -> Path | None:
    """The database's file; None: it lives in memory."""
    return None if url.database in (None, "", ":memory:") else Path(str(url.database)).absolute()


@contextmanager
def deciding(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its first moment; committed at the end, else rolled back."""
    with engine.connect().execution_options(**{_DECIDING: True}) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment and holds up nobody."""
    with engine.connect() as connection, connection.begin():
        yield connection


def open_engine(url: URL) -> Engine:
    """An engine on SQLite. In memory, all connections are one: its user takes care of turns."""
    # The driver's own habit is to begin late and without a lock; with None, it leaves that to the event below.
    arguments: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_SECONDS, "check_same_thread": False}
    file = file_of(url)
    if file is None:
        engine = create_engine(url, connect_args=arguments, poolclass=StaticPool)
    else:
        # Born private; SQLite gives its -wal and -shm files the same mode.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = create_engine(url, connect_args=arguments)
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begin)
    return engine


def lock_directory(directory: Path) -> int:
    """Takes the directory for this process until the descriptor it returns is closed. Raises StoreInUse."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as cause:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreInUse(
            f"cannot open the store in {directory}: another coordinator (pid {holder}) has it open; "
            "stop that one first, or give this one a state directory of its own"
        ) from cause
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _connected(connection: Any, _record: object) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode not in ("wal", "memory"):
        raise StoreFailure(f"cannot open the store: its file system allows no write-ahead log (it has {mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_DECIDING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
