"""One strike on this host: a closed list of phases, its blows, and what is to be told of it.

opening -> recording -> striking -> standing -> over            (a blow to come goes back to recording)
   any of the first three -> closing -> over                    (refused, or used up)
"""

from dataclasses import dataclass, field
from enum import Enum

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Blow, Exit, KernelEvent, Reason, StrikeState, Successor
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.failure import Failure
from killdeer_agent.core.guard import word_of
from killdeer_agent.core.hold import Hold
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
    early: list[KernelEvent] = field(default_factory=list)  # signals seen before the shell's word of the blow
    cancelled: Refusal | None = None  # no blow falls any more
    refusal: Refusal | None = None
    state: StrikeState = StrikeState.STRIKE_STATE_SENT
    exit: Exit | None = None
    successor: Successor | None = None
    ready_after_ns: int = 0  # from the first blow until `ready` was met; 0: not yet, or not asked for
    unit: str = ""  # the victim's; empty: in none, or not known
    consent: str = ""  # the version of the guard that let the last blow fall
    effect_open: bool = False  # a pause that was not reverted yet; a hold that goes on, or is not taken back yet
    hold: Hold | None = None  # of a hold-down
    reverting: bool = False  # a Revert is out
    revert_due_ns: int = 0  # when to try (again); 0: never
    revert_tries: int = 0
    failure: Failure = field(default_factory=Failure)  # of its revert
    retry_ns: int = 0  # when its refusal is written again, if it could not be
    changed: bool = False
    settled: bool = False
    used_up: bool = False
    orphan: bool = False  # the coordinator holds it open here, and this host's journal does not know it
    unsaid: bool = False  # an agent died between an intent of it and its word of the signal
    restored_ns: int = 0  # when a restarted agent took it up again
    lost_at_start: int = 0  # the agent's lost-events counter when it was opened
    events_lost: int = 0
    detail: str = ""
    tallied: set[str] = field(default_factory=set)  # what the tally has counted of it

    @property
    def command_id(self) -> str:
        return self.command.command_id

    @property
    def key(self) -> Key:
        return (self.process.pid, self.process.start_ticks)

    @property
    def action(self) -> str:
        """kill | terminate | pause | hold-down"""
        return word_of(self.command.action)

    @property
    def target(self) -> Process:
        """Whom the blow under way, or the last, is for."""
        return self.process if self.hold is None or self.hold.target is None else self.hold.target

    @property
    def target_gone(self) -> bool:
        return bool(self.hold.vacant_ns) if self.hold is not None and self.blow > 1 else self.exit is not None

    @property
    def keys(self) -> set[Key]:
        """The victim, and whom else a blow of it hit or is to hit."""
        return {self.key} if self.hold is None else {self.key, *self.hold.struck}

    def key_of_blow(self, blow: Blow) -> Key:
        return (blow.pid, blow.start_ticks) if blow.pid else self.key

    @property
    def signal(self) -> int:
        """Of the blow under way."""
        if self.action == "kill":
            return self.command.action.kill.signal
        if self.action == "terminate":
            return SIGTERM if self.blow == 1 else SIGKILL
        return SIGKILL if self.hold is not None else SIGSTOP

    @property
    def hits_anew(self) -> bool:
        """Is the blow under way the first on its process? The host's own rate counts these: one that escalates hits
        the same process, and is the same strike (rule R4)."""
        return self.blow == 1 or self.hold is not None

    @property
    def struck(self) -> bool:
        return any(not blow.revert for blow in self.blows)

    @property
    def lasts(self) -> bool:
        """The victim is paused or its place held empty by us, or may be as soon as the word of the blow is here."""
        lasting = self.action == "pause" or self.hold is not None
        return self.effect_open or (self.phase is Phase.STRIKING and lasting)

    @property
    def last_signal_is_final(self) -> bool:
        """SIGKILL was sent, which no process survives or ignores."""
        return any(blow.signal == SIGKILL for blow in self.blows)

    @property
    def last_blow_ns(self) -> int:
        return max((blow.sent_boot_ns for blow in self.blows if not blow.revert), default=0)

    @property
    def first_blow_ns(self) -> int:
        """By the kernel's time of it where that is known. 0: it is not known when it fell."""
        first = next((blow for blow in self.blows if blow.number == 1 and not blow.revert), None)
        return (first.seen_boot_ns or first.sent_boot_ns) if first is not None else 0

    @property
    def next_blow_ns(self) -> int:
        """When the next blow is due: terminate's KILL at the end of the grace. 0: none is to come."""
        grace_ms = self.command.action.terminate.grace_ms
        if self.action != "terminate" or not grace_ms or self.blow != 1 or not self.struck:
            return 0
        if self.phase is not Phase.STANDING or self.exit is not None or self.cancelled is not None:
            return 0
        return self.last_blow_ns + grace_ms * NS_PER_MS

    @property
    def stopped(self) -> bool:
        """No blow of it falls any more."""
        if self.phase is Phase.STRIKING:
            return False
        to_come = self.phase is not Phase.STANDING or self.next_blow_ns or (self.hold is not None and self.lasts)
        return self.cancelled is not None or self.phase is Phase.OVER or not to_come

    @property
    def refused_in_vain(self) -> bool:
        """It was refused, and that could not be made durable."""
        return self.refusal is not None and not self.used_up

    def sent(self, sent_boot_ns: int, *, changed: bool) -> None:
        blow = Blow(number=self.blow, signal=self.signal, sent_boot_ns=sent_boot_ns)
        if self.target is not self.process:
            blow.pid, blow.start_ticks = self.target.pid, self.target.start_ticks
        self.blows.append(blow)
        self.changed = self.changed or changed
        self.phase = Phase.STANDING
        self.state = StrikeState.STRIKE_STATE_GONE if self.exit else StrikeState.STRIKE_STATE_STRUCK
        if self.hold is not None:
            self.effect_open = True
        elif self.action == "pause" and self.exit is None:
            self.effect_open = True
            self.revert_due_ns = sent_boot_ns + self.command.action.pause.length_ms * NS_PER_MS

    def exited(self, seen: Exit) -> bool:
        """The victim's exit; False if it says nothing new. The kernel's word replaces a pidfd's."""
        if self.exit is not None and (self.exit.source == "bpf" or seen.source != "bpf"):
            return False
        if self.exit is None and self.phase is Phase.OVER:
            return False  # it is over: whatever ends the process now is not this strike
        first, self.exit = self.exit is None, seen
        if self.hold is None:
            self.effect_open = False
            self.revert_due_ns = 0
        if first and (self.struck or self.unsaid) and not self.orphan:
            self.state = StrikeState.STRIKE_STATE_GONE
        return True

    def reverted(self, sent_boot_ns: int) -> None:
        """It runs again. What an unsaid blow did is not known, only that nothing of it lasts (I8)."""
        self.effect_open = False
        self.revert_due_ns = 0
        self.blows.append(Blow(number=self.blow + 1, signal=SIGCONT, sent_boot_ns=sent_boot_ns, revert=True))
        self.lives_on("resumed")

    def recovered(self) -> None:
        self.state = StrikeState.STRIKE_STATE_RECOVERED
        self.settled = True
        self.effect_open = False  # whoever has started what was given up

    def lives_on(self, detail: str) -> None:
        """The service is as it was: the signal did not end the victim, or its pause is over."""
        if self.state != StrikeState.STRIKE_STATE_UNKNOWN:
            self.state, self.detail = StrikeState.STRIKE_STATE_SURVIVED, detail
        self.settled = True
        self.phase = Phase.OVER

    def refused(self, refusal: Refusal, *, durable: bool) -> None:
        """Nothing was sent; `durable`: and nothing will be."""
        self.state = StrikeState.STRIKE_STATE_REFUSED
        self.refusal = refusal
        self.used_up = durable
        self.phase = Phase.OVER

    def update(self, now_ns: int) -> agent_pb2.StrikeUpdate:
        update = agent_pb2.StrikeUpdate(
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
            stopped=self.stopped,
            cut_short=self.hold is not None and self.hold.cut_short,
            ready_after_ns=self.ready_after_ns,
        )
        if self.exit is not None:
            update.exit.CopyFrom(self.exit)
            update.exit.after_blow_ns = self._after_blow_ns(self.exit.at_boot_ns)
        if self.successor is not None:
            update.successor.CopyFrom(self.successor)
        return update

    def _after_blow_ns(self, exit_ns: int) -> int:
        """From the blow that fell last before the exit, by the kernel's time of it where that is known; else the
        word of the call, which comes just after. 0: it cannot be told."""
        fell = [blow.seen_boot_ns or blow.sent_boot_ns for blow in self.blows if not blow.revert]
        if not exit_ns or not fell:
            return 0
        before = [at for at in fell if at <= exit_ns]
        return exit_ns - max(before) if before else 0
