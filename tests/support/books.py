"""Books in memory: what a store does with a decision, in a few lines, for tests of pure decisions."""

from dataclasses import replace

from killdeer.halts import Halts
from killdeer.v1.operator_pb2 import RunState
from killdeer.v1.process_pb2 import HaltRecord, StorePosition
from killdeer_coordinator.core.books import (
    Books,
    Decide,
    Decision,
    FleetLimits,
    HostRow,
    PutPermit,
    PutRun,
    PutStrike,
    RunLimits,
    RunRow,
    SetLimit,
)

T0 = 1_700_000_000_000


def host(name: str, **labels: str) -> HostRow:
    return HostRow(host=name, labels={"environment": "staging", **labels})


def run(run_id: str = "r1", limits: RunLimits | None = None, **more: object) -> RunRow:
    row = RunRow(
        run_id=run_id,
        key=run_id,
        source="",
        file="",
        experiment="e",
        environment="staging",
        owner="payments",
        hypothesis="",
        started_by="ada",
        seed=1,
        plan_hash="",
        limits=limits or RunLimits(),
    )
    return replace(row, **more)  # type: ignore[arg-type]


def books(
    *,
    hosts: tuple[HostRow, ...] = (),
    runs: tuple[RunRow, ...] = (),
    limits: dict[str, int] | None = None,
    halt: str = "",
    now_ms: int = T0,
) -> Books:
    halts = Halts().engage(HaltRecord(id=halt, by="ada", reason="drill")) if halt else Halts()
    return Books(
        now_ms=now_ms,
        last_decision_ms=now_ms,
        position=StorePosition(),
        halts=halts,
        limits=FleetLimits(limits=limits or {}),
        hosts={row.host: row for row in hosts},
        runs={row.run_id: row for row in runs},
        permits={},
        strikes={},
        position_known=lambda _: True,
        run_of_key=lambda _: "",
    )


def later(before: Books, ms: int) -> Books:
    return replace(before, now_ms=before.now_ms + ms)


def decided(before: Books, decide: Decide) -> tuple[Books, Decision]:
    """The books after a decision, and the decision. An ended run moves to `ended` while it holds a permit."""
    decision = decide(before)
    permits, strikes, runs = dict(before.permits), dict(before.strikes), {**before.ended, **before.runs}
    limits = before.limits
    for change in decision.changes:
        match change:
            case PutPermit(row=permit):
                permits[permit.permit_id] = permit
            case PutStrike(row=strike):
                strikes[strike.view.command_id] = strike
            case PutRun(row=row):
                runs[row.run_id] = row
            case SetLimit(scope=scope, limit=limit):
                limits = FleetLimits(limits={**limits.limits, scope: limit})
            case _:
                raise AssertionError(f"these books have no room for {change}")
    holding = {permit.run_id for permit in permits.values() if not permit.released_ms}
    over = {run_id for run_id, row in runs.items() if row.state == RunState.RUN_STATE_ENDED}
    after = replace(
        before,
        last_decision_ms=max(before.last_decision_ms, before.now_ms),
        permits=permits,
        strikes=strikes,
        runs={run_id: row for run_id, row in runs.items() if run_id not in over},
        ended={run_id: row for run_id, row in runs.items() if run_id in over & holding},
        limits=limits,
    )
    return after, decision
