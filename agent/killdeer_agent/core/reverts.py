"""Taking back what lasts: by identity alone, again and again until it works or the process is gone (rule R13)."""

from killdeer.v1.process_pb2 import Exit, Reason
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.failure import to_resume
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.holds import Holds
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Revert, Reverted

# A revert that failed is tried again after this long, for as long as the process is there.
RETRY_REVERT_NS = 250 * NS_PER_MS

_GUARD_CHANGED = Refusal(Reason.REASON_CANCELLED, "the host's guard has changed: its consent is asked for anew")


class Reverts:
    def __init__(self, desk: Desk, strikes: Strikes, recoveries: Recoveries, holds: Holds) -> None:
        self._desk = desk
        self._strikes = strikes
        self._recoveries = recoveries
        self._holds = holds

    def cancel_all(self, refusal: Refusal) -> None:
        """Halt, lease end, stop: no blow falls any more, and everything that lasts is reverted."""
        for strike in self._strikes.open.values():
            self.cancel(strike, refusal)

    def cancel(self, strike: OpenStrike, refusal: Refusal) -> None:
        strike.cancelled = strike.cancelled or refusal
        if strike.hold is not None:
            self._holds.end(strike, refusal.detail)
        elif strike.effect_open and not strike.reverting and not strike.revert_tries:
            self.revert(strike)  # one that failed before is due again by the clock

    def configured(self, guard: Guard) -> None:
        """A new guard judges every blow to come. Whether it newly guards a process that is paused cannot be told
        here without a look at that process, so a guard that has changed ends every pause and every hold (rule
        R29)."""
        changed = guard.version != self._strikes.guard.version or bool(guard.problem)
        self._strikes.guard = guard
        for strike in self._strikes.open.values():
            if changed and strike.lasts:
                self.cancel(strike, _GUARD_CHANGED)

    def revert(self, strike: OpenStrike) -> None:
        if strike.hold is not None:
            self._holds.look(strike)
            return
        strike.reverting = True
        self._desk.emit(Revert(command_id=strike.command_id, process=strike.process))

    def reverted(self, answer: Reverted) -> None:
        strike = self._strikes.open.get(answer.command_id)
        if strike is None:
            return
        strike.reverting = False
        if answer.problem:
            strike.revert_due_ns = self._desk.now.boot_ns + RETRY_REVERT_NS
            self._strikes.not_reverted(strike, answer.problem, to_resume(strike.process.pid))
            return
        strike.revert_tries += 1
        if not strike.effect_open:
            return  # its exit was seen meanwhile
        self._strikes.keep("reverted", strike, {} if answer.gone else {"at": answer.sent_boot_ns})
        if answer.gone:
            self._recoveries.victim_gone(strike, Exit(source="revert"))
            if strike.orphan:  # what its service is, nobody here knows: there is nothing to wait for
                self._strikes.finish(strike)
        else:
            strike.reverted(answer.sent_boot_ns)
            self._strikes.finish(strike)

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        for strike in self._strikes.open.values():
            due = strike.effect_open and not strike.reverting and strike.revert_due_ns <= now
            if due and strike.hold is None:
                self.revert(strike)
