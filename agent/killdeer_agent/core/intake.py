"""A command at the door: the checklist before the journal, and the warrant it is given.

The order is that of the life of a strike; the first no is the outcome, by name.
"""

from killdeer.newer import newer_than_me
from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import Action, Reason
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.guard import ACTIONS, Guard, word_of
from killdeer_agent.core.hold import Hold
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.readiness import unaskable
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.core.strike import NS_PER_MS, SIGCONT, SIGSTOP, OpenStrike
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.warrant import Warrant

_MOST_SIGNAL = 64
# STOP, TSTP, TTIN and TTOU stop a process; nothing would continue it.
_STOPPING_SIGNALS = range(SIGSTOP, SIGSTOP + 4)


def first_no(command: agent_pb2.Strike, strikes: Strikes, desk: Desk, lease: Lease) -> Refusal | None:
    """Why this command is refused before anything is opened; None: it goes on."""
    now = desk.now
    newer = newer_than_me(command)
    if newer or word_of(command.action) not in ACTIONS:
        return Refusal(Reason.REASON_NEWER_THAN_ME, f"this agent does not know all of it: {newer or 'Action'}")
    if (no := no_right(desk, strikes, lease)) is not None:
        return no
    if command.halts_digest != desk.halts.digest:
        return Refusal(Reason.REASON_HALTS_DIFFER, "its issuer does not know the same halts")
    if command.run_fence < strikes.fence(command.run_id):
        return Refusal(Reason.REASON_OLD_FENCE, "a newer driver of this run has spoken")
    if now.boot_ns >= command.not_after_boot_ns:
        return Refusal(Reason.REASON_TOO_LATE, "past the command's not_after")
    if left := strikes.reverts_left:
        return Refusal(Reason.REASON_REVERT_PENDING, f"not yet reverted here: {', '.join(left)}")
    if desk.journal_problem:
        return Refusal(Reason.REASON_JOURNAL, f"the journal takes no intents: {desk.journal_problem}")
    unseen = unheld(command.action, desk)
    return unseen or _wrong_victim(command, strikes, desk) or _wrong_terms(command) or _over_rate(strikes)


def no_right(desk: Desk, strikes: Strikes, lease: Lease) -> Refusal | None:
    """Why this agent begins nothing now, whatever it is told."""
    if desk.stopping:
        return Refusal(Reason.REASON_STOPPING, "the agent is stopping")
    if not lease.holds(desk.now):
        return Refusal(Reason.REASON_NOT_LEASED, "the lease is over")
    if (halted := _halted(desk)) is not None:
        return halted
    if strikes.halted_locally:
        return Refusal(Reason.REASON_HALTED_LOCALLY, "the halt file is on this host", "killdeer-agent rearm")
    return None


def unheld(action: Action, desk: Desk) -> Refusal | None:
    """Successors are seen by the kernel's record alone: without it there is nothing to hold down by (I10)."""
    if not action.HasField("hold_down") or desk.hello.evidence == EvidenceLevel.EVIDENCE_LEVEL_BPF:
        return None
    detail = "hold-down needs the kernel's record of execs, and this host has no BPF evidence"
    return Refusal(Reason.REASON_NO_EVIDENCE, detail, "killdeer-agent doctor")


def no_more(strike: OpenStrike, strikes: Strikes, desk: Desk) -> Refusal | None:
    """What the warrant cannot know, again in the very call that asks for the signal (rule R1): what came to pass
    while the intent was written."""
    if strike.target_gone:
        return Refusal(Reason.REASON_GONE, "it has exited meanwhile")
    if strike.hold is not None and strike.hold.ended_ns:
        return Refusal(Reason.REASON_CANCELLED, "the hold has ended meanwhile")
    if left := strikes.reverts_left:
        return Refusal(Reason.REASON_REVERT_PENDING, f"not yet reverted here: {', '.join(left)}")
    return _halted(desk) or (_over_rate(strikes) if strike.hits_anew else None)


def _halted(desk: Desk) -> Refusal | None:
    if not desk.halts.active:
        return None
    halt = desk.halts.active[0]
    return Refusal(Reason.REASON_HALTED, f"the fleet is halted by {halt.by}: {halt.reason or 'no reason given'}")


def _wrong_victim(command: agent_pb2.Strike, strikes: Strikes, desk: Desk) -> Refusal | None:
    victim = command.victim
    if victim.boot_id != desk.boot_id:
        return Refusal(Reason.REASON_OTHER_BOOT, "the host has been booted since it was chosen")
    if victim.host != desk.hello.host:
        return Refusal(Reason.REASON_GONE, f"it was chosen on {victim.host!r}, this is another host")
    if strikes.busy(victim.pid, victim.start_ticks):
        return Refusal(Reason.REASON_BUSY, "it is in an open strike")
    return None


def _wrong_terms(command: agent_pb2.Strike) -> Refusal | None:
    if command.action.WhichOneof("kind") == "kill":
        signal = command.action.kill.signal
        if signal in _STOPPING_SIGNALS or signal == SIGCONT:
            detail = f"signal {signal} stops or continues: that is a pause, which has an end; use that action"
            return Refusal(Reason.REASON_ACTION_NOT_ALLOWED, detail)
        if not 0 < signal <= _MOST_SIGNAL:
            return Refusal(
                Reason.REASON_ACTION_NOT_ALLOWED, f"{signal} is no signal, which are 1 to {_MOST_SIGNAL}"
            )
    if command.HasField("ready") and (fault := unaskable(command.ready)):
        return Refusal(Reason.REASON_CANNOT_EVALUATE, fault)
    try:
        Matcher(command.selector)
    except SelectorError as error:
        return Refusal(Reason.REASON_CANNOT_EVALUATE, str(error))
    return None


def _over_rate(strikes: Strikes) -> Refusal | None:
    if not strikes.over_rate():
        return None
    return Refusal(
        Reason.REASON_HOST_RATE, f"the guard allows {strikes.guard.per_minute} blows a minute on this host"
    )


def warrant_for(strike: OpenStrike, guard: Guard, boot_id: str, lease: Lease) -> Warrant:
    """The frozen right to the blow under way. A later blow's `not_after` runs from the time it was due."""
    not_after = strike.command.not_after_boot_ns
    if strike.hold is not None and strike.blow > 1:
        return warrant_to_follow(strike, strike.target, guard, boot_id, lease, first_sight=False)
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


def warrant_to_follow(
    strike: OpenStrike, successor: Process, guard: Guard, boot_id: str, lease: Lease, *, first_sight: bool = True
) -> Warrant:
    """The frozen right to look at, or to strike, one that has come in the victim's place while it is held."""
    hold = strike.hold or Hold(length_ns=0)
    return Warrant(
        process=successor,
        boot_id=boot_id,
        selector=Matcher(strike.command.selector),
        guard=guard,
        action=strike.action,
        lease=lease,
        not_after_ns=hold.until_ns,
        service=strike.command.service,
        unit=hold.unit,
        first_sight=first_sight,
    )
