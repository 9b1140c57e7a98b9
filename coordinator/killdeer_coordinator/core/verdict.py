"""What a run's strikes come to, in one word and one sentence.

Without probes nobody has looked at the steady state, so no run is `deviated` here; a fault that was asked for
and did not happen leaves the hypothesis untested, and the run `inconclusive`: a victim that lives on though it
was to be killed or terminated, a place that was not held empty for all of its time. A pause is meant to be
survived, and a signal other than KILL and TERM may be.
"""

from collections import Counter
from collections.abc import Iterable

from killdeer.durations import format_duration
from killdeer.v1.operator_pb2 import RunVerdict, StrikeView
from killdeer.v1.probe_pb2 import Finding as Sentence
from killdeer.v1.probe_pb2 import Part, Standing
from killdeer.v1.process_pb2 import Reason, StrikeState
from killdeer_coordinator.core.strikes import hit

_SIGKILL, _SIGTERM = 9, 15

Finding = tuple[RunVerdict, str]


def judged(strikes: Iterable[StrikeView], *, rehearsal: bool) -> Finding:
    """The verdict on a run, or on a wave of it, whose strikes are all resolved. `rehearsal`: none was real."""
    real = [view for view in strikes if not view.dry_run]
    states = Counter(view.state for view in real)
    struck = [view for view in real if hit(view)]
    if lost := states[StrikeState.STRIKE_STATE_LOST]:
        return _not_recovered(lost, len(struck))
    if unknown := [view for view in real if view.state == StrikeState.STRIKE_STATE_UNKNOWN]:
        return _inconclusive(f"what became of {_victims(len(unknown))} cannot be said: {unknown[0].detail}")
    if expired := [view for view in real if view.state == StrikeState.STRIKE_STATE_EXPIRED]:
        return _inconclusive(f"{_victims(len(expired))} never got a permit: {expired[0].detail}")
    if not rehearsal and not struck:
        return _inconclusive(f"nothing was hit: {_refusals(real)}")
    if unmoved := [view for view in struck if _unmoved(view)]:
        return _inconclusive(f"{_victims(len(unmoved))} lived on: {unmoved[0].detail or 'the signal was ignored'}")
    if cut_short := [view for view in struck if view.cut_short]:
        return _inconclusive(f"{_victims(len(cut_short))} not held down all the time: {cut_short[0].detail}")
    if blind := [view for view in struck if view.events_lost]:
        return _inconclusive(f"kernel events were lost while {_victims(len(blind))} were struck")
    if rehearsal:
        return RunVerdict.RUN_VERDICT_HELD, "rehearsed only: nothing was to be struck"
    refused = len(real) - len(struck)
    more = f"; {refused} refused: {_refusals(real)}" if refused else ""
    return RunVerdict.RUN_VERDICT_HELD, f"{_victims(len(struck))} struck, all recovered in time{more}"


def went_well(strikes: Iterable[StrikeView], *, rehearsal: bool) -> bool:
    """May the next wave widen the blast radius?"""
    return judged(strikes, rehearsal=rehearsal)[0] == RunVerdict.RUN_VERDICT_HELD


def concluded(struck: Finding, sentences: Iterable[Sentence], not_back: str) -> Finding:
    """The verdict on a run: what its strikes came to, with what was measured meanwhile. `not_back`: why the steady
    state, or a victim, has not come back by itself; empty when all is well."""
    verdict, why = struck
    if verdict in (RunVerdict.RUN_VERDICT_HALTED, RunVerdict.RUN_VERDICT_REFUSED):
        return struck
    if not_back:
        return RunVerdict.RUN_VERDICT_NOT_RECOVERED, f"{not_back}; {why}"
    if verdict in (RunVerdict.RUN_VERDICT_ABORTED, RunVerdict.RUN_VERDICT_NOT_RECOVERED):
        return struck
    steady = [one for one in sentences if one.part == Part.PART_STEADY_STATE]
    if deviated := [one for one in steady if one.unmet_unix_ms]:
        said = "; ".join(f"{one.sentence!r} did not hold for {format_duration(one.unmet_ms)}" for one in deviated)
        return RunVerdict.RUN_VERDICT_DEVIATED, f"{said}; {why}"
    if unknown := [one for one in steady if one.unknown_ms or one.standing == Standing.STANDING_UNKNOWN]:
        said = "; ".join(f"{one.sentence!r} was unknown: {one.detail}" for one in unknown)
        return RunVerdict.RUN_VERDICT_INCONCLUSIVE, f"{said}; {why}"
    return struck


def _unmoved(view: StrikeView) -> bool:
    if view.state != StrikeState.STRIKE_STATE_SURVIVED or view.action.HasField("pause"):
        return False
    if view.action.HasField("kill") and view.action.kill.signal not in (_SIGKILL, _SIGTERM):
        return any(blow.kernel_verdict == "ignored" for blow in view.blows)
    return True


def _refusals(strikes: Iterable[StrikeView]) -> str:
    """`2 gone, 1 zombie`, the most frequent first."""
    reasons = Counter(view.reason for view in strikes if view.state == StrikeState.STRIKE_STATE_REFUSED)
    named = [
        f"{count} {Reason.Name(reason).removeprefix('REASON_').lower().replace('_', ' ')}"
        for reason, count in reasons.most_common()
    ]
    return ", ".join(named) or "no strike was sent"


def _victims(count: int) -> str:
    return "1 victim" if count == 1 else f"{count} victims"


def _inconclusive(why: str) -> Finding:
    return RunVerdict.RUN_VERDICT_INCONCLUSIVE, why


def _not_recovered(lost: int, struck: int) -> Finding:
    why = f"{lost} of {_victims(struck)} had no successor in time; the permits stay held"
    return RunVerdict.RUN_VERDICT_NOT_RECOVERED, why
