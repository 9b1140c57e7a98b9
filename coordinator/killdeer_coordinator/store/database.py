"""An opened database: what SQLite and PostgreSQL have in common for the store, and the transactions on it."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from killdeer_coordinator.store.errors import StoreFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """`name` is how messages call it, `remedy` what to look at when it fails; both engines share connections."""

    name: str
    remedy: str
    deciding: Engine
    """Its transactions write; who would decide beside them waits."""
    reading: Engine
    """Its transactions see one moment and hold up nobody."""
    clock: Callable[[Connection], int]
    """The store's clock, in Unix ms."""
    prepare: Callable[[Connection], None]
    """Called in the transaction that brings it to this version's schema, before anything else."""
    wake: Callable[[Connection], None]
    """With the commit, whoever listens hears that there is something to read."""
    listen: Callable[[], AsyncGenerator[None, None]]
    """Gives None whenever another coordinator may have written something; ends where there is none."""
    watched: Callable[[Connection, bool], AbstractContextManager[None]]
    """Around every transaction: ends one that hangs. True: a question, which may take long."""
    turns: AbstractContextManager[object]
    """Around every use: where all connections are one, its users take turns."""
    close: Callable[[], None]

    @contextmanager
    def transaction(self, verb: str, engine: Engine, *, question: bool = False) -> Iterator[Connection]:
        """Committed at the end, else rolled back. Raises StoreFailure, "cannot <verb> the store"."""
        with self.turns:
            try:
                with engine.connect() as connection, self.watched(connection, question), connection.begin():
                    yield connection
            except SQLAlchemyError as cause:
                raise self.failure(verb, cause) from cause

    def failure(self, verb: str, cause: BaseException) -> StoreFailure:
        return failure(verb, self.name, cause, self.remedy)


def failure(verb: str, name: str, cause: BaseException, remedy: str) -> StoreFailure:
    # SQLAlchemy's own text quotes statements and values; the driver's says what is wrong.
    original = getattr(cause, "orig", None) or cause
    said = "; ".join(line.strip() for line in str(original).splitlines() if line.strip())
    return StoreFailure(f"cannot {verb} the store ({name}): {said}; {remedy}")
