"""The limits a grant must pass, each with its arithmetic (rules R19 to R21).

Whose limits: the fleet's; the asking run's; and, on the victim's host and service, those of every other run that
holds a victim there. On a host, zone and service everybody's victims count, whoever holds them; a run's own
`in_flight` and `per_minute` count its own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from killdeer.v1.operator_pb2 import StrikeView
from killdeer_coordinator.core.books import Books, Permit, RunLimits
from killdeer_coordinator.core.percentage import comes_to_nothing, share, share_kept
from killdeer_coordinator.core.standing import Service, Standing

MINUTE_MS = 60_000
SCAN_GOOD_FOR_MS = 5_000

PLACE: dict[str, Callable[[Permit], str]] = {
    "in_flight": lambda _: "the fleet",
    "per_host": lambda permit: permit.host,
    "per_zone": lambda permit: permit.zone,
    "per_service": lambda permit: permit.service,
    "per_minute": lambda _: "the fleet",
}
"""The fleet's scopes, and which host, zone or service a permit counts in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRequest:
    """One strike that wants a permit. `view` is what is stored; its victim is the identity that is held busy."""

    permit_id: str
    command_id: str
    run_id: str
    host: str
    service: str
    zone: str  # labels.zone_of
    not_after_ms: int  # store's clock
    limits: RunLimits
    standing: Standing
    view: StrikeView
    who: str
    fence: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """No permit now. `scope` is `halted`, `store`, `run`, `host`, `clock`, `command`, `busy`, `stale scan`, or the
    limit that is at its end: in_flight, per_host, per_zone, per_service, per_minute, min_healthy, cooldown."""

    scope: str
    limit: int = 0
    used: int = 0
    where: str = ""  # which run, host, zone, service
    detail: str = ""  # one sentence with the arithmetic
    hopeless: bool = False  # nothing that Killdeer waits for can make it pass: end the wave with this detail
    again_ms: int = 0  # store's clock: asking before is pointless; 0: ask when something has changed


def held(books: Books) -> list[Permit]:
    """Permits whose victims count as in flight."""
    return [permit for permit in books.permits.values() if not permit.released_ms]


def in_rate(permit: Permit, now_ms: int) -> bool:
    """Does it count for the rate? From its grant until 60 s after its signal; while that is unknown, until 60 s
    after the last moment at which it could be sent (rule R20)."""
    return not permit.never_sent and now_ms <= _signal_ms(permit) + MINUTE_MS


def first_broken(books: Books, request: GrantRequest) -> Withheld | None:
    """The first limit that one more victim would break; None: it may be granted."""
    flying = held(books)
    binding = _binding(books, request, flying)
    if isinstance(binding, Withheld):
        return next(_fleets(books, request, flying), binding)
    here = [permit for permit in flying if permit.service == request.service]
    views = [row.view for permit in here if (row := books.strikes.get(permit.command_id))]
    service = Service.of(request.standing, here, views)
    checks = (
        _fleets(books, request, flying),
        _askers(books, request, flying),
        *(_everybodys(owner, limits, request, flying) for owner, limits in binding.items()),
        _fresh(books, request, binding.values()),
        *(_shared(owner, limits, request, service) for owner, limits in binding.items()),
        *(_healthy(owner, limits, request, service) for owner, limits in binding.items()),
        _cooldown(books, request),
    )
    return next((broken for check in checks for broken in check), None)


def _signal_ms(permit: Permit) -> int:
    return permit.struck_ms or permit.not_after_ms


def _binding(books: Books, request: GrantRequest, flying: list[Permit]) -> dict[str, RunLimits] | Withheld:
    """The asker's limits, first, and those of each other run with a victim on this host or service."""
    binding = {request.run_id: request.limits}
    for permit in flying:
        if permit.run_id in binding or (permit.host != request.host and permit.service != request.service):
            continue
        row = books.runs.get(permit.run_id) or books.ended.get(permit.run_id)
        if row is None:
            return Withheld(
                scope="run",
                where=permit.run_id,
                detail=f"run {permit.run_id} holds a victim of {permit.service} on {permit.host}, and its limits "
                f"cannot be read: wait for the recovery, or `killdeer permits clear {permit.permit_id}`",
            )
        binding[permit.run_id] = row.limits
    return binding


def _full(
    scope: str, limit: int | None, used: int, where: str, whose: str, again_ms: int = 0
) -> Iterator[Withheld]:
    if limit is not None and used + 1 > limit:
        yield Withheld(
            scope=scope,
            limit=limit,
            used=used,
            where=where,
            detail=f"{whose} {scope} is {limit}, and {used} of it is used on {where}",
            hopeless=limit < 1,
            again_ms=again_ms,
        )


def _fleets(books: Books, request: GrantRequest, flying: list[Permit]) -> Iterator[Withheld]:
    here = {
        "in_flight": "the fleet",
        "per_host": request.host,
        "per_zone": request.zone,
        "per_service": request.service,
    }
    for scope, where in here.items():
        used = sum(PLACE[scope](permit) == where for permit in flying)
        yield from _full(scope, books.limits.limits.get(scope), used, where, "the fleet's")
    yield from _rate(
        books, books.limits.limits.get("per_minute"), books.permits.values(), "the fleet", "the fleet's"
    )


def _rate(books: Books, limit: int | None, permits: Iterable[Permit], where: str, whose: str) -> Iterator[Withheld]:
    ends = [_signal_ms(permit) + MINUTE_MS for permit in permits if in_rate(permit, books.now_ms)]
    yield from _full("per_minute", limit, len(ends), where, whose, again_ms=min(ends, default=0))


def _askers(books: Books, request: GrantRequest, flying: list[Permit]) -> Iterator[Withheld]:
    run, whose = request.run_id, f"run {request.run_id}'s"
    used = sum(permit.run_id == run for permit in flying)
    yield from _full("in_flight", request.limits.in_flight, used, f"run {run}", whose)
    own = [permit for permit in books.permits.values() if permit.run_id == run]
    yield from _rate(books, request.limits.per_minute, own, f"run {run}", whose)


def _everybodys(owner: str, limits: RunLimits, request: GrantRequest, flying: list[Permit]) -> Iterator[Withheld]:
    """A run's per_host and per_service, over everybody's victims in a scope where it holds one or asks for one."""
    for scope, limit, here in (
        ("per_host", limits.per_host, request.host),
        ("per_service", limits.per_service, request.service),
    ):
        inside = [permit for permit in flying if PLACE[scope](permit) == here]
        if owner == request.run_id or any(permit.run_id == owner for permit in inside):
            yield from _full(scope, limit, len(inside), here, f"run {owner}'s")


def _fresh(books: Books, request: GrantRequest, binding: Iterable[RunLimits]) -> Iterator[Withheld]:
    """Percentages and the least healthy rest on scans under 5 s old, begun after the service's last grant."""
    if not any(
        limits.per_service_percent is not None
        or limits.min_healthy is not None
        or limits.min_healthy_percent is not None
        for limits in binding
    ):
        return
    standing = request.standing
    granted = [permit.granted_ms for permit in books.permits.values() if permit.service == request.service]
    age = books.now_ms - standing.begun_ms
    if standing.service != request.service or not 0 <= age < SCAN_GOOD_FOR_MS:
        yield Withheld(scope="stale scan", where=request.service, detail=f"the last scan was begun {age} ms ago")
    elif granted and standing.begun_ms <= max(granted):
        yield Withheld(
            scope="stale scan", where=request.service, detail="a victim was granted since the last scan was begun"
        )


def _shared(owner: str, limits: RunLimits, request: GrantRequest, service: Service) -> Iterator[Withheld]:
    """A run's percentage of the service, over everybody's victims of it."""
    percent = limits.per_service_percent
    if percent is None or not service.binds(owner, request.run_id):
        return
    base, used = service.whole, len(service.flying)
    allowed = share(percent, base)
    if used + 1 <= allowed:
        return
    if allowed:
        sum_of = f"{percent}% of {base} processes is {percent * base / 100:g}, rounded down to {allowed}"
    else:
        sum_of = comes_to_nothing(percent, base, "processes")
    yield Withheld(
        scope="per_service",
        limit=allowed,
        used=used,
        where=request.service,
        detail=f"run {owner}'s per_service: {sum_of}; {used} of it is used on {request.service}",
        hopeless=not allowed and not used,
    )


def _healthy(owner: str, limits: RunLimits, request: GrantRequest, service: Service) -> Iterator[Withheld]:
    """A run's least healthy processes of the service, by count or percentage (rounded up)."""
    needed = max(limits.min_healthy or 0, share_kept(limits.min_healthy_percent or 0, service.most))
    left = service.ready - service.going - 1
    if service.binds(owner, request.run_id) and left < needed:
        yield Withheld(
            scope="min_healthy",
            limit=needed,
            used=left,
            where=request.service,
            detail=f"run {owner}'s min_healthy is {needed}: {service.ready} of {request.service} are ready, "
            f"{service.going} of them are being struck, and one more would leave {left}",
            hopeless=not service.flying,
        )


def _cooldown(books: Books, request: GrantRequest) -> Iterator[Withheld]:
    """Of the asker, and of each other run that has struck this service in what the books remember (24 h)."""
    struck = [
        permit for permit in books.permits.values() if permit.service == request.service and not permit.never_sent
    ]
    if not struck:
        return
    runs = {**books.ended, **books.runs}
    others = [runs[run].limits.cooldown_ms for run in {permit.run_id for permit in struck} & runs.keys()]
    longest = max(request.limits.cooldown_ms, *others, 0)
    over = max(_signal_ms(permit) for permit in struck) + longest
    if longest and books.now_ms < over:
        yield Withheld(
            scope="cooldown",
            limit=longest,
            used=longest - (over - books.now_ms),
            where=request.service,
            detail=f"{request.service} was struck less than the cooldown of {longest / 1000:g} s ago",
            again_ms=over,
        )
