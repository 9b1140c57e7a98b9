"""What the agent remembers across restarts: a fold of its journal, nothing else.

`Memory.apply(record)` is used for each record as it becomes durable and for the whole journal at start, so a
restart is the same code. Record kinds and their bodies are the closed list below.
"""

import base64
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import HaltRecord, Reason, StorePosition
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.words import Record

# An id that is used up without a not_after of its own (a revert that came before its strike) is kept this long.
KEEP_USED_NS = 24 * 3600 * 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Past:
    """A strike as the journal tells it."""

    command: agent_pb2.Strike
    members: tuple[Process, ...]
    blows: dict[int, int] = field(default_factory=dict)  # number -> signal, intended
    sent: dict[int, int] = field(default_factory=dict)  # number -> CLOCK_BOOTTIME ns
    not_sent: dict[int, str] = field(default_factory=dict)  # number -> why
    reverted: bool = False
    exited_ns: int = 0


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

    def apply(self, record: Record) -> None:
        getattr(self, f"_{record.kind}")(record.body)

    def knows(self, command_id: str) -> bool:
        return command_id in self.used or command_id in self.strikes or command_id in self.closed

    def essential(self, now_ns: int) -> tuple[Record, ...]:
        """The least journal that folds to this memory, without ids that no live command can carry any more."""
        records = [Record("session", {"token": self.session})] if self.session else []
        records += [halt_record(halt) for halt in self.halts.engaged.values()]
        records += [Record("released", {"ids": sorted(self.halts.released)})] if self.halts.released else []
        if self.position.length:
            records.append(position_record(self.position))
        records += [Record("fence", {"run": run, "fence": fence}) for run, fence in self.fences.items()]
        for command_id, used in self.used.items():
            if used.not_after_ns > now_ns:
                records.append(used_record(command_id, used.refusal, used.not_after_ns))
        for command_id, not_after in self.closed.items():
            if not_after > now_ns:
                records.append(Record("closed", {"command": command_id, "not_after": not_after}))
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
        self.position = StorePosition(length=_int(body["length"]), head=str(body["head"]))

    def _fence(self, body: dict[str, object]) -> None:
        run = str(body["run"])
        self.fences[run] = max(self.fences.get(run, 0), _int(body["fence"]))

    def _used(self, body: dict[str, object]) -> None:
        refusal = Refusal(getattr(Reason, str(body["reason"])), str(body["detail"]))
        self.used[str(body["command"])] = Used(refusal=refusal, not_after_ns=_int(body["not_after"]))

    def _intent(self, body: dict[str, object]) -> None:
        command = agent_pb2.Strike.FromString(base64.b64decode(str(body["strike"])))
        past = self.strikes.get(command.command_id)
        if past is None:
            members = body["members"]
            past = Past(
                command=command,
                members=tuple(
                    Process(boot_id=command.victim.boot_id, pid=pid, start_ticks=ticks)
                    for pid, ticks in (members if isinstance(members, list) else ())
                ),
            )
            self.strikes[command.command_id] = past
        past.blows[_int(body["blow"])] = _int(body["signal"])
        self._fence({"run": command.run_id, "fence": command.run_fence})

    def _sent(self, body: dict[str, object]) -> None:
        self.strikes[str(body["command"])].sent[_int(body["blow"])] = _int(body["at"])

    def _not_sent(self, body: dict[str, object]) -> None:
        """The last look said no. For a first blow that uses the id up: nothing of this strike was ever sent."""
        command_id, blow = str(body["command"]), _int(body["blow"])
        past = self.strikes[command_id]
        past.not_sent[blow] = str(body["detail"])
        if blow == 1:
            self._used({**body, "not_after": past.command.not_after_boot_ns})
            del self.strikes[command_id]

    def _exit(self, body: dict[str, object]) -> None:
        self.strikes[str(body["command"])].exited_ns = _int(body["at"])

    def _reverted(self, body: dict[str, object]) -> None:
        self.strikes[str(body["command"])].reverted = True

    def _closed(self, body: dict[str, object]) -> None:
        past = self.strikes.pop(str(body["command"]), None)
        not_after = past.command.not_after_boot_ns if past else _int(body.get("not_after", 0))
        self.closed[str(body["command"])] = not_after


def halt_record(halt: HaltRecord) -> Record:
    return Record("halt", {"id": halt.id, "by": halt.by, "reason": halt.reason, "at": halt.at_unix_ms})


def position_record(position: StorePosition) -> Record:
    return Record("position", {"length": position.length, "head": position.head})


def used_record(command_id: str, refusal: Refusal, not_after_ns: int) -> Record:
    body: dict[str, object] = {"command": command_id, "reason": Reason.Name(refusal.reason)}
    return Record("used", body | {"detail": refusal.detail, "not_after": not_after_ns})


def intent_record(command: agent_pb2.Strike, members: tuple[Process, ...], blow: int, signal: int) -> Record:
    body: dict[str, object] = {
        "strike": base64.b64encode(command.SerializeToString(deterministic=True)).decode(),
        "members": [[member.pid, member.start_ticks] for member in members],
        "blow": blow,
        "signal": signal,
    }
    return Record("intent", body)


def _past_records(command_id: str, past: Past) -> list[Record]:
    records = [intent_record(past.command, past.members, blow, signal) for blow, signal in past.blows.items()]
    records += [Record("sent", {"command": command_id, "blow": b, "at": at}) for b, at in past.sent.items()]
    for blow, detail in past.not_sent.items():
        records.append(Record("not_sent", {"command": command_id, "blow": blow, "detail": detail}))
    if past.exited_ns:
        records.append(Record("exit", {"command": command_id, "at": past.exited_ns}))
    if past.reverted:
        records.append(Record("reverted", {"command": command_id}))
    return records


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"cannot read the journal: {value!r} is no whole number")
    return value
