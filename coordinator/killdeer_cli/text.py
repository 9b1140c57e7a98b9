"""Wire things as a person reads them. Pure; no colour."""

import datetime
import signal

from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF, EVIDENCE_LEVEL_PIDFD, EvidenceLevel


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def action_text(action: p.Action) -> str:
    match action.WhichOneof("kind"):
        case "kill":
            return f"kill with {signal_name(action.kill.signal)}"
        case "terminate" if action.terminate.grace_ms:
            return f"terminate, SIGKILL after {format_duration(action.terminate.grace_ms)}"
        case "terminate":
            return "terminate, no SIGKILL"
        case "pause":
            return f"pause for {format_duration(action.pause.length_ms)}"
        case _:
            return "an action newer than this command line"


def reason_text(reason: p.Reason) -> str:
    return _word(p.Reason, reason, "REASON_")


def state_text(state: p.StrikeState) -> str:
    return _word(p.StrikeState, state, "STRIKE_STATE_")


def verdict_text(verdict: o.RunVerdict) -> str:
    return _word(o.RunVerdict, verdict, "RUN_VERDICT_")


def run_state_text(state: o.RunState) -> str:
    return _word(o.RunState, state, "RUN_STATE_")


def evidence_text(level: EvidenceLevel) -> str:
    return {EVIDENCE_LEVEL_BPF: "bpf", EVIDENCE_LEVEL_PIDFD: "pidfd only"}.get(level, "none")


def _word(enum: object, value: int, prefix: str) -> str:
    names = {number: name for name, number in enum.items()}  # type: ignore[attr-defined]
    name = names.get(value, f"unknown ({value})")
    return str(name).removeprefix(prefix).replace("_", " ").lower()


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


def clock(unix_ms: int) -> str:
    """Time of day, here: `14:02:11`."""
    return _local(unix_ms).strftime("%H:%M:%S") if unix_ms else "-"


def moment(unix_ms: int) -> str:
    """Day and time, here: `2026-11-20 14:02:11`."""
    return _local(unix_ms).strftime("%Y-%m-%d %H:%M:%S") if unix_ms else "-"


def _local(unix_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(unix_ms / 1_000).astimezone()


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 host`, `1,204 hosts`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
