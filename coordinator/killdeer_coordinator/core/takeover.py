"""The first decision of a coordinator: what it finds in the books, and what it makes void (rules R10, R22, R24).

A run is not carried over a restart. What was permitted and not sent can't be told from what was sent, so nothing
is sent again: every run under way is ended as aborted, its fence goes up, and its open strikes are reverted as
their agents rejoin. Their permits stay held until the agents' own words release them. One whose file has something
done at its end, such as its load stopped, goes on aborting until that is done: should its new driver die meanwhile,
the next one does it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from killdeer.halts import Halts
from killdeer.v1.operator_pb2 import RunState, RunVerdict, StrikeView
from killdeer.v1.probe_pb2 import Deed
from killdeer.v1.process_pb2 import StorePosition, StrikeState
from killdeer_coordinator.core.admission import halts_to_store, lost_position, not_heard
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    Change,
    CoordinatorRow,
    Decide,
    Decision,
    PutCoordinator,
    PutHalt,
    PutHost,
    PutRun,
    PutStrike,
    RunRow,
    StrikeRow,
    VoidLetters,
)
from killdeer_coordinator.core.intake import Intake, take_in
from killdeer_coordinator.core.strikes import WITHOUT_A_SIGNAL

WHO = "coordinator"
RESTARTED = "the coordinator was restarted"


@dataclass(frozen=True, slots=True)
class TakenOver:
    halts: Halts
    runs: tuple[RunRow, ...]  # those that were ended
    open: tuple[StrikeRow, ...] = ()  # the strikes of ended runs whose permits are held


def take_over(coordinator: str, kept: Halts, position: StorePosition, unix_ms: int, instance: str = "") -> Decide:
    """Answers TakenOver. `kept` and `position` are those of the state directory; with an `instance`, others share
    the store, and the runs that they drive are theirs."""

    def decide(books: Books) -> Decision:
        halts, changes, audit = halts_to_store(books, kept)
        audit = (Audited(WHO, "coordinator.started", coordinator), *audit)
        if (lost := lost_position(books, position, f"coordinator {coordinator}", unix_ms)) is not None:
            halts = halts.engage(lost)
            changes += (PutHalt(lost), *not_heard(books))
            audit += (
                Audited(WHO, "store.restored", coordinator, lost.reason),
                Audited(WHO, "halt.engaged", lost.id, lost.reason),
            )
        if instance:
            mine = CoordinatorRow(
                coordinator=coordinator, instance=instance, since_ms=books.now_ms, seen_ms=books.now_ms
            )
            unserved = tuple(
                PutHost(replace(row, coordinator=""))
                for row in books.hosts.values()
                if row.coordinator == coordinator  # before it was restarted
            )
            changes += (PutCoordinator(mine), VoidLetters(coordinator), *unserved)
        runs = [run for run in books.runs.values() if not instance or run.driver in ("", coordinator)]
        halted = bool(halts.active)
        more, entries, open_strikes = end_runs(books, runs, RESTARTED, halted=halted, by=coordinator)
        answer = TakenOver(halts, tuple(runs), open_strikes + left_open(books))
        return Decision(changes + more, audit + entries, answer)

    return decide


def end_runs(
    books: Books, runs: Collection[RunRow], why: str, *, halted: bool, by: str = ""
) -> tuple[tuple[Change, ...], tuple[Audited, ...], tuple[StrikeRow, ...]]:
    """What ends them: the changes, their audit entries, and their strikes whose permits are held. `by` is who does
    what is to be done at their end; empty: whoever drove them."""
    changes: tuple[Change, ...] = ()
    audit: tuple[Audited, ...] = ()
    for run in runs:
        put = _ended(run, why, halted=halted, now_ms=books.now_ms)
        what = "run.ended"
        if owed(put):  # it ends once that is done, by whoever holds it then
            put = replace(put, state=RunState.RUN_STATE_ABORTING, ended_ms=0, driver=by or run.driver)
            what = "run.aborted"
        changes += (PutRun(put),)
        audit += (Audited(WHO, what, run.run_id, put.why),)
    ids = {run.run_id for run in runs}
    struck = [strike for strike in books.strikes.values() if strike.run_id in ids and strike.permit_id]
    for strike in struck:
        changes += _unheard(strike, why)
    held = {permit.command_id for permit in books.permits.values() if not permit.released_ms}
    return changes, audit, tuple(strike for strike in struck if strike.view.command_id in held)


def left_open(books: Books) -> tuple[StrikeRow, ...]:
    """Strikes of ended runs whose permits are held: whoever ended those may have died before the reverts."""
    return tuple(
        strike
        for permit in books.permits.values()
        if not permit.released_ms
        and permit.run_id in books.ended
        and (strike := books.strikes.get(permit.command_id)) is not None
    )


def restored(shown: StorePosition, by: str, unix_ms: int) -> Decide:
    """Answers the halts to latch when the store does not contain a position that it had before; None: it does.

    What runs by these books was ended since, or nobody drives it: it is void.
    """

    def decide(books: Books) -> Decision:
        missing = books.lacks(shown)
        if missing is None:
            return Decision()
        changes, audit, _ = end_runs(books, list(books.runs.values()), "the store was restored", halted=True)
        changes += not_heard(books)
        lost = lost_position(books, missing, by, unix_ms)
        if lost is None:  # latched already
            return Decision(changes, audit, Halts())
        audit += (
            Audited(WHO, "store.restored", by, lost.reason),
            Audited(WHO, "halt.engaged", lost.id, lost.reason),
        )
        return Decision((*changes, PutHalt(lost)), audit, Halts({lost.id: lost}))

    return decide


def owed(row: RunRow) -> tuple[Deed, ...]:
    """What is to be done for a run that has lost its driver: its load stopped, those told who hear of its end. Its
    driver may have done some of it, and its receivers take each as once."""
    intake = take_in(row.source, row.file)
    if not isinstance(intake, Intake):
        return ()
    aborted = row.verdict == RunVerdict.RUN_VERDICT_ABORTED
    return (*(intake.outlook.on_abort if aborted else ()), *intake.outlook.at_end)


def _ended(run: RunRow, why: str, *, halted: bool, now_ms: int) -> RunRow:
    if run.verdict:  # it was ended before, by one that is gone too
        return replace(run, fence=run.fence + 1, state=RunState.RUN_STATE_ENDED, ended_ms=now_ms)
    verdict = RunVerdict.RUN_VERDICT_HALTED if halted else RunVerdict.RUN_VERDICT_ABORTED
    return replace(
        run,
        fence=run.fence + 1,
        state=RunState.RUN_STATE_ENDED,
        verdict=verdict,
        why=f"{why}{' while the fleet was halted' if halted else ''}",
        ended_ms=now_ms,
    )


def _unheard(strike: StrikeRow, why: str) -> tuple[Change, ...]:
    if strike.view.state not in WITHOUT_A_SIGNAL:
        return ()
    view = StrikeView()
    view.CopyFrom(strike.view)
    view.state, view.detail = StrikeState.STRIKE_STATE_UNKNOWN, f"{why} before its host had answered"
    return (PutStrike(replace(strike, view=view)),)
