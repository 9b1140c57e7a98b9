"""One strike on this host: a closed list of phases, its blows, and what is to be told of it.

opening -> recording -> striking -> standing -> over            (a blow to come goes back to recording)
   any of the first three -> over                               (refused, or used up)
"""

from dataclasses import dataclass, field
from enum import Enum

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Blow, Exit, Reason, StrikeState, Successor
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.recovery import Key

SIGKILL, SIGTERM, SIGCONT, SIGSTOP = 9, 15, 18, 19
NS_PER_MS = 1_000_000


class Phase(Enum):
    OPENING = "opening"  # Open is out
    RECORDING = "recording"  # the intent of a blow is being made durable
    STRIKING = "striking"  # Strike is out
    STANDING = "standing"  # struck; waits for the exit, for time, for recovery
    CLOSING = "closing"  # nothing was sent; the word of it is being made durable
    OVER = "over"


@dataclass(slots=True, kw_only=True)
class OpenStrike:
    command: agent_pb2.Strike
    process: Process
    phase: Phase = Phase.OPENING
    members: tuple[Process, ...] = ()
    blow: int = 1  # the one under way, or the last
    blows: list[Blow] = field(default_factory=list)
    cancelled: Refusal | None = None  # no blow falls any more
    refusal: Refusal | None = None
    state: StrikeState = StrikeState.STRIKE_STATE_SENT
    exit: Exit | None = None
    successor: Successor | None = None
    effect_open: bool = False  # a pause that was not reverted yet
    reverting: bool = False  # a Revert is out
    revert_due_ns: int = 0  # when to try (again); 0: never
    revert_tries: int = 0
    changed: bool = False
    settled: bool = False
    used_up: bool = False
    restored_ns: int = 0  # when a restarted agent took it up again
    lost_at_start: int = 0  # the agent's lost-events counter when it was opened
    events_lost: int = 0
    detail: str = ""

    @property
    def command_id(self) -> str:
        return self.command.command_id

    @property
    def key(self) -> Key:
        return (self.process.pid, self.process.start_ticks)

    @property
    def action(self) -> str:
        """kill | terminate | pause"""
        return self.command.action.WhichOneof("kind") or ""

    @property
    def signal(self) -> int:
        """Of the blow under way."""
        if self.action == "kill":
            return self.command.action.kill.signal
        if self.action == "terminate":
            return SIGTERM if self.blow == 1 else SIGKILL
        return SIGSTOP

    @property
    def struck(self) -> bool:
        return any(not blow.revert for blow in self.blows)

    @property
    def watched_signal_is_final(self) -> bool:
        """SIGKILL was sent, which no process survives or ignores."""
        return any(blow.signal == SIGKILL for blow in self.blows)

    @property
    def last_blow_ns(self) -> int:
        return max((blow.sent_boot_ns for blow in self.blows if not blow.revert), default=0)

    @property
    def next_blow_ns(self) -> int:
        """When the next blow is due: terminate's KILL at the end of the grace. 0: none is to come."""
        grace_ms = self.command.action.terminate.grace_ms
        if self.action != "terminate" or not grace_ms or self.blow != 1 or not self.struck:
            return 0
        if self.phase is not Phase.STANDING or self.exit is not None or self.cancelled is not None:
            return 0
        return self.last_blow_ns + grace_ms * NS_PER_MS

    def sent(self, sent_boot_ns: int, *, changed: bool) -> None:
        self.blows.append(Blow(number=self.blow, signal=self.signal, sent_boot_ns=sent_boot_ns))
        self.changed = self.changed or changed
        self.phase = Phase.STANDING
        if self.exit is None:
            self.state = StrikeState.STRIKE_STATE_STRUCK
        if self.action == "pause":
            self.effect_open = True
            self.revert_due_ns = sent_boot_ns + self.command.action.pause.length_ms * NS_PER_MS

    def exited(self, seen: Exit) -> bool:
        """The victim's exit; False if it says nothing new. The kernel's word replaces a pidfd's."""
        if self.exit is not None and (self.exit.source == "bpf" or seen.source != "bpf"):
            return False
        if self.last_blow_ns and seen.at_boot_ns:
            seen.after_blow_ns = max(0, seen.at_boot_ns - self.last_blow_ns)
        self.exit = seen
        self.effect_open = False
        self.revert_due_ns = 0
        if self.struck and self.state != StrikeState.STRIKE_STATE_RECOVERED:
            self.state = StrikeState.STRIKE_STATE_GONE
        return True

    def lives_on(self, detail: str) -> None:
        """The service is as it was: the signal did not end the victim, or its pause is over."""
        self.state = StrikeState.STRIKE_STATE_SURVIVED
        self.detail = detail
        self.settled = True
        self.phase = Phase.OVER

    def used(self, refusal: Refusal) -> None:
        """Nothing was sent and nothing will be, durably."""
        self.state = StrikeState.STRIKE_STATE_REFUSED
        self.refusal = refusal
        self.used_up = True
        self.phase = Phase.OVER

    def update(self, number: int, now_ns: int) -> agent_pb2.StrikeUpdate:
        update = agent_pb2.StrikeUpdate(
            number=number,
            command_id=self.command_id,
            state=self.state,
            reason=self.refusal.reason if self.refusal else Reason.REASON_UNSPECIFIED,
            detail=self.refusal.detail if self.refusal else self.detail,
            blows=self.blows,
            used_up=self.used_up,
            effect_open=self.effect_open,
            changed=self.changed,
            at_boot_ns=now_ns,
            events_lost=self.events_lost,
            settled=self.settled,
        )
        if self.exit is not None:
            update.exit.CopyFrom(self.exit)
        if self.successor is not None:
            update.successor.CopyFrom(self.successor)
        return update
