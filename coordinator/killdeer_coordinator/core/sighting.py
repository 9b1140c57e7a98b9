"""What one host answered to a scan, and which of its processes may be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Action, Candidate, Reason, Verdict
from killdeer_coordinator.core.books import HostRow
from killdeer_coordinator.core.draw import Key
from killdeer_coordinator.core.intake import Intake


@dataclass(frozen=True, slots=True, kw_only=True)
class HostScan:
    """What one host answered for one action. A host that was not asked has neither candidates nor a failure."""

    row: HostRow
    connected: bool  # it has a lease
    guard_version: str = ""
    candidates: tuple[Candidate, ...] = ()
    failure: Reason = Reason.REASON_UNSPECIFIED
    failure_detail: str = ""
    ready: dict[str, int] = field(default_factory=dict)  # by service, as in Candidates.services
    action: Action | None = None  # what was asked about; None: any

    def about(self, action: Action) -> bool:
        return self.action is None or self.action == action


def host_verdict(experiment: Intake, scan: HostScan) -> Verdict:
    """May anything on this host be drawn? The first no is told."""
    row, wanted = scan.row, experiment.environment
    if row.labels.get("environment") != wanted:
        has = row.labels.get("environment")
        return Verdict(
            reason=Reason.REASON_ENVIRONMENT,
            detail=f"its label `environment` is {has}, and the experiment is for {wanted}"
            if has
            else f"it has no label `environment`, and the experiment is for {wanted}",
            remedy=f'if it is one: environment = "{wanted}" under [labels] in /etc/killdeer/agent.toml',
        )
    return reached(scan)


def reached(scan: HostScan) -> Verdict:
    """Has the host answered, whatever its environment? The first no is told."""
    row = scan.row
    if row.quarantined:
        return Verdict(
            reason=Reason.REASON_QUARANTINED,
            detail=row.quarantined,
            remedy=f"look into it, then `killdeer hosts accept {row.host} --reason …`",
        )
    if not scan.connected:
        return Verdict(
            reason=Reason.REASON_NOT_CONNECTED,
            detail="its agent has no lease from this coordinator now",
            remedy=f"on {row.host}: systemctl status killdeer-agent, and killdeer-agent doctor",
        )
    if scan.failure != Reason.REASON_UNSPECIFIED:
        return Verdict(
            reason=scan.failure,
            detail=scan.failure_detail or "its scan could not be made",
            remedy=f"on {row.host}: killdeer-agent doctor",
        )
    return Verdict(allowed=True)


def eligible(experiment: Intake, hosts: Sequence[HostScan], action: Action) -> dict[Key, Candidate]:
    """What a wave with this action is drawn from: what the guard allows, on hosts that may be hit."""
    return {
        Key(scan.row.host, candidate.service, candidate.ordinal): candidate
        for scan in hosts
        if scan.about(action) and host_verdict(experiment, scan).allowed
        for candidate in scan.candidates
        if candidate.verdict.allowed
    }


def counted(experiment: Intake, hosts: Sequence[HostScan], action: Action) -> int:
    """What a wave's percentage is of: all that may be hit, those in an open strike included (rule R19)."""
    return sum(
        candidate.verdict.allowed or candidate.verdict.reason == Reason.REASON_BUSY
        for scan in hosts
        if scan.about(action) and host_verdict(experiment, scan).allowed
        for candidate in scan.candidates
    )
