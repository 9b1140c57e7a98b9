"""One run as it stands: its victims, what became of them, what was said of it, and how it ends.

Once one victim is lost or unknown no other is struck: those in flight are waited for, and the run ends. A victim
that was changed in the instant of its signal aborts it. The coordinator's own timers only ever make an outcome
unknown (rule R16). What is struck next is for drive.py,
what is measured and done besides for conduct.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from killdeer.v1.agent_pb2 import ConnectResponse, Revert
from killdeer.v1.operator_pb2 import (
    RUN_STATE_ENDED,
    RUN_STATE_RUNNING,
    LogLine,
    RunState,
    RunVerdict,
    StrikeView,
)
from killdeer.v1.process_pb2 import StrikeState
from killdeer_coordinator.core import records, strikes
from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.flight import Flight, revertible
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.lines import outcome, place, word
from killdeer_coordinator.core.lines import sentence as in_words
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.scans import Scans
from killdeer_coordinator.core.strikes import Told
from killdeer_coordinator.core.targets import Same
from killdeer_coordinator.core.verdict import Finding
from killdeer_coordinator.core.words import Decided

_NOT_SAID = frozenset(
    {StrikeState.STRIKE_STATE_SENT, StrikeState.STRIKE_STATE_RECORDED, StrikeState.STRIKE_STATE_UNKNOWN}
)
"""Of a strike that was sent: nobody has said whether anything was hit."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every run stands on. `busy`: the processes in an open strike of any run."""

    roster: Roster
    errands: Errands
    scans: Scans
    busy: Callable[[], Iterable[Same]]


class Run:
    """`row.state` is RUNNING; ABORTING while it ends before its time; ENDED once that is in the store."""

    def __init__(self, row: RunRow, intake: Intake, ground: Ground) -> None:
        self.row = row
        self.intake = intake
        self.flights: dict[str, Flight] = {}
        self.wave = ""  # the name of the one under way
        self.waves_done = 0
        self.struck_out = False  # no victim is drawn any more
        self.ending = False  # its end is on its way to the store
        self.begun_ns = ground.errands.now.mono_ns  # its start is in the store since then, or before
        self.log: list[LogLine] = []
        self.version = 0
        self.conclusion: Finding | None = None  # what its strikes came to; what is left to do is done, and it ends
        self._ground = ground
        self._sentence: Finding | None = None  # what it is concluded with, once it is ended early and reverted

    @property
    def running(self) -> bool:
        return self.row.state == RUN_STATE_RUNNING

    @property
    def ended(self) -> bool:
        return self.row.state == RUN_STATE_ENDED

    @property
    def views(self) -> list[StrikeView]:
        return [flight.view for flight in self.flights.values()]

    @property
    def victims_struck(self) -> bool:
        return any(strikes.hit(flight.view) for flight in self.flights.values())

    @property
    def may_have_struck(self) -> bool:
        """Or is about to: a strike that was sent counts, until its agent says that nothing was."""
        sent = (flight.view.state for flight in self.flights.values() if flight.told)
        return any(state in _NOT_SAID for state in sent) or self.victims_struck

    @property
    def aborting(self) -> Finding | None:
        """What it is aborted with; None: it goes on, or a halt or something else has ended it early."""
        sentence = self._sentence or self.conclusion
        if self.running or sentence is None or sentence[0] != RunVerdict.RUN_VERDICT_ABORTED:
            return None
        return sentence

    def with_verdict(self, verdict: RunVerdict, why: str) -> RunRow:
        """As those are to hear of it who are told before its end is in the store."""
        return replace(self.row, verdict=verdict, why=why)

    def say(self, line: str) -> None:
        self.log.append(LogLine(at_unix_ms=self._ground.errands.now.unix_ms, line=line))
        self.version += 1

    def told(self, told: Told, *, effect_open: bool, stopped: bool) -> None:
        """An agent's word on one of its strikes, as it was committed. One that crosses a Revert on its way answers
        it only if no blow is to come (rule R11)."""
        flight = self.flights.get(told.view.command_id)
        if flight is None:
            return
        before, flight.view = flight.view, told.view
        flight.answered, flight.effect_open = stopped, effect_open
        self.version += 1
        if told.view.state != before.state:
            self.say(outcome(told.view))
        if told.view.changed and not before.changed:
            self.end_early(
                RunVerdict.RUN_VERDICT_ABORTED,
                f"{place(told.view)} ran another program or had moved in the instant of its signal",
            )
        elif told.view.state in (StrikeState.STRIKE_STATE_LOST, StrikeState.STRIKE_STATE_UNKNOWN):
            self._strike_no_more(told.view)

    def nudge(self) -> None:
        """A permit was given back somewhere: the queue may move."""
        for flight in self.flights.values():
            flight.again_ns = 0

    def end_early(self, verdict: RunVerdict, why: str, who: str = records.WHO) -> None:
        """Strike no more, revert what was permitted; ends when all of that is answered, or can't act (R11)."""
        if not self.running or self.ending:
            return
        self.row = replace(self.row, state=RunState.RUN_STATE_ABORTING)
        self._sentence, self.conclusion = (verdict, why), None
        self.say(f"ending: {why}")
        for flight in self.flights.values():
            if flight.permit_id and revertible(flight.view):
                self.revert(flight)
        if verdict == RunVerdict.RUN_VERDICT_HALTED:
            self.expire_all("the fleet was halted before its turn", StrikeState.STRIKE_STATE_HALTED)
        else:
            self.expire_all("the run was ended before its turn")
        self._ground.errands.insist(records.aborting(self.row, who, why))

    def revert(self, flight: Flight) -> None:
        """Told at once where there is a link; else as its host rejoins."""
        flight.answered = False
        link = self._ground.roster.way_to(flight.host)
        if link is not None:
            self._ground.errands.tell(link, ConnectResponse(revert=Revert(command_id=flight.view.command_id)))

    def expire_all(self, why: str = "", state: StrikeState = StrikeState.STRIKE_STATE_EXPIRED) -> None:
        """No victim is drawn any more, and those that wait for a permit get none."""
        self.struck_out = True
        self.expire([flight for flight in self.flights.values() if flight.in_queue], why, state)

    def expire(
        self, some: Iterable[Flight], why: str, state: StrikeState = StrikeState.STRIKE_STATE_EXPIRED
    ) -> None:
        for flight in some:
            detail = why or f"no permit in time: {flight.withheld or 'its turn never came'}"
            flight.view, decide = strikes.turn_never_came(flight.view, self.row.run_id, state, detail)
            self._ground.errands.insist(decide)
            self.say(outcome(flight.view))
            if flight.doubted:
                self.revert(flight)  # so that its id is used up, and a permit that it may have is given back

    def give_up_overdue(self) -> None:
        recovery_ms = self.intake.recover_within_ms + self.intake.stable_for_ms
        for flight in list(self.flights.values()):
            why = flight.overdue(self._ground.errands.now.mono_ns, self._ground.roster.lease_ms, recovery_ms)
            if why:
                link = self._ground.roster.way_to(flight.host)
                if link is not None and link.far and flight.view.state in strikes.WITHOUT_A_SIGNAL:
                    self.revert(flight)  # its letter may be lost, and the host's link is not: nobody asks about it
                flight.view, decide = strikes.never_heard_of(flight.view, why)
                self._ground.errands.insist(decide)
                self.say(outcome(flight.view))
                self._strike_no_more(flight.view)

    def close(self) -> None:
        """The end of a run that was ended early, when nothing of it can act any more."""
        now_ns, lease_ms = self._ground.errands.now.mono_ns, self._ground.roster.lease_ms
        if self._sentence and all(flight.closed(now_ns, lease_ms) for flight in self.flights.values()):
            self.conclude(*self._sentence)
            self._sentence = None

    def conclude(self, verdict: RunVerdict, why: str) -> None:
        """Nothing is struck any more; see conduct.py for what is left."""
        self.conclusion = (verdict, why)
        self.struck_out = True

    def finish(self, verdict: RunVerdict, why: str, findings: bytes = b"") -> None:
        self.ending = True
        self.row = replace(self.row, verdict=verdict, why=why, findings=findings, wave=self.waves_done)
        self._ground.errands.insist(records.ended(self.row), self._over)

    def _strike_no_more(self, after: StrikeView) -> None:
        if self.running and not self.struck_out:
            self.expire_all(f"stopped after {word(after)}: {place(after)}")

    def _over(self, decided: Decided) -> None:
        row = decided.answer
        self.row = row if isinstance(row, RunRow) else replace(self.row, state=RUN_STATE_ENDED)
        self.wave = ""
        self.say(in_words(self.row.verdict, self.row.why))
