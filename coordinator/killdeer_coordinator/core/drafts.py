"""Drafts: an experiment's file, a seed, and the plan over what the hosts answer now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from killdeer.v1.agent_pb2 import Candidates
from killdeer.v1.operator_pb2 import LabelMatch, PlanView
from killdeer.v1.process_pb2 import Action, Selector
from killdeer_coordinator.core.books import HostRow
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.intake import Intake, take_in
from killdeer_coordinator.core.labels import matches
from killdeer_coordinator.core.plan import HostScan, make_plan
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.scans import Scans, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    intake: Intake
    seed: int
    plan: PlanView


Drafted = Callable[[Draft | Refused], None]


@dataclass(frozen=True, slots=True)
class Drafts:
    roster: Roster
    errands: Errands
    scans: Scans

    def draft(self, source: str, file: str, seed: int | None, fresh: str, then: Drafted) -> None:
        """The seed is the one given, else the file's, else one made from `fresh`; `then` is called once."""
        intake = take_in(source, file)
        if isinstance(intake, Refused):
            then(intake)
            return
        chosen = seed if seed is not None else intake.seed
        if chosen is None:
            chosen = int(fresh[8:16], 16)
        self._look(intake, chosen, intake.actions, [], then)

    def sights(
        self,
        hosts: Sequence[LabelMatch],
        selector: Selector,
        action: Action,
        then: Callable[[list[HostScan]], None],
    ) -> None:
        """What each host that the labels match answers, those that cannot be asked included."""
        links = [link for link in self.roster.reachable() if matches(link.host, link.hello.labels, hosts)]
        self.scans.survey(
            links, selector, action, lambda survey: then(host_scans(self.roster, hosts, survey, self._now))
        )

    @property
    def _now(self) -> int:
        return self.errands.now.mono_ns

    def _look(
        self, intake: Intake, seed: int, actions: Sequence[Action], seen: list[HostScan], then: Drafted
    ) -> None:
        """One scan after the other, for the guard's verdict on each action."""
        if actions:
            self.sights(
                intake.hosts,
                intake.selector,
                actions[0],
                lambda more: self._look(intake, seed, actions[1:], [*seen, *more], then),
            )
            return
        if self.roster.books is None:
            then(no_store(self.roster, self._now))
            return
        # The halts this coordinator knows count from the moment it knows them.
        books = replace(self.roster.books, halts=self.roster.books.halts.union(self.roster.halts))
        then(Draft(intake=intake, seed=seed, plan=make_plan(experiment=intake, seed=seed, hosts=seen, books=books)))


def host_scans(roster: Roster, hosts: Sequence[LabelMatch], survey: Survey, now_ns: int) -> list[HostScan]:
    """One for each host ever known whose labels match, by name."""
    scans = []
    for host in roster.hosts():
        link = roster.way_to(host)
        row = roster.books.hosts.get(host) if roster.books else None
        if link is not None:  # what it says of itself now, and it is not quarantined
            row = replace(row or HostRow(host=host, labels={}), labels=dict(link.hello.labels), quarantined="")
        if row is None or not matches(host, row.labels, hosts):
            continue
        answer = survey.answers.get(host, Candidates())
        scans.append(
            HostScan(
                row=row,
                connected=link is not None and link.leased(now_ns),
                guard_version=answer.guard_version,
                candidates=() if answer.failure else tuple(answer.candidates),
                failure=answer.failure,
                failure_detail=answer.failure_detail,
                ready={count.service: count.ready for count in answer.services},
                action=survey.action,
            )
        )
    return scans


def no_store(roster: Roster, now_ns: int) -> Refused:
    return Refused(
        code="UNAVAILABLE",
        message=f"cannot plan: {roster.store_trouble(now_ns) or 'the store has not been read yet'}",
        remedy="see `killdeer status`, and the coordinator's log",
    )
