"""PostgreSQL as it must be opened: the primary, durable, and given up when it does not answer in time.

Whoever holds the fleet row and stops in the middle loses its session, so that a frozen coordinator, or one that
was cut off, holds up the others for IDLE_MS at most. The server answers for the times below; where it answers
nothing at all, TCP or this process cuts the connection, and the next transaction makes a new one.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import URL, Connection, create_engine, event

from killdeer_coordinator.store import statements
from killdeer_coordinator.store.chain import without_nul
from killdeer_coordinator.store.database import Database
from killdeer_coordinator.store.deadlines import Deadlines
from killdeer_coordinator.store.errors import StoreFailure

DRIVER = "postgresql+psycopg"
REMEDY = "look at the server's log and at the way to it; once it answers, this coordinator goes on by itself"

CONNECT_S = 5
LOCK_MS = 5_000  # for the fleet row
IDLE_MS = 5_000  # between two statements of a transaction
STATEMENT_MS = 10_000
TRANSACTION_S = 15.0  # in all, as this process counts
QUESTION_S = 300.0  # the same, where the whole audit log may be read

LISTEN_AGAIN_S = 1.0

# A thread each decides, reads, asks, collects and records.
CONNECTIONS = 5

_SECRETS = frozenset({"password", "sslpassword"})
_CONNECT: dict[str, str | int] = {
    "application_name": "killdeer-coordinator",
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


def name_of(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def open_postgres(url: URL) -> Database:
    """Raises StoreFailure. The first connection is made with the first transaction."""
    if url.get_driver_name() not in ("psycopg", "psycopg2") or url.password or _SECRETS & set(url.query):
        raise StoreFailure(
            f"cannot open the store ({name_of(url)}): give postgresql://USER@HOST/DATABASE without a password; "
            "that goes into the file that PGPASSFILE names, or into PGPASSWORD"
        )
    # A standby must never be asked: leases rest on what is read.
    arguments = {
        **{key: value for key, value in _CONNECT.items() if key not in url.query},
        "target_session_attrs": "read-write",
    }
    engine = create_engine(
        url.set(drivername=DRIVER),
        connect_args=arguments,
        pool_size=CONNECTIONS,
        max_overflow=0,
        # READ COMMITTED: what is read after the wait for the fleet row is what the one before has written.
        isolation_level="READ COMMITTED",
    )
    event.listen(engine, "connect", _connected)
    deadlines = Deadlines()

    async def listen() -> AsyncGenerator[None, None]:
        """Again after each failure, and once then: what was said meanwhile is lost, the rows are not."""
        words, options = engine.dialect.create_connect_args(engine.url)
        while True:
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    *words, **{**options, **arguments}, autocommit=True
                ) as connection:
                    await connection.execute(statements.LISTEN)
                    yield
                    async for _ in connection.notifies():
                        yield
            await asyncio.sleep(LISTEN_AGAIN_S)

    opened = ExitStack()
    opened.callback(deadlines.close)
    opened.callback(engine.dispose)

    @contextmanager
    def watched(connection: Connection, question: bool) -> Iterator[None]:
        driver: Any = connection.connection.driver_connection
        with deadlines.over(driver.pgconn.socket, QUESTION_S if question else TRANSACTION_S):
            yield

    return Database(
        name=name_of(url),
        remedy=REMEDY,
        deciding=engine,
        reading=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        clock=_clock,
        prepare=_prepare,
        wake=_wake,
        listen=listen,
        watched=watched,
        turns=nullcontext(),
        close=opened.close,
    )


def _wake(connection: Connection) -> None:
    connection.execute(statements.WAKE)


def _clock(connection: Connection) -> int:
    return int(connection.execute(statements.SERVER_CLOCK).scalar_one())


def _prepare(connection: Connection) -> None:
    """Two coordinators that start at once migrate one after the other."""
    encoding = connection.execute(statements.SERVER_ENCODING).scalar_one()
    if encoding != "UTF8":
        raise StoreFailure(
            f"cannot open the store: its database has the encoding {encoding}; make one with ENCODING 'UTF8'"
        )
    connection.execute(statements.NO_TIMEOUTS)
    connection.execute(statements.LOCK_SCHEMA)


class _WithoutNul(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(without_nul(obj))


def _connected(connection: Any, _record: object) -> None:
    connection.adapters.register_dumper(str, _WithoutNul)
    for statement in (
        f"SET statement_timeout = {STATEMENT_MS}",
        f"SET lock_timeout = {LOCK_MS}",
        f"SET idle_in_transaction_session_timeout = {IDLE_MS}",
        # A server may be set to promise less than durable; never to us. Stricter settings stay.
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    ):
        connection.execute(statement)
    connection.commit()
