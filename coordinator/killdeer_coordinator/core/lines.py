"""What a run says of its strikes, a line each, for those who watch it."""

from killdeer.v1.operator_pb2 import RunVerdict, StrikeView
from killdeer.v1.process_pb2 import Reason, StrikeState


def word(view: StrikeView) -> str:
    """The outcome, as in DESIGN: `recovered`."""
    return StrikeState.Name(view.state).removeprefix("STRIKE_STATE_").lower()


def place(view: StrikeView) -> str:
    """`HOST SERVICE[ORDINAL] pid PID`."""
    return f"{view.victim.host} {view.service}[{view.ordinal}] pid {view.victim.pid}"


def outcome(view: StrikeView) -> str:
    """`refused: a-1 worker@[3] pid 812: zombie, it has exited and waits for its parent`."""
    because = [view.detail] if view.detail else []
    if view.state == StrikeState.STRIKE_STATE_REFUSED:
        because.insert(0, Reason.Name(view.reason).removeprefix("REASON_").lower().replace("_", " "))
    return ": ".join(part for part in (word(view), place(view), ", ".join(because)) if part)


def sentence(verdict: int, why: str) -> str:
    """A RunVerdict and its why: `not recovered: 1 of 3 victims had no successor in time`."""
    return f"{RunVerdict.Name(verdict).removeprefix('RUN_VERDICT_').lower().replace('_', ' ')}: {why}"
