"""Wire things as a person reads them. Pure; no colour."""

import datetime
import signal
from typing import Any

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
    return _word(p.Reason, reason)


def state_text(state: p.StrikeState) -> str:
    return _word(p.StrikeState, state)


def verdict_text(verdict: o.RunVerdict) -> str:
    return _word(o.RunVerdict, verdict)


def run_state_text(state: o.RunState) -> str:
    return _word(o.RunState, state)


def evidence_text(level: EvidenceLevel) -> str:
    return {EVIDENCE_LEVEL_BPF: "bpf", EVIDENCE_LEVEL_PIDFD: "pidfd only"}.get(level, "none")


def words_of(enum: Any) -> list[str]:
    """The names of a wire's enum as people read them: RUN_VERDICT_NOT_RECOVERED is `not recovered`."""
    names: list[str] = enum.keys()
    prefix = names[0].removesuffix("UNSPECIFIED")
    return [name.removeprefix(prefix).replace("_", " ").lower() for name in names]


def _word(enum: Any, value: int) -> str:
    known: dict[int, str] = dict(zip(enum.values(), words_of(enum), strict=True))
    return known.get(value, f"unknown ({value})")


def process_text(host: str, service: str, ordinal: int) -> str:
    """The same words as the coordinator's log has: `a-1 worker@[3]`."""
    return f"{host} {service}[{ordinal}]"


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
