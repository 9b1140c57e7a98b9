"""A unit that a coordinator wants started again, for a strike whose victim has not come back (rule R15).

Asked of systemd again and again until it is active, and told only then. Started is only what is down by this very
strike: what somebody has stopped since, what failed by itself, or what a reboot has started anew is left as it is.
"""

from dataclasses import dataclass

from killdeer.newer import newer_than_me
from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.failure import to_start
from killdeer_agent.core.guard import ACTIONS
from killdeer_agent.core.intake import no_right
from killdeer_agent.core.protected import protected
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.unit import UnitFacts, UnitState
from killdeer_agent.core.words import LookUnit, StartUnit, UnitSeen, UnitStarted

# systemd is asked this often while the unit is on its way.
LOOK_EVERY_NS = 500 * NS_PER_MS
# A unit that is not active after this long is told as that. Its own start timeout, 90 s by default, goes on.
PATIENCE_NS = 30_000 * NS_PER_MS


@dataclass(slots=True, kw_only=True)
class _Ask:
    command_id: str
    unit: str
    struck: frozenset[int]  # pids that this strike has ended
    until_ns: int
    due_ns: int = 0
    waiting: bool = False  # for an answer of systemd
    ordered: bool = False  # systemd has taken the order to start it
    reset: bool = False  # it is `inactive` by our own doing
    last: str = "cannot be told"  # how it was when last seen


class Starts:
    def __init__(self, desk: Desk, session: Session, strikes: Strikes) -> None:
        self._desk = desk
        self._session = session
        self._strikes = strikes
        self._asks: dict[str, _Ask] = {}

    def asked(self, order: agent_pb2.StartUnit) -> None:
        """The same ask twice is one."""
        if order.ask in self._asks:
            return
        strike = self._strikes.open.get(order.command_id)
        unit = _unit_of(order, strike)
        problem = self._no(order, strike, unit)
        if problem:
            self._answer(order.ask, problem)
            return
        self._asks[order.ask] = _Ask(
            command_id=order.command_id,
            unit=unit,
            struck=_ended(strike) if strike is not None and self._of_this_boot(strike) else frozenset(),
            until_ns=self._desk.now.boot_ns + PATIENCE_NS,
        )
        self._look(order.ask)

    def unit_seen(self, answer: UnitSeen) -> None:
        ask, state = self._asks.get(answer.ask), answer.state
        if ask is None:
            return
        ask.waiting, ask.due_ns = False, self._desk.now.boot_ns + LOOK_EVERY_NS
        if state is None:
            self._end(answer.ask, f"cannot tell how {ask.unit} is: {answer.problem}")
            return
        ask.last = f"is {state.active} ({state.result})" if state.result else f"is {state.active}"
        if state.on_its_way and not state.stop_ordered:
            return  # looked at again
        if state.active in ("active", "reloading"):
            if not state.unnoticed(ask.struck):
                self._end(answer.ask, "")
        elif ask.ordered:
            if state.active == "failed":
                self._end(answer.ask, f"{ask.unit} was started, and failed again ({state.result})")
        else:
            self._start(answer.ask, ask, state)

    def unit_started(self, answer: UnitStarted) -> None:
        ask = self._asks.get(answer.ask)
        if ask is None:
            return
        ask.waiting, ask.reset = False, ask.reset or answer.reset
        if answer.problem and not answer.reset:
            remedy = f"; {to_start(ask.unit, denied=True)}" if answer.denied else ""
            self._end(answer.ask, f"cannot start {ask.unit}: {answer.problem}{remedy}")
        elif not answer.problem:
            ask.ordered = True
            self._desk.note("unit_started", command=ask.command_id, unit=ask.unit)

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        for name, ask in list(self._asks.items()):
            if now >= ask.until_ns:
                self._end(name, f"{ask.unit} {ask.last} {PATIENCE_NS // 10**9} s after it was asked for")
            elif not ask.waiting and now >= ask.due_ns:
                self._look(name)

    def _start(self, name: str, ask: _Ask, state: UnitState) -> None:
        no = no_right(self._desk, self._strikes, self._session.lease)  # what came to pass meanwhile
        by_us = state.ended_by(ask.struck) or (ask.reset and state.only_reset(ask.struck))
        if no is not None:
            self._end(name, no.detail)
        elif by_us and not state.stop_ordered:
            ask.waiting = True
            self._desk.emit(StartUnit(command_id=ask.command_id, unit=ask.unit, ask=name))
        else:
            why = "not by this strike alone: it is left as it is; look why, then systemctl start it"
            self._end(name, f"{ask.unit} {ask.last}, and {why}")

    def _look(self, name: str) -> None:
        ask = self._asks[name]
        ask.waiting = True
        self._desk.emit(LookUnit(command_id=ask.command_id, unit=ask.unit, ask=name))

    def _end(self, name: str, problem: str) -> None:
        del self._asks[name]
        self._answer(name, problem)

    def _answer(self, name: str, problem: str) -> None:
        self._desk.send(ConnectRequest(unit_started=agent_pb2.UnitStarted(ask=name, problem=problem)))

    def _no(self, order: agent_pb2.StartUnit, strike: OpenStrike | None, unit: str) -> str:
        if newer := newer_than_me(order):
            return f"this agent does not know all of it: {newer}"
        if not order.ask:
            return "an order to start a unit needs an ask to be answered by"
        no = no_right(self._desk, self._strikes, self._session.lease)
        if no is not None:
            return no.detail
        if strike is None and order.command_id not in self._desk.memory.closed:
            return f"this host knows no strike {order.command_id} that has hit anything"
        if strike is not None and not (strike.struck or strike.unsaid):
            return f"nothing was hit by {order.command_id}"
        if strike is not None and strike.hold is not None and not strike.hold.ended_ns:
            return "it is being held down"
        if not unit.endswith(".service"):
            return f"{unit or order.service} is no service of systemd, so nobody here can start it"
        return self._guarded(strike, order.service, unit)

    def _guarded(self, strike: OpenStrike | None, service: str, unit: str) -> str:
        """Why the guard would not let it be hit; empty: it would. Consent that let the last blow fall stands for as
        long as the guard is the same; else the unit must have it by its name alone."""
        guard = self._strikes.guard
        if guard.problem:
            return guard.problem
        if unit.startswith("killdeer-") or protected("", unit):
            return f"{unit} is never touched"
        if strike is not None and strike.consent and strike.consent == guard.version:
            return ""
        facts = UnitFacts(unit, service)
        actions = ACTIONS if strike is None else (strike.action,)
        refusals = [guard.refuses(facts, self._desk.now, action) for action in actions]
        said = [refusal.detail for refusal in refusals if refusal is not None]
        return f"the guard would not let {unit} be hit: {said[0]}" if len(said) == len(actions) else ""

    def _of_this_boot(self, strike: OpenStrike) -> bool:
        return strike.process.boot_id == self._desk.boot_id


def _unit_of(order: agent_pb2.StartUnit, strike: OpenStrike | None) -> str:
    """Where this host has seen the victim itself; for a strike that is over, what the order says: then it is only
    looked at, as nothing is known of whom the strike has ended."""
    if strike is None:
        return order.service
    return strike.unit or strike.command.service


def _ended(strike: OpenStrike) -> frozenset[int]:
    """Its victim, if that has exited, and whom a hold has struck."""
    pids = {strike.process.pid} if strike.exit is not None else set()
    return frozenset(pids | ({pid for pid, _ in strike.hold.struck} if strike.hold is not None else set()))
