"""What is tried where a service does not come back by itself: recovery.then, step by step.

None of them counts by itself: whether it has helped the steady state says, which has its time again after each.
"""

from collections.abc import Sequence

from killdeer.v1.agent_pb2 import ConnectResponse, StartUnit, UnitStarted
from killdeer.v1.probe_pb2 import Part, Reading, Standing
from killdeer.v1.process_pb2 import StrikeState
from killdeer_coordinator.core.chores import TRIES, Chores
from killdeer_coordinator.core.flight import Flight
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.run import Run
from killdeer_coordinator.core.steady import Steady

_MISSING = frozenset({StrikeState.STRIKE_STATE_LOST, StrikeState.STRIKE_STATE_UNKNOWN})


class Remedies:
    """`left` says whether there is one to try, `busy` whether one is under way, `last` what was tried last."""

    def __init__(self, run: Run, roster: Roster, chores: Chores) -> None:
        self.busy = False
        self.last = ""
        self._run = run
        self._roster = roster
        self._chores = chores
        self._waiting = list(run.intake.outlook.remedies)
        self._starting: set[str] = set()  # asks to agents for a unit's start

    @property
    def left(self) -> bool:
        return bool(self._waiting)

    @property
    def missing(self) -> list[Flight]:
        """The victims whose services are not known to be whole again."""
        return [flight for flight in self._run.flights.values() if flight.view.state in _MISSING]

    def in_vain(self, steady: Steady, *, deviated: bool) -> str:
        """Why it is not back: of the steady state, or of a victim that no remedy has brought back. Empty where it
        is not known: what was never seen to deviate and can't be measured any more leaves the run inconclusive
        (I8), as does a victim of which nobody has said what became of it. Without a remedy the strikes' own
        verdict says it."""
        lost = any(flight.view.state == StrikeState.STRIKE_STATE_LOST for flight in self.missing)
        gone = "a victim has no successor" if lost and self.last else ""
        out = [one for one in steady.judges(Part.PART_STEADY_STATE) if one.comparison != Standing.STANDING_MET]
        if not deviated and not any(one.comparison == Standing.STANDING_UNMET for one in out):
            return gone
        said = [one.finding() for one in out]
        return "; ".join(f"{one.sentence!r}: {one.detail}" for one in said) or gone

    def try_next(self, missing: Sequence[Flight]) -> None:
        """For these, or for all where none is missing."""
        remedy = self._waiting.pop(0)
        self.last = remedy.deed.name if remedy.deed is not None else remedy.kind.replace("_", " ")
        self._run.say(f"not back to normal: {self.last}")
        flights = [flight for flight in self._run.flights.values() if flight.permit_id]
        if remedy.deed is not None:
            self.busy = True
            self._chores.do((remedy.deed,), self._run.row, self._done, tries=TRIES, wanted=self._wanted)
        elif remedy.probe is not None:
            self.busy = True
            self._chores.errands.measure(remedy.probe, self._taken)
        elif remedy.kind == "resume":
            for flight in flights:
                if flight.effect_open:
                    self._run.revert(flight)
        else:
            for flight in missing or flights:
                self._start_unit(flight)

    def unit_started(self, answer: UnitStarted) -> None:
        if answer.ask in self._starting:
            self._starting.discard(answer.ask)
            self._chores.note(f"start_unit for {answer.ask.removesuffix(':start')}: {answer.problem or 'active'}")

    def _wanted(self) -> bool:
        return not self._roster.halts.active

    def _done(self, failed: str) -> None:
        self.busy = False

    def _taken(self, reading: Reading) -> None:
        self.busy = False
        found = "no answer" if not reading.HasField("value") else "met" if reading.value else "not met"
        self._chores.note(f"{reading.probe}: {found}{f' ({reading.detail})' if reading.detail else ''}")

    def _start_unit(self, flight: Flight) -> None:
        link = self._roster.way_to(flight.host)
        if link is None:
            self._chores.note(f"cannot start {flight.view.service}: {flight.host} is not connected")
            return
        ask = f"{flight.view.command_id}:start"
        self._starting.add(ask)
        frame = StartUnit(command_id=flight.view.command_id, service=flight.view.service, ask=ask)
        self._chores.errands.tell(link, ConnectResponse(start_unit=frame))
