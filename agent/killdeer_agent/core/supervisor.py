"""A signal of the service manager: that its unit was to stop, or had failed, as far as signals tell."""

from killdeer.v1.process_pb2 import Cause, KernelEvent, Party
from killdeer_agent.core import signals
from killdeer_agent.core.case import Case, Finding, later, who
from killdeer_agent.core.lives import key_of
from killdeer_agent.core.place import is_managers, place_at
from killdeer_agent.core.signals import KILL, name
from killdeer_agent.core.strike import NS_PER_MS

# The service manager ends what is left of a unit as soon as it hears of a death that is the unit's end.
AT_ONCE_NS = 1_000 * NS_PER_MS


def is_service_manager(party: Party) -> bool:
    """systemd: the machine's, the one of the container that the agent is in, or a user's."""
    return party.name == "systemd" and (1 in (party.host_pid, party.pid) or is_managers(party.cgroup))


def by_service_manager(case: Case, event: KernelEvent, what: str) -> Finding:
    """Whether somebody wanted the unit to stop, no signal tells; that it failed, some do."""
    sender, number = event.signal.sender, event.signal.signal
    asked = [one for one in case.life.asked() if key_of(one.signal.sender) == key_of(sender)]
    first = next((one for one in asked if one.at_boot_ns < event.at_boot_ns), event)
    why, proof = what, [event]
    if number == KILL and first is not event:
        why, proof = f"{what}, {later(first, event)} after its {name(first.signal.signal)}", [first, event]
    if signals.ABRT in (number, first.signal.signal):
        why += ", as when a watchdog hears nothing"
    if failure := _failure_before(case, first):
        why += f", {failure}"
    return Finding(cause=Cause.CAUSE_SUPERVISOR, why=why, killer=sender, proof=tuple(proof))


def _failure_before(case: Case, event: KernelEvent) -> str:
    """The death in the same unit, not of the service manager's making, that its signal came right after."""
    unit = place_at(case.exit.exit.process.cgroup).unit
    for mark in case.kills if unit else ():  # it hears of an OOM kill before the victim has exited
        if place_at(mark.oom.victim.cgroup).unit == unit and _at_once(mark, event):
            return f"{later(mark, event)} after the OOM killer chose {who(mark.oom.victim)} of its unit"
    for died in reversed(case.before if unit else ()):
        death = died.death
        if death.unit == unit and death.cause != Cause.CAUSE_SUPERVISOR and _at_once(died, event):
            return f"{later(died, event)} after {who(death.process)} of its unit had died: {death.why}"
    return ""


def _at_once(event: KernelEvent, after: KernelEvent) -> bool:
    return 0 <= after.at_boot_ns - event.at_boot_ns <= AT_ONCE_NS
