"""The first decision of a coordinator: what it finds in the books, and what it makes void (rules R10, R22, R24).

A run is not carried over a restart. What was permitted and not sent can't be told from what was sent, so nothing
is sent again: every run under way is ended as aborted, its fence goes up, and its open strikes are reverted as
their agents rejoin. Their permits stay held until the agents' own words release them.
"""

from dataclasses import dataclass, replace

from killdeer.halts import Halts
from killdeer.v1.operator_pb2 import RunState, RunVerdict, StrikeView
from killdeer.v1.process_pb2 import StorePosition, StrikeState
from killdeer_coordinator.core.admission import halts_to_store, lost_position
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    Change,
    Decide,
    Decision,
    PutHalt,
    PutRun,
    PutStrike,
    RunRow,
    StrikeRow,
)
from killdeer_coordinator.core.strikes import WITHOUT_A_SIGNAL

WHO = "coordinator"
RESTARTED = "the coordinator was restarted"


@dataclass(frozen=True, slots=True)
class TakenOver:
    halts: Halts
    runs: tuple[str, ...]  # ids of those that were ended


def take_over(coordinator: str, kept: Halts, position: StorePosition, unix_ms: int) -> Decide:
    """Answers TakenOver. `kept` and `position` are those of the state directory."""

    def decide(books: Books) -> Decision:
        halts, changes, audit = halts_to_store(books, kept)
        audit = (Audited(WHO, "coordinator.started", coordinator), *audit)
        if (lost := lost_position(books, position, f"coordinator {coordinator}", unix_ms)) is not None:
            halts = halts.engage(lost)
            changes += (PutHalt(lost),)
            audit += (
                Audited(WHO, "store.restored", coordinator, lost.reason),
                Audited(WHO, "halt.engaged", lost.id, lost.reason),
            )
        for run in books.runs.values():
            put = _ended(run, halted=bool(halts.active), now_ms=books.now_ms)
            changes += (PutRun(put),)
            audit += (Audited(WHO, "run.ended", run.run_id, put.why),)
        for strike in books.strikes.values():
            if strike.run_id in books.runs and strike.permit_id:
                changes += _unheard(strike)
        return Decision(changes, audit, TakenOver(halts, tuple(books.runs)))

    return decide


def restored(shown: StorePosition, by: str, unix_ms: int) -> Decide:
    """Answers the halts to latch when the store does not contain a position that it had before."""

    def decide(books: Books) -> Decision:
        lost = lost_position(books, shown, by, unix_ms)
        if lost is None:
            return Decision(answer=Halts())
        audit = (
            Audited(WHO, "store.restored", by, lost.reason),
            Audited(WHO, "halt.engaged", lost.id, lost.reason),
        )
        return Decision((PutHalt(lost),), audit, Halts({lost.id: lost}))

    return decide


def _ended(run: RunRow, *, halted: bool, now_ms: int) -> RunRow:
    verdict = RunVerdict.RUN_VERDICT_HALTED if halted else RunVerdict.RUN_VERDICT_ABORTED
    return replace(
        run,
        fence=run.fence + 1,
        state=RunState.RUN_STATE_ENDED,
        verdict=verdict,
        why=f"{RESTARTED}{' while the fleet was halted' if halted else ''}",
        ended_ms=now_ms,
    )


def _unheard(strike: StrikeRow) -> tuple[Change, ...]:
    if strike.view.state not in WITHOUT_A_SIGNAL:
        return ()
    view = StrikeView()
    view.CopyFrom(strike.view)
    view.state, view.detail = StrikeState.STRIKE_STATE_UNKNOWN, f"{RESTARTED} before its host had answered"
    return (PutStrike(replace(strike, view=view)),)
