"""The holds of this host: who is taken for a successor, how a hold ends, and the start of a unit that was given up.

Successors come from the kernel's word of an exec, never from looking again and again. What is asked again and again
is systemd alone, and only about a unit that may have failed by our blows (rule R15).
"""

from killdeer.v1.process_pb2 import KernelEvent, Reason, StrikeState
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.failure import to_start
from killdeer_agent.core.hold import MOST_BLOWS, PASSING, Hold
from killdeer_agent.core.intake import warrant_to_follow
from killdeer_agent.core.recoveries import NS_PER_TICK, Recoveries
from killdeer_agent.core.recovery import key_of
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Follow, Followed, LookUnit, StartUnit, UnitSeen, UnitStarted

# While a place is empty, and until its service has recovered, systemd is asked this often about its unit.
LOOK_EVERY_NS = 1_000 * NS_PER_MS
# The same for a service that has not recovered in time, and for a unit that cannot be started.
LOOK_LATE_NS = 5_000 * NS_PER_MS


class Holds:
    def __init__(self, desk: Desk, session: Session, strikes: Strikes, recoveries: Recoveries) -> None:
        self._desk = desk
        self._session = session
        self._strikes = strikes
        self._recoveries = recoveries

    # --- successors ---------------------------------------------------------------------------------------

    def struck(self, strike: OpenStrike, sent_boot_ns: int) -> None:
        """The word of a blow is here."""
        hold = strike.hold
        if hold is None:
            return
        hold.begun_ns = hold.begun_ns or sent_boot_ns
        if strike.target_gone and not hold.vacant_ns:
            hold.vacant_ns = self._desk.now.boot_ns
        if hold.ended_ns:  # a halt or the like came while it fell
            self._close(strike, hold)
        self._go_on(strike)

    def not_struck(self, strike: OpenStrike, refusal: Refusal) -> None:
        """The last look at a successor said no."""
        hold = strike.hold
        if hold is None:
            return
        hold.spare()
        hold.vacant_ns = self._desk.now.boot_ns
        if hold.ended_ns:
            self._close(strike, hold)
        elif refusal.reason in PASSING:
            self._go_on(strike)
        else:
            over = refusal.reason == Reason.REASON_TOO_LATE
            self.end(strike, "" if over else f"blow {strike.blow} was not sent: {refusal.detail}")

    def appeared(self, event: KernelEvent) -> None:
        """An exec, of whichever process."""
        process = event.exec.process
        key = (process.pid, process.start_ticks)
        for strike in list(self._strikes.open.values()):
            hold = strike.hold
            if hold is None or not hold.goes_on or not process.pid:
                continue
            if process.start_ticks < hold.begun_ns // NS_PER_TICK - 1 or any(
                key == key_of(m) for m in strike.members
            ):
                continue  # it was there before
            hold.has_appeared(key)
            self._go_on(strike)

    def vacated(self, strike: OpenStrike) -> None:
        """Whom the last blow hit has exited."""
        if strike.hold is not None and not strike.hold.vacant_ns:
            strike.hold.vacant_ns = self._desk.now.boot_ns
            self._go_on(strike)

    def followed(self, answer: Followed) -> bool:
        """Whether the next blow is for the one that was looked at."""
        strike = self._strikes.open.get(answer.command_id)
        if strike is None or strike.hold is None:
            return False
        hold, process = strike.hold, answer.process
        hold.following = False
        if not hold.goes_on or answer.refusal is not None or process is None or strike.phase is not Phase.STANDING:
            self._go_on(strike)
            return False
        if strike.blow >= MOST_BLOWS:
            self.end(strike, f"{MOST_BLOWS} blows fell, which is the most of one strike")
            return False
        if not self._is_free(strike, hold, process, answer.members):
            self._go_on(strike)
            return False
        strike.blow += 1
        hold.take(process, strike.blow)
        return True

    def _is_free(self, strike: OpenStrike, hold: Hold, process: Process, members: tuple[Process, ...]) -> bool:
        """Whether it may be taken: nobody else's victim or successor, and none too many."""
        key, service = key_of(process), strike.command.service
        if self._strikes.busy(*key) or self._recoveries.claimed(service, key, strike.command_id):
            return False
        before = {key_of(member) for member in strike.members} - {strike.key}
        gone = {one.key for one in self._strikes.of_service(service) if one.successor is None}
        return hold.leaves_enough(key, members, before, gone)

    def _go_on(self, strike: OpenStrike) -> None:
        hold = strike.hold
        if hold is None or strike.phase is not Phase.STANDING or not hold.may_follow:
            return
        key = hold.next_key()
        if key is None:
            return
        hold.following = True
        successor = Process(boot_id=self._desk.boot_id, pid=key[0], start_ticks=key[1])
        warrant = warrant_to_follow(strike, successor, self._strikes.guard, self._desk.boot_id, self._session.lease)
        self._desk.emit(Follow(command_id=strike.command_id, service=strike.command.service, warrant=warrant))

    # --- the end, and the unit ------------------------------------------------------------------------------

    def end(self, strike: OpenStrike, why: str) -> None:
        """No blow falls any more; that alone takes a hold back, but for a unit that was given up. `why`: it ends
        before its time."""
        hold = strike.hold
        if hold is None or hold.ended_ns:
            return
        hold.end(self._desk.now.boot_ns, cut_short=bool(why))
        if not strike.struck and not strike.unsaid:
            return  # nothing fell
        count = len(hold.struck)
        said = f"{count} successor{'' if count == 1 else 's'} struck" if count else "no successor was struck"
        said += f"; not held all the time: {hold.filled}" if hold.filled else ""
        if why:
            said += f"; the hold ended before its time: {why}"
        strike.detail = said if hold.cut_short else f"held for its time: {said}"
        self._strikes.keep("held", strike, {"cut_short": hold.cut_short, "detail": strike.detail})
        if strike.phase is not Phase.STRIKING:
            self._close(strike, hold)
        if strike.exit is not None:
            self._recoveries.wait_for(strike)
        self._strikes.tell(strike)

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        for strike in list(self._strikes.open.values()):
            hold = strike.hold
            if hold is None or strike.phase is Phase.OVER:
                continue
            if hold.goes_on and now >= hold.until_ns:
                self.end(strike, "")
            elif hold.starts and not hold.asking and self._worth_a_look(strike, hold, now):
                self.look(strike)

    def look(self, strike: OpenStrike) -> None:
        """Asks systemd what became of the unit."""
        if strike.hold is not None and not strike.hold.asking:
            strike.hold.asking = True
            self._desk.emit(LookUnit(command_id=strike.command_id, unit=strike.hold.unit))

    def unit_seen(self, answer: UnitSeen) -> None:
        strike = self._strikes.open.get(answer.command_id)
        if strike is None or strike.hold is None:
            return
        hold, state = strike.hold, answer.state
        hold.asking = False
        late = strike.state == StrikeState.STRIKE_STATE_LOST
        hold.due_ns = self._desk.now.boot_ns + (LOOK_LATE_NS if late else LOOK_EVERY_NS)
        if strike.phase is Phase.OVER:
            return
        if state is not None and state.stop_ordered:
            self._leave_stopped(strike, hold)
            return
        struck = {pid for pid, _ in (strike.key, *hold.struck)}
        failed = state is not None and (state.failed_by(struck) or (hold.reset and state.only_reset(struck)))
        if failed and state is not None and hold.goes_on:
            hold.asking = True  # one question at a time: the end would ask again
            self.end(strike, f"systemd gave {hold.unit} up after {strike.blow} blows ({state.result})")
        if not hold.ended_ns:
            return
        if state is None:
            self._not_started(strike, hold, answer.problem)
        elif failed:
            hold.asking = strike.effect_open = True
            self._desk.emit(StartUnit(command_id=strike.command_id, unit=hold.unit))
        elif not state.on_its_way and not (state.unnoticed(struck) and self._just_ended(hold)):
            self._taken_back(strike)

    def unit_started(self, answer: UnitStarted) -> None:
        strike = self._strikes.open.get(answer.command_id)
        if strike is None or strike.hold is None:
            return
        hold = strike.hold
        hold.asking = False
        hold.reset = hold.reset or answer.reset
        if answer.problem:
            self._not_started(strike, hold, answer.problem, denied=answer.denied)
            return
        hold.started = True
        self._desk.note("unit_started", command=strike.command_id, unit=hold.unit)
        if strike.phase is not Phase.OVER:
            strike.detail = "; ".join(filter(None, (strike.detail, f"{hold.unit} was started again")))
            self._taken_back(strike)

    def _worth_a_look(self, strike: OpenStrike, hold: Hold, now: int) -> bool:
        if hold.goes_on:  # who restarts at once is not asked about
            return bool(hold.vacant_ns) and now >= max(hold.due_ns, hold.vacant_ns + LOOK_EVERY_NS)
        if not hold.ended_ns or not (strike.struck or strike.unsaid):
            return False
        return (strike.effect_open or not hold.started) and now >= hold.due_ns

    def _just_ended(self, hold: Hold) -> bool:
        """systemd hears of an exit a moment after it."""
        return self._desk.now.boot_ns < hold.ended_ns + LOOK_EVERY_NS

    def _leave_stopped(self, strike: OpenStrike, hold: Hold) -> None:
        """Somebody stops the unit while it deactivates after a blow. It will be `failed` by our blow in the end, so
        that is remembered, also across a restart: it is not started, and no blow falls any more."""
        hold.starts = False
        self._strikes.keep("unit_left", strike, {})
        if hold.goes_on:
            self.end(strike, f"somebody has stopped {hold.unit}")
        else:
            self._taken_back(strike)

    def _close(self, strike: OpenStrike, hold: Hold) -> None:
        if hold.starts:
            self.look(strike)
        else:
            self._taken_back(strike)

    def _taken_back(self, strike: OpenStrike) -> None:
        if strike.effect_open:
            strike.effect_open = False
            self._strikes.tell(strike)

    def _not_started(self, strike: OpenStrike, hold: Hold, problem: str, *, denied: bool = False) -> None:
        """As with any revert that fails: named in each heartbeat, tried again, and no strike until it works."""
        strike.effect_open = True
        hold.due_ns = self._desk.now.boot_ns + (LOOK_LATE_NS if strike.revert_tries else LOOK_EVERY_NS)
        remedy = to_start(hold.unit, denied=denied)
        self._strikes.not_reverted(strike, f"cannot start {hold.unit}: {problem}", remedy)
        if strike.revert_tries == 1:
            said = strike.failure.said if denied else strike.failure.problem
            strike.detail = "; ".join(filter(None, (strike.detail, said)))
            self._strikes.tell(strike)
