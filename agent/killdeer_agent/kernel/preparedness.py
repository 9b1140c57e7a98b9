"""How well what may be hit is prepared, as /proc, the cgroups and systemd say: Inspect is answered by Inspected.

Read only, beside the loop, with a deadline. A process that exits meanwhile is left out, and so is one whose pid is
another's by the end.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from killdeer.v1.process_pb2 import Action, Candidate, Kill, Reason
from killdeer_agent.core.facts import FactMissing, Now
from killdeer_agent.core.preparedness import ProcessFacts, ServiceFacts, UnitSettings
from killdeer_agent.core.words import Inspect, Inspected
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.scan import Scanner
from killdeer_agent.kernel.shares import Shares
from killdeer_agent.kernel.statuses import Children, process_facts
from killdeer_agent.kernel.unitbus import Unasked, UnitBus

# One service is looked at through so many of its processes, and so many services in one inspection.
MOST_PROCESSES = 50
MOST_SERVICES = 200
_KILL = Action(kill=Kill(signal=9))
# The guard lets it be hit: at all, if not by a kill; or would, were it not struck just now.
_OPEN = frozenset({Reason.REASON_ACTION_NOT_ALLOWED, Reason.REASON_BUSY})


class Preparedness:
    def __init__(self, scanner: Scanner, bus: UnitBus, now: Callable[[], Now]) -> None:
        self._scanner = scanner
        self._bus = bus
        self._now = now
        self._proc = scanner.proc_root

    def inspect(self, effect: Inspect) -> Inspected:
        try:
            return self._inspect(effect)
        except FactMissing as missing:
            return Inspected(ask=effect.ask, failure=missing.reason, detail=missing.detail)

    def _inspect(self, effect: Inspect) -> Inspected:
        now = self._now()
        scan = self._scanner.scan(effect.matcher, effect.guard, _KILL, now, effect.deadline_boot_ns)
        if scan.failure:
            return Inspected(ask=effect.ask, failure=scan.failure, detail=scan.detail)
        found: dict[str, list[Candidate]] = {}
        for one in scan.candidates:
            if not effect.open_only or one.verdict.allowed or one.verdict.reason in _OPEN:
                found.setdefault(one.service, []).append(one)
        if len(found) > MOST_SERVICES:
            detail = f"{len(found):,} services match here, more than one inspection looks at ({MOST_SERVICES})"
            return _failed(effect, f"{detail}: narrow the selector, by unit or user")
        children, shares, members = Children(self._proc), Shares(Path(self._proc)), dict(scan.services)
        services = []
        for name, candidates in found.items():
            if self._scanner.clock() >= effect.deadline_boot_ns:
                return _failed(effect, "the inspection did not end within its deadline: narrow the selector")
            service = self._service(name, candidates, children, shares, members.get(name, 0))
            if service.processes:
                services.append(service)
        return Inspected(ask=effect.ask, services=self._with_units(services, children))

    def _service(
        self, name: str, candidates: list[Candidate], children: Children, shares: Shares, members: int
    ) -> ServiceFacts:
        processes: list[ProcessFacts] = []
        looked: dict[str, int] = {}  # cgroup -> one that is in it
        for one in candidates[:MOST_PROCESSES]:
            pid = one.identity.pid
            try:
                facts = process_facts(one, children, self._proc)
                still = ProcFacts(pid, self._proc).start_ticks == one.identity.start_ticks
            except FactMissing as missing:
                if missing.reason == Reason.REASON_GONE:
                    continue
                raise
            if still:
                processes.append(facts)
                looked.setdefault(one.cgroup, pid)
        units = dict.fromkeys(one.unit for one in candidates if one.unit)
        return ServiceFacts(
            service=name,
            container=candidates[0].container,
            processes=tuple(processes),
            unit_names=tuple(units),
            cgroups=tuple(shares.of(pid) for pid in looked.values()),
            members=members,
            left_out=max(0, len(candidates) - MOST_PROCESSES),
        )

    def _with_units(self, services: Iterable[ServiceFacts], children: Children) -> tuple[ServiceFacts, ...]:
        """And with those zombies alone that still are: who waits for its children is slow at worst."""
        told = list(services)
        names = [name for service in told for name in service.unit_names]
        unasked, units = "", {}
        try:
            units = {unit.name: unit for unit in self._units(names)}
        except Unasked as why:
            unasked = str(why)
        return tuple(
            replace(
                service,
                processes=tuple(
                    replace(one, zombies=tuple(pid for pid in one.zombies if children.is_zombie(pid, one.pid)))
                    for one in service.processes
                ),
                units=tuple(units[name] for name in service.unit_names if name in units),
                unasked=unasked if service.unit_names else "",
            )
            for service in told
        )

    def _units(self, names: list[str]) -> Iterable[UnitSettings]:
        if not names:
            return ()
        try:
            init = ProcFacts(1, self._proc).name
        except FactMissing as missing:
            raise Unasked(f"cannot ask systemd: {missing.detail}") from missing
        if init != "systemd":
            raise Unasked(f"cannot ask systemd: pid 1 of this host is {init}")
        return self._bus.settings(names)


def _failed(effect: Inspect, detail: str) -> Inspected:
    return Inspected(ask=effect.ask, failure=Reason.REASON_CANNOT_EVALUATE, detail=detail)
