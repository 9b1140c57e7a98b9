"""Who would be hit, who would not, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from killdeer.v1.operator_pb2 import PlanView
from killdeer.v1.process_pb2 import Action, Candidate, Reason
from killdeer_coordinator.core.books import Books, HostRow
from killdeer_coordinator.core.intake import Intake


@dataclass(frozen=True, slots=True, kw_only=True)
class HostScan:
    """What one host answered for one action. A host that was not asked has no candidates and no failure."""

    row: HostRow
    connected: bool  # it has a lease
    guard_version: str = ""
    candidates: tuple[Candidate, ...] = ()
    failure: Reason = Reason.REASON_UNSPECIFIED
    failure_detail: str = ""
    ready: dict[str, int] = field(default_factory=dict)  # Candidates.services
    action: Action | None = None  # what was asked about; None: every wave's


def make_plan(*, experiment: Intake, seed: int, hosts: Sequence[HostScan], books: Books) -> PlanView:
    """The plan over what the hosts answered; `hosts` are those that the experiment's labels match, once for each
    of `experiment.actions`. `refusals` is empty when it can be run."""
    raise NotImplementedError
