"""A command at the door: the checklist before the journal, and the warrant it is given.

The order is that of the life of a strike; the first no is the outcome, by name.
"""

from typing import Protocol

from killdeer.newer import newer_than_me
from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.core.strike import NS_PER_MS, SIGCONT, SIGSTOP, OpenStrike
from killdeer_agent.core.warrant import Warrant

_ACTIONS = ("kill", "terminate", "pause")


class Strikes(Protocol):
    """What the checklist asks of the strikes already here."""

    guard: Guard
    halted_locally: bool

    @property
    def reverts_left(self) -> list[str]: ...
    def busy_with_another(self, command: agent_pb2.Strike) -> bool: ...
    def sent_since(self, boot_ns: int) -> int: ...


def first_no(command: agent_pb2.Strike, strikes: Strikes, desk: Desk, lease: Lease) -> Refusal | None:
    """Why this command is refused before anything is opened; None: it goes on."""
    now = desk.now
    newer = newer_than_me(command)
    if newer or command.action.WhichOneof("kind") not in _ACTIONS:
        return Refusal(Reason.REASON_NEWER_THAN_ME, f"this agent does not know all of it: {newer or 'Action'}")
    if desk.stopping:
        return Refusal(Reason.REASON_STOPPING, "the agent is stopping")
    if not lease.holds(now):
        return Refusal(Reason.REASON_NOT_LEASED, "the lease is over")
    if desk.memory.halts.active:
        halt = desk.memory.halts.active[0]
        return Refusal(
            Reason.REASON_HALTED, f"the fleet is halted by {halt.by}: {halt.reason or 'no reason given'}"
        )
    if strikes.halted_locally:
        return Refusal(Reason.REASON_HALTED_LOCALLY, "the halt file is on this host", "killdeer-agent rearm")
    if command.halts_digest != desk.memory.halts.digest:
        return Refusal(Reason.REASON_HALTS_DIFFER, "its issuer does not know the same halts")
    if command.run_fence < desk.memory.fences.get(command.run_id, 0):
        return Refusal(Reason.REASON_OLD_FENCE, "a newer driver of this run has spoken")
    if now.boot_ns >= command.not_after_boot_ns:
        return Refusal(Reason.REASON_TOO_LATE, "past the command's not_after")
    if strikes.reverts_left:
        return Refusal(Reason.REASON_REVERT_PENDING, f"not yet reverted here: {', '.join(strikes.reverts_left)}")
    if desk.journal_problem:
        return Refusal(Reason.REASON_JOURNAL, f"the journal takes no intents: {desk.journal_problem}")
    if command.victim.boot_id != desk.boot_id:
        return Refusal(Reason.REASON_OTHER_BOOT, "the host has been booted since it was chosen")
    if command.victim.host != desk.hello.host:
        return Refusal(Reason.REASON_GONE, f"it was chosen on {command.victim.host!r}, this is another host")
    if strikes.busy_with_another(command):
        return Refusal(Reason.REASON_BUSY, "it is in an open strike")
    if command.action.kill.signal in (SIGSTOP, SIGCONT):
        return Refusal(Reason.REASON_ACTION_NOT_ALLOWED, "stopping is a pause, which has an end; use that action")
    try:
        Matcher(command.selector)
    except SelectorError as error:
        return Refusal(Reason.REASON_CANNOT_EVALUATE, str(error))
    rate = strikes.guard.per_minute
    if rate is not None and strikes.sent_since(now.boot_ns - 60_000 * NS_PER_MS) >= rate:
        return Refusal(Reason.REASON_HOST_RATE, f"the guard allows {rate} blows a minute on this host")
    return None


def warrant_for(strike: OpenStrike, guard: Guard, boot_id: str, lease: Lease) -> Warrant:
    """The frozen right to the blow under way. A later blow's `not_after` runs from the time it was due."""
    not_after = strike.command.not_after_boot_ns
    if strike.blow > 1:
        not_after += strike.command.action.terminate.grace_ms * NS_PER_MS
    return Warrant(
        process=strike.process,
        boot_id=boot_id,
        selector=Matcher(strike.command.selector),
        guard=guard,
        action=strike.action,
        lease=lease,
        not_after_ns=not_after,
    )
