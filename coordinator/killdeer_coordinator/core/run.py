"""The driver of one run: wave by wave, step by step, permit by permit.

A step is drawn from a scan made for it; each victim then waits for its permit, as long as its wave is patient.
Once one victim is lost or unknown, or was changed in the instant of its signal, no other is struck: those
in flight are waited for, and the run ends. Its own timers only ever make an outcome unknown (rule R16).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from killdeer.v1.agent_pb2 import ConnectResponse, Revert, Strike
from killdeer.v1.operator_pb2 import RunState, RunVerdict, StrikeView
from killdeer.v1.process_pb2 import Reason, StrikeState
from killdeer_coordinator.core import ledger, records, strikes
from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.draw import draw
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.flight import REVERTIBLE, Flight, command, drawn, place
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.scans import Scans, Survey
from killdeer_coordinator.core.schedule import Step, expand
from killdeer_coordinator.core.strikes import Told
from killdeer_coordinator.core.targets import Same, aimed_at, counted, eligible, same
from killdeer_coordinator.core.turns import permit_id, request, withheld_alike
from killdeer_coordinator.core.verdict import judged, went_well
from killdeer_coordinator.core.wave import Wave, begin
from killdeer_coordinator.core.words import Decided, Tell

# A survey older than this is made again before a permit is asked for (rule R21 allows five seconds).
SURVEY_GOOD_FOR_NS = 4_000_000_000
RETRY_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Ground:
    """What every run stands on. `busy`: the processes in an open strike of any run."""

    roster: Roster
    errands: Errands
    scans: Scans
    busy: Callable[[], Iterable[Same]]


class Run:
    """`row.state` is RUNNING, then ABORTING once nothing new is struck before its time, then ENDED."""

    def __init__(self, row: RunRow, intake: Intake, ground: Ground) -> None:
        self.row = row
        self.intake = intake
        self.flights: dict[str, Flight] = {}
        self.wave: Wave | None = None
        self.waves_done = 0
        self.log: list[str] = []
        self.version = 0
        self._ground = ground
        self._survey: Survey | None = None
        self._looking = False  # a survey is under way
        self._granting = False  # a permit was asked for
        self._ending = False  # its end is on its way to the store
        self._sentence: tuple[RunVerdict, str] | None = None  # what it ends with, once it is ended early
        self._waiting_for = ""  # the limit that was said last

    @property
    def running(self) -> bool:
        return self.row.state == RunState.RUN_STATE_RUNNING

    @property
    def ended(self) -> bool:
        return self.row.state == RunState.RUN_STATE_ENDED

    @property
    def views(self) -> list[StrikeView]:
        return [flight.view for flight in self.flights.values()]

    def say(self, line: str) -> None:
        self.log.append(line)
        self.version += 1

    def advance(self) -> None:
        """Once a tick, and whenever something it waits for has come."""
        if self.ended or self._ending or self._granting:
            return
        self._give_up_overdue()
        if self.running and self._looking:
            return
        if not self.running:
            self._close()
        elif self.wave is None:
            self._begin_wave()
        elif self.wave.over:
            self._end_wave(self.wave)
        elif step := self.wave.due(self._now):
            self._with_survey(step, fresh=not self.wave.flights)
        else:
            self._ask_for_permit(self.wave)

    def told(self, told: Told, *, effect_open: bool) -> None:
        """An agent's word on one of its strikes, as it was committed."""
        flight = self.flights.get(told.view.command_id)
        if flight is None:
            return
        before, flight.view = flight.view, told.view
        flight.answered, flight.effect_open = True, effect_open
        if told.view.state != before.state:
            self.say(f"{_word(told.view)}: {place(told.view)}{_because(told.view)}")
        self.version += 1
        if told.view.changed and not before.changed:
            self.end_early(
                RunVerdict.RUN_VERDICT_ABORTED,
                f"{place(told.view)} ran another program or had moved in the instant of its signal",
            )
        elif told.view.state in (StrikeState.STRIKE_STATE_LOST, StrikeState.STRIKE_STATE_UNKNOWN):
            self._strike_no_more(f"stopped after {_word(told.view)}: {place(told.view)}")

    def nudge(self) -> None:
        """A permit was given back somewhere: the queue may move."""
        for flight in self.flights.values():
            flight.again_ns = 0

    def end_early(self, verdict: RunVerdict, why: str, who: str = records.WHO) -> None:
        """Strike no more, revert what was permitted; ends when all of that is answered, or can't act (R11)."""
        if not self.running or self._ending:
            return
        self.row = replace(self.row, state=RunState.RUN_STATE_ABORTING)
        self._sentence = (verdict, why)
        self.say(f"ending: {why}")
        for flight in self.flights.values():
            if flight.permit_id and flight.view.state in REVERTIBLE:
                self.revert(flight)
        halted = verdict == RunVerdict.RUN_VERDICT_HALTED
        self._expire(
            StrikeState.STRIKE_STATE_HALTED if halted else StrikeState.STRIKE_STATE_EXPIRED,
            "the fleet was halted before its turn" if halted else "the run was ended before its turn",
        )
        self._ground.errands.insist(records.aborting(self.row, who, why))

    def revert(self, flight: Flight) -> None:
        link = self._ground.roster.link_of(flight.host)
        if link is not None:
            frame = ConnectResponse(revert=Revert(command_id=flight.view.command_id))
            self._ground.errands.ask(Tell(link.number, frame))
            flight.reverting, flight.answered = True, False

    @property
    def _now(self) -> int:
        return self._ground.errands.now.mono_ns

    # --- waves and steps ------------------------------------------------------------------------------------

    def _begin_wave(self) -> None:
        self._with_survey(None, fresh=True)

    def _with_survey(self, step: Step | None, *, fresh: bool) -> None:
        """Draw the step, or begin the next wave, from a survey made for it."""
        if step is not None and fresh and self._survey is not None and self._young(self._survey):
            self._draw(step, self._survey)
            self.advance()
            return
        spec = self.intake.waves[self.waves_done]
        links = aimed_at(self._ground.roster, self.intake.hosts, self.intake.environment)
        self._looking = True
        self._ground.scans.survey(links, self.intake.selector, spec.action, lambda survey: self._seen(step, survey))

    def _seen(self, step: Step | None, survey: Survey) -> None:
        self._looking, self._survey = False, survey
        if silent := survey.silent():
            self.say(f"no answer to the scan from {', '.join(silent)}: nothing is drawn there")
        if not self.running:
            return
        if step is not None:
            self._draw(step, survey)
        elif self.wave is None:
            self._open_wave(survey)
        self.advance()

    def _open_wave(self, survey: Survey) -> None:
        index = self.waves_done
        spec = self.intake.waves[index]
        steps = expand(spec, wave_index=index, seed=self.row.seed, candidates=counted(survey))
        if isinstance(steps, Refused):
            self._finish(RunVerdict.RUN_VERDICT_INCONCLUSIVE, steps.message)
            return
        self.wave = begin(spec, index, steps, self.intake, self._now)
        self.row = replace(self.row, wave=index)
        wanted = sum(step.strikes for step in steps)
        rehearsed = ", rehearsed only" if spec.dry_run else ""
        self.say(f"wave {spec.name}: {wanted} of {counted(survey)} candidates{rehearsed}")
        self._ground.errands.insist(records.wave_begun(self.row))

    def _draw(self, step: Step, survey: Survey) -> None:
        wave = self.wave
        if wave is None or not wave.steps or wave.steps[0] is not step:
            return
        queued = [same(flight.view.victim) for flight in wave.queue]
        choice = eligible(survey, [*self._ground.busy(), *queued])
        if not choice and any(not flight.resolved for flight in wave.flights) and self._now < wave.until_ns:
            wave.again_ns = self._now + RETRY_NS  # all are in flight: it is this step's turn when one is back
            return
        wave.steps.pop(0)
        keys = draw(self.row.seed, step.wave_name, step.step, choice, step.strikes)
        if len(keys) < step.strikes:
            self.say(f"step {step.step}: {step.strikes} wanted, {len(keys)} candidates are left")
        for key in keys:
            command_id = f"{self.row.run_id}-{len(self.flights) + 1}"
            flight = drawn(command_id, choice[key], step, self._ground.roster.link_of(key.host))
            self.flights[command_id] = flight
            wave.flights.append(flight)
            if step.dry_run:
                self.say(f"would hit: {place(flight.view)}")
                self._ground.errands.insist(ledger.update(flight.view, run_id=self.row.run_id))
        self.version += 1

    def _end_wave(self, wave: Wave) -> None:
        wave_views = [flight.view for flight in wave.flights]
        well = went_well(wave_views, rehearsal=wave.spec.dry_run)
        self.waves_done += 1
        self.wave, self._survey = None, None
        self.say(f"wave {wave.spec.name}: done")
        if well and self.waves_done < len(self.intake.waves):
            self.advance()
            return
        rehearsal = all(spec.dry_run for spec in self.intake.waves[: self.waves_done])
        self._finish(*judged(self.views if well else wave_views, rehearsal=rehearsal))

    # --- permits --------------------------------------------------------------------------------------------

    def _ask_for_permit(self, wave: Wave) -> None:
        if self._now > wave.until_ns:
            self._expire(StrikeState.STRIKE_STATE_EXPIRED, "")
            return
        roster = self._ground.roster
        flight = next((flight for flight in wave.queue if flight.again_ns <= self._now), None)
        if flight is None or not roster.store_fresh(self._now):
            return
        link = roster.link_of(flight.host)
        if link is None or not link.leased(self._now):
            flight.again_ns, flight.withheld = self._now + RETRY_NS, f"{flight.host} has no lease"
        elif self._survey is None or not self._young(self._survey):
            self._with_survey(None, fresh=False)
        else:
            self._granting = True
            asked = request(flight, self.row, self.intake, self._survey, link, self._ground.errands.now)
            self._ground.errands.transact(ledger.grant(asked), lambda decided: self._decided(flight, wave, decided))

    def _decided(self, flight: Flight, wave: Wave, decided: Decided) -> None:
        self._granting = False
        answer = decided.answer
        if decided.failure:
            flight.again_ns, flight.withheld = self._now + RETRY_NS, decided.failure
        elif isinstance(answer, ledger.Granted):
            self._granted(flight, answer)
        elif isinstance(answer, ledger.Withheld):
            self._withheld(flight, wave, answer)
        self.advance()

    def _granted(self, flight: Flight, granted: ledger.Granted) -> None:
        roster = self._ground.roster
        self._on_its_way(flight, granted.permit.permit_id)
        link = roster.link_of(flight.host)
        if not self.running or roster.halts.active or link is None or not link.leased(self._now):
            # Nothing may be sent any more; the agent's word that the id is used up gives the permit back.
            self.revert(flight)
            return
        strike: Strike = command(flight, self.row, self.intake, link, roster)
        self._ground.errands.ask(Tell(link.number, ConnectResponse(strike=strike)))
        flight.told = True
        self._waiting_for = ""
        self.say(f"permit granted, sent: {place(flight.view)}")

    def _on_its_way(self, flight: Flight, permit: str) -> None:
        flight.permit_id, flight.sent_ns = permit, self._now
        view = StrikeView()
        view.CopyFrom(flight.view)
        view.state, view.detail = StrikeState.STRIKE_STATE_SENT, ""
        flight.view = view

    def _withheld(self, flight: Flight, wave: Wave, withheld: ledger.Withheld) -> None:
        if withheld.scope == "stale scan":
            self._survey = None
            return
        if withheld.scope == "command":  # a grant whose commit was reported as failed: have its id used up
            self._on_its_way(flight, permit_id(flight))
            self.revert(flight)
            return
        if self._waiting_for != withheld.detail:
            self._waiting_for = withheld.detail
            self.say(f"permit withheld: {place(flight.view)}: {withheld.detail}")
        alike = withheld_alike(flight, wave.queue, withheld, self._ground.errands.now)
        if withheld.hopeless:
            self._expire(StrikeState.STRIKE_STATE_EXPIRED, withheld.detail, alike)

    def _expire(self, state: StrikeState, detail: str, some: Iterable[Flight] | None = None) -> None:
        """Those without a permit get none any more; all of them means that no step is drawn any more, too."""
        queue = list(some) if some is not None else (self.wave.queue if self.wave else [])
        if self.wave is not None and some is None:
            self.wave.steps.clear()
        for flight in queue:
            why = detail or f"no permit in time: {flight.withheld or 'its turn never came'}"
            flight.view, decide = strikes.turn_never_came(flight.view, self.row.run_id, state, why)
            self._ground.errands.insist(decide)
            self.say(f"{_word(flight.view)}: {place(flight.view)}: {why}")

    def _strike_no_more(self, why: str) -> None:
        if self.running:
            self._expire(StrikeState.STRIKE_STATE_EXPIRED, why)

    # --- the end --------------------------------------------------------------------------------------------

    def _give_up_overdue(self) -> None:
        recovery_ms = self.intake.recover_within_ms + self.intake.stable_for_ms
        for flight in list(self.flights.values()):
            why = flight.overdue(self._now, self._ground.roster.lease_ms, recovery_ms)
            if why:
                flight.view, decide = strikes.never_heard_of(flight.view, why)
                self._ground.errands.insist(decide)
                self.say(f"unknown: {place(flight.view)}: {why}")
                self._strike_no_more(f"stopped after unknown: {place(flight.view)}")

    def _close(self) -> None:
        lease_ms = self._ground.roster.lease_ms
        if self._sentence and all(flight.closed(self._now, lease_ms) for flight in self.flights.values()):
            self._finish(*self._sentence)

    def _finish(self, verdict: RunVerdict, why: str) -> None:
        self._ending = True
        self.row = replace(self.row, verdict=verdict, why=why)
        self._ground.errands.insist(records.ended(self.row), self._over)

    def _over(self, decided: Decided) -> None:
        row = decided.answer
        self.row = row if isinstance(row, RunRow) else replace(self.row, state=RunState.RUN_STATE_ENDED)
        name = RunVerdict.Name(self.row.verdict).removeprefix("RUN_VERDICT_").lower().replace("_", " ")
        self.say(f"{name}: {self.row.why}")

    def _young(self, survey: Survey) -> bool:
        return self._now - survey.begun_ns < SURVEY_GOOD_FOR_NS


def _word(view: StrikeView) -> str:
    return StrikeState.Name(view.state).removeprefix("STRIKE_STATE_").lower()


def _because(view: StrikeView) -> str:
    if view.state != StrikeState.STRIKE_STATE_REFUSED:
        return f": {view.detail}" if view.detail else ""
    reason = Reason.Name(view.reason).removeprefix("REASON_").lower().replace("_", " ")
    return f": {reason}{f', {view.detail}' if view.detail else ''}"
