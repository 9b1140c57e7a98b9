"""The second pair of eyes: which approver may not rearm, clear or accept, in production (rule R30).

A run's owner is who its file names as such, and who started it. Another approver has to agree where production is
concerned: for a permit, its run is production's; for a quarantined host, it is labelled so; for a halt, which opens
the whole fleet again, any host is labelled so. Runs of production hit hosts of that label only.
"""

from collections.abc import Iterable

from killdeer.v1.operator_pb2 import RunVerdict
from killdeer_coordinator.core.books import Books, HostRow, Permit, RunRow
from killdeer_coordinator.core.refusal import Refused

PRODUCTION = "production"


def not_to_clear(books: Books, permit: Permit, who: str) -> Refused | None:
    """The permit's run is not for its owner to give up on."""
    run = books.runs.get(permit.run_id) or books.ended.get(permit.run_id)
    return _no(f"clear the permit {permit.permit_id}", who, [run] if run else [], hosts=())


def not_to_accept(books: Books, row: HostRow, who: str) -> Refused | None:
    """Runs with a permit held there: an acceptance says that the host may be believed about their victims."""
    held = {
        permit.run_id for permit in books.permits.values() if permit.host == row.host and not permit.released_ms
    }
    runs = [run for run in _known(books) if run.run_id in held]
    return _no(f"accept {row.host}", who, runs, hosts=(row,))


def not_to_rearm(books: Books, who: str) -> Refused | None:
    """Runs that the halts in force have stopped, or are stopping."""
    stopped = [*books.halted.values(), *books.runs.values()]
    stopped += [run for run in books.ended.values() if run.verdict == RunVerdict.RUN_VERDICT_HALTED]
    return _no("rearm", who, stopped, hosts=books.hosts.values())


def _known(books: Books) -> list[RunRow]:
    return [*books.runs.values(), *books.ended.values()]


def _no(what: str, who: str, runs: Iterable[RunRow], hosts: Iterable[HostRow]) -> Refused | None:
    everywhere = any(host.labels.get("environment") == PRODUCTION for host in hosts)
    for run in runs:
        if who in (run.owner, run.started_by) and (everywhere or run.environment == PRODUCTION):
            return Refused(
                code="PERMISSION_DENIED",
                message=f"cannot {what}: {who} owns or started the run {run.run_id}, and this is production",
                remedy="ask another approver",
            )
    return None
