"""How well is a service prepared for what a strike does? Facts -> findings, each with its number and the change.

Their names are a closed list (docs/decisions/0028-inspect.md); each is told once for all that it is about.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from killdeer.v1 import agent_pb2
from killdeer.wording import counted
from killdeer_agent.core import bounds, supervised
from killdeer_agent.core.finding import INFO, PROBLEM, WARNING, Finding
from killdeer_agent.core.preparedness import ProcessFacts, ServiceFacts, UnitSettings
from killdeer_agent.core.signals import CHLD, INT, QUIT, TERM, name

# linux/capability.h: who has one of these can undo what keeps it apart from the rest of the host.
_POWERFUL = {
    1: "CAP_DAC_OVERRIDE",
    12: "CAP_NET_ADMIN",
    16: "CAP_SYS_MODULE",
    17: "CAP_SYS_RAWIO",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
}


def subject(service: ServiceFacts) -> agent_pb2.Subject:
    """As it goes to whoever asked."""
    mains = {unit.main_pid for unit in service.units}
    return agent_pb2.Subject(
        service=service.service,
        units=sorted(service.unit_names),
        container=service.container,
        processes=[
            agent_pb2.SubjectProcess(
                pid=one.pid,
                name=one.name,
                cmdline=one.cmdline,
                user=one.user,
                age_ms=one.age_ms,
                main=one.pid in mains,
                verdict=one.verdict,
            )
            for one in service.processes
        ],
        findings=[_to_wire(finding) for finding in findings(service)],
        unasked=service.unasked,
        left_out=service.left_out,
        stop_ms=_longest_ms(unit.stop_us for unit in service.units),
        restart_ms=_longest_ms(unit.restart_us for unit in service.units),
    )


def _longest_ms(times_us: Iterable[int | None]) -> int:
    return max((time_us for time_us in times_us if time_us is not None), default=0) // 1_000


def findings(service: ServiceFacts) -> list[Finding]:
    """The gravest first."""
    by_name = {unit.name: unit for unit in service.units}
    found = [*_alone(service), *bounds.memory(service), *bounds.tasks(service)]
    for unit in service.units:
        found += [replace(one, units=(unit.name,)) for one in supervised.findings(unit)]
    for process in service.processes:
        told = [
            *_signals(process, by_name.get(process.unit)),
            *_rights(process),
            *_reaping(process),
            *bounds.files(process),
        ]
        if not service.unit_names:
            told += _unsupervised(service, process)
        found += [replace(one, pids=(process.pid,)) for one in told]
    return sorted(_merged(found), key=lambda one: (-one.severity, one.name, one.directive))


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """What is the same of many is said once, as of the one that it weighs on most."""
    merged: dict[tuple[int, str, str], Finding] = {}
    for one in found:
        key = (one.severity, one.name, one.directive)
        known = merged.get(key)
        if known is not None:
            worst = one if one.weight > known.weight else known
            units = tuple(dict.fromkeys((*known.units, *one.units)))
            merged[key] = replace(worst, units=units, pids=tuple(dict.fromkeys((*known.pids, *one.pids))))
        else:
            merged[key] = one
    return list(merged.values())


def _to_wire(finding: Finding) -> agent_pb2.InspectionFinding:
    return agent_pb2.InspectionFinding(
        severity=finding.severity,
        name=finding.name,
        fact=finding.fact,
        change=finding.change,
        section=finding.section,
        directive=finding.directive,
        units=finding.units,
        pids=finding.pids,
    )


def _signals(process: ProcessFacts, unit: UnitSettings | None) -> Iterator[Finding]:
    """What becomes of it at a SIGTERM, which a `terminate` sends; and at the signal of its unit."""
    handle = "handle SIGTERM in the program: finish what is under way, then exit"
    if TERM in process.ignored:
        fact = "it ignores SIGTERM: a terminate waits its whole grace, and kills it then"
        other = next((one for one in (INT, QUIT) if one in process.caught), 0)
        if other and unit is not None and unit.kill_signal != other:
            change = f"{handle}; for systemctl stop, it does handle {name(other)}"
            yield Finding(PROBLEM, "term-ignored", fact, change, "Service", f"KillSignal={name(other)}")
        else:
            yield Finding(PROBLEM, "term-ignored", fact, handle)
    elif TERM in process.caught:
        yield Finding(INFO, "term-caught", "it has a handler for SIGTERM")
    elif TERM in (process.heard or ()):
        yield Finding(INFO, "term-caught", "it reads SIGTERM from a signalfd")
    elif TERM in process.blocked:
        fact = (
            "every thread of it blocks SIGTERM, and none is seen to take it: a terminate may wait its whole grace"
        )
        yield Finding(WARNING, "term-blocked", fact, f"unblock it, or take it with sigwait() or signalfd; {handle}")
    elif TERM in process.held_back:
        fact = "some of its threads block SIGTERM and one does not, as where that one waits for it with sigwait()"
        yield Finding(INFO, "term-waited-for", fact, "if none does, SIGTERM ends it at once")
    elif process.first_of_namespace:
        fact = (
            "it is pid 1 of its pid namespace and has no handler for SIGTERM: the kernel drops the signal, and a "
            "terminate waits its whole grace"
        )
        change = f"{handle}; or let an init be pid 1 (docker run --init, tini)"
        yield Finding(PROBLEM, "term-dropped", fact, change)
    else:
        fact = "it has no handler for SIGTERM: it dies at once, and what is under way is lost as with SIGKILL"
        yield Finding(
            WARNING, "term-not-caught", fact, f"{handle} (a program that waits in sigwait() looks the same)"
        )


def _rights(process: ProcessFacts) -> Iterator[Finding]:
    held = process.capabilities.bit_count()
    powerful = [word for bit, word in _POWERFUL.items() if process.capabilities >> bit & 1]
    if process.effective_uid == 0 and powerful:
        all_of_them = (
            "all capabilities" if process.all_capabilities else counted(held, "capability", "capabilities")
        )
        fact = f"it runs as root with {all_of_them}, {', '.join(powerful[:3])} among them"
        change = "give it a user of its own (User=), and those capabilities alone that it needs"
        yield Finding(WARNING, "root", fact, change)
    elif process.effective_uid == 0:
        fact = f"it runs as root, with {counted(held, 'capability', 'capabilities')}"
        yield Finding(INFO, "root", fact, "give it a user of its own (User=)")
    elif powerful:
        fact = f"as {process.user} it holds {', '.join(powerful)}"
        change = "leave out those that it does not need"
        yield Finding(INFO, "capabilities", fact, change, "Service", f"CapabilityBoundingSet=~{' '.join(powerful)}")


def _reaping(process: ProcessFacts) -> Iterator[Finding]:
    zombies = len(process.zombies)
    if zombies:
        exited = "1 child of it has" if zombies == 1 else f"{zombies:,} children of it have"
        fact = f"{exited} exited, and it does not wait for them"
        if process.first_of_namespace:
            change = "as pid 1 it inherits every orphan: let an init be pid 1 (docker run --init, tini)"
            yield Finding(PROBLEM, "zombies", f"{fact}; it is pid 1 of its container", change, weight=zombies)
        else:
            yield Finding(WARNING, "zombies", fact, "wait for children, or ignore SIGCHLD", weight=zombies)
    elif process.first_of_namespace and CHLD not in process.caught | process.ignored | (
        process.heard or frozenset()
    ):
        fact = "it is pid 1 of its container and neither handles nor ignores SIGCHLD: orphans may stay as zombies"
        yield Finding(INFO, "no-reaper", fact, "if it does not wait for children: docker run --init, or tini")


def _unsupervised(service: ServiceFacts, process: ProcessFacts) -> Iterator[Finding]:
    if service.container:
        fact = f"container {service.container[:12]} is started again by its runtime, if by anybody"
        yield Finding(
            INFO, "restart-by-runtime", fact, "see its restart policy: docker update --restart on-failure"
        )
    else:
        parent = process.parent or "which is not known"
        fact = f"it is in no unit: nobody is known to start it again but its parent, {parent}"
        yield Finding(WARNING, "restart-nobody", fact, "run it as a service of systemd, with Restart=on-failure")


def _alone(service: ServiceFacts) -> Iterator[Finding]:
    if service.members == 1:
        fact = f"it is the only process of {service.service} on this host: while it is down, nobody serves here"
        change = "run a second instance, here or on another host, and let what is before it try again there"
        yield Finding(WARNING, "one-instance", fact, change)
    elif service.members > 1 and len(service.unit_names) == 1:
        main = next((unit.main_pid for unit in service.units if unit.main_pid), 0)
        if main:
            others = counted(service.members - 1, "other process", "other processes")
            fact = f"all of its processes are one unit: the end of the main one, pid {main}, ends {others} with it"
            yield Finding(INFO, "one-unit", fact, "strike a worker by parent!=1, the main process by parent=1")
