"""What a run leaves in the books: its start, its waves, its end. Pure decisions."""

from dataclasses import replace

from killdeer.v1.operator_pb2 import RunState, RunVerdict
from killdeer_coordinator.core.books import Audited, Books, Decide, Decision, PutRun, RunRow
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import describe

WHO = "coordinator"


def started(row: RunRow) -> Decide:
    """Answers the RunRow, the id (str) of the run that this key has started before, or Refused."""

    def decide(books: Books) -> Decision:
        if row.key and (earlier := books.run_of_key(row.key)):
            return Decision(answer=earlier)
        if active := books.halts.active:
            return Decision(answer=halted(describe(active)))
        put = replace(row, started_ms=books.now_ms)
        details: dict[str, object] = {
            "experiment": row.experiment,
            "environment": row.environment,
            "seed": row.seed,
            "plan": row.plan_hash,
        }
        entry = Audited(row.started_by, "run.started", row.run_id, row.hypothesis, details)
        return Decision((PutRun(put),), (entry,), put)

    return decide


def never_begun(run_id: str, why: str) -> Decide:
    """Ends a run whose start was reported as failed, where it was committed all the same."""

    def decide(books: Books) -> Decision:
        known = books.runs.get(run_id)
        if known is None:
            return Decision()
        put = replace(
            known,
            fence=known.fence + 1,
            state=RunState.RUN_STATE_ENDED,
            verdict=RunVerdict.RUN_VERDICT_ABORTED,
            why=why,
            ended_ms=books.now_ms,
        )
        return Decision((PutRun(put),), (Audited(WHO, "run.ended", run_id, why, {"verdict": "aborted"}),))

    return decide


def earlier(key: str) -> Decide:
    """Answers the id of the run that this key has started; empty: none."""
    return lambda books: Decision(answer=books.run_of_key(key) if key else "")


def halted(halts: list[str]) -> Refused:
    return Refused(
        code="FAILED_PRECONDITION",
        message=f"cannot run: the fleet is halted {'; '.join(halts)}",
        remedy="when it is safe: killdeer rearm --reason …",
    )


def wave_begun(row: RunRow) -> Decide:
    def decide(books: Books) -> Decision:
        known = books.runs.get(row.run_id)
        if known is None or known.fence != row.fence:
            return Decision()
        return Decision((PutRun(replace(known, wave=row.wave)),))

    return decide


def aborting(row: RunRow, who: str, why: str) -> Decide:
    def decide(books: Books) -> Decision:
        known = books.runs.get(row.run_id)
        if known is None or known.fence != row.fence or known.state != RunState.RUN_STATE_RUNNING:
            return Decision()
        put = replace(known, state=RunState.RUN_STATE_ABORTING, why=why)
        return Decision((PutRun(put),), (Audited(who, "run.aborted", row.run_id, why),))

    return decide


def aborted_by(who: str, reason: str) -> str:
    return f"aborted by {who}{f': {reason}' if reason else ''}"


def aborted_elsewhere(run_id: str, who: str, why: str) -> Decide:
    """For the run's driver to find. Answers the RunRow, or None where no such run goes on."""

    def decide(books: Books) -> Decision:
        known = books.runs.get(run_id)
        if known is None or known.state != RunState.RUN_STATE_RUNNING:
            return Decision(answer=known)
        put = replace(known, state=RunState.RUN_STATE_ABORTING, why=why)
        return Decision((PutRun(put),), (Audited(who, "run.aborted", run_id, why),), put)

    return decide


def ended(row: RunRow) -> Decide:
    """`row` has verdict and why. Answers the RunRow as it ended, or None when another driver has ended it."""

    def decide(books: Books) -> Decision:
        known = books.runs.get(row.run_id)
        if known is None or known.fence != row.fence:
            return Decision()
        put = replace(
            known,
            state=RunState.RUN_STATE_ENDED,
            verdict=row.verdict,
            why=row.why,
            wave=row.wave,
            findings=row.findings,
            ended_ms=books.now_ms,
        )
        verdict = RunVerdict.Name(row.verdict).removeprefix("RUN_VERDICT_").lower()
        entry = Audited(WHO, "run.ended", row.run_id, row.why, {"verdict": verdict})
        return Decision((PutRun(put),), (entry,), put)

    return decide
