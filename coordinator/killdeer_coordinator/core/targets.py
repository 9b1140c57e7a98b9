"""From a survey to those who may be drawn, and to how a service stands."""

from collections.abc import Iterable, Sequence

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.process_pb2 import Candidate, Identity, Reason
from killdeer_coordinator.core.draw import Key
from killdeer_coordinator.core.labels import matches
from killdeer_coordinator.core.ledger import Standing
from killdeer_coordinator.core.roster import Link, Roster
from killdeer_coordinator.core.scans import Survey

Same = tuple[str, str, int, int]


def same(identity: Identity) -> Same:
    """Two identities of one process compare equal by this, whatever program it runs now."""
    return (identity.host, identity.boot_id, identity.pid, identity.start_ticks)


def aimed_at(roster: Roster, hosts: Sequence[LabelMatch], environment: str) -> list[Link]:
    """The links whose host's labels match, in that environment."""
    return [
        link
        for link in roster.reachable()
        if matches(link.host, link.hello.labels, hosts) and link.hello.labels.get("environment") == environment
    ]


def eligible(survey: Survey, busy: Iterable[Same]) -> dict[Key, Candidate]:
    """Candidates that the guard of their host allows and that are in no open strike."""
    taken = set(busy)
    return {
        Key(candidate.identity.host, candidate.service, candidate.ordinal): candidate
        for candidate in survey.found()
        if candidate.verdict.allowed and same(candidate.identity) not in taken
    }


def counted(survey: Survey) -> int:
    """What a wave's percentage is of: all that may be hit, those in flight included (rule R19)."""
    return sum(
        1
        for candidate in survey.found()
        if candidate.verdict.allowed or candidate.verdict.reason == Reason.REASON_BUSY
    )


def standing(survey: Survey, service: str) -> Standing:
    """Of the hosts that answered; the others count zero (rule R21)."""
    ready = {
        host: count.ready
        for host, answer in survey.answers.items()
        if not answer.failure
        for count in answer.services
        if count.service == service
    }
    begun = {host: answer.begun_boot_ns for host, answer in survey.answers.items() if not answer.failure}
    return Standing(service=service, ready_by_host=ready, begun_ms=survey.begun_store_ms, begun_boot_ns=begun)
