"""Granting: what forbids a strike, in order, and the books' change when nothing does (rules R16 to R21)."""

from dataclasses import dataclass

from killdeer.v1.operator_pb2 import RunState, StrikeView
from killdeer.v1.process_pb2 import Identity, StrikeState
from killdeer_coordinator.core.books import (
    NOT_HEARD,
    Audited,
    Books,
    Decide,
    Decision,
    Permit,
    PutPermit,
    PutStrike,
    RunRow,
    StrikeRow,
)
from killdeer_coordinator.core.limits import GrantRequest, Withheld, first_broken, held


@dataclass(frozen=True, slots=True)
class Granted:
    permit: Permit


def grant(request: GrantRequest) -> Decide:
    """Answers Granted or Withheld. Granted: permit and strike are stored as SENT before the frame is sent, so it
    is sent once at most and only asked about after that."""

    def decide(books: Books) -> Decision:
        no = _unfit(books, request) or first_broken(books, request) or _busy(books, request.view.victim)
        if no is not None:
            return Decision(answer=no)
        permit = Permit(
            permit_id=request.permit_id,
            command_id=request.command_id,
            run_id=request.run_id,
            host=request.host,
            service=request.service,
            zone=request.zone,
            granted_ms=books.now_ms,
            not_after_ms=request.not_after_ms,
        )
        view = StrikeView()
        view.CopyFrom(request.view)
        view.command_id, view.state = request.command_id, StrikeState.STRIKE_STATE_SENT
        strike = StrikeRow(run_id=request.run_id, view=view, permit_id=request.permit_id)
        entry = Audited(
            who=request.who,
            what="permit.granted",
            subject=request.permit_id,
            details={
                "run": request.run_id,
                "command": request.command_id,
                "host": request.host,
                "service": request.service,
                "pid": view.victim.pid,
                "start_ticks": view.victim.start_ticks,
                "boot_id": view.victim.boot_id,
            },
        )
        return Decision((PutPermit(permit), PutStrike(strike)), (entry,), Granted(permit))

    return decide


def _unfit(books: Books, request: GrantRequest) -> Withheld | None:
    """What forbids any grant, before a limit is looked at."""
    row, run = books.hosts.get(request.host), books.runs.get(request.run_id)
    if halts := books.halts.active:
        first = halts[0]
        return Withheld(
            scope="halted", detail=f"{first.by} halted the fleet: {first.reason or first.id}", hopeless=True
        )
    if not _may_go_on(run, request.fence):
        state = "has ended or is aborting" if run is None or run.fence == request.fence else "has a newer driver"
        return Withheld(scope="run", where=request.run_id, detail=f"run {request.run_id} {state}", hopeless=True)
    if unheard := sorted(row.host for row in books.hosts.values() if row.quarantined == NOT_HEARD):
        detail = f"the store was restored, and not heard since: {', '.join(unheard)}; see `killdeer hosts accept`"
        return Withheld(scope="store", where=unheard[0], detail=detail)
    if row is None:
        return Withheld(scope="host", where=request.host, detail=f"no host {request.host} is known", hopeless=True)
    if row.quarantined:
        return Withheld(
            scope="host",
            where=request.host,
            detail=f"{request.host} is quarantined: {row.quarantined}",
            hopeless=True,
        )
    if books.now_ms < books.last_decision_ms:
        back = books.last_decision_ms - books.now_ms
        return Withheld(
            scope="clock", detail=f"the store's clock ran back by {back} ms", again_ms=books.last_decision_ms
        )
    used = request.command_id in books.strikes or any(
        request.permit_id == permit.permit_id or request.command_id == permit.command_id
        for permit in books.permits.values()
    )
    if used:
        return Withheld(scope="command", where=request.command_id, detail="the id was used before", hopeless=True)
    return None


def _may_go_on(run: RunRow | None, fence: int) -> bool:
    return run is not None and run.state == RunState.RUN_STATE_RUNNING and run.fence == fence


def _busy(books: Books, victim: Identity) -> Withheld | None:
    for permit in held(books):
        row = books.strikes.get(permit.command_id)
        if row is not None and _same(row.view.victim, victim):
            return Withheld(
                scope="busy",
                limit=1,
                used=1,
                where=permit.permit_id,
                detail=f"pid {victim.pid} on {victim.host} is in an open strike already",
            )
    return None


def _same(one: Identity, other: Identity) -> bool:
    return (one.host, one.boot_id, one.pid, one.start_ticks) == (
        other.host,
        other.boot_id,
        other.pid,
        other.start_ticks,
    )
