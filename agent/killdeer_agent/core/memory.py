"""What the agent remembers across restarts: a fold of its journal, nothing else.

`Memory.apply(record)` is used for each record as it becomes durable and for the whole journal at start, so a
restart is the same code. Record kinds and their bodies are the closed list below.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import HaltRecord, Reason, StorePosition
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.words import Record

# An id stays known for this long after its not_after, and one without a not_after of its own (a revert that came
# before its strike) from when it was used up. Nothing acts on it after that; its coordinator may still ask.
KEEP_KNOWN_NS = 24 * 3600 * 1_000_000_000
# How far back the host's own rate looks.
RATE_NS = 60 * 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Past:
    """A strike as the journal tells it."""

    command: agent_pb2.Strike
    members: tuple[Process, ...]
    blows: dict[int, int] = field(default_factory=dict)  # number -> signal, intended
    successors: dict[int, Process] = field(default_factory=dict)  # number -> whom it is for, if not the victim
    unit: str = ""  # to be started should it fail by these blows
    sent: dict[int, int] = field(default_factory=dict)  # number -> CLOCK_BOOTTIME ns
    not_sent: dict[int, str] = field(default_factory=dict)  # number -> why
    reverted: bool = False
    reverted_ns: int = 0  # when SIGCONT was sent; 0: not known, or none was
    exited_ns: int = 0
    lost: int = 0  # of the kernel's events, up to the exit
    in_unit: str = ""  # the victim's
    ready_after_ns: int = 0  # from the first blow until `ready` was met
    held: tuple[bool, str] | None = None  # its hold is over: before its time? and what was said of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A command id that was used up without a signal."""

    refusal: Refusal
    not_after_ns: int


@dataclass(slots=True)
class Memory:
    session: str = ""
    halts: Halts = field(default_factory=Halts)
    position: StorePosition = field(default_factory=StorePosition)
    fences: dict[str, int] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    strikes: dict[str, Past] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)  # command id -> its not_after
    fell: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)  # first on a process: boot, when
    claims: dict[str, tuple[str, Process]] = field(default_factory=dict)  # command -> its service, the successor
    orphans: set[str] = field(default_factory=set)  # ids that a journal before this one may have held

    def apply(self, record: Record) -> None:
        """Raises KeyError, TypeError, ValueError or DecodeError where the record is not understood."""
        fold = _FOLDS[record.kind]
        fold(self, record.body)

    def forget(self, now_ns: int) -> None:
        """Ids that no live command can carry any more."""
        kept_ns = now_ns - KEEP_KNOWN_NS
        self.used = {known: used for known, used in self.used.items() if used.not_after_ns > kept_ns}
        self.closed = {known: not_after for known, not_after in self.closed.items() if not_after > kept_ns}

    def essential(self) -> tuple[Record, ...]:
        """The least journal that folds to this memory."""
        records = [Record("session", {"token": self.session})] if self.session else []
        records += [halt_record(halt) for halt in self.halts.engaged.values()]
        records += [Record("released", {"ids": sorted(self.halts.released)})] if self.halts.released else []
        if self.position.length:
            records.append(position_record(self.position))
        records += [Record("fence", {"run": run, "fence": fence}) for run, fence in self.fences.items()]
        records += [used_record(known, used.refusal, used.not_after_ns) for known, used in self.used.items()]
        records += [Record("orphan", {"command": known}) for known in sorted(self.orphans)]
        for known, not_after in self.closed.items():
            records.append(Record("closed", {"command": known, "not_after": not_after}))
        for (known, blow), (boot_id, at) in self.fell.items():
            if known not in self.strikes:
                records.append(Record("fell", {"command": known, "blow": blow, "boot": boot_id, "at": at}))
        for known, (service, successor) in self.claims.items():
            body = {"command": known, "service": service, "boot": successor.boot_id}
            records.append(Record("claimed", {**body, "pid": successor.pid, "ticks": successor.start_ticks}))
        for command_id, past in self.strikes.items():
            records += _past_records(command_id, past)
        return tuple(records)

    def _session(self, body: dict[str, object]) -> None:
        self.session = str(body["token"])

    def _halt(self, body: dict[str, object]) -> None:
        by, reason = str(body["by"]), str(body["reason"])
        halt = HaltRecord(id=str(body["id"]), by=by, reason=reason, at_unix_ms=_int(body["at"]))
        self.halts = self.halts.engage(halt)

    def _released(self, body: dict[str, object]) -> None:
        ids = body["ids"]
        self.halts = self.halts.release(map(str, ids if isinstance(ids, list) else ()))

    def _position(self, body: dict[str, object]) -> None:
        length = _int(body["length"])
        if length > self.position.length:
            self.position = StorePosition(length=length, head=str(body["head"]))

    def _fence(self, body: dict[str, object]) -> None:
        run, fence = str(body["run"]), _int(body["fence"])
        if fence > self.fences.get(run, 0):
            self.fences[run] = fence

    def _used(self, body: dict[str, object]) -> None:
        refusal = Refusal(getattr(Reason, str(body["reason"])), str(body["detail"]))
        command_id = str(body["command"])
        self.used[command_id] = Used(refusal=refusal, not_after_ns=_int(body["not_after"]))
        self.strikes.pop(command_id, None)
        if "run" in body:  # a newer driver's command that was refused: it has spoken all the same (R24)
            self._fence(body)

    def _intent(self, body: dict[str, object]) -> None:
        command = agent_pb2.Strike.FromString(base64.b64decode(str(body["strike"])))
        blow, signal, listed = _int(body["blow"], 2**31), _int(body["signal"], 2**31), body["members"]
        boot_id = command.victim.boot_id
        members = tuple(
            Process(boot_id=boot_id, pid=_int(pid), start_ticks=_int(ticks))
            for pid, ticks in (listed if isinstance(listed, list) else ())
        )
        past = self.strikes.setdefault(command.command_id, Past(command=command, members=members))
        past.blows[blow] = signal
        past.unit, past.in_unit = str(body.get("unit", "")), str(body.get("in_unit", ""))
        if "pid" in body:
            past.successors[blow] = Process(boot_id=boot_id, pid=_int(body["pid"]), start_ticks=_int(body["ticks"]))
        self._fence({"run": command.run_id, "fence": command.run_fence})
        if command.position.length > self.position.length:
            self.position = command.position

    def _sent(self, body: dict[str, object]) -> None:
        past, blow = self.strikes[str(body["command"])], _int(body["blow"])
        if blow not in past.blows:
            raise ValueError(f"blow {blow} was sent and never intended")
        past.sent[blow] = _int(body["at"])
        if blow == 1 or blow in past.successors:  # a further one on the same process is no other strike
            self._fell({**body, "boot": past.command.victim.boot_id})

    def _fell(self, body: dict[str, object]) -> None:
        """For the host's own rate, which outlives the strike and the agent."""
        boot_id, at = str(body["boot"]), _int(body["at"])
        recent = {key: (boot, was) for key, (boot, was) in self.fell.items() if boot == boot_id}
        self.fell = {key: fell for key, fell in recent.items() if fell[1] > at - RATE_NS}
        self.fell[str(body["command"]), _int(body["blow"])] = (boot_id, at)

    def _not_sent(self, body: dict[str, object]) -> None:
        """The last look said no. For a first blow that uses the id up: nothing of this strike was ever sent."""
        command_id, blow = str(body["command"]), _int(body["blow"])
        past = self.strikes[command_id]
        past.not_sent[blow] = str(body["detail"])
        if blow == 1:
            self._used({**body, "not_after": past.command.not_after_boot_ns})

    def _exit(self, body: dict[str, object]) -> None:
        past = self.strikes[str(body["command"])]
        past.exited_ns, past.lost = _int(body["at"]), _int(body.get("lost", 0))

    def _held(self, body: dict[str, object]) -> None:
        self.strikes[str(body["command"])].held = (bool(body["cut_short"]), str(body["detail"]))

    def _ready(self, body: dict[str, object]) -> None:
        self.strikes[str(body["command"])].ready_after_ns = _int(body["after"])

    def _unit_left(self, body: dict[str, object]) -> None:
        """Somebody has stopped it: it is not started."""
        self.strikes[str(body["command"])].unit = ""

    def _reverted(self, body: dict[str, object]) -> None:
        past = self.strikes[str(body["command"])]
        past.reverted, past.reverted_ns = True, _int(body.get("at", 0))

    def _closed(self, body: dict[str, object]) -> None:
        past = self.strikes.pop(str(body["command"]), None)
        not_after = past.command.not_after_boot_ns if past else _int(body.get("not_after", 0))
        self.closed[str(body["command"])] = not_after
        services = {past.command.service for past in self.strikes.values()}
        self.claims = {known: claim for known, claim in self.claims.items() if claim[0] in services}

    def _claimed(self, body: dict[str, object]) -> None:
        """Of a strike that has recovered, for as long as another one on its service has not."""
        successor = Process(boot_id=str(body["boot"]), pid=_int(body["pid"]), start_ticks=_int(body["ticks"]))
        self.claims[str(body["command"])] = (str(body["service"]), successor)

    def _orphan(self, body: dict[str, object]) -> None:
        self.orphans.add(str(body["command"]))


def halt_record(halt: HaltRecord) -> Record:
    return Record("halt", {"id": halt.id, "by": halt.by, "reason": halt.reason, "at": halt.at_unix_ms})


def position_record(position: StorePosition) -> Record:
    return Record("position", {"length": position.length, "head": position.head})


def used_record(command_id: str, refusal: Refusal, not_after_ns: int) -> Record:
    body: dict[str, object] = {"command": command_id, "reason": Reason.Name(refusal.reason)}
    return Record("used", body | {"detail": refusal.detail, "not_after": not_after_ns})


def refused_record(command: agent_pb2.Strike, refusal: Refusal, not_after_ns: int) -> Record:
    """A command that was used up at the door; its run's fence counts."""
    used = used_record(command.command_id, refusal, not_after_ns)
    return Record(used.kind, used.body | {"run": command.run_id, "fence": command.run_fence})


def intent_record(
    command: agent_pb2.Strike,
    members: tuple[Process, ...],
    blow: int,
    signal: int,
    *,
    successor: Process | None = None,
    unit: str = "",
    in_unit: str = "",
) -> Record:
    body: dict[str, object] = {
        "strike": base64.b64encode(command.SerializeToString(deterministic=True)).decode(),
        "members": [[member.pid, member.start_ticks] for member in members],
        "blow": blow,
        "signal": signal,
    }
    if successor is not None:
        body |= {"pid": successor.pid, "ticks": successor.start_ticks}
    units = {"unit": unit, "in_unit": in_unit}
    return Record("intent", body | {key: name for key, name in units.items() if name})


def _past_records(command_id: str, past: Past) -> list[Record]:
    records = [
        intent_record(
            past.command,
            past.members,
            blow,
            signal,
            successor=past.successors.get(blow),
            unit=past.unit,
            in_unit=past.in_unit,
        )
        for blow, signal in past.blows.items()
    ]
    records += [Record("sent", {"command": command_id, "blow": b, "at": at}) for b, at in past.sent.items()]
    for blow, detail in past.not_sent.items():
        records.append(Record("not_sent", {"command": command_id, "blow": blow, "detail": detail}))
    if past.exited_ns:
        records.append(Record("exit", {"command": command_id, "at": past.exited_ns, "lost": past.lost}))
    if past.held is not None:
        cut_short, detail = past.held
        records.append(Record("held", {"command": command_id, "cut_short": cut_short, "detail": detail}))
    if past.ready_after_ns:
        records.append(Record("ready", {"command": command_id, "after": past.ready_after_ns}))
    if past.reverted:
        at: dict[str, object] = {"at": past.reverted_ns} if past.reverted_ns else {}
        records.append(Record("reverted", {"command": command_id} | at))
    return records


def _int(value: object, most: int = 2**64) -> int:
    """A whole number that the wire can carry too."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < most:
        raise TypeError(f"cannot read the journal: {value!r} is no whole number from 0 to {most - 1}")
    return value


_FOLDS: dict[str, Callable[[Memory, dict[str, object]], None]] = {
    "session": Memory._session,
    "halt": Memory._halt,
    "released": Memory._released,
    "position": Memory._position,
    "fence": Memory._fence,
    "used": Memory._used,
    "intent": Memory._intent,
    "sent": Memory._sent,
    "fell": Memory._fell,
    "not_sent": Memory._not_sent,
    "exit": Memory._exit,
    "held": Memory._held,
    "ready": Memory._ready,
    "unit_left": Memory._unit_left,
    "reverted": Memory._reverted,
    "closed": Memory._closed,
    "claimed": Memory._claimed,
    "orphan": Memory._orphan,
}
