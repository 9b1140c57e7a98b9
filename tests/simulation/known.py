"""What is known of the store's books without loading them anew: a decision has said what it changes in them.

Loading them for each decision would take a quarter of a history's time. That what is known is what the store would
load is looked at with each backup, and in the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from sqlalchemy import Connection

from killdeer.v1.operator_pb2 import RUN_STATE_ENDED, StrikeView
from killdeer_coordinator.core.books import (
    Books,
    Change,
    FleetLimits,
    Permit,
    PutCoordinator,
    PutHost,
    PutNote,
    PutPermit,
    PutRun,
    PutStrike,
    RunRow,
    StrikeRow,
)
from killdeer_coordinator.store.books import Questions, position_of
from killdeer_coordinator.store.database import Database
from killdeer_coordinator.store.rows import AnyRow
from killdeer_coordinator.store.store import Store

_QUESTIONS = [one.name for one in fields(Questions)]
_LOADED = [one.name for one in fields(Books) if one.name not in _QUESTIONS]


@dataclass(slots=True)
class Known:
    """`books` are as the last transaction left them; None: they are to be loaded."""

    books: Books | None = None

    def decided(self, changes: tuple[Change, ...]) -> None:
        if self.books is not None and changes:
            self.books = after(self.books, changes)

    def forget(self) -> None:
        self.books = None

    def check(self, store: Store) -> None:
        """Nothing is known that is not so. Raises AssertionError."""
        known = store.read()
        self.forget()
        loaded = store.read()
        wrong = [name for name in _LOADED if getattr(known, name) != getattr(loaded, name)]
        assert not wrong, f"{', '.join(wrong)} in the store: not what tests/simulation/known.py makes of decisions"


class Way(Store):
    """A coordinator's way to the store. The fleet's row and the clock are read anew in each transaction; the rest
    only if it is not known."""

    def __init__(self, known: Known, database: Database, *, limits: FleetLimits, clock: Callable[[], int]) -> None:
        super().__init__(database, limits=limits, clock=clock)
        self._known = known

    def _load(self, connection: Connection, fleet: AnyRow, questions: Questions) -> Books:
        known = self._known.books
        if known is None:
            known = self._known.books = super()._load(connection, fleet, questions)
        return replace(
            known,
            now_ms=self._clock(connection),
            last_decision_ms=fleet.last_decision_ms,
            position=position_of(fleet),
            hosts=dict(known.hosts),  # its reader changes what it has of them
            **{name: getattr(questions, name) for name in _QUESTIONS},
        )


def after(books: Books, changes: tuple[Change, ...]) -> Books | None:
    """As the store would load them. None: that takes a look, for a run has ended, or halts have changed."""
    hosts, coordinators = dict(books.hosts), dict(books.coordinators)
    runs, permits, strikes = dict(books.runs), dict(books.permits), dict(books.strikes)
    for change in changes:
        match change:
            case PutHost(row=host):
                hosts[host.host] = host
            case PutCoordinator(row=coordinator):
                coordinators[coordinator.coordinator] = coordinator
            case PutRun(row=run) if run.state != RUN_STATE_ENDED and run.run_id not in books.ended:
                runs[run.run_id] = _run(runs, run)
            case PutPermit(row=permit) if permit.run_id in runs:
                permits[permit.permit_id] = _permit(permits, permit)
            case PutStrike(row=strike) if strike.run_id in runs:
                strikes[strike.view.command_id] = _as_stored(strike)
            case PutNote():
                pass
            case _:
                return None
    held_first = dict(sorted(permits.items(), key=lambda item: item[1].released_ms))
    return replace(books, hosts=hosts, coordinators=coordinators, runs=runs, permits=held_first, strikes=strikes)


def _run(known: Mapping[str, RunRow], row: RunRow) -> RunRow:
    return replace(row, key=known[row.run_id].key) if row.run_id in known else row


def _permit(known: Mapping[str, Permit], row: Permit) -> Permit:
    """What it was granted for stays."""
    return replace(
        known.get(row.permit_id, row),
        not_after_ms=row.not_after_ms,
        struck_ms=row.struck_ms,
        never_sent=row.never_sent,
        released_ms=max(row.released_ms, row.granted_ms) if row.released_ms else 0,
        released_why=row.released_why,
    )


def _as_stored(row: StrikeRow) -> StrikeRow:
    """Whoever goes on with the view changes nothing in the store."""
    view = StrikeView()
    view.CopyFrom(row.view)
    return replace(row, view=view)
