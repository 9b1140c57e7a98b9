"""A scan of a simulated host, as the agent's scanner answers it."""

import random
from typing import TYPE_CHECKING

from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import FactMissing, Refusal
from killdeer_agent.core.guard import word_of
from killdeer_agent.core.warrant import unstruck
from tests.simulation.clock import MS
from tests.simulation.processes import Proc, told_service

if TYPE_CHECKING:
    from tests.simulation.host import Machine


def scanned(machine: "Machine", effect: w.Scan, dice: random.Random) -> w.Scanned:
    begun = machine.boot_ns - dice.randint(0, 20) * MS
    if machine.scan_problem or machine.boot_ns >= effect.deadline_boot_ns:
        machine.ground.reach("fault scan fails")
        failure = p.REASON_CANNOT_EVALUATE
        return w.Scanned(
            scan_id=effect.scan_id,
            failure=failure,
            detail=machine.scan_problem or "the scan did not end within its deadline",
            begun_boot_ns=begun,
        )
    found = [(proc, refusal) for proc in machine.life.table for refusal in _matching(machine, effect, proc)]
    services = sorted({told_service(proc) for proc, _ in found})
    members = {service: _members(machine, service) for service in services}
    candidates = [
        _candidate(machine, effect, proc, refusal, members[told_service(proc)]) for proc, refusal in found
    ]
    candidates.sort(key=lambda one: (one.service, one.ordinal))
    return w.Scanned(
        scan_id=effect.scan_id,
        candidates=tuple(candidates),
        services=tuple((service, sum(one.ready for one in members[service])) for service in services),
        begun_boot_ns=begun,
    )


def _matching(machine: "Machine", effect: w.Scan, proc: Proc) -> list[Refusal | None]:
    try:
        return [None] if effect.matcher.matches(machine.facts(proc), machine.now) else []
    except FactMissing as missing:
        return [Refusal(missing.reason, missing.detail)]


def _members(machine: "Machine", service: str) -> list[Proc]:
    """By start time, ties by pid; the dead last."""
    found = [proc for proc in machine.life.table if told_service(proc) == service]
    return sorted(found, key=lambda one: (not one.alive, one.start_ticks, one.pid))


def _candidate(
    machine: "Machine", effect: w.Scan, proc: Proc, refusal: Refusal | None, members: list[Proc]
) -> p.Candidate:
    facts = machine.facts(proc)
    action = word_of(effect.action) or "kill"
    try:
        refusal = (
            refusal
            or unstruck(facts)
            or effect.guard.refuses_always(facts)
            or effect.guard.refuses(facts, machine.now, action)
        )
    except FactMissing as missing:
        refusal = Refusal(missing.reason, missing.detail)
    verdict = p.Verdict(allowed=True)
    if refusal is not None:
        verdict = p.Verdict(reason=refusal.reason, detail=refusal.detail)
    return p.Candidate(
        identity=p.Identity(
            host=machine.identity,
            boot_id=machine.boot_id,
            pid=proc.pid,
            start_ticks=proc.start_ticks,
            program=proc.program,
        ),
        service=told_service(proc),
        ordinal=members.index(proc),
        name=proc.name,
        user=proc.user,
        unit=proc.unit,
        cgroup=proc.cgroup,
        parent_pid=1,
        state=facts.state,
        verdict=verdict,
        restarts=True,
    )
