"""Rows for the coordinator's store: a run, its permits and strikes, and decisions that put them there."""

from killdeer.v1.operator_pb2 import RUN_STATE_RUNNING, StrikeView
from killdeer.v1.process_pb2 import STRIKE_STATE_SENT, Identity
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    Change,
    Decide,
    Decision,
    HostRow,
    Permit,
    PutPermit,
    PutRun,
    PutStrike,
    RunLimits,
    RunRow,
    StrikeRow,
)

NOW_MS = 1_800_000_000_000


class SetClock:
    """A clock that shows what it was set to."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def run_row(run_id: str = "r1", *, key: str = "", state: int = RUN_STATE_RUNNING, fence: int = 1) -> RunRow:
    return RunRow(
        run_id=run_id,
        key=key,
        source="killdeer: 1\nname: one\n",
        file="one.yaml",
        experiment="one",
        environment="staging",
        owner="payments@example.com",
        hypothesis="Killing one worker heals within two minutes.",
        started_by="alice",
        seed=2**64 - 1,
        plan_hash="ab" * 32,
        limits=RunLimits(in_flight=2, per_service_percent=50, cooldown_ms=60_000),
        fence=fence,
        state=state,
        started_ms=NOW_MS,
        wave=1,
        waves_total=3,
    )


def permit(number: int, *, run_id: str = "r1", released_ms: int = 0, struck_ms: int = 0) -> Permit:
    return Permit(
        permit_id=f"p{number}",
        command_id=f"c{number}",
        run_id=run_id,
        host="alpha",
        service="worker@",
        zone="a",
        granted_ms=NOW_MS,
        not_after_ms=NOW_MS + 30_000,
        struck_ms=struck_ms,
        released_ms=released_ms,
        released_why="recovered" if released_ms else "",
    )


def strike(number: int, *, run_id: str = "r1", permit_id: str | None = None, wave: str = "one") -> StrikeRow:
    view = StrikeView(
        command_id=f"c{number}",
        wave=wave,
        victim=Identity(host="alpha", boot_id="boot", pid=100 + number, start_ticks=2**63 + number),
        service="worker@",
        state=STRIKE_STATE_SENT,
    )
    return StrikeRow(run_id=run_id, view=view, permit_id=f"p{number}" if permit_id is None else permit_id)


def host_row(host: str = "alpha") -> HostRow:
    return HostRow(host=host, labels={"zone": "a", "role": "payment"}, session="s2", previous="s1", heard=True)


def putting(*changes: Change, audit: tuple[Audited, ...] = (), answer: object = None) -> Decide:
    """A decision that makes these changes, whatever the books say."""
    return lambda books: Decision(changes, audit, answer)


def a_run_with(permits: int, run_id: str = "r1") -> Decide:
    """A running run with permits and strikes 1 to `permits`, each with its audit entry."""
    numbers = range(1, permits + 1)

    def decide(books: Books) -> Decision:
        puts: list[Change] = [PutRun(run_row(run_id, key=f"key of {run_id}"))]
        puts += [PutPermit(permit(number, run_id=run_id)) for number in numbers]
        puts += [PutStrike(strike(number, run_id=run_id)) for number in numbers]
        entries = [Audited("alice", "run.started", run_id, "to learn")]
        entries += [
            Audited("alice", "permit.granted", f"p{number}", details={"host": "alpha"}) for number in numbers
        ]
        return Decision(tuple(puts), tuple(entries), "granted")

    return decide
