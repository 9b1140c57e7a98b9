"""Scans under way: who was asked, who has answered, and when no more answers are waited for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from killdeer.v1.agent_pb2 import Candidates, ConnectResponse, Scan
from killdeer.v1.process_pb2 import Action, Candidate, Reason, Selector
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster

DEADLINE_MS = 5_000
ON_ITS_WAY_MS = 500  # so that the agent's own answer that it took too long still arrives in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the hosts answered. A host that did not answer has a Candidates with a failure."""

    action: Action
    begun_ns: int  # mono
    begun_store_ms: int  # store's clock, at the earliest
    answers: dict[str, Candidates]

    def found(self) -> list[Candidate]:
        """All candidates of hosts whose scan succeeded, host by host."""
        return [
            candidate
            for host in sorted(self.answers)
            if not self.answers[host].failure
            for candidate in self.answers[host].candidates
        ]

    def silent(self) -> list[str]:
        return sorted(host for host, answer in self.answers.items() if answer.failure)


Surveyed = Callable[[Survey], None]


@dataclass(slots=True, kw_only=True)
class _UnderWay:
    survey: Survey
    waiting: dict[int, str]  # link -> host
    then: Surveyed
    deadline_ns: int


@dataclass(slots=True)
class Scans:
    roster: Roster
    errands: Errands
    _count: int = 0
    _under_way: dict[str, _UnderWay] = field(default_factory=dict)

    def survey(
        self,
        links: Iterable[Link],
        selector: Selector,
        action: Action,
        then: Surveyed,
        deadline_ms: int = DEADLINE_MS,
    ) -> None:
        """Ask each of the links that has a lease; `then` is called once, at the latest after the deadline."""
        now = self.errands.now
        self._count += 1
        scan_id = f"scan-{self._count}"
        if self.roster.instance:  # so that the answer finds its way back from another coordinator
            scan_id += f"@{self.roster.coordinator}"
        scan = Scan(scan_id=scan_id, selector=selector, action=action, deadline_ms=deadline_ms - ON_ITS_WAY_MS)
        asked = [link for link in links if link.leased(now.mono_ns)]
        self._under_way[scan_id] = _UnderWay(
            survey=Survey(
                action=action, begun_ns=now.mono_ns, begun_store_ms=self.roster.store_ms(now)[0], answers={}
            ),
            waiting={link.number: link.host for link in asked},
            then=then,
            deadline_ns=now.mono_ns + deadline_ms * NS_PER_MS,
        )
        for link in asked:
            self.errands.tell(link, ConnectResponse(scan=scan))
        self._finish(scan_id)

    def answered(self, link: Link, candidates: Candidates) -> None:
        under_way = self._under_way.get(candidates.scan_id)
        if under_way is None or link.number not in under_way.waiting:
            return
        del under_way.waiting[link.number]
        for candidate in candidates.candidates:  # an agent speaks of its own host only
            candidate.identity.host = link.host
        under_way.survey.answers[link.host] = candidates
        self._finish(candidates.scan_id)

    def lost(self, link: Link) -> None:
        for scan_id, under_way in list(self._under_way.items()):
            if link.number in under_way.waiting:
                self._give_up(under_way, link.number, f"the link to {link.host} was lost")
                self._finish(scan_id)

    def tick(self) -> None:
        for scan_id, under_way in list(self._under_way.items()):
            if self.errands.now.mono_ns >= under_way.deadline_ns:
                for number, host in list(under_way.waiting.items()):
                    self._give_up(under_way, number, f"{host} has not answered in time")
                self._finish(scan_id)

    def _give_up(self, under_way: _UnderWay, number: int, detail: str) -> None:
        host = under_way.waiting.pop(number)
        under_way.survey.answers[host] = Candidates(failure=Reason.REASON_NO_ANSWER, failure_detail=detail)

    def _finish(self, scan_id: str) -> None:
        under_way = self._under_way[scan_id]
        if not under_way.waiting:
            del self._under_way[scan_id]
            under_way.then(under_way.survey)
