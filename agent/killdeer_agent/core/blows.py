"""The blows of a strike: each intent durable before its signal, each signal with its own last look (R1, R4)."""

from killdeer.v1.process_pb2 import Reason, StrikeState
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.evidence import Evidence
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.hold import Hold
from killdeer_agent.core.holds import Holds
from killdeer_agent.core.intake import no_more, warrant_for
from killdeer_agent.core.memory import intent_record
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.reverts import Reverts
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Done, Followed, LookUnit, Opened, Record, Strike, UnitSeen

# Ticks come ten times a second; after a longer break the first of them concludes nothing.
STEADY_NS = 1_000 * NS_PER_MS


class Blows:
    def __init__(
        self,
        desk: Desk,
        session: Session,
        strikes: Strikes,
        recoveries: Recoveries,
        reverts: Reverts,
        evidence: Evidence,
        holds: Holds,
    ) -> None:
        self._desk = desk
        self._session = session
        self._strikes = strikes
        self._recoveries = recoveries
        self._reverts = reverts
        self._evidence = evidence
        self._ticked_ns = 0
        self._holds = holds

    def opened(self, answer: Opened) -> None:
        strike = self._in(Phase.OPENING, answer.command_id)
        if strike is None:
            return
        refusal = answer.refusal or strike.cancelled
        if refusal is not None:
            self._strikes.use_up(strike, refusal)
            return
        strike.members, strike.unit = answer.members, answer.unit
        self._recoveries.counted_before(strike)
        action = strike.command.action
        if action.HasField("hold_down"):
            strike.hold = Hold(
                length_ns=action.hold_down.length_ms * NS_PER_MS,
                unit=answer.unit,
                together=bool(answer.unit) or strike.command.service.startswith("container:"),
            )
        if strike.hold is not None and answer.unit.endswith(".service"):
            self._desk.emit(LookUnit(command_id=strike.command_id, unit=answer.unit))
        else:
            self._record(strike)

    def unit_seen(self, answer: UnitSeen) -> None:
        """How the unit is before the first blow (rule R15); later ones are the hold's affair."""
        strike = self._in(Phase.OPENING, answer.command_id)
        if strike is None or strike.hold is None:
            self._holds.unit_seen(answer)
        elif strike.cancelled is not None:
            self._strikes.use_up(strike, strike.cancelled)
        elif answer.state is None:
            detail = f"cannot tell whether its unit runs, so it could not be put back: {answer.problem}"
            self._strikes.use_up(strike, Refusal(Reason.REASON_UNREADABLE, detail))
        else:
            strike.hold.starts = answer.state.runs
            self._record(strike)

    def followed(self, answer: Followed) -> None:
        if self._holds.followed(answer):
            self._record(self._strikes.open[answer.command_id])

    def done(self, answer: Done) -> None:
        strike = self._in(Phase.STRIKING, answer.command_id)
        if strike is None:
            return
        if answer.refusal is not None:
            self._not_sent(strike, answer.refusal)
            return
        if strike.hits_anew:
            self._strikes.blow_fell(answer.sent_boot_ns)
        strike.sent(answer.sent_boot_ns, changed=answer.changed)
        self._strikes.keep("sent", strike, {"blow": answer.blow, "at": answer.sent_boot_ns})
        self._strikes.tell(strike)
        self._evidence.struck(strike)
        self._holds.struck(strike, answer.sent_boot_ns)
        if strike.exit is not None:
            self._recoveries.wait_for(strike)
        elif strike.cancelled is not None and strike.effect_open and strike.hold is None:
            self._reverts.revert(strike)

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        # An agent that was held up hears of what befell meanwhile after this tick (I8).
        steady, self._ticked_ns = now - self._ticked_ns < STEADY_NS, now
        for strike in list(self._strikes.open.values()):
            if 0 < strike.next_blow_ns <= now:
                strike.blow += 1
                self._record(strike)
            elif strike.phase is Phase.STANDING and not strike.next_blow_ns:
                taken_back = strike.hold.ended_ns if strike.hold is not None else not strike.effect_open
                if taken_back and steady:
                    self._late(strike, now)

    def _in(self, phase: Phase, command_id: str) -> OpenStrike | None:
        strike = self._strikes.open.get(command_id)
        return strike if strike is not None and strike.phase is phase else None

    def _record(self, strike: OpenStrike) -> None:
        strike.phase = Phase.RECORDING
        hold = strike.hold or Hold(length_ns=0)
        record = intent_record(
            strike.command,
            strike.members,
            strike.blow,
            strike.signal,
            successor=hold.target,
            unit=hold.unit if hold.starts else "",
            in_unit=strike.unit,
        )
        self._desk.write(record, lambda problem: self._recorded(strike, problem))

    def _recorded(self, strike: OpenStrike, problem: str) -> None:
        if strike.phase is not Phase.RECORDING:
            return  # its service recovered while the intent of a further blow was written
        if problem:
            refusal = Refusal(Reason.REASON_JOURNAL, f"the intent cannot be made durable: {problem}")
            self._closed_unsent(strike, refusal, durable=False)
        elif (refused := strike.cancelled or no_more(strike, self._strikes, self._desk)) is not None:
            self._not_sent(strike, refused)
        else:
            strike.phase = Phase.STRIKING
            warrant = warrant_for(strike, self._strikes.guard, self._desk.boot_id, self._session.lease)
            strike.consent = warrant.guard.version
            self._desk.emit(
                Strike(command_id=strike.command_id, blow=strike.blow, signal=strike.signal, warrant=warrant)
            )

    def _not_sent(self, strike: OpenStrike, refusal: Refusal) -> None:
        """The intent is closed as refused. After a first blow's, nothing of this strike was ever sent."""
        strike.phase = Phase.CLOSING
        body: dict[str, object] = {"command": strike.command_id, "blow": strike.blow}
        body |= {"reason": Reason.Name(refusal.reason), "detail": refusal.detail}

        def said(problem: str) -> None:
            self._closed_unsent(strike, refusal, durable=not problem)

        self._desk.write(Record("not_sent", body), said)

    def _closed_unsent(self, strike: OpenStrike, refusal: Refusal, *, durable: bool) -> None:
        if strike.phase is Phase.OVER:
            return
        strike.early.clear()
        if not strike.struck:
            strike.refused(refusal, durable=durable)
            self._strikes.finish(strike)
            return
        strike.phase = Phase.STANDING
        if strike.hold is not None:
            self._holds.not_struck(strike, refusal)
            return
        strike.cancelled = strike.cancelled or refusal
        strike.detail = f"blow {strike.blow} was not sent: {refusal.detail}"
        self._strikes.tell(strike)

    def _late(self, strike: OpenStrike, now: int) -> None:
        """Past `recover_within` after its last blow or its hold's end: what it came to, if known (I8)."""
        within = strike.command.recover_within_ms * NS_PER_MS
        held_until = strike.hold.ended_ns if strike.hold is not None else 0
        if not within or now < (max(strike.last_blow_ns, held_until) or strike.restored_ns) + within:
            return
        if strike.state == StrikeState.STRIKE_STATE_GONE:
            strike.state = StrikeState.STRIKE_STATE_LOST
            lacks = (strike.failure.said if strike.effect_open else "") or self._recoveries.lacks(strike)
            strike.detail = f"no recovery in time{f': {lacks}' if lacks else ''}"
            self._strikes.tell(strike)
        elif strike.exit is None and not strike.last_signal_is_final:
            strike.lives_on("it lives on: the signal did not end it")
            self._strikes.finish(strike)
        elif strike.exit is None and strike.state == StrikeState.STRIKE_STATE_STRUCK:
            # A SIGKILL that did not end it hangs in the kernel: it may die yet, and nobody can say when.
            strike.state = StrikeState.STRIKE_STATE_UNKNOWN
            strike.detail = "SIGKILL was sent and no exit was seen: it may be in uninterruptible sleep"
            self._strikes.tell(strike)
