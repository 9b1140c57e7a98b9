"""The fleet's limits as operators see and set them: used and limit per scope."""

import difflib
from collections import Counter
from dataclasses import replace

from killdeer.v1.operator_pb2 import LimitView
from killdeer_coordinator.core.books import Audited, Books, Decide, Decision, FleetLimits, SetLimit
from killdeer_coordinator.core.limits import PLACE, held, in_rate
from killdeer_coordinator.core.refusal import Refused

NOT_LIMITED = "not limited"
_MOST = 1_000_000


def limit_views(books: Books) -> list[LimitView]:
    """Every scope of the fleet. A scope that has no limit has the source `not limited`; its limit means nothing."""
    return [_limit_view(books, scope) for scope in PLACE]


def set_limit(scope: str, limit: int, who: str, reason: str) -> Decide:
    """Victims in flight beyond a lower limit are not touched; nothing is granted until they are under it. Zero
    grants nothing at all. Answers the LimitView as it is now, or Refused."""

    def decide(books: Books) -> Decision:
        no = _unfit(scope, limit, reason)
        if no is not None:
            return Decision(answer=no)
        set_now = FleetLimits(
            limits={**books.limits.limits, scope: limit}, sources={**books.limits.sources, scope: "operator"}
        )
        details: dict[str, object] = {"from": books.limits.limits.get(scope, NOT_LIMITED), "to": limit}
        return Decision(
            (SetLimit(scope, limit, who),),
            (Audited(who, "limit.set", scope, reason, details),),
            _limit_view(replace(books, limits=set_now), scope),
        )

    return decide


def configured(coordinator: str, limits: FleetLimits, before: FleetLimits | None = None) -> Decide:
    """For the record: what that coordinator's own configuration says from now on, against `before`; without that,
    at its start. It changes nothing."""
    who, what = f"coordinator.toml of {coordinator}", "limit.configured"

    def decide(books: Books) -> Decision:
        if before is None:
            said = ", ".join(f"{scope} {limits.limits.get(scope, NOT_LIMITED)}" for scope in PLACE)
            return Decision(audit=(Audited(who, what, "", f"at its start: {said}", dict(limits.limits)),))
        entries = []
        for scope in PLACE:
            old, new = (one.limits.get(scope, NOT_LIMITED) for one in (before, limits))
            if old != new:
                by_hand = books.limits.sources.get(scope) == "operator"
                held = f"; {books.limits.limits[scope]} holds, which an operator has set" if by_hand else ""
                details: dict[str, object] = {"from": old, "to": new}
                entries.append(Audited(who, what, scope, f"from {old} to {new}, by a reload{held}", details))
        return Decision(audit=tuple(entries))

    return decide


def _limit_view(books: Books, scope: str) -> LimitView:
    if scope == "per_minute":
        counted = [permit for permit in books.permits.values() if in_rate(permit, books.now_ms)]
    else:
        counted = held(books)
    # The most used; of equals the first by name, so that two readings of one state are alike.
    used = sorted(Counter(PLACE[scope](permit) for permit in counted).items(), key=lambda use: (-use[1], use[0]))
    where, most = used[0] if used else ("", 0)
    limited = scope in books.limits.limits
    return LimitView(
        scope=scope,
        limit=books.limits.limits.get(scope, 0),
        used=most,
        where=where,
        source=books.limits.sources.get(scope, "coordinator.toml") if limited else NOT_LIMITED,
    )


def _unfit(scope: str, limit: int, reason: str) -> Refused | None:
    if scope not in PLACE:
        near = difflib.get_close_matches(scope, PLACE, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return Refused(
            code="INVALID_ARGUMENT",
            message=f"cannot set the limit {scope!r}: no such scope",
            field="scope",
            remedy=f"{hint}known are {', '.join(PLACE)}",
        )
    if not 0 <= limit <= _MOST:
        return Refused(
            code="INVALID_ARGUMENT",
            message=f"cannot set {scope} to {limit}: a limit is from 0 (nothing is granted) to {_MOST}",
            field="limit",
        )
    if not reason.strip():
        return Refused(
            code="INVALID_ARGUMENT",
            message=f"cannot set the limit {scope}: no reason is given",
            field="reason",
            remedy="say why: --reason TEXT",
        )
    return None
