"""What became of each victim, and how long each step took, as the evidence of its strike shows."""

from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from killdeer.wording import counted, signal_name, word
from killdeer_report.wording import action_text, length, place

SIGTERM, SIGKILL = 15, 9
_NS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """One strike that was no rehearsal. Lengths are in milliseconds; None: not seen."""

    command_id: str
    place: str
    host: str
    pid: int
    name: str
    wave: str
    action: str
    state: str
    why: str
    """Of a refusal, or of an ending that says more."""
    signals: tuple[str, ...]
    exit: str
    cause: str
    successor: str
    evidence: str
    term: str
    """What SIGTERM came to: honoured, escalated, ignored, unknown; empty: none was sent."""
    struck_unix_ms: int
    exit_after_ms: float | None
    """From the first signal."""
    successor_after_exit_ms: float | None
    ready_after_ms: float | None
    """From the first signal until recovery.ready was met for the successor."""
    recovered_after_ms: float | None
    """From the first signal."""

    def steps(self) -> list[tuple[str, float]]:
        """(struck | gone | successor | ready | recovered, Unix ms) of all that was seen, in this order."""
        if not self.struck_unix_ms:
            return []
        taken = None if self.exit_after_ms is None else self.exit_after_ms + (self.successor_after_exit_ms or 0.0)
        successor = taken if self.successor_after_exit_ms is not None else None
        after = (0.0, self.exit_after_ms, successor, self.ready_after_ms, self.recovered_after_ms)
        names = ("struck", "gone", "successor", "ready", "recovered")
        return [(name, self.struck_unix_ms + ms) for name, ms in zip(names, after, strict=True) if ms is not None]


def victims(run: o.RunView) -> list[Victim]:
    return [_victim(strike) for strike in run.strikes if not strike.dry_run]


def _victim(strike: o.StrikeView) -> Victim:
    reason = word(p.Reason, strike.reason) if strike.reason else ""
    changed = "it ran another program in the instant of the signal" if strike.changed else ""
    lost = f"{counted(strike.events_lost, 'kernel event')} lost" if strike.events_lost else ""
    return Victim(
        command_id=strike.command_id,
        place=place(strike),
        host=strike.victim.host,
        pid=strike.victim.pid,
        name=strike.name,
        wave=strike.wave,
        action=action_text(strike.action),
        state=word(p.StrikeState, strike.state),
        why="; ".join(filter(None, (": ".join(filter(None, (reason, strike.detail))), changed, lost))),
        signals=tuple(_signal(blow) for blow in strike.blows),
        exit=_exit(strike),
        cause=_cause(strike),
        successor=_successor(strike),
        evidence="kernel" if strike.evidence == EVIDENCE_LEVEL_BPF else "pidfd only" if strike.evidence else "none",
        term=term(strike),
        struck_unix_ms=strike.struck_unix_ms,
        exit_after_ms=_exit_after(strike),
        successor_after_exit_ms=strike.successor.after_exit_ns / _NS if strike.HasField("successor") else None,
        ready_after_ms=strike.ready_after_ns / _NS or None,
        recovered_after_ms=strike.recovered_after_ns / _NS or None,
    )


def term(strike: o.StrikeView) -> str:
    """What SIGTERM came to: honoured, escalated, ignored, unknown; empty: none was sent.

    An exit by itself, or by SIGTERM, is the victim's answer to it; an end by another's signal says nothing.
    """
    ours = [blow.signal for blow in strike.blows if not blow.revert and not blow.pid]
    if SIGTERM not in ours:
        return ""
    if not strike.HasField("exit"):
        if strike.state == p.STRIKE_STATE_SURVIVED:
            return "ignored"
        return "escalated" if SIGKILL in ours else "unknown"
    if strike.exit.source != "bpf":  # how it ended was not seen, only that it did
        return "escalated" if SIGKILL in ours else "honoured"
    if strike.exit.signal == SIGKILL and SIGKILL in ours:
        return "escalated"
    return "honoured" if strike.exit.signal in (0, SIGTERM) else "unknown"


def _exit_after(strike: o.StrikeView) -> float | None:
    """From the first signal, by the kernel's own time of it where that was seen."""
    if not strike.HasField("exit") or not strike.blows:
        return None
    first = strike.blows[0].seen_boot_ns or strike.blows[0].sent_boot_ns
    if len(strike.blows) == 1 and strike.exit.after_blow_ns:
        return strike.exit.after_blow_ns / _NS
    return (strike.exit.at_boot_ns - first) / _NS if 0 < first <= strike.exit.at_boot_ns else None


def _signal(blow: p.Blow) -> str:
    name = signal_name(blow.signal) + (" (revert)" if blow.revert else "")
    whom = f" to its successor, pid {blow.pid}" if blow.pid else ""
    if not blow.kernel_verdict:
        return f"{name}{whom}: sent, not seen by the kernel's record"
    by = f"by pid {blow.sender_pid}, " if blow.sender_pid else ""
    # SIGCONT resumes when it is generated; that nobody handles it besides is no news.
    said = "resumed" if blow.revert else blow.kernel_verdict.replace("_", " ")
    return f"{name}{whom}: {by}{said}"


def _exit(strike: o.StrikeView) -> str:
    if not strike.HasField("exit"):
        return ""
    seen = strike.exit
    if seen.source != "bpf":
        return f"exited, seen by {seen.source or 'nobody'}"
    core = ", core dumped" if seen.core_dumped else ""
    return (f"killed by {signal_name(seen.signal)}" if seen.signal else f"exited with code {seen.code}") + core


def _cause(strike: o.StrikeView) -> str:
    """Only what the evidence of the strike shows: whose signal it was, or that it was none."""
    if not strike.HasField("exit"):
        return ""
    seen = strike.exit
    ours = [blow.signal for blow in strike.blows if not blow.revert and not blow.pid]
    if seen.source != "bpf":
        return "not known without the kernel's record"
    if seen.signal:
        return "our strike" if seen.signal in ours else f"{signal_name(seen.signal)}, not sent by this strike"
    return "its own exit, after our SIGTERM" if SIGTERM in ours else "its own exit"


def _successor(strike: o.StrikeView) -> str:
    if not strike.HasField("successor"):
        return ""
    found = strike.successor
    source = f" ({found.source})" if found.source else ""
    return f"pid {found.identity.pid}, {length(found.after_exit_ns / _NS)} after the exit{source}"
