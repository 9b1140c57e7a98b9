"""What a run strikes next: wave by wave, step by step, permit by permit.

A step is drawn from a survey made for it. Each victim then waits for its permit, as long as its wave is patient;
one permit is asked for at a time. The next wave begins when the one before has ended well.
"""

from dataclasses import replace

from killdeer.v1.agent_pb2 import ConnectResponse
from killdeer.v1.operator_pb2 import RunVerdict, RunView
from killdeer_coordinator.core import ledger, records
from killdeer_coordinator.core.books import Permit
from killdeer_coordinator.core.conduct import Conduct
from killdeer_coordinator.core.draw import draw
from killdeer_coordinator.core.flight import Flight, command, drawn
from killdeer_coordinator.core.lines import place
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import NS_PER_MS
from killdeer_coordinator.core.run import Ground, Run
from killdeer_coordinator.core.scans import Survey
from killdeer_coordinator.core.schedule import Step, expand
from killdeer_coordinator.core.targets import aimed_at, counted, eligible, same
from killdeer_coordinator.core.turns import RETRY_NS, next_in_line, permit_id, request, withheld_alike
from killdeer_coordinator.core.verdict import judged, went_well
from killdeer_coordinator.core.wave import Wave, begin
from killdeer_coordinator.core.words import Decided, Now

# A survey older than this is made again before a permit is asked for (rule R21 allows five seconds).
SURVEY_GOOD_FOR_NS = 4_000_000_000
SURVEY_MS = 2_500  # a host that takes longer counts as silent, so that the others' answers are still young


class Drive:
    def __init__(self, run: Run, ground: Ground) -> None:
        self.run = run
        self._ground = ground
        self.conduct = Conduct(run, ground)
        self._wave: Wave | None = None
        self._survey: Survey | None = None
        self._looking = False  # a survey is under way
        self._granting = False  # a permit was asked for
        self._waiting_for = ""  # what was said last

    def advance(self) -> None:
        """Once a tick, and whenever something it waits for has come."""
        run = self.run
        if run.ended or run.ending:
            return
        if not self._granting:
            run.give_up_overdue()
            if not run.running:
                run.close()
        self.conduct.look()  # also while a permit is on its way: an abort keeps it from being used
        if self._granting:
            return
        if run.conclusion is not None:
            self.conduct.wind_up(*run.conclusion)
        elif run.running and not self._looking:
            self._go_on()

    def fill(self, view: RunView) -> None:
        """What is known while the run goes on."""
        self.conduct.fill(view)
        wave = self._wave
        if wave is not None and wave.steps and self.run.running and not self.run.struck_out:
            due_ns = wave.begun_ns + wave.steps[-1].at_ms * NS_PER_MS
            left_ms = max(0, due_ns - self._now) // NS_PER_MS
            view.last_strike_unix_ms = self._ground.errands.now.unix_ms + left_ms

    @property
    def _now(self) -> int:
        return self._ground.errands.now.mono_ns

    @property
    def _at_the_store(self) -> Now:
        """By the store's clock, at the latest."""
        now = self._ground.errands.now
        return Now(now.mono_ns, self._ground.roster.store_ms(now)[1])

    def _go_on(self) -> None:
        wave = self._wave
        if wave is not None and self.run.struck_out:
            wave.steps.clear()
        if wave is None:
            if self.conduct.lets_strike(self.run.waves_done):
                self._look(None)
        elif wave.over:
            self._end_wave(wave)
        elif (step := wave.due(self._now)) is None:
            self._ask_for_permit(wave)
        elif not wave.flights and self._survey is not None and self._young(self._survey):
            self._draw(wave, step, self._survey)  # the survey that opened the wave
            self.advance()
        else:
            self._look(step)

    # --- waves and steps ------------------------------------------------------------------------------------

    def _look(self, step: Step | None) -> None:
        """A survey: for this step, for the next wave, or for permits."""
        spec = self.run.intake.waves[self.run.waves_done]
        links = aimed_at(self._ground.roster, self.run.intake.hosts, self.run.intake.environment)
        self._looking = True
        self._ground.scans.survey(
            links, self.run.intake.selector, spec.action, lambda survey: self._seen(step, survey), SURVEY_MS
        )

    def _seen(self, step: Step | None, survey: Survey) -> None:
        self._looking, self._survey = False, survey
        if not self.run.running or self.run.conclusion is not None:
            return
        self.conduct.surveyed(survey)
        if silent := survey.silent():
            self.run.say(f"no answer to the scan from {', '.join(silent)}: nothing is drawn there")
        wave = self._wave
        if wave is None:
            self._open_wave(survey)
        elif step is not None and wave.steps and wave.steps[0] is step:
            self._draw(wave, step, survey)
        self.advance()

    def _open_wave(self, survey: Survey) -> None:
        run, index = self.run, self.run.waves_done
        spec = run.intake.waves[index]
        steps = expand(spec, wave_index=index, seed=run.row.seed, candidates=counted(survey))
        if isinstance(steps, Refused):
            run.conclude(RunVerdict.RUN_VERDICT_INCONCLUSIVE, steps.message)
            return
        self._wave = begin(spec, index, steps, run.intake, self._now)
        run.wave, run.row = spec.name, replace(run.row, wave=index)
        wanted = sum(step.strikes for step in steps)
        rehearsed = ", rehearsed only" if spec.dry_run else ""
        run.say(f"wave {spec.name}: {wanted} of {counted(survey)} candidates{rehearsed}")
        self._ground.errands.insist(records.wave_begun(run.row))

    def _draw(self, wave: Wave, step: Step, survey: Survey) -> None:
        run = self.run
        queued = [same(flight.view.victim) for flight in wave.queue]
        choice = eligible(survey, [*self._ground.busy(), *queued])
        flying = counted(survey) or any(not flight.resolved for flight in wave.flights)
        if not choice and flying and self._now < wave.until_ns:
            wave.again_ns = self._now + RETRY_NS  # all are in flight, of any run: its turn comes when one is back
            self._say_waiting(f"step {step.step}: waits, every candidate is in a strike that is still open")
            return
        wave.steps.pop(0)
        keys = draw(
            run.row.seed, step.wave_name, step.step, choice, step.strikes, step.choosing, self._ground.roster.labels
        )
        if len(keys) < step.strikes:
            run.say(f"step {step.step}: {step.strikes} wanted, {len(keys)} candidates are left")
        for key in keys:
            command_id = f"{run.row.run_id}-{len(run.flights) + 1}"
            flight = drawn(command_id, choice[key], step, self._ground.roster.way_to(key.host))
            run.flights[command_id] = flight
            wave.flights.append(flight)
            if step.dry_run:
                run.say(f"would hit: {place(flight.view)}")
                self._ground.errands.insist(ledger.update(flight.view, run_id=run.row.run_id))
        run.version += 1

    def _end_wave(self, wave: Wave) -> None:
        run = self.run
        views = [flight.view for flight in wave.flights]
        well = went_well(views, rehearsal=wave.spec.dry_run)
        run.waves_done += 1
        run.wave, self._wave, self._survey = "", None, None
        run.say(f"wave {wave.spec.name}: done")
        self.conduct.wave_ended(wave)
        if not well or run.waves_done == len(run.intake.waves):
            rehearsal = all(spec.dry_run for spec in run.intake.waves[: run.waves_done])
            run.conclude(*judged(run.views if well else views, rehearsal=rehearsal))
        self.advance()

    # --- permits --------------------------------------------------------------------------------------------

    def _ask_for_permit(self, wave: Wave) -> None:
        roster = self._ground.roster
        if self._now > wave.until_ns:
            self.run.expire_all()
            return
        flight, link = next_in_line(wave.queue, roster, self._now)
        if flight is None or link is None or not roster.store_fresh(self._now):
            return
        if self._survey is None or not self._young(self._survey):
            self._look(None)
            return
        self._granting, flight.asked_boot_ns = True, link.answered_boot_ns
        asked = request(flight, self.run.row, self.run.intake, self._survey, link, self._at_the_store)
        self._ground.errands.transact(ledger.grant(asked), lambda decided: self._decided(flight, wave, decided))

    def _decided(self, flight: Flight, wave: Wave, decided: Decided) -> None:
        self._granting = False
        answer = decided.answer
        if decided.failure:
            flight.again_ns, flight.withheld, flight.doubted = self._now + RETRY_NS, decided.failure, True
            if flight.resolved:  # it may have been committed all the same: have its id used up
                self.run.revert(flight)
        elif isinstance(answer, ledger.Granted):
            wanted = not flight.resolved
            flight.permitted(answer.permit.permit_id, self._now)
            self._send(flight, answer.permit, wanted=wanted)
        elif isinstance(answer, ledger.Withheld) and not flight.resolved:
            self._withheld(flight, wave, answer)
        self.advance()

    def _send(self, flight: Flight, permit: Permit, *, wanted: bool) -> None:
        """`wanted`: nothing has ended the run, or its turn, while the permit was on its way."""
        roster, run = self._ground.roster, self.run
        link = roster.way_to(flight.host)
        if not wanted or not run.running or roster.halts.active or link is None or not link.leased(self._now):
            # Nothing may be sent any more; the agent's word that the id is used up gives the permit back.
            run.revert(flight)
            return
        strike = command(flight, run.row, run.intake, link, roster)
        self._ground.errands.tell(link, ConnectResponse(strike=strike), until_ms=permit.not_after_ms)
        flight.told = True
        self._waiting_for = ""
        run.say(f"permit granted, sent: {place(flight.view)}")

    def _withheld(self, flight: Flight, wave: Wave, withheld: ledger.Withheld) -> None:
        if withheld.scope == "stale scan":
            self._survey = None
            return
        if withheld.scope == "command":  # a grant whose commit was reported as failed: have its id used up
            flight.permitted(permit_id(flight), self._now)
            self.run.revert(flight)
            return
        self._say_waiting(f"permit withheld: {place(flight.view)}: {withheld.detail}", withheld.detail)
        alike = withheld_alike(flight, wave.queue, withheld, self._at_the_store)
        if withheld.hopeless:
            self.run.expire(alike, withheld.detail)

    def _say_waiting(self, line: str, why: str = "") -> None:
        """Once for each reason, until something is sent."""
        if self._waiting_for != (why or line):
            self._waiting_for = why or line
            self.run.say(line)

    def _young(self, survey: Survey) -> bool:
        return self._now - survey.begun_ns < SURVEY_GOOD_FOR_NS
