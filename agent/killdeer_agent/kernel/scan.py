"""The scan: every process that matches now, and what the guard says of it. Whole, or a named failure (I10).

It runs beside the loop with a deadline (rule R27) and as any user. For most processes it reads only what the
cheapest term of the selector needs.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from killdeer.v1.process_pb2 import Action, Candidate, Identity, Reason, Verdict
from killdeer_agent.core.facts import FactMissing, Now, Process, Refusal
from killdeer_agent.core.guard import Guard, word_of
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.warrant import unstruck
from killdeer_agent.kernel.proc import Around, ProcFacts
from killdeer_agent.kernel.stat import PF_FORKNOEXEC
from killdeer_agent.kernel.units import Units

# States in which a process does no work for its service, and those in which it is dead.
_NOT_READY = frozenset("TtZX")
_DEAD = frozenset("ZX")

# The names of a service's process before its program is executed: that of systemd; from systemd 254 on that of its
# executor, cut to 15 bytes; then what comes in parentheses, `(nginx)`.
_SYSTEMD, _EXECUTOR = b"systemd", b"systemd-executo"

# The ends of a service that is worked out from the cgroup alone.
_UNITS = (".service", ".scope", "@")

# After so many processes the clock is read.
_STRIDE = 64

T = TypeVar("T")

Match = tuple[ProcFacts, Refusal | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """`failure` set: the scan could not be made, and nothing may be concluded from it. `services` counts the live,
    unstopped processes of every service that has a candidate. `begun_boot_ns` is CLOCK_BOOTTIME."""

    begun_boot_ns: int
    candidates: tuple[Candidate, ...] = ()
    services: tuple[tuple[str, int], ...] = ()
    failure: Reason = Reason.REASON_UNSPECIFIED
    detail: str = ""


class ScanFailed(Exception):
    """The scan cannot be made; `reason` and `detail` say why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """The host as the scan sees it. `clock` reads CLOCK_BOOTTIME in nanoseconds."""

    host: str
    boot_id: str
    clock: Callable[[], int]
    proc_root: str = "/proc"
    units: Units = field(default_factory=Units)

    def scan(self, matcher: Matcher, guard: Guard, action: Action, now: Now, deadline_boot_ns: int) -> ScanResult:
        """All that match, by service and ordinal; the guard is asked about the action, or a kill where none is set.

        Those that are in a state that is not struck, and those of which it cannot be told, are among them with the
        refusal. Those that exit meanwhile are not.
        """
        try:
            looked, found = self._matching(matcher, guard, now, deadline_boot_ns)
            wanted = _services(found)
            members = _members(self._until(looked, deadline_boot_ns), wanted)
            candidates = list(self._candidates(found, members, guard, action, now, deadline_boot_ns))
        except ScanFailed as failed:
            return ScanResult(begun_boot_ns=now.boot_ns, failure=failed.reason, detail=failed.detail)
        candidates.sort(key=lambda one: (one.service, one.ordinal))
        services = sorted({candidate.service for candidate in candidates})
        return ScanResult(
            begun_boot_ns=now.boot_ns,
            candidates=tuple(candidates),
            services=tuple((service, sum(map(_ready, members[service]))) for service in services),
        )

    def members(self, service: str) -> list[Process]:
        """The live, unstopped processes of one service, by start time; their `program` is left empty. Raises
        ScanFailed when that cannot be told."""
        found = _members(self._all(Around()), {service})
        return [
            Process(boot_id=self.boot_id, pid=facts.pid, start_ticks=facts.start_ticks)
            for facts in found[service]
            if _ready(facts)
        ]

    def _matching(
        self, matcher: Matcher, guard: Guard, now: Now, deadline_boot_ns: int
    ) -> tuple[list[ProcFacts], list[Match]]:
        """All processes, and those that match or of which it cannot be told."""
        looked: list[ProcFacts] = []
        found: list[Match] = []
        for facts in self._until(self._all(Around()), deadline_boot_ns):
            looked.append(facts)
            try:
                if matcher.matches(facts, now, guard.hide):
                    found.append((facts, None))
            except FactMissing as missing:
                _unless_host_wide(missing)
                if missing.reason != Reason.REASON_GONE:
                    found.append((facts, Refusal(missing.reason, missing.detail)))
        return looked, matcher.choose(_startings(found)) if matcher.chooses else found

    def _candidates(
        self,
        found: Iterable[Match],
        members: dict[str, list[ProcFacts]],
        guard: Guard,
        action: Action,
        now: Now,
        deadline_boot_ns: int,
    ) -> Iterator[Candidate]:
        kind = word_of(action) or "kill"
        places = {one.pid: place for service in members.values() for place, one in enumerate(service)}
        restarts: dict[str, bool] = {}
        for facts, refusal in self._until(found, deadline_boot_ns):
            if facts.pid not in places:
                continue  # exited meanwhile
            try:
                verdict = _verdict(facts, refusal, guard, kind, now)
                unit = facts.unit
                if unit not in restarts:
                    restarts[unit] = bool(unit) and self.units.restarts(unit, action)
                yield Candidate(
                    identity=Identity(
                        host=self.host,
                        boot_id=self.boot_id,
                        pid=facts.pid,
                        start_ticks=facts.start_ticks,
                        program=facts.program,
                    ),
                    service=facts.service,
                    ordinal=places[facts.pid],
                    name=facts.name,
                    cmdline=guard.redact(facts.cmdline),
                    user=facts.user,
                    unit=unit,
                    container=facts.container,
                    cgroup=facts.cgroup,
                    parent_pid=facts.parent_pid,
                    state=facts.state,
                    age_ms=max(0, now.boot_ns - facts.started_boot_ns) // 1_000_000,
                    verdict=verdict,
                    restarts=restarts[unit],
                )
            except FactMissing as missing:
                _unless_host_wide(missing)

    def _all(self, around: Around) -> Iterator[ProcFacts]:
        try:
            entries = os.listdir(self.proc_root)  # noqa: PTH208 - as in proc.py
        except OSError as error:
            detail = f"cannot list {self.proc_root}: {error.strerror}"
            raise ScanFailed(Reason.REASON_UNREADABLE, detail) from error
        root = self.proc_root
        return (ProcFacts(int(entry), root, around) for entry in entries if entry.isdecimal())

    def _until(self, ones: Iterable[T], deadline_boot_ns: int) -> Iterator[T]:
        for number, one in enumerate(ones):
            if number % _STRIDE == 0 and self.clock() >= deadline_boot_ns:
                raise ScanFailed(Reason.REASON_CANNOT_EVALUATE, "the scan did not end within its deadline")
            yield one


def _members(looked: Iterable[ProcFacts], wanted: set[str]) -> dict[str, list[ProcFacts]]:
    """Service -> its processes by start time, ties by pid (rule R26); the dead last, so that their end moves
    nobody."""
    members: dict[str, list[tuple[bool, int, int, ProcFacts]]] = {service: [] for service in wanted}
    elsewhere = _elsewhere(wanted)
    for facts in looked if wanted else ():
        try:
            if not elsewhere(facts) and (service := facts.service) in wanted:
                members[service].append((facts.state in _DEAD, facts.start_ticks, facts.pid, facts))
        except FactMissing as missing:
            _unless_host_wide(missing)
    return {service: [one[-1] for one in sorted(found)] for service, found in members.items()}


def _elsewhere(wanted: set[str]) -> Callable[[ProcFacts], bool]:
    """A cheap no: whether a process can be in none of the services, from its executable and name alone."""
    if any(service.endswith(_UNITS) or service.startswith("container:") for service in wanted):
        return lambda facts: False
    named = any(not service.startswith("/") for service in wanted)

    return lambda facts: not facts.runs_any(wanted) and not (named and facts.name in wanted)


def _services(found: Iterable[Match]) -> set[str]:
    services = set()
    for facts, _ in found:
        try:
            services.add(facts.service)
        except FactMissing as missing:
            _unless_host_wide(missing)
    return services


def _startings(found: Iterable[Match]) -> Iterator[tuple[int, int, Match]]:
    """What `oldest` and `newest` choose from: the living."""
    for match in found:
        facts = match[0]
        try:
            if facts.state not in _DEAD:
                yield facts.started_boot_ns, facts.pid, match
        except FactMissing as missing:
            _unless_host_wide(missing)


def _verdict(facts: ProcFacts, refusal: Refusal | None, guard: Guard, kind: str, now: Now) -> Verdict:
    try:
        refusal = refusal or unstruck(facts) or guard.refuses_always(facts) or guard.refuses(facts, now, kind)
    except FactMissing as missing:
        if missing.reason == Reason.REASON_GONE:
            raise
        refusal = Refusal(missing.reason, missing.detail)
    if refusal is None:
        return Verdict(allowed=True)
    return Verdict(reason=refusal.reason, detail=refusal.detail, remedy=refusal.remedy)


def _ready(facts: ProcFacts) -> bool:
    return facts.state not in _NOT_READY and not _becomes_another(facts)


def _becomes_another(facts: ProcFacts) -> bool:
    """systemd has forked it for a service, is still setting it up, and has not had it exec the program (systemd's
    src/core/exec-invoke.c). Others fork too, but whom of those an exec awaits, nobody can tell."""
    comm = facts.stat.comm
    forked = comm == _SYSTEMD and facts.stat.flags & PF_FORKNOEXEC
    named = comm == _EXECUTOR or (comm.startswith(b"(") and comm.endswith(b")"))
    try:
        return bool(forked or named) and facts.parent_name == _SYSTEMD.decode()
    except FactMissing:  # its parent has gone meanwhile: it cannot be told
        return True


def _unless_host_wide(missing: FactMissing) -> None:
    """One process that cannot be read, or has gone, is passed over; what the agent has no right to read, it has
    for none, and to leave those out would be to say that they do not match."""
    if missing.reason == Reason.REASON_CANNOT_EVALUATE:
        raise ScanFailed(missing.reason, f"cannot evaluate the selector: {missing.detail}") from missing
