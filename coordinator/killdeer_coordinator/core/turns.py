"""Whose turn it is for a permit: what is asked of the ledger, and when to ask again after a no."""

from collections.abc import Callable, Iterable

from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.flight import NOT_AFTER_MS, Flight
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.labels import zone_of
from killdeer_coordinator.core.ledger import GrantRequest, Withheld
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster
from killdeer_coordinator.core.scans import Survey
from killdeer_coordinator.core.targets import standing
from killdeer_coordinator.core.words import Now

ASK_AGAIN_MS = 500
RETRY_NS = 1_000_000_000


def permit_id(flight: Flight) -> str:
    """A permit is named after the one command that it is for."""
    return f"p-{flight.view.command_id}"


def next_in_line(queue: Iterable[Flight], roster: Roster, now_ns: int) -> tuple[Flight | None, Link | None]:
    """The first that may ask now, with its host's link; those of hosts without a lease wait a while."""
    for flight in queue:
        if flight.again_ns > now_ns:
            continue
        link = roster.way_to(flight.host)
        if link is not None and link.leased(now_ns):
            return flight, link
        flight.again_ns, flight.withheld = now_ns + RETRY_NS, f"{flight.host} has no lease"
    return None, None


def request(flight: Flight, row: RunRow, intake: Intake, survey: Survey, link: Link, now: Now) -> GrantRequest:
    """`now` is by the store's clock, at the latest; so it is below."""
    return GrantRequest(
        permit_id=permit_id(flight),
        command_id=flight.view.command_id,
        run_id=row.run_id,
        host=flight.host,
        service=flight.view.service,
        zone=zone_of(flight.host, link.hello.labels),
        # The agent counts from a heartbeat it sent before now, so this is never earlier than its own bound.
        not_after_ms=now.unix_ms + NOT_AFTER_MS,
        limits=intake.limits,
        standing=standing(survey, flight.view.service),
        view=flight.view,
        who=row.started_by,
        fence=row.fence,
    )


def withheld_alike(flight: Flight, queue: Iterable[Flight], withheld: Withheld, now: Now) -> list[Flight]:
    """All that the same limit holds back, this one among them; none of them asks again for a while."""
    alike = [other for other in queue if other is flight or _shared(withheld.scope, flight, other)]
    wait_ms = max(ASK_AGAIN_MS, withheld.again_ms - now.unix_ms)
    for other in alike:
        other.withheld = withheld.detail
        other.again_ns = now.mono_ns + wait_ms * NS_PER_MS
    return alike


_WHOLE: dict[str, Callable[[Flight], object]] = {
    "host": lambda flight: flight.host,
    "per_host": lambda flight: flight.host,
    "per_service": lambda flight: flight.view.service,
    "min_healthy": lambda flight: flight.view.service,
    "cooldown": lambda flight: flight.view.service,
    "in_flight": lambda _: "the fleet",
    "per_minute": lambda _: "the fleet",
    "halted": lambda _: "the fleet",
    "store": lambda _: "the fleet",
    "run": lambda _: "the fleet",
    "clock": lambda _: "the fleet",
}
"""What victims must have in common to be held back by one and the same scope; other scopes hold back one."""


def _shared(scope: str, one: Flight, other: Flight) -> bool:
    common = _WHOLE.get(scope)
    return common is not None and common(one) == common(other)
