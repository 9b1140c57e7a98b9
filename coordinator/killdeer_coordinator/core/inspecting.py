"""Inspections under way: which host was asked, who waits for the answer, and until when."""

from collections.abc import Callable
from dataclasses import dataclass, field

from killdeer.v1.agent_pb2 import ConnectResponse, Inspect, Inspected
from killdeer.v1.process_pb2 import Reason, Selector
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster

DEADLINE_MS = 12_000
# Of it, for systemd to answer the agent, and for the answer to come.
AFTER_LOOKING_MS = 4_000

Answered = Callable[[Inspected | Refused], None]


@dataclass(slots=True, kw_only=True)
class _Waiting:
    link: int
    host: str
    version: str
    then: Answered
    deadline_ns: int


@dataclass(slots=True)
class Inspections:
    """`then` is called once for each, at the latest after the deadline."""

    roster: Roster
    errands: Errands
    _count: int = 0
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def inspect(self, host: str, selector: Selector, then: Answered) -> None:
        link = self.roster.way_to(host)
        if link is None or not link.leased(self.errands.now.mono_ns):
            then(self._unreached(host))
            return
        self._count += 1
        ask = f"inspect-{self._count}"
        if self.roster.instance:  # so that the answer finds its way back from another coordinator
            ask += f"@{self.roster.coordinator}"
        self._waiting[ask] = _Waiting(
            link=link.number,
            host=host,
            version=link.hello.version,
            then=then,
            deadline_ns=self.errands.now.mono_ns + DEADLINE_MS * NS_PER_MS,
        )
        frame = Inspect(ask=ask, selector=selector, deadline_ms=DEADLINE_MS - AFTER_LOOKING_MS)
        self.errands.tell(link, ConnectResponse(inspect=frame))

    def answered(self, link: Link, inspected: Inspected) -> None:
        """An agent answers for its own host only."""
        waiting = self._waiting.get(inspected.ask)
        if waiting is None or waiting.link != link.number:
            return
        del self._waiting[inspected.ask]
        waiting.then(_failed(waiting.host, inspected) if inspected.failure else inspected)

    def lost(self, link: Link) -> None:
        for ask, waiting in list(self._waiting.items()):
            if waiting.link == link.number:
                del self._waiting[ask]
                waiting.then(self._unreached(waiting.host))

    def tick(self) -> None:
        for ask, waiting in list(self._waiting.items()):
            if self.errands.now.mono_ns >= waiting.deadline_ns:
                del self._waiting[ask]
                message = f"cannot inspect {waiting.host}: it has not answered in {DEADLINE_MS // 1_000} s"
                remedy = (
                    f"its agent is {waiting.version or 'of no known version'}; an older one knows no inspections"
                )
                waiting.then(Refused(code="FAILED_PRECONDITION", message=message, field="host", remedy=remedy))

    def _unreached(self, host: str) -> Refused:
        if host in self.roster.hosts():
            message = f"cannot inspect {host}: its agent has no lease from this coordinator now"
            remedy = f"on {host}: systemctl status killdeer-agent, and killdeer-agent doctor"
            return Refused(code="FAILED_PRECONDITION", message=message, field="host", remedy=remedy)
        message = f"cannot inspect {host!r}: there is no such host"
        return Refused(code="NOT_FOUND", message=message, field="host", remedy="see the hosts with: killdeer hosts")


def _failed(host: str, inspected: Inspected) -> Refused:
    about_selector = inspected.failure == Reason.REASON_CANNOT_EVALUATE
    detail = inspected.failure_detail or "it does not say why"
    return Refused(
        code="FAILED_PRECONDITION",
        message=f"cannot inspect {host}: {detail}",
        field="selector" if about_selector else "",
        remedy="" if about_selector else f"on {host}: killdeer-agent doctor",
    )
