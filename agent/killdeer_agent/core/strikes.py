"""The open strikes of this host: what others ask of them, their word to the coordinator, and their end."""

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import StrikeState
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.memory import KEEP_KNOWN_NS, RATE_NS, refused_record
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.words import Close, Record

# What could not be written is tried again after this long: the disk may have room again.
RETRY_WRITE_NS = 1_000 * NS_PER_MS


class Strikes:
    """A strike is open until the coordinator has acknowledged its last word; its id stays known after that."""

    def __init__(self, desk: Desk, session: Session) -> None:
        self._desk = desk
        self._session = session
        self.guard = Guard(problem="not read yet")
        self.halted_locally = False
        self.open: dict[str, OpenStrike] = {}
        self._sent_ns: list[int] = []  # first blows on a process in the last minute, for the host's own rate

    # --- what others ask ---------------------------------------------------------------------------------

    @property
    def effects_open(self) -> list[str]:
        """What lasts, or may."""
        return sorted(strike.command_id for strike in self.open.values() if strike.lasts)

    @property
    def reverts_left(self) -> list[str]:
        """Effects whose revert was due and has not worked yet."""
        return sorted(s.command_id for s in self.open.values() if s.effect_open and s.revert_tries)

    @property
    def revert_problems(self) -> list[str]:
        """Of each of `reverts_left`, in its order: why not, and what to do."""
        return [self.open[command_id].failure.said for command_id in self.reverts_left]

    @property
    def with_signals(self) -> list[str]:
        """Those that have sent a signal, or may have: a coordinator whose books lack one has lost it (rule R22)."""
        return sorted(s.command_id for s in self.open.values() if s.struck or s.unsaid or s.lasts)

    @property
    def striking(self) -> bool:
        """A signal is under way."""
        return any(strike.phase is Phase.STRIKING for strike in self.open.values())

    def busy(self, pid: int, start_ticks: int) -> bool:
        return any((pid, start_ticks) in s.keys and s.phase is not Phase.OVER for s in self.open.values())

    def of_service(self, service: str) -> list[OpenStrike]:
        """Those that are not over."""
        return [s for s in self.open.values() if s.command.service == service and s.phase is not Phase.OVER]

    def fence(self, run_id: str) -> int:
        """The highest that a driver of this run has shown."""
        shown = [s.command.run_fence for s in self.open.values() if s.command.run_id == run_id]
        return max([self._desk.memory.fences.get(run_id, 0), *shown])

    def over_rate(self) -> bool:
        """Whether one more process struck now is over the host's own rate."""
        rate, now = self.guard.per_minute, self._desk.now.boot_ns
        self._sent_ns = [at for at in self._sent_ns if at > now - RATE_NS]
        under_way = sum(strike.phase is Phase.STRIKING and strike.hits_anew for strike in self.open.values())
        return rate is not None and len(self._sent_ns) + under_way >= rate

    def blow_fell(self, sent_boot_ns: int) -> None:
        self._sent_ns.append(sent_boot_ns)

    # --- their word ---------------------------------------------------------------------------------------

    def tell(self, strike: OpenStrike) -> None:
        self._desk.tally.strike(strike)
        self._session.tell(strike.update(self._desk.now.boot_ns))

    def answer(self, command_id: str) -> bool:
        """A known id is never acted on again: its present state is the answer (I2). False: the id is not known."""
        memory = self._desk.memory
        if command_id in self.open:
            self.tell(self.open[command_id])
        elif command_id in memory.used:
            refusal = memory.used[command_id].refusal
            self._session.tell(
                agent_pb2.StrikeUpdate(
                    command_id=command_id,
                    state=StrikeState.STRIKE_STATE_REFUSED,
                    reason=refusal.reason,
                    detail=refusal.detail,
                    used_up=True,
                    stopped=True,
                )
            )
        elif command_id in memory.closed or command_id in memory.strikes:
            # Its last word was acknowledged; the record of that may still be on its way to the disk.
            self._session.tell(agent_pb2.StrikeUpdate(command_id=command_id, settled=True, stopped=True))
        elif command_id in memory.orphans:
            unknown = StrikeState.STRIKE_STATE_UNKNOWN
            detail = "an older journal of this host, which is lost, may have held it"
            self._session.tell(
                agent_pb2.StrikeUpdate(command_id=command_id, state=unknown, detail=detail, stopped=True)
            )
        else:
            return False
        return True

    def keep(self, kind: str, strike: OpenStrike, body: dict[str, object]) -> None:
        """Journals what came of a strike, where the journal holds its intent."""
        if strike.command_id in self._desk.memory.strikes:
            self._desk.write(Record(kind, {"command": strike.command_id} | body))

    def not_reverted(self, strike: OpenStrike, problem: str, remedy: str) -> None:
        """A revert of it has failed."""
        strike.revert_tries += 1
        if strike.failure.again(problem, remedy, self._desk.now.boot_ns):
            self._desk.warn("revert_failed", command=strike.command_id, problem=problem, remedy=remedy)

    # --- the end ------------------------------------------------------------------------------------------

    def use_up(self, strike: OpenStrike, refusal: Refusal) -> None:
        """Durable first, then told: nothing was sent and nothing will be (R16)."""
        strike.phase = Phase.CLOSING
        not_after = strike.command.not_after_boot_ns or self._desk.now.boot_ns + KEEP_KNOWN_NS

        def said(problem: str) -> None:
            news = strike.refusal is None or not problem
            strike.refused(refusal, durable=not problem)
            strike.retry_ns = self._desk.now.boot_ns + RETRY_WRITE_NS
            if news:
                self.finish(strike)

        self._desk.write(refused_record(strike.command, refusal, not_after), said)

    def adopt(self, strike: OpenStrike) -> None:
        """Once this journal holds a session it counts as whole: what an older one held is remembered as such."""
        again = bool(strike.retry_ns)
        strike.retry_ns = self._desk.now.boot_ns + RETRY_WRITE_NS

        def said(problem: str) -> None:
            if again and not problem:
                self.tell(strike)

        self._desk.write(Record("orphan", {"command": strike.command_id}), said)

    def tick(self) -> None:
        """What could not be made durable is written again until it is: a refusal holds its permit until then."""
        now = self._desk.now.boot_ns
        for strike in list(self.open.values()):
            if strike.phase is not Phase.OVER or now < strike.retry_ns:
                continue
            if strike.orphan and strike.command_id not in self._desk.memory.orphans:
                self.adopt(strike)
            elif strike.refusal is not None and not strike.used_up:
                self.use_up(strike, strike.refusal)

    def finish(self, strike: OpenStrike) -> None:
        """Told; closed in the journal once the coordinator has it (see `acknowledged`)."""
        strike.phase = Phase.OVER
        self._desk.emit(Close(strike.command_id))
        self.tell(strike)

    def acknowledged(self, command_id: str) -> None:
        """The coordinator has the last word of this strike. One whose end could not be made durable stays: without
        it the id would not be known any more."""
        strike = self.open.get(command_id)
        if strike is None or strike.phase is not Phase.OVER or strike.refused_in_vain:
            return
        if strike.orphan and command_id not in self._desk.memory.orphans:
            return
        del self.open[command_id]
        self.keep("closed", strike, {})
