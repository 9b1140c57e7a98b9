"""The scan: every process that matches now, and what the guard says of it. Whole, or a named failure (I10).

It runs beside the loop with a deadline (rule R27) and as any user. For most processes it reads only what the
cheapest term of the selector needs.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from killdeer.v1.process_pb2 import Action, Candidate, Identity, Reason, Verdict

from killdeer_agent.core.facts import FactMissing, Now, Process, Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.warrant import unstruck
from killdeer_agent.kernel.proc import Around, ProcFacts
from killdeer_agent.kernel.units import Units

# States in which a process of a service does no work.
_NOT_READY = frozenset("TtZX")

# A name of a process in one of these is no service's: it is worked out from the cgroup alone.
_BY_CGROUP = (".service", ".scope", "@")


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
    units: Units = Units()

    def scan(
        self, matcher: Matcher, guard: Guard, action: Action, now: Now, deadline_boot_ns: int
    ) -> ScanResult:
        """All that match, by service and ordinal. Those in a state that is not struck, and those of which it
        cannot be told, are among them with the refusal; those that exit meanwhile are not."""
        try:
            return self._scan(matcher, guard, action, now, deadline_boot_ns)
        except ScanFailed as failed:
            return ScanResult(begun_boot_ns=now.boot_ns, failure=failed.reason, detail=failed.detail)

    def members(self, service: str) -> list[Process]:
        """The live, unstopped processes of one service, by start time; their `program` is left empty. Raises
        ScanFailed when that cannot be told."""
        return [
            Process(boot_id=self.boot_id, pid=facts.pid, start_ticks=facts.start_ticks)
            for facts in self._by_service(self._all(None), {service})[service]
            if facts.state not in _NOT_READY
        ]

    def _scan(
        self, matcher: Matcher, guard: Guard, action: Action, now: Now, deadline_boot_ns: int
    ) -> ScanResult:
        looked = []
        found: list[tuple[ProcFacts, Refusal | None]] = []
        for facts in self._all(deadline_boot_ns):
            looked.append(facts)
            try:
                if matcher.matches(facts, now):
                    found.append((facts, None))
            except FactMissing as missing:
                if missing.reason == Reason.REASON_CANNOT_EVALUATE:
                    detail = f"cannot evaluate the selector: {missing.detail}"
                    raise ScanFailed(missing.reason, detail) from missing
                if missing.reason != Reason.REASON_GONE:
                    found.append((facts, Refusal(missing.reason, missing.detail)))
        if matcher.chooses:
            found = matcher.choose(_startings(found))
        by_service = self._by_service(self._until(looked, deadline_boot_ns), _services(found))
        ordinals = {
            facts.pid: ordinal for members in by_service.values() for ordinal, facts in enumerate(members)
        }
        kind = action.WhichOneof("kind") or "kill"
        candidates = []
        for facts, refusal in found:
            try:
                candidate = self._candidate(facts, guard, action, now)
                candidate.ordinal = ordinals[facts.pid]
                candidate.verdict.CopyFrom(_verdict(facts, refusal, guard, kind, now))
            except (FactMissing, KeyError):
                continue  # exited meanwhile
            candidates.append(candidate)
        candidates.sort(key=lambda one: (one.service, one.ordinal))
        return ScanResult(
            begun_boot_ns=now.boot_ns,
            candidates=tuple(candidates),
            services=tuple(
                (service, sum(facts.state not in _NOT_READY for facts in by_service[service]))
                for service in sorted({candidate.service for candidate in candidates})
            ),
        )
