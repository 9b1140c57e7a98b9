"""What can be said of an experiment before it is run: why it cannot, and what to think of."""

from collections import Counter
from collections.abc import Iterator, Sequence

from killdeer.durations import format_duration
from killdeer.terms import CHOOSING
from killdeer.v1.process_pb2 import Action, Candidate
from killdeer_coordinator.core.books import Books, RunLimits
from killdeer_coordinator.core.draw import Key
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.limits import held
from killdeer_coordinator.core.percentage import comes_to_nothing, share, share_kept
from killdeer_coordinator.core.schedule import WaveSpec
from killdeer_coordinator.core.sighting import HostScan, eligible, host_verdict

# The books remember released permits for so long; a longer cooldown could not be held (rule R20).
_LONGEST_COOLDOWN_MS = 24 * 3_600_000


def refusals_of(experiment: Intake, hosts: Sequence[HostScan], books: Books) -> list[str]:
    """Why it cannot be run, but for what a wave itself comes to. Empty: nothing is known against it."""
    refused = [
        f"the fleet is halted by {halt.by}{f' ({halt.reason})' if halt.reason else ''}: "
        "nothing runs until `killdeer rearm --reason …`"
        for halt in books.halts.active
    ]
    empty = [wave.name for wave in experiment.waves if not eligible(experiment, hosts, wave.action)]
    if len(empty) == len(experiment.waves):
        refused.append(_nothing(experiment, hosts))
    elif empty:
        refused.append(f"no candidate may be hit by the action of wave {', '.join(map(repr, empty))}")
    if experiment.limits.cooldown_ms > _LONGEST_COOLDOWN_MS:
        refused.append(
            f"the cooldown of {format_duration(experiment.limits.cooldown_ms)} is longer than 24h, the longest "
            "that can be held: shorten it"
        )
    if all(wave.dry_run for wave in experiment.waves):
        return refused  # a rehearsal needs no permit
    refused += [
        f"the fleet's {scope} is {limit}, so nothing is granted: `killdeer limits set {scope} N --reason …`"
        for scope, limit in sorted(books.limits.limits.items())
        if limit < 1
    ]
    never = _never_by_service(experiment, hosts, books)
    if never and all(never.values()):
        refused += [line for lines in never.values() for line in lines]
    return refused


# A warning names this many hosts and leaves it at that.
HOSTS_NAMED = 4


def warnings_of(experiment: Intake, hosts: Sequence[HostScan], books: Books) -> list[str]:
    """What an operator should know of before running it."""
    warnings: list[str] = []
    # A single strike by hand is its own first step; wider ones begin with a look.
    if len(experiment.waves) > 1 and not experiment.waves[0].dry_run:
        warnings.append("it does not begin with a rehearsal: put {name: rehearsal, dry_run: true} before its waves")
    for term in experiment.selector.terms:
        if term.field in CHOOSING:
            warnings.append(
                "oldest and newest choose when a wave is drawn; they are not checked again at the strike"
            )
            break
    for wave in experiment.waves:
        keys = eligible(experiment, hosts, wave.action)
        warnings += _of_wave(wave, keys)
        warnings += _of_action(wave, hosts, keys)
    warnings += _of_supervision(experiment, hosts)
    warnings += _of_holds(experiment, hosts)
    services = sorted(
        {key.service for wave in experiment.waves for key in eligible(experiment, hosts, wave.action)}
    )
    never = {service: list(_never(experiment.limits, hosts, books, service)) for service in services}
    if not all(never.values()):
        warnings += [line for lines in never.values() for line in lines]
    warnings += _of_fleet(experiment.limits, books)
    return warnings


def _nothing(experiment: Intake, hosts: Sequence[HostScan]) -> str:
    """Why there is nobody to draw from, in one sentence."""
    if not hosts:
        return "no host has the labels of target.hosts: see `killdeer hosts` for those there are"
    verdicts = {scan.row.host: host_verdict(experiment, scan) for scan in hosts}
    open_hosts = [host for host, verdict in verdicts.items() if verdict.allowed]
    if not open_hosts:
        host, verdict = next(iter(sorted(verdicts.items())))
        return f"none of {len(verdicts)} hosts may be hit; {host}: {verdict.detail}"
    found = [candidate for scan in hosts if scan.row.host in open_hosts for candidate in scan.candidates]
    if not found:
        return (
            f"the selector matches nothing on {len(open_hosts)} hosts: "
            "try its terms with `killdeer candidates KEY=VALUE…`"
        )
    return f"none of the {len(found)} that match may be hit; {_first(found)}"


def _first(closed: Sequence[Candidate]) -> str:
    """By name, with why. What to do about it is with its verdict: lines that `plan` shows host by host."""
    host, verdict = closed[0].identity.host, closed[0].verdict
    return f"the first, {closed[0].name or 'one'} on {host}: {verdict.detail or 'it is not allowed'}"


def _never_by_service(experiment: Intake, hosts: Sequence[HostScan], books: Books) -> dict[str, list[str]]:
    """For each service that is to be struck: the experiment's limits that no strike on it can pass."""
    services = {
        key.service
        for wave in experiment.waves
        if not wave.dry_run
        for key in eligible(experiment, hosts, wave.action)
    }
    return {service: list(_never(experiment.limits, hosts, books, service)) for service in sorted(services)}


def _never(limits: RunLimits, hosts: Sequence[HostScan], books: Books, service: str) -> Iterator[str]:
    ready = _ready(hosts, service)
    whole = ready + sum(permit.service == service for permit in held(books))
    if limits.per_service_percent is not None and not share(limits.per_service_percent, whole):
        yield f"per_service on {service}: {comes_to_nothing(limits.per_service_percent, whole, 'processes')}"
    for needed, said in (
        (limits.min_healthy or 0, f"min_healthy {limits.min_healthy}"),
        (share_kept(limits.min_healthy_percent or 0, whole), f"min_healthy {limits.min_healthy_percent}%"),
    ):
        if needed > whole - 1:
            yield (
                f"{said} on {service}: {needed} of {whole} must be left, and one strike leaves "
                f"{max(0, whole - 1)}: lower it, or run more of the service"
            )


def _ready(hosts: Sequence[HostScan], service: str) -> int:
    """Ready processes of a service, fleet-wide: by each host's own count, else by its candidates."""
    by_host: dict[str, int] = {}
    for scan in hosts:
        seen = sum(candidate.service == service for candidate in scan.candidates)
        by_host[scan.row.host] = max(by_host.get(scan.row.host, 0), scan.ready.get(service, seen))
    return sum(by_host.values())


def _of_wave(wave: WaveSpec, keys: dict[Key, Candidate]) -> Iterator[str]:
    if wave.count is None or not keys or wave.count <= len(keys):
        return
    if wave.over_ms or wave.dry_run:
        yield (
            f"wave {wave.name!r} asks for {wave.count} strikes on {len(keys)} candidates: "
            "one that has recovered may be drawn again"
        )
    else:
        yield (
            f"wave {wave.name!r} asks for {wave.count} strikes at once, and there are {len(keys)} candidates: "
            f"{len(keys)} are struck; spread it with `over` to strike again what has recovered"
        )


def _of_action(wave: WaveSpec, hosts: Sequence[HostScan], keys: dict[Key, Candidate]) -> Iterator[str]:
    """Processes that another action may hit, and this one may not."""
    others = {
        Key(scan.row.host, candidate.service, candidate.ordinal)
        for scan in hosts
        if not scan.about(wave.action)
        for candidate in scan.candidates
        if candidate.verdict.allowed
    }
    closed = [
        candidate
        for scan in hosts
        if scan.about(wave.action)
        for candidate in scan.candidates
        if not candidate.verdict.allowed
        and Key(scan.row.host, candidate.service, candidate.ordinal) in others - keys.keys()
    ]
    if closed:
        yield f"wave {wave.name!r} cannot hit {len(closed)} that other waves can; {_first(closed)}"


def _of_supervision(experiment: Intake, hosts: Sequence[HostScan]) -> Iterator[str]:
    """Who would stay down: nothing is known to restart them."""
    ending: list[Action] = [
        wave.action for wave in experiment.waves if not wave.dry_run and not wave.action.HasField("pause")
    ]
    alone = {
        key
        for action in ending
        for key, candidate in eligible(experiment, hosts, action).items()
        if not candidate.restarts
    }
    for service, count in sorted(Counter(key.service for key in alone).items()):
        hosts_of = sorted({key.host for key in alone if key.service == service})
        named = ", ".join(hosts_of[:HOSTS_NAMED]) + (", …" if len(hosts_of) > HOSTS_NAMED else "")
        yield f"nothing is known to restart {service} on {named} ({count} of it may be hit): it may stay down"


def _of_holds(experiment: Intake, hosts: Sequence[HostScan]) -> Iterator[str]:
    """What may keep a hold from lasting for its time."""
    lengths = [
        (wave.action, wave.action.hold_down.length_ms)
        for wave in experiment.waves
        if not wave.dry_run and wave.action.HasField("hold_down")
    ]
    if not lengths:
        return
    action, longest = max(lengths, key=lambda one: one[1])
    held = eligible(experiment, hosts, action)
    alone = sorted({key.service for key, candidate in held.items() if not candidate.restarts})
    if alone:
        yield f"hold-down has nothing to hold if nothing restarts {', '.join(alone)}: it is a plain kill then"
    if any(candidate.unit.endswith(".service") and candidate.restarts for candidate in held.values()):
        yield (
            "systemd gives a unit up that is started too often, 5 times in 10s unless StartLimitBurst= and "
            f"StartLimitIntervalSec= say otherwise: a hold of {format_duration(longest)} then ends, and the unit "
            "is started again where the agent may"
        )


def _of_fleet(limits: RunLimits, books: Books) -> Iterator[str]:
    asked = {
        "in_flight": limits.in_flight,
        "per_host": limits.per_host,
        "per_service": limits.per_service,
        "per_minute": limits.per_minute,
    }
    for scope, wanted in asked.items():
        fleets = books.limits.limits.get(scope)
        if wanted is not None and fleets is not None and wanted > fleets:
            yield f"{scope} {wanted} is more than the fleet's {fleets}, which holds"
