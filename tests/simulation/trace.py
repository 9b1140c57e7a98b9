"""The trace of a history: a line for every input and effect, hashed, and readable where somebody reads."""

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse
from killdeer_agent.core import words as aw
from killdeer_coordinator.core import words as cw
from killdeer_coordinator.core.books import Letter
from tests.simulation.clock import Clock

Sink = Callable[[str], None]


class Trace:
    """`digest` covers every line and the whole content of every frame, shown or not."""

    def __init__(self, clock: Clock, sink: Sink | None) -> None:
        self._clock = clock
        self._sink = sink
        self._hash = hashlib.sha256()

    def line(self, who: str, text: str) -> None:
        at = self._clock.since_begin_ns
        self._hash.update(f"{at} {who} {text}\n".encode())
        if self._sink is not None:
            self._sink(f"t={at / 1e9:.3f}s {who:<9} {text}")

    def frame(self, frame: bytes) -> None:
        """The whole content of a frame whose line is short."""
        self._hash.update(b"%08x\n" % zlib.crc32(frame))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def text_of(what: object) -> str:
    """One input or effect of a core, for people: its name and what tells it apart."""
    name = type(what).__name__
    describe = _TEXTS.get(type(what))
    return f"{name} {describe(what)}" if describe is not None else name


def frame_text(frame: Message) -> str:
    kind = str(frame.WhichOneof("frame"))
    body = getattr(frame, kind)
    match kind:
        case "strike_update":
            state = p.StrikeState.Name(body.state).removeprefix("STRIKE_STATE_").lower()
            reason = f" {p.Reason.Name(body.reason).removeprefix('REASON_').lower()}" if body.reason else ""
            marks = [word for word in ("used_up", "settled", "effect_open", "changed") if getattr(body, word)]
            detail = f" ({body.detail})" if body.detail else ""
            return f"{kind}#{body.number} {body.command_id} {state}{reason} {' '.join(marks)}{detail}".rstrip()
        case "strike":
            victim = body.victim
            action = body.action.WhichOneof("kind")
            return f"{kind} {body.command_id} {action} pid {victim.pid}/{victim.start_ticks} {body.service}"
        case "halt":
            return f"{kind} {body.halt.id} by {body.halt.by}"
        case "halt_ack":
            stage = "reverted" if body.stage == 2 else "stopped"
            return f"{kind} {body.halt_id} {stage} left {list(body.left)}"
        case "rearm":
            return f"{kind} {list(body.released)}"
        case "revert":
            return f"{kind} {body.command_id}"
        case "welcome":
            held = [one.command_id for one in body.open]
            return f"{kind} session {body.session} open {held} halts {_halts(body.halts)}"
        case "hello":
            return f"{kind} session {body.session!r} boot {body.boot_id} halts {_halts(body.halts)}"
        case "lease_renewal":
            return f"{kind} of {body.heartbeat_boot_ns / 1e9:.3f} for {body.lease_ms} ms at {body.position.length}"
        case "heartbeat":
            return f"{kind} {body.stamp_boot_ns / 1e9:.3f}"
        case "candidates":
            return f"{kind} {body.scan_id} {len(body.candidates)} found"
        case "scan":
            return f"{kind} {body.scan_id}"
        case "ack":
            return f"{kind} #{body.number}"
        case "dismissal":
            return f"{kind} {p.Reason.Name(body.reason).removeprefix('REASON_').lower()}: {body.detail}"
        case "evidence":
            return f"{kind} of {len(body.events)}"
    return kind


def event_text(event: p.KernelEvent) -> str:
    kind = event.WhichOneof("kind")
    match kind:
        case "signal":
            return f"signal {event.signal.signal} to {event.signal.target.pid} by {event.signal.sender.pid}"
        case "exit":
            return f"exit of {event.exit.process.pid} code {event.exit.code} signal {event.exit.signal}"
        case "exec":
            return f"exec of {event.exec.process.pid} {event.exec.file}"
        case "lost":
            return f"lost {event.lost.count} of {event.lost.kind}"
    return str(kind)


def _halts(halts: p.HaltSet) -> str:
    return f"{[halt.id for halt in halts.engaged]} released {list(halts.released)}"


def _letter(letter: Letter) -> str:
    if letter.told:
        return f"{letter.sender} tells {letter.host} {frame_text(ConnectResponse.FromString(letter.told))}"
    return f"{letter.sender} heard of {letter.host} {frame_text(ConnectRequest.FromString(letter.heard))}"


def _refusal(refusal: Any) -> str:
    return p.Reason.Name(refusal.reason).removeprefix("REASON_").lower() if refusal is not None else ""


_TEXTS: dict[type, Callable[[Any], str]] = {
    aw.Heard: lambda i: frame_text(i.frame),
    aw.Opened: lambda i: f"{i.command_id} {_refusal(i.refusal) or f'with {len(i.members)} members'}",
    aw.Written: lambda i: f"{i.token} {i.problem}".rstrip(),
    aw.Done: lambda i: (
        f"{i.command_id} blow {i.blow} -> {_refusal(i.refusal) or 'struck'}" + (" changed" if i.changed else "")
    ),
    aw.Reverted: lambda i: f"{i.command_id} -> {i.problem or ('gone' if i.gone else 'runs')}",
    aw.Counted: lambda i: f"{i.service} {len(i.members)} {i.problem}".rstrip(),
    aw.Scanned: lambda i: f"{i.scan_id} {len(i.candidates)}",
    aw.Seen: lambda i: f"{i.source} {event_text(i.event)}",
    aw.LocalHalt: lambda i: str(i.engaged),
    aw.Configured: lambda i: f"guard {i.guard.version} {i.guard.problem}".rstrip(),
    aw.Started: lambda i: f"boot {i.boot_id}, {len(i.records)} records {i.journal_problem}".rstrip(),
    aw.Followed: lambda i: f"{i.command_id} {_refusal(i.refusal) or f'pid {i.process.pid}'}",
    aw.UnitSeen: lambda i: f"{i.command_id} {i.state.active if i.state is not None else i.problem}",
    aw.UnitStarted: lambda i: f"{i.command_id} {i.problem}".rstrip(),
    aw.Follow: lambda e: f"{e.command_id} pid {e.warrant.process.pid}",
    aw.LookUnit: lambda e: f"{e.command_id} {e.unit}",
    aw.StartUnit: lambda e: f"{e.command_id} {e.unit}",
    aw.Send: lambda e: f"{frame_text(e.frame)}{' urgent' if e.urgent else ''}",
    aw.Write: lambda e: f"{e.token} {e.record.kind} {e.record.body.get('command', e.record.body.get('blow', ''))}",
    aw.Open: lambda e: e.command_id,
    aw.Strike: lambda e: f"{e.command_id} blow {e.blow} signal {e.signal} pid {e.warrant.process.pid}",
    aw.Revert: lambda e: f"{e.command_id} pid {e.process.pid}",
    aw.Watch: lambda e: f"{e.command_id} pid {e.process.pid}",
    aw.Census: lambda e: e.service,
    aw.Scan: lambda e: e.scan_id,
    aw.Close: lambda e: e.command_id,
    aw.Exit: lambda e: f"left {list(e.left)}",
    aw.Note: lambda e: f"{e.event} {e.fields}",
    cw.Started: lambda i: f"{i.coordinator} {'with' if i.books is not None else 'without'} books",
    cw.Joined: lambda i: f"{i.host} link {i.link} token {i.token}",
    cw.Heard: lambda i: f"link {i.link} {frame_text(i.frame)}",
    cw.Left: lambda i: f"link {i.link}",
    cw.Asked: lambda i: f"#{i.ask} {type(i.request).__name__} by {i.who.name}",
    cw.Decided: lambda i: f"{i.token} {i.failure or f'at {i.position.length}'}",
    cw.Kept: lambda i: f"{i.token} {i.problem}".rstrip(),
    cw.StoreRead: lambda i: f"at {i.books.position.length}",
    cw.Posted: lambda i: f"{i.token} {i.failure}".rstrip(),
    cw.Delivered: lambda i: ", ".join(map(_letter, i.letters)),
    cw.Post: lambda e: f"{e.token} {', '.join(map(_letter, e.letters))}",
    cw.Collect: lambda e: e.recipient,
    cw.Quit: lambda e: e.why,
    cw.Tell: lambda e: f"link {e.link} {frame_text(e.frame)}",
    cw.Broadcast: lambda e: f"links {list(e.links)} {frame_text(e.frame)}",
    cw.Dismiss: lambda e: f"link {e.link} {p.Reason.Name(e.reason)}: {e.detail}",
    cw.Reply: lambda e: f"#{e.ask} {type(e.message).__name__}{' last' if e.last else ''}",
    cw.Refuse: lambda e: f"#{e.ask} {e.code}: {e.message}",
    cw.Transact: lambda e: f"{e.token} {e.decide.__qualname__.split('.')[0]}",
    cw.Keep: lambda e: f"{e.token} {len(e.halts.engaged)} halts, position {e.position.length}",
    cw.KeepEvents: lambda e: f"{e.host} {len(e.events)}",
    cw.Note: lambda e: f"{e.event} {e.fields}",
}
