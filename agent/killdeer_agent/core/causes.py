"""Why a process died: a ladder from what proves itself down to `unknown`. A gap in the record that could bear on
the answer makes it unknown, never a guess (I8)."""

from killdeer.v1.process_pb2 import Cause, KernelEvent, Party
from killdeer_agent.core import signals
from killdeer_agent.core.case import (
    DEADLY_SIGNALS,
    OOM_KILLS,
    SIGNALS,
    Case,
    Finding,
    duration,
    later,
    who,
)
from killdeer_agent.core.lives import key_of
from killdeer_agent.core.signals import KILL, name
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.supervisor import by_service_manager, is_service_manager

# Of those that the kernel itself ends processes with, the ones that are told whoever they are for.
_ALWAYS_TOLD = frozenset({KILL, signals.SEGV, signals.SYS})
# Who asks a process to end and sees it exit later than this is not said to have ended it.
ANSWER_NS = 10_000 * NS_PER_MS
# The OOM killer ends those that share its victim's memory in the same breath, without a word of their own.
SAME_BREATH_NS = 10 * NS_PER_MS


def find(case: Case, started_ns: int) -> Finding:
    """`started_ns`: when the process started."""
    number = case.exit.exit.signal
    if not number:
        return _by_exit(case)
    fatal = case.life.last(number)
    if fatal is None:
        return _unsignalled(case, started_ns)
    missing = "" if fatal.signal.fatal else case.missing_since(fatal)
    if missing:
        return _unknown(f"{name(number)} reached it, but {missing}", fatal)
    if not fatal.signal.HasField("sender"):
        return _by_kernel(case, fatal)
    if fatal.signal.internal and (fatal.signal.exiting or _is_own(fatal)):
        return _on_behalf(fatal)
    if _is_own(fatal):
        return _by_itself(case, fatal)
    return _by_another(case, fatal, f"{name(number)}{_way(fatal)}")


def _unknown(why: str, *proof: KernelEvent) -> Finding:
    return Finding(cause=Cause.CAUSE_UNKNOWN, why=why, proof=proof)


def _unsignalled(case: Case, started_ns: int) -> Finding:
    """The status of a signal, and no such signal. That alone is none was sent where the record is whole."""
    number = case.exit.exit.signal
    kinds = DEADLY_SIGNALS if number == KILL else SIGNALS  # nothing can take the deadliness from that one
    if missing := case.missing(max(started_ns, case.since_ns), kinds):
        return _unknown(f"died of {name(number)}; {missing}")
    if started_ns < case.since_ns:
        return _unknown(f"died of {name(number)}, which may have been sent before this agent began to watch")
    if started_ns < case.forgotten_ns:
        return _unknown(f"died of {name(number)}, which may have been sent so long ago that it was forgotten")
    if number in _ALWAYS_TOLD:
        why = f"the kernel ended it as if by {name(number)}, without that signal, as seccomp's strict mode does"
        return Finding(cause=Cause.CAUSE_KERNEL, why=why)
    return _unknown(f"died of {name(number)}, and the kernel told of no such signal")


def _by_kernel(case: Case, fatal: KernelEvent) -> Finding:
    """No process sent it: the kernel did, for reasons of its own."""
    signal, number = fatal.signal, fatal.signal.signal
    forced = key_of(signal.running) == key_of(signal.target)
    if number == KILL:
        return _killed_by_kernel(case, fatal, forced)
    if number in signals.FAULTS and forced and signal.code > 0:
        return Finding(cause=Cause.CAUSE_FAULT, why=f"{name(number)}: {signals.FAULTS[number]}", proof=(fatal,))
    return Finding(cause=Cause.CAUSE_KERNEL, why=f"{name(number)} by the kernel: {_reason(fatal)}", proof=(fatal,))


def _reason(event: KernelEvent) -> str:
    signal = event.signal
    if signal.code == signals.SI_TIMER or signal.signal in signals.TIMERS:
        return "a timer ran out"
    if signal.signal == signals.XCPU:
        return "its limit of processor time is reached"
    if signal.signal in signals.SESSIONS:
        return "of its terminal or its session"
    return f"si_code {signal.code}"


def _killed_by_kernel(case: Case, fatal: KernelEvent, forced: bool) -> Finding:
    """SIGKILL of the kernel's own. That alone is no OOM kill."""
    if mark := case.life.oom:
        return _oom(mark, fatal, "the OOM killer chose it")
    for mark in case.kills:
        later = fatal.at_boot_ns - mark.at_boot_ns
        if 0 <= later <= SAME_BREATH_NS and _same_task(mark.oom.trigger, fatal.signal.running):
            return _oom(mark, fatal, f"the OOM killer chose {who(mark.oom.victim)}, whose memory it shares")
    missing = case.missing(fatal.at_boot_ns, OOM_KILLS)
    if missing:
        return _unknown(f"SIGKILL by the kernel, but {missing}", fatal)
    running = fatal.signal.running
    if fatal.signal.exiting and fatal.signal.namespace_init:
        why = f"its pid namespace ended with {who(running)}, the first process in it"
        return Finding(cause=Cause.CAUSE_NAMESPACE, why=why, killer=running, proof=(fatal,))
    if forced:
        warned = case.life.signals.get((signals.XCPU, False))
        why = "its hard limit of processor time is reached" if warned else "in the middle of what it did"
        proof = (warned, fatal) if warned else (fatal,)
        return Finding(cause=Cause.CAUSE_KERNEL, why=f"SIGKILL by the kernel: {why}", proof=proof)
    why = f"SIGKILL by the kernel, while {who(running)} {'exited' if fatal.signal.exiting else 'ran'}"
    return Finding(cause=Cause.CAUSE_KERNEL, why=why, proof=(fatal,))


def _oom(mark: KernelEvent, fatal: KernelEvent, chosen: str) -> Finding:
    oom = mark.oom
    killer = oom.trigger if key_of(oom.trigger) != key_of(fatal.signal.target) else None
    if oom.memory_cgroup:
        limit = oom.limit_cgroup or f"the cgroup {oom.limit_cgroup_id}"
        cause, why = Cause.CAUSE_OOM_CGROUP, f"{limit} reached its limit of {oom.limit_kb} kB: {chosen}"
    else:
        cause, why = Cause.CAUSE_OOM_GLOBAL, f"the machine ran out of memory: {chosen}"
    whole = ", with all of its cgroup (memory.oom.group)" if oom.group else ""
    return Finding(cause=cause, why=why + whole, killer=killer, proof=(fatal, mark))


def _on_behalf(fatal: KernelEvent) -> Finding:
    """Sent within the kernel while the "sender" did something else."""
    signal = fatal.signal
    if signal.exiting and not _is_own(fatal):
        what = f"it asked for that signal at the end of its parent, {who(signal.sender)}"
    elif signal.signal == signals.PIPE:
        what = "it wrote to a pipe or socket that nobody reads"
    elif signal.signal == signals.XFSZ:
        what = "its limit of file size is reached"
    else:
        what = "in the middle of what it did"
    return Finding(cause=Cause.CAUSE_KERNEL, why=f"{name(signal.signal)} by the kernel: {what}", proof=(fatal,))


def _by_itself(case: Case, fatal: KernelEvent) -> Finding:
    """A handler that tidies up and then puts the same signal on its process again ends it for the first one."""
    number = fatal.signal.signal
    first = case.life.signals.get((number, False))
    if first is not None and _asks(first) and (after_ns := fatal.at_boot_ns - first.at_boot_ns) <= ANSWER_NS:
        if missing := case.missing_since(first):
            return _unknown(f"{name(number)}, by itself after another had sent it, but {missing}", first, fatal)
        found = _by_another(case, first, f"{name(number)}{_way(first)}")
        why = f"{found.why}; it put {name(number)} on itself {duration(after_ns)} later"
        return Finding(cause=found.cause, why=why, killer=found.killer, proof=(*found.proof, fatal))
    missing = case.missing(fatal.at_boot_ns - ANSWER_NS, SIGNALS) if number in signals.ASK_TO_END else ""
    if missing:
        return _unknown(f"{name(number)}, by itself, perhaps in answer to another; {missing}", fatal)
    what = "abort()" if number == signals.ABRT else name(number)
    return Finding(cause=Cause.CAUSE_ITSELF, why=f"{what}, by itself", killer=None, proof=(fatal,))


def _by_another(case: Case, event: KernelEvent, what: str) -> Finding:
    sender = event.signal.sender
    if event.command_id:
        return Finding(
            cause=Cause.CAUSE_STRIKE, why=f"{what} of strike {event.command_id}", killer=sender, proof=(event,)
        )
    if is_service_manager(sender):
        return by_service_manager(case, event, f"{what} of the service manager, {who(sender)}")
    return Finding(cause=Cause.CAUSE_SIGNAL, why=f"{what} of {who(sender)}", killer=sender, proof=(event,))


def _by_exit(case: Case) -> Finding:
    """Its own exit. If it was asked to end shortly before, by one party alone, then that is the cause."""
    exited = f"exited with code {case.exit.exit.code}"
    asked = [event for event in case.life.by_others() if _asked(event, case.exit)]
    if not asked:
        return Finding(cause=Cause.CAUSE_EXIT, why=exited)
    first = asked[0]
    after = f"{exited}, {later(first, case.exit)} after {name(first.signal.signal)}"
    if missing := case.missing_since(first):
        return _unknown(f"{after}, but {missing}", *asked)
    if len({(key_of(event.signal.sender), event.command_id) for event in asked}) > 1:
        return _unknown(f"{exited}, after more than one had asked it to end", *asked)
    found = _by_another(case, first, after)
    return Finding(cause=found.cause, why=found.why, killer=found.killer, proof=tuple(asked))


def _asked(event: KernelEvent, exited: KernelEvent) -> bool:
    """A strike's signal counts for as long as its strike is open, which the exit then belongs to."""
    signal = event.signal
    if event.command_id and signal.HasField("sender"):
        return event.command_id == exited.command_id
    return _asks(event) and exited.at_boot_ns - event.at_boot_ns <= ANSWER_NS


def _asks(event: KernelEvent) -> bool:
    signal = event.signal
    return signal.HasField("sender") and not signal.internal and signal.signal in signals.ASK_TO_END


def _is_own(event: KernelEvent) -> bool:
    return key_of(event.signal.sender) == key_of(event.signal.target)


def _same_task(one: Party, other: Party) -> bool:
    return key_of(one) == key_of(other) and one.tid == other.tid


def _way(event: KernelEvent) -> str:
    through_cgroup = event.signal.internal and not event.signal.group
    return ", through its cgroup," if through_cgroup else ""
