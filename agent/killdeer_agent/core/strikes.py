"""The strikes of this host, from command to recovery: a checklist, then the kernel's word (I1, I2, I6)."""

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Blow, Exit, KernelEvent, Reason, StrikeState, Successor
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.intake import first_no, warrant_for
from killdeer_agent.core.memory import Past, Used, intent_record, used_record
from killdeer_agent.core.recovery import Recovery, Wait, key_of
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS, SIGCONT, OpenStrike, Phase
from killdeer_agent.core.words import (
    Census,
    Close,
    Counted,
    Done,
    Open,
    Opened,
    Record,
    Revert,
    Reverted,
    Strike,
    Watch,
)

# A revert that failed is tried again after this long, for as long as the process is there (rule R13).
RETRY_REVERT_NS = 250 * NS_PER_MS
# While a service has not recovered it is counted this often, and at once when the kernel reports an exec.
CENSUS_EVERY_NS = 200 * NS_PER_MS
# After `recover_within` the outcome is `lost`; a late recovery still releases the permit.
CENSUS_LATE_NS = 2_000 * NS_PER_MS

_CANCELLED = Refusal(Reason.REASON_CANCELLED, "reverted before its blow")


class Strikes:
    def __init__(self, desk: Desk, session: Session) -> None:
        self._desk = desk
        self._session = session
        self.guard = Guard(problem="not read yet")
        self.halted_locally = False
        self._open: dict[str, OpenStrike] = {}
        self._recoveries: dict[str, Recovery] = {}
        self._counting: dict[str, int] = {}  # service -> when it was last counted
        self._sent_ns: list[int] = []  # blows of the last minute, for the host's own rate
        self._events_lost = 0

    # --- what others ask ---------------------------------------------------------------------------------

    @property
    def open_commands(self) -> list[str]:
        return sorted(self._open)

    @property
    def reverts_left(self) -> list[str]:
        """Effects whose revert was due and has not worked yet."""
        return sorted(s.command_id for s in self._open.values() if s.effect_open and s.revert_tries)

    @property
    def effects_open(self) -> list[str]:
        return sorted(s.command_id for s in self._open.values() if s.effect_open)

    def busy(self, pid: int, start_ticks: int) -> bool:
        return any(s.key == (pid, start_ticks) and s.phase is not Phase.OVER for s in self._open.values())

    @property
    def events_lost(self) -> int:
        return self._events_lost

    def busy_with_another(self, command: agent_pb2.Strike) -> bool:
        victim = command.victim
        return any(
            s.key == (victim.pid, victim.start_ticks) and s.phase is not Phase.OVER
            for s in self._open.values()
            if s.command_id != command.command_id
        )

    def configured(self, guard: Guard) -> None:
        """A new guard judges every blow to come (rule R29)."""
        self.guard = guard

    def sent_since(self, boot_ns: int) -> int:
        return sum(1 for at in self._sent_ns if at >= boot_ns)

    # --- start --------------------------------------------------------------------------------------------

    def restore(self, past: dict[str, Past]) -> None:
        """After a restart only reverts are sent (rule R4): every pause first, then the watch goes on."""
        for command_id, old in past.items():
            strike = self._from_past(old)
            self._open[command_id] = strike
            if strike.effect_open:
                self._revert(strike)
        for strike in self._open.values():
            self._expect(strike)
            if strike.exit is None and strike.process.boot_id == self._desk.boot_id:
                self._desk.emit(Watch(command_id=strike.command_id, process=strike.process))
            elif strike.exit is None:
                self._gone(strike, Exit(source="reboot"))

    def _from_past(self, past: Past) -> OpenStrike:
        strike = OpenStrike(
            command=past.command,
            process=_process(past.command),
            phase=Phase.STANDING,
            members=past.members,
            blow=max(past.blows),
            restored_ns=self._desk.now.boot_ns,
            cancelled=Refusal(Reason.REASON_CANCELLED, "the agent was restarted: only reverts are sent"),
        )
        for number, at in past.sent.items():
            strike.blows.append(Blow(number=number, signal=past.blows[number], sent_boot_ns=at))
        unsaid = [n for n in past.blows if n not in past.sent and n not in past.not_sent]
        strike.state = StrikeState.STRIKE_STATE_UNKNOWN if unsaid else StrikeState.STRIKE_STATE_STRUCK
        strike.detail = "the agent died between the intent and its word of the signal" if unsaid else ""
        # An intent without a word may have stopped the process: resuming what runs does no harm (R13).
        strike.effect_open = strike.action == "pause" and not past.reverted and not past.exited_ns
        if past.exited_ns:
            strike.exit = Exit(at_boot_ns=past.exited_ns, source="journal")
            strike.state = StrikeState.STRIKE_STATE_GONE
        return strike

    # --- a command ----------------------------------------------------------------------------------------

    def commanded(self, command: agent_pb2.Strike) -> None:
        if self._repeat(command.command_id):
            return
        strike = OpenStrike(command=command, process=_process(command), lost_at_start=self._events_lost)
        self._open[command.command_id] = strike
        refusal = first_no(command, self, self._desk, self._session.lease)
        if refusal is not None:
            self._use_up(strike, refusal)
            return
        self._desk.emit(
            Open(
                command_id=command.command_id,
                service=command.service,
                warrant=warrant_for(strike, self.guard, self._desk.boot_id, self._session.lease),
            )
        )

    def _repeat(self, command_id: str) -> bool:
        """A known id is never acted on again: its present state is the answer (I2)."""
        if command_id in self._open:
            self._session.tell(self._open[command_id])
        elif command_id in self._desk.memory.used:
            self._session.tell_update(_used_update(command_id, self._desk.memory.used[command_id]))
        elif command_id in self._desk.memory.closed:
            self._session.tell_update(agent_pb2.StrikeUpdate(command_id=command_id, settled=True))
        else:
            return False
        return True

    def reverted_by_command(self, command_id: str) -> None:
        """Revert: uses up an id that was not seen, cancels what is to come, reverts what lasts (rule R11)."""
        strike = self._open.get(command_id)
        if strike is None:
            if not self._repeat(command_id):
                self.use_up_unseen(command_id)
            return
        self._cancel(strike, _CANCELLED)
        if strike.phase in (Phase.STANDING, Phase.OVER):
            self._session.tell(strike)

    def use_up_unseen(self, command_id: str) -> None:
        strike = OpenStrike(
            command=agent_pb2.Strike(command_id=command_id), process=Process(boot_id="", pid=0, start_ticks=0)
        )
        self._open[command_id] = strike
        self._use_up(strike, _CANCELLED)

    def asked_about(self, held: agent_pb2.OpenStrike, *, journal_whole: bool) -> None:
        """Welcome names a strike that the coordinator holds open here: each gets an answer (R16, R23)."""
        if self._repeat(held.command_id):
            return
        if journal_whole:
            self.use_up_unseen(held.command_id)
            return
        # A journal that was lost cannot say that nothing was sent. What may be paused is resumed by identity.
        command = agent_pb2.Strike(command_id=held.command_id, victim=held.victim, action=held.action)
        strike = OpenStrike(command=command, process=_process(command), phase=Phase.STANDING, cancelled=_CANCELLED)
        strike.state = StrikeState.STRIKE_STATE_UNKNOWN
        strike.detail = "this host's journal does not hold it"
        strike.effect_open = strike.action == "pause"
        self._open[held.command_id] = strike
        if strike.effect_open:
            self._revert(strike)
        self._session.tell(strike)

    def _use_up(self, strike: OpenStrike, refusal: Refusal) -> None:
        """Durable first, then told: nothing was sent and nothing will be (R16)."""
        strike.phase = Phase.CLOSING
        not_after = strike.command.not_after_boot_ns or self._desk.now.boot_ns + _DAY_NS

        def said(problem: str) -> None:
            if problem:
                strike.detail = f"the refusal cannot be made durable: {problem}"
                strike.refusal, strike.state = refusal, StrikeState.STRIKE_STATE_REFUSED
            else:
                strike.used(refusal)
            self._finish(strike)

        self._desk.write(used_record(strike.command_id, refusal, not_after), said)

    # --- blows --------------------------------------------------------------------------------------------

    def opened(self, answer: Opened) -> None:
        strike = self._open[answer.command_id]
        refusal = answer.refusal or strike.cancelled
        if refusal is not None:
            self._use_up(strike, refusal)
            return
        strike.members = answer.members
        self._record(strike)

    def _record(self, strike: OpenStrike) -> None:
        strike.phase = Phase.RECORDING
        record = intent_record(strike.command, strike.members, strike.blow, strike.signal)
        self._desk.write(record, lambda problem: self._recorded(strike, problem))

    def _recorded(self, strike: OpenStrike, problem: str) -> None:
        if problem:
            refusal = Refusal(Reason.REASON_JOURNAL, f"the intent cannot be made durable: {problem}")
            self._not_sent(strike, refusal, durable=False)
        elif strike.cancelled is not None:
            self._not_sent(strike, strike.cancelled)
        else:
            strike.phase = Phase.STRIKING
            self._desk.emit(
                Strike(
                    command_id=strike.command_id,
                    blow=strike.blow,
                    signal=strike.signal,
                    warrant=warrant_for(strike, self.guard, self._desk.boot_id, self._session.lease),
                )
            )

    def done(self, answer: Done) -> None:
        strike = self._open[answer.command_id]
        if answer.refusal is not None:
            self._not_sent(strike, answer.refusal)
            return
        self._sent_ns = [at for at in self._sent_ns if at > answer.sent_boot_ns - 60_000 * NS_PER_MS]
        self._sent_ns.append(answer.sent_boot_ns)
        strike.sent(answer.sent_boot_ns, changed=answer.changed)
        self._keep("sent", strike, {"blow": answer.blow, "at": answer.sent_boot_ns})
        if answer.blow == 1:
            self._expect(strike)
        self._session.tell(strike)
        if strike.cancelled is not None and strike.effect_open:
            self._revert(strike)

    def _not_sent(self, strike: OpenStrike, refusal: Refusal, *, durable: bool = True) -> None:
        """The intent is closed as refused. After a first blow's, nothing of this strike was ever sent."""
        first = strike.blow == 1

        def said(problem: str) -> None:
            if first and not problem:
                strike.used(refusal)
                self._finish(strike)
            elif first:
                strike.refusal, strike.state = refusal, StrikeState.STRIKE_STATE_REFUSED
                self._finish(strike)
            else:
                strike.phase = Phase.STANDING
                strike.cancelled = strike.cancelled or refusal
                strike.detail = f"blow {strike.blow} was not sent: {refusal.detail}"
                self._session.tell(strike)

        if not durable:
            said("not durable")
            return
        body: dict[str, object] = {"command": strike.command_id, "blow": strike.blow}
        reason = Reason.Name(refusal.reason)
        self._desk.write(Record("not_sent", body | {"reason": reason, "detail": refusal.detail}), said)

    # --- reverts ------------------------------------------------------------------------------------------

    def cancel_all(self, refusal: Refusal) -> None:
        """Halt, lease end, stop: no blow falls any more, and everything that lasts is reverted."""
        for strike in list(self._open.values()):
            self._cancel(strike, refusal)

    def _cancel(self, strike: OpenStrike, refusal: Refusal) -> None:
        if strike.cancelled is None:
            strike.cancelled = refusal
        if strike.effect_open and not strike.reverting:
            self._revert(strike)

    def _revert(self, strike: OpenStrike) -> None:
        strike.reverting = True
        self._desk.emit(Revert(command_id=strike.command_id, process=strike.process))

    def reverted(self, answer: Reverted) -> None:
        strike = self._open[answer.command_id]
        strike.reverting = False
        strike.revert_tries += 1
        if answer.problem:
            strike.revert_due_ns = self._desk.now.boot_ns + RETRY_REVERT_NS
            self._desk.note("revert_failed", command=strike.command_id, problem=answer.problem)
            return
        strike.effect_open = False
        strike.revert_due_ns = 0
        self._keep("reverted", strike, {})
        if answer.gone:
            self._gone(strike, Exit(source="revert"))
            return
        strike.blows.append(
            Blow(number=strike.blow + 1, signal=SIGCONT, sent_boot_ns=answer.sent_boot_ns, revert=True)
        )
        strike.lives_on("resumed")
        self._finish(strike)

    # --- evidence -----------------------------------------------------------------------------------------

    def seen(self, event: KernelEvent, source: str) -> None:
        """Fits the event to the strikes; sets its `command_id` where it belongs to one."""
        event.host = self._desk.hello.host
        kind = event.WhichOneof("kind")
        if kind == "signal":
            self._seen_signal(event)
        elif kind == "exit":
            self._seen_exit(event, source)
        elif kind == "exec":
            for service, recovery in self._recoveries.items():
                if recovery.waiting:
                    self._count(service)
        elif kind == "lost":
            self._events_lost += event.lost.count
            for strike in self._open.values():
                strike.events_lost = self._events_lost - strike.lost_at_start

    def _seen_signal(self, event: KernelEvent) -> None:
        target = event.signal.target
        for strike in self._open.values():
            if strike.key != (target.pid, target.start_ticks):
                continue
            for blow in strike.blows:
                if blow.signal == event.signal.signal and not blow.seen_boot_ns and event.signal.HasField("sender"):
                    blow.seen_boot_ns = event.at_boot_ns
                    blow.kernel_verdict = event.signal.verdict
                    blow.sender_pid = event.signal.sender.pid
                    event.command_id = strike.command_id
                    if not blow.revert:
                        self._ignored(strike, blow)
                    self._session.tell(strike)
                    break

    def _ignored(self, strike: OpenStrike, blow: Blow) -> None:
        """The kernel's verdict `ignored`: kill(2) said yes, and nothing will come of it."""
        last = strike.next_blow_ns == 0
        if blow.kernel_verdict == "ignored" and strike.exit is None and last and not strike.effect_open:
            strike.lives_on("the process ignores the signal, says the kernel")
            self._finish(strike)

    def _seen_exit(self, event: KernelEvent, source: str) -> None:
        process = event.exit.process
        for strike in list(self._open.values()):
            if strike.key != (process.pid, process.start_ticks) and event.command_id != strike.command_id:
                continue
            event.command_id = strike.command_id
            seen = Exit(at_boot_ns=event.at_boot_ns, source=source)
            if source == "bpf":
                seen.code, seen.signal = event.exit.code, event.exit.signal
                seen.core_dumped = event.exit.core_dumped
            self._gone(strike, seen)

    def _gone(self, strike: OpenStrike, seen: Exit) -> None:
        if not strike.exited(seen):
            return
        if strike.phase is Phase.STANDING:
            self._keep("exit", strike, {"at": seen.at_boot_ns or self._desk.now.boot_ns})
            self._session.tell(strike)
        recovery = self._recoveries.get(strike.command.service)
        if recovery is not None:
            recovery.victim_gone(strike.command_id)
            self._count(strike.command.service)

    # --- recovery -----------------------------------------------------------------------------------------

    def _expect(self, strike: OpenStrike) -> None:
        wait = Wait(
            command_id=strike.command_id,
            victim=strike.key,
            before=frozenset(key_of(member) for member in strike.members) | {strike.key},
            stable_ns=strike.command.stable_for_ms * NS_PER_MS,
            gone=strike.exit is not None,
        )
        self._recoveries.setdefault(strike.command.service, Recovery()).wait(wait)

    def _count(self, service: str) -> None:
        self._counting[service] = self._desk.now.boot_ns
        self._desk.emit(Census(service=service))

    def counted(self, answer: Counted) -> None:
        recovery = self._recoveries.get(answer.service)
        if recovery is None or answer.problem:
            return
        found, recovered = recovery.counted(answer.members, self._desk.now.boot_ns)
        for wait in found:
            self._succeeded(wait)
        for wait in recovered:
            strike = self._open.get(wait.command_id)
            if strike is not None:
                strike.state = StrikeState.STRIKE_STATE_RECOVERED
                strike.settled = True
                strike.phase = Phase.OVER
                self._finish(strike)

    def _succeeded(self, wait: Wait) -> None:
        strike = self._open.get(wait.command_id)
        if strike is None or wait.successor is None:
            return
        at = self._desk.now.boot_ns
        victim = strike.command.victim
        strike.successor = Successor(at_boot_ns=at, source="scan")
        strike.successor.identity.host = victim.host
        strike.successor.identity.boot_id = self._desk.boot_id
        strike.successor.identity.pid = wait.successor.pid
        strike.successor.identity.start_ticks = wait.successor.start_ticks
        # Its start time is the kernel's own, to a hundredth of a second; the census only came later.
        started = wait.successor.start_ticks * 10 * NS_PER_MS
        if strike.exit is not None and strike.exit.at_boot_ns:
            strike.successor.at_boot_ns = max(started, strike.exit.at_boot_ns)
            strike.successor.after_exit_ns = max(0, started - strike.exit.at_boot_ns)
        self._session.tell(strike)

    # --- time ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        for strike in list(self._open.values()):
            if strike.effect_open and not strike.reverting and 0 < strike.revert_due_ns <= now:
                self._revert(strike)
            if 0 < strike.next_blow_ns <= now:
                strike.blow += 1
                self._record(strike)
            self._late(strike, now)
        for service, recovery in self._recoveries.items():
            if recovery.waiting and now - self._counting.get(service, 0) >= self._patience(service):
                self._count(service)

    def _late(self, strike: OpenStrike, now: int) -> None:
        within = strike.command.recover_within_ms * NS_PER_MS
        if not within or strike.phase is not Phase.STANDING or strike.effect_open or strike.next_blow_ns:
            return
        if now < (strike.last_blow_ns or strike.restored_ns) + within:
            return
        if strike.exit is None and strike.watched_signal_is_final:
            # A SIGKILL that did not end it hangs in the kernel: it may die yet, and nobody can say when.
            self._say_unknown(strike, "SIGKILL was sent and no exit was seen: it may be in uninterruptible sleep")
        elif strike.exit is None and strike.state == StrikeState.STRIKE_STATE_STRUCK:
            strike.lives_on("it lives on: the signal did not end it")
            self._finish(strike)
        elif strike.exit is None and strike.state == StrikeState.STRIKE_STATE_UNKNOWN:
            strike.settled = True
            self._finish(strike)
        elif strike.state == StrikeState.STRIKE_STATE_GONE:
            strike.state = StrikeState.STRIKE_STATE_LOST
            strike.detail = "no recovery in time"
            self._session.tell(strike)

    def _say_unknown(self, strike: OpenStrike, detail: str) -> None:
        if strike.state != StrikeState.STRIKE_STATE_UNKNOWN:
            strike.state, strike.detail = StrikeState.STRIKE_STATE_UNKNOWN, detail
            self._session.tell(strike)

    def _patience(self, service: str) -> int:
        open_here = [s for s in self._open.values() if s.command.service == service]
        late = all(s.state == StrikeState.STRIKE_STATE_LOST for s in open_here if s.exit is not None)
        return CENSUS_LATE_NS if late else CENSUS_EVERY_NS

    def _keep(self, kind: str, strike: OpenStrike, body: dict[str, object]) -> None:
        """Journals what came of a strike, where the journal holds its intent."""
        if strike.command_id in self._desk.memory.strikes:
            self._desk.write(Record(kind, {"command": strike.command_id} | body), lambda problem: None)

    # --- the end ------------------------------------------------------------------------------------------

    def _finish(self, strike: OpenStrike) -> None:
        """Told; closed in the journal once the coordinator has it (see `acknowledged`)."""
        if strike.phase is not Phase.OVER:
            strike.phase = Phase.OVER
        recovery = self._recoveries.get(strike.command.service)
        if recovery is not None and strike.state != StrikeState.STRIKE_STATE_RECOVERED:
            recovery.forget(strike.command_id)
        self._desk.emit(Close(strike.command_id))
        self._session.tell(strike)

    def acknowledged(self, command_id: str) -> None:
        """The coordinator has the last word of this strike; its id stays known until no command can carry it."""
        strike = self._open.get(command_id)
        if strike is None or strike.phase is not Phase.OVER or strike.effect_open:
            return
        del self._open[command_id]
        self._keep("closed", strike, {})


_DAY_NS = 24 * 3600 * 1000 * NS_PER_MS


def _process(command: agent_pb2.Strike) -> Process:
    victim = command.victim
    return Process(boot_id=victim.boot_id, pid=victim.pid, start_ticks=victim.start_ticks, program=victim.program)


def _used_update(command_id: str, used: Used) -> agent_pb2.StrikeUpdate:
    return agent_pb2.StrikeUpdate(
        command_id=command_id,
        state=StrikeState.STRIKE_STATE_REFUSED,
        reason=used.refusal.reason,
        detail=used.refusal.detail,
        used_up=True,
    )
