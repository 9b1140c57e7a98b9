"""Permits: granted within every limit, held until the victim has recovered (rules R16 to R21).

Each verb gives the pure function that the store runs in its one locked transaction (rule R17).
"""

from collections.abc import Callable
from dataclasses import replace

from killdeer.v1.operator_pb2 import PermitView, StrikeView
from killdeer.v1.process_pb2 import StrikeState
from killdeer_coordinator.core.allowance import limit_views, set_limit
from killdeer_coordinator.core.approval import not_to_clear
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    Decide,
    Decision,
    Permit,
    PutPermit,
    PutStrike,
    StrikeRow,
)
from killdeer_coordinator.core.grant import Granted, grant
from killdeer_coordinator.core.limits import GrantRequest, Withheld, held
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.standing import Standing

__all__ = [
    "GrantRequest",
    "Granted",
    "Standing",
    "Withheld",
    "clear",
    "grant",
    "limit_views",
    "permit_views",
    "release",
    "set_limit",
    "struck",
    "update",
]

OVER = frozenset(
    {
        StrikeState.STRIKE_STATE_REFUSED,
        StrikeState.STRIKE_STATE_SURVIVED,
        StrikeState.STRIKE_STATE_RECOVERED,
        StrikeState.STRIKE_STATE_LOST,
        StrikeState.STRIKE_STATE_EXPIRED,
        StrikeState.STRIKE_STATE_HALTED,
        StrikeState.STRIKE_STATE_UNKNOWN,
    }
)
"""Outcomes at which a strike ends, for the record. A permit may outlive them, and one may still give way to a
better known one (rule R16)."""

_WHY_HELD = {
    StrikeState.STRIKE_STATE_SENT: "sent; its host has not answered yet",
    StrikeState.STRIKE_STATE_RECORDED: "its host has written the intent; no signal is reported yet",
    StrikeState.STRIKE_STATE_STRUCK: "struck; its end is not seen yet",
    StrikeState.STRIKE_STATE_GONE: "its service has not recovered yet",
    StrikeState.STRIKE_STATE_SURVIVED: "it lives on; its host has not said yet that the service is as it was",
    StrikeState.STRIKE_STATE_LOST: "no successor came in time; clear it by name when the service is well",
    StrikeState.STRIKE_STATE_EXPIRED: "its time ran out without word from its host that nothing was sent",
    StrikeState.STRIKE_STATE_HALTED: "halted; its host has not said yet that nothing was sent, or that all is well",
    StrikeState.STRIKE_STATE_UNKNOWN: "what became of it cannot be said; clear it by name when the service is well",
}


def release(
    command_id: str,
    why: str,
    *,
    struck_ms: int | None = None,
    never_sent: bool = False,
    view: StrikeView | None = None,
) -> Decide:
    """Rule R16: only on the agent's durable word that nothing was sent (`never_sent`, why `refused`), or on a
    recovery seen (why `recovered`). Answers the Permit, or Refused NOT_FOUND. Twice is the same as once."""

    def change(books: Books, permit: Permit) -> tuple[Permit, tuple[Audited, ...]]:
        known = replace(
            permit,
            struck_ms=min(permit.struck_ms or struck_ms or 0, max(books.now_ms, permit.granted_ms)),
            never_sent=permit.never_sent or never_sent,
        )
        if permit.released_ms:
            return known, ()
        entry = Audited("coordinator", "permit.released", permit.permit_id, why, {"command": command_id})
        return replace(known, released_ms=max(books.now_ms, permit.granted_ms), released_why=why), (entry,)

    return _of_permit(command_id, view, change)


def struck(command_id: str, view: StrikeView) -> Decide:
    """The first signal was reported: its time is taken by the store's clock, once, and the rate counts from it; for
    a hold-down from its end, as its signals fall until then. Answers the Permit, or Refused NOT_FOUND."""

    def change(books: Books, permit: Permit) -> tuple[Permit, tuple[Audited, ...]]:
        last_ms = max(books.now_ms, permit.granted_ms) + view.action.hold_down.length_ms
        return replace(permit, struck_ms=permit.struck_ms or last_ms), ()

    return _of_permit(command_id, view, change)


def update(view: StrikeView, *, run_id: str = "") -> Decide:
    """The outcome only; the permit is another matter. `run_id` starts the row of a rehearsed victim, which has no
    permit. Answers the StrikeRow, or Refused NOT_FOUND."""

    def decide(books: Books) -> Decision:
        row = books.strikes.get(view.command_id) or (
            StrikeRow(run_id=run_id, view=StrikeView()) if run_id in books.runs else None
        )
        if row is None:
            return Decision(answer=_unknown("strike", view.command_id))
        put, audit = _outcome(row, view)
        return Decision((PutStrike(put),), audit, put)

    return decide


def clear(permit_id: str, who: str, reason: str) -> Decide:
    """An operator gives the permit up by name, at their own risk; the caller has checked that they are an
    approver. In production it isn't the run's own owner (rule R30). Answers PermitView, or Refused."""

    def decide(books: Books) -> Decision:
        permit = books.permits.get(permit_id)
        if permit is None or permit.released_ms:
            return Decision(answer=_unknown("held permit", permit_id))
        if not reason.strip():
            return Decision(
                answer=Refused(
                    code="INVALID_ARGUMENT",
                    message=f"cannot clear the permit {permit_id}: no reason is given",
                    field="reason",
                    remedy="say why its service is well: --reason TEXT",
                )
            )
        if (no := not_to_clear(books, permit, who)) is not None:
            return Decision(answer=no)
        put = replace(permit, released_ms=max(books.now_ms, permit.granted_ms), released_why=f"cleared by {who}")
        details: dict[str, object] = {"run": permit.run_id, "host": permit.host, "service": permit.service}
        entry = Audited(who, "permit.cleared", permit_id, reason, details)
        return Decision((PutPermit(put),), (entry,), _permit_view(books, put))

    return decide


def permit_views(books: Books) -> list[PermitView]:
    """Held permits, oldest first, each with why it is held."""
    ordered = sorted(held(books), key=lambda permit: (permit.granted_ms, permit.permit_id))
    return [_permit_view(books, permit) for permit in ordered]


def _of_permit(
    command_id: str,
    view: StrikeView | None,
    change: Callable[[Books, Permit], tuple[Permit, tuple[Audited, ...]]],
) -> Decide:
    """A change of one command's permit, and of its strike with it where there is a view of it."""

    def decide(books: Books) -> Decision:
        permit = next((permit for permit in books.permits.values() if permit.command_id == command_id), None)
        if permit is None:
            return Decision(answer=_unknown("permit of the command", command_id))
        put, audit = change(books, permit)
        changes: tuple[PutPermit | PutStrike, ...] = (PutPermit(put),) if put != permit else ()
        row = books.strikes.get(command_id)
        if view is not None and row is not None:
            strike, more = _outcome(row, view)
            changes, audit = (*changes, PutStrike(strike)), (*audit, *more)
        return Decision(changes, audit, put)

    return decide


def _outcome(row: StrikeRow, view: StrikeView) -> tuple[StrikeRow, tuple[Audited, ...]]:
    kept = StrikeView()
    kept.CopyFrom(view)
    put = replace(row, view=kept)
    if view.state == row.view.state or view.state not in OVER:
        return put, ()
    outcome = StrikeState.Name(view.state).removeprefix("STRIKE_STATE_").lower()
    details: dict[str, object] = {"run": row.run_id, "outcome": outcome}
    return put, (Audited("coordinator", "strike.ended", view.command_id, view.detail, details),)


def _permit_view(books: Books, permit: Permit) -> PermitView:
    row = books.strikes.get(permit.command_id)
    view = row.view if row else StrikeView(state=StrikeState.STRIKE_STATE_UNKNOWN)
    return PermitView(
        permit_id=permit.permit_id,
        run_id=permit.run_id,
        command_id=permit.command_id,
        victim=view.victim,
        service=permit.service,
        zone=permit.zone,
        state=view.state,
        held_ms=max(0, (permit.released_ms or books.now_ms) - permit.granted_ms),
        why=permit.released_why or _WHY_HELD.get(view.state, "its recovery is not seen yet"),
    )


def _unknown(what: str, name: str) -> Refused:
    return Refused(
        code="NOT_FOUND",
        message=f"cannot find the {what} {name!r}: the books hold none of that name",
        remedy="see `killdeer permits`",
    )
