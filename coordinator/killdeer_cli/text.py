"""Wire things as a person reads them. Pure; no colour."""

import datetime

from killdeer import wording
from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF, EVIDENCE_LEVEL_PIDFD, EvidenceLevel
from killdeer.v1.probe_pb2 import UNIT_FRACTION, UNIT_MET, UNIT_SECONDS, Unit
from killdeer.wording import counted, signal_name, word


def action_text(action: p.Action) -> str:
    return wording.action_text(action, "this command line")


def reason_text(reason: p.Reason) -> str:
    return word(p.Reason, reason)


def state_text(state: p.StrikeState) -> str:
    return word(p.StrikeState, state)


def verdict_text(verdict: o.RunVerdict) -> str:
    return word(o.RunVerdict, verdict)


def run_state_text(state: o.RunState) -> str:
    return word(o.RunState, state)


def evidence_text(level: EvidenceLevel) -> str:
    return {EVIDENCE_LEVEL_BPF: "bpf", EVIDENCE_LEVEL_PIDFD: "pidfd only"}.get(level, "none")


_CAUSES = {
    p.CAUSE_STRIKE: "a strike of ours",
    p.CAUSE_OOM_CGROUP: "the OOM killer, for a memory limit",
    p.CAUSE_OOM_GLOBAL: "the OOM killer: the whole machine was out of memory",
    p.CAUSE_SIGNAL: "a signal by another process",
    p.CAUSE_SUPERVISOR: "the service manager stopped its unit",
    p.CAUSE_NAMESPACE: "its pid namespace ended",
    p.CAUSE_FAULT: "a fault of its own",
    p.CAUSE_EXIT: "its own exit",
    p.CAUSE_UNKNOWN: "the cause is not known",
    p.CAUSE_ITSELF: "it sent the signal itself",
    p.CAUSE_KERNEL: "a signal of the kernel",
}


def cause_text(death: p.Death) -> str:
    """Why it died, with who and which limit: one clause. What happened to it is `fate_text`."""
    said = _CAUSES.get(death.cause, "a cause newer than this command line")
    match death.cause:
        case p.CAUSE_OOM_CGROUP | p.CAUSE_OOM_GLOBAL:
            return _oom(death, said)
        case p.CAUSE_SIGNAL if death.HasField("killer"):
            who = f"{party_text(death.killer)}, uid {death.killer.uid}"
            return f"sent by {who}" if death.signal else f"asked to end by {who}"
        case p.CAUSE_SUPERVISOR if death.HasField("killer"):
            return f"the service manager, {party_text(death.killer)}, stopped its unit"
        case p.CAUSE_FAULT | p.CAUSE_NAMESPACE if death.why:
            return death.why.removeprefix(f"{signal_name(death.signal)}: ")
        case p.CAUSE_KERNEL if death.why:
            by_kernel = f"{signal_name(death.signal)} by the kernel"
            return f"the kernel{death.why.removeprefix(by_kernel)}" if by_kernel in death.why else death.why
        case p.CAUSE_UNKNOWN | p.CAUSE_SIGNAL if death.why:
            return f"{said}: {death.why}"
        case _:
            return said


def _oom(death: p.Death, said: str) -> str:
    """Which limit, who asked for memory, and how much it had; of those killed with a victim, the victim too."""
    parts = [said]
    if death.cause == p.CAUSE_OOM_CGROUP and (death.limit_cgroup or death.limit_kb):
        limit = f" ({memory_text(death.limit_kb)})" if death.limit_kb else ""
        parts = [f"the OOM killer, for the limit of {death.limit_cgroup or 'its cgroup'}{limit}"]
    mark = next((event.oom for event in death.evidence if event.HasField("oom")), p.OomSeen(victim=death.process))
    trigger = mark.trigger if mark.HasField("trigger") else death.killer
    anon = f" (anon {memory_text(mark.anon_rss_kb)})" if mark.anon_rss_kb else ""
    chosen = _same_process(mark.victim, death.process)
    if _same_process(trigger, death.process):
        parts.append(f"it asked for memory itself{anon if chosen else ''}")
    elif trigger.pid or trigger.host_pid:
        parts.append(f"{party_text(trigger)} asked for memory{anon if chosen else ''}")
    if death.memory_group:
        parts.append("killed together with all of its cgroup (memory.oom.group)")
    elif not chosen:
        parts.append(f"it shares the memory of {party_text(mark.victim)}{anon}, which was chosen")
    return "; ".join(parts)


def _same_process(one: p.Party, other: p.Party) -> bool:
    return (one.pid, one.host_pid, one.start_ticks) == (other.pid, other.host_pid, other.start_ticks)


def fate_text(left: p.Death | p.ExitSeen) -> str:
    """`killed by SIGSEGV, core dumped`, `exited with code 3`; `exited`, where nobody could read how."""
    if isinstance(left, p.ExitSeen) and left.unread:
        return "exited"
    how = f"killed by {signal_name(left.signal)}" if left.signal else f"exited with code {left.code}"
    return how + (", core dumped" if left.core_dumped else "")


def death_text(death: p.Death) -> str:
    """How and why: `killed by SIGKILL: a strike of ours`, `exited with code 3`."""
    if death.cause == p.CAUSE_EXIT:
        return fate_text(death)
    if death.cause == p.CAUSE_UNKNOWN and (death.why or not (death.signal or death.code)):
        return cause_text(death)  # says how as far as it is known (I8)
    return f"{fate_text(death)}: {cause_text(death)}"


def restarts_text(death: p.Death) -> str:
    """`restarted 7 times in 60 s: a restart loop`; empty: not at all, as far as is known."""
    restarts = death.restarts
    if not restarts.count:
        return ""
    often = f"restarted {counted(restarts.count, 'time')} in {took(restarts.within_ms * 1_000_000)}"
    return f"{often}: a restart loop" if restarts.loop else often


def dead_text(death: p.Death) -> str:
    """Who died: `worker@3.service (pid 4711)`."""
    pid = f"pid {death.process.pid}" if death.process.pid else f"host pid {death.process.host_pid}"
    return f"{death.unit or death.process.name or death.service or 'a process'} ({pid})"


def party_text(party: p.Party) -> str:
    pid = f"pid {party.pid}" if party.pid else f"host pid {party.host_pid}"
    return f"{party.name} ({pid})" if party.name else pid


def memory_text(kb: int) -> str:
    """`640 KiB`, `512 MiB`, `1.5 GiB`."""
    if kb < 1_024:
        return f"{kb} KiB"
    return f"{kb / 1_024:.0f} MiB" if kb < 1_024**2 else f"{kb / 1_024**2:.1f} GiB".replace(".0 ", " ")


def age_text(milliseconds: int) -> str:
    """How long something has lived; the longer, the rounder: `3h12m`, `2m5s`, `3.20 s`."""
    if milliseconds < 3_600_000:
        return took(milliseconds * 1_000_000)
    return format_duration(milliseconds // 60_000 * 60_000)


def took(nanoseconds: int) -> str:
    """A measured time: `85 us`, `2.1 ms`, `104 ms`, `3.20 s`, `2m5s`."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1_000:.0f} us"
    if nanoseconds < 10_000_000:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.0f} ms"
    if nanoseconds < 60_000_000_000:
        return f"{nanoseconds / 1_000_000_000:.2f} s"
    return format_duration(nanoseconds // 1_000_000_000 * 1_000)


def amount_text(value: float, unit: Unit) -> str:
    """A reading in its unit: `met`, `2.3%`, `310 ms`, `1.25 s`, `42`."""
    if unit == UNIT_MET and value in (0, 1):
        return "met" if value else "not met"
    if unit == UNIT_FRACTION:
        return f"{value * 100:.3g}%"
    if unit == UNIT_SECONDS:
        return f"{value * 1_000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def clock(unix_ms: int) -> str:
    """Time of day, here: `14:02:11`."""
    return _local(unix_ms).strftime("%H:%M:%S") if unix_ms else "-"


def moment(unix_ms: int) -> str:
    """Day and time, here: `2026-11-20 14:02:11`."""
    return _local(unix_ms).strftime("%Y-%m-%d %H:%M:%S") if unix_ms else "-"


def when(unix_ms: int, now_ms: int) -> str:
    """The time of day if that was today, else with the day."""
    return clock(unix_ms) if _local(unix_ms).date() == _local(now_ms).date() else moment(unix_ms)


def _local(unix_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(unix_ms / 1_000).astimezone()


def remedy_text(remedy: str) -> str:
    """A guard's `in FILE:` and lines -> what to do with them; any other remedy is as it is."""
    if not remedy.startswith("in "):
        return remedy
    # The agent reads its guard when it starts, and when it is told to.
    return f"to allow it, add to {remedy.removeprefix('in ')}\nthen: systemctl reload killdeer-agent on the host"


def size(octets: int) -> str:
    """`512 B`, `3.4 MiB`."""
    amount, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
