"""An agent's word on a strike: merged into what is known, and what it does to the permit (rule R16).

Agents say it again until it is acknowledged, and words may cross; so a strike never goes back, and facts once
known stay. `unknown` is weaker than any fact: a later word takes its place.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from killdeer.v1.agent_pb2 import StrikeUpdate
from killdeer.v1.operator_pb2 import StrikeView
from killdeer.v1.process_pb2 import Blow, Reason, StrikeState
from killdeer_coordinator.core import ledger
from killdeer_coordinator.core.books import Books, Decide, Decision, Permit

_ORDER = (
    StrikeState.STRIKE_STATE_UNSPECIFIED,
    StrikeState.STRIKE_STATE_PLANNED,
    StrikeState.STRIKE_STATE_PERMITTED,
    StrikeState.STRIKE_STATE_SENT,
    StrikeState.STRIKE_STATE_RECORDED,
    StrikeState.STRIKE_STATE_UNKNOWN,
    StrikeState.STRIKE_STATE_REFUSED,
    StrikeState.STRIKE_STATE_HALTED,
    StrikeState.STRIKE_STATE_EXPIRED,
    StrikeState.STRIKE_STATE_STRUCK,
    StrikeState.STRIKE_STATE_GONE,
    StrikeState.STRIKE_STATE_SURVIVED,
    StrikeState.STRIKE_STATE_LOST,
    StrikeState.STRIKE_STATE_RECOVERED,
)
RANK = {state: rank for rank, state in enumerate(_ORDER)}

WITHOUT_A_SIGNAL = _ORDER[:5]  # as far as anybody has said
_NOTHING_SENT = _ORDER[6:9]  # somebody's word


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an agent's word came to. `released`: the permit is given back, so others may be granted."""

    run_id: str
    view: StrikeView
    released: bool
    driver: str = ""  # of its run, while that goes on


def hit(view: StrikeView) -> bool:
    """Was a signal sent to the victim?"""
    return any(not blow.revert for blow in view.blows)


def merged(known: StrikeView, update: StrikeUpdate) -> StrikeView:
    """What is known after the update; a copy."""
    view = StrikeView()
    view.CopyFrom(known)
    forgotten = hit(known) and update.state in _NOTHING_SENT  # by a journal that was lost
    if RANK.get(update.state, 0) >= RANK.get(known.state, 0) and not forgotten:
        if update.state != known.state or update.detail:
            view.detail = update.detail
        view.state = update.state
        view.reason = update.reason
    blows: dict[tuple[int, bool], Blow] = {(blow.number, blow.revert): blow for blow in known.blows}
    for blow in update.blows:
        before = blows.get((blow.number, blow.revert))
        if before is None or blow.seen_boot_ns or not before.seen_boot_ns:
            blows[blow.number, blow.revert] = blow
    del view.blows[:]
    view.blows.extend(blows[key] for key in sorted(blows, key=lambda key: (key[1], key[0])))
    if update.HasField("exit") and (view.exit.source != "bpf" or update.exit.source == "bpf"):
        view.exit.CopyFrom(update.exit)
    if update.HasField("successor"):
        view.successor.CopyFrom(update.successor)
    view.changed = known.changed or update.changed
    view.cut_short = known.cut_short or update.cut_short
    view.events_lost = max(known.events_lost, update.events_lost)
    view.ready_after_ns = known.ready_after_ns or update.ready_after_ns
    if view.state == StrikeState.STRIKE_STATE_RECOVERED and not view.recovered_after_ns:
        first = min((blow.sent_boot_ns for blow in view.blows if not blow.revert), default=0)
        if first and update.at_boot_ns > first:
            view.recovered_after_ns = update.at_boot_ns - first
    return view


def told(host: str, update: StrikeUpdate) -> Decide:
    """Answers Told, or None when this host holds no such strike. Only the agent's durable word that nothing was
    sent, or that the service is as it was, releases the permit."""

    def decide(books: Books) -> Decision:
        row = books.strikes.get(update.command_id)
        if row is None or row.view.victim.host != host:
            return Decision()
        view = merged(row.view, update)
        if hit(view) and not view.struck_unix_ms:
            view.struck_unix_ms = books.now_ms
        decision = _settle(update, view, row.view.reason)(books)
        permit = books.permits.get(row.permit_id)
        after = decision.answer
        released = (
            permit is not None and not permit.released_ms and isinstance(after, Permit) and bool(after.released_ms)
        )
        run = books.runs.get(row.run_id)
        told = Told(run_id=row.run_id, view=view, released=released, driver=run.driver if run else "")
        return replace(decision, answer=told)

    return decide


def _settle(update: StrikeUpdate, view: StrikeView, known_reason: Reason) -> Decide:
    """After a quarantine no journal's word that nothing was sent releases anything (rules R16 and R23)."""
    command_id = update.command_id
    if update.settled or update.state == StrikeState.STRIKE_STATE_RECOVERED:
        return _with_time(command_id, view, ledger.release)
    if update.used_up and not hit(view) and known_reason != Reason.REASON_QUARANTINED:
        return ledger.release(command_id, "refused", never_sent=True, view=view)
    if hit(view):
        return ledger.struck(command_id, view)
    return ledger.update(view)


def _with_time(command_id: str, view: StrikeView, release: Callable[..., Decide]) -> Decide:
    """A recovery may be the first word that anything was struck; the rate counts from it then (rule R20)."""

    def decide(books: Books) -> Decision:
        struck_ms = books.now_ms if hit(view) else None
        return release(command_id, "recovered", struck_ms=struck_ms, view=view)(books)

    return decide


def turn_never_came(view: StrikeView, run_id: str, state: StrikeState, detail: str) -> tuple[StrikeView, Decide]:
    """A victim that was drawn and got no permit, with its outcome, and the decision that records it."""
    over = StrikeView()
    over.CopyFrom(view)
    over.state, over.detail = state, detail

    def decide(books: Books) -> Decision:
        if over.command_id in books.strikes:
            return Decision()
        return ledger.update(over, run_id=run_id)(books)

    return over, decide


def never_heard_of(view: StrikeView, detail: str) -> tuple[StrikeView, Decide]:
    """A coordinator's own timer: the outcome is unknown, the permit stays held (rule R16)."""
    over = StrikeView()
    over.CopyFrom(view)
    over.state, over.detail = StrikeState.STRIKE_STATE_UNKNOWN, detail

    def decide(books: Books) -> Decision:
        row = books.strikes.get(over.command_id)
        if row is None or row.view.state != view.state:  # the agent's word came in between
            return Decision()
        return ledger.update(over)(books)

    return over, decide
