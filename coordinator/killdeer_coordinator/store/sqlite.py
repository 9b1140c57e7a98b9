"""SQLite as it must be opened: locked against a second coordinator, durable, deciding one at a time."""

import fcntl
import os
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event

from killdeer_coordinator.store.database import Database
from killdeer_coordinator.store.errors import StoreFailure, StoreInUse

LOCK_NAME = "coordinator.lock"
REMEDY = "look at its disk's space, mode and health"
# Only a stranger (a backup, sqlite3 by hand) can hold the lock for longer than a decision takes.
BUSY_SECONDS = 10
_DECIDING = "killdeer_deciding"


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def name_of(url: URL) -> str:
    file = _file_of(url)
    return "in memory" if file is None else str(file)


def open_sqlite(url: URL, *, beside: bool = False) -> Database:
    """In memory, all connections are one. `beside`: of a coordinator that may be running, whose file it is.

    Raises StoreInUse, StoreFailure, OSError.
    """
    if url.query:
        raise StoreFailure(
            f"cannot open the store {url!r}: give sqlite:////PATH/killdeer.db, with nothing after it"
        )
    file = _file_of(url)
    if beside and (file is None or not file.exists()):
        raise StoreFailure(f"cannot open the store ({name_of(url)}): there is none; start the coordinator first")
    with ExitStack() as opened:
        if file is not None and not beside:
            opened.callback(os.close, lock_directory(file.parent))
        engine = _engine(url, file)
        opened.callback(engine.dispose)
        close = opened.pop_all().close
    return Database(
        name=name_of(url),
        remedy=REMEDY,
        deciding=engine.execution_options(**{_DECIDING: True}),
        reading=engine,
        clock=lambda _: unix_ms(),
        prepare=lambda _: None,
        wake=lambda _: None,
        listen=_alone,
        watched=lambda _connection, _question: nullcontext(),
        turns=Lock() if file is None else nullcontext(),
        close=close,
    )


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


def _file_of(url: URL) -> Path | None:
    """The database's file; None: it lives in memory."""
    return None if url.database in (None, "", ":memory:") else Path(str(url.database)).absolute()


async def _alone() -> AsyncGenerator[None, None]:
    return
    yield


def _engine(url: URL, file: Path | None) -> Engine:
    # The driver's own habit is to begin late and without a lock; with None, it leaves that to the event below.
    arguments: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_SECONDS, "check_same_thread": False}
    if file is None:
        engine = create_engine(url, connect_args=arguments, poolclass=StaticPool)
    else:
        # Born private; SQLite gives its -wal and -shm files the same mode.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = create_engine(url, connect_args=arguments)
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begin)
    return engine


def _connected(connection: Any, _record: object) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode not in ("wal", "memory"):
        raise StoreFailure(f"cannot open the store: its file system allows no write-ahead log (it has {mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_DECIDING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
