"""What a run does around its strikes, phase by phase.

Before: its deeds at the start, then preconditions and steady state, measured while nothing is hit; what does not
hold refuses the run. Between waves: the steady state is to hold again. All the while: the abort rules. After: the
steady state is to come back, with the remedies of the file where it does not; then what must be done at the end.
A run whose file says nothing of all this goes straight through.
"""

from collections.abc import Sequence

from killdeer.v1.agent_pb2 import UnitStarted
from killdeer.v1.operator_pb2 import RunPhase, RunVerdict, RunView
from killdeer.v1.probe_pb2 import Finding as Sentence
from killdeer.v1.probe_pb2 import Findings, Part, Standing
from killdeer_coordinator.core.chores import TRIES, Chores
from killdeer_coordinator.core.deviation import Deviation
from killdeer_coordinator.core.opening import Opening
from killdeer_coordinator.core.remedies import Remedies
from killdeer_coordinator.core.roster import NS_PER_MS
from killdeer_coordinator.core.run import Ground, Run
from killdeer_coordinator.core.scans import Survey
from killdeer_coordinator.core.steady import Steady
from killdeer_coordinator.core.targets import aimed_at
from killdeer_coordinator.core.verdict import Finding as Verdict
from killdeer_coordinator.core.verdict import concluded
from killdeer_coordinator.core.wave import Wave


class Conduct:
    def __init__(self, run: Run, ground: Ground) -> None:
        self.run = run
        self._ground = ground
        self._outlook = run.intake.outlook
        self._services: set[str] = set()
        self.steady = Steady(
            self._outlook,
            ground.errands,
            run_id=run.row.run_id,
            hosts=lambda: aimed_at(ground.roster, run.intake.hosts, run.intake.environment),
            services=lambda: self._services,
        )
        self._chores = Chores(ground.errands, run.say)
        self.phase = RunPhase.RUN_PHASE_UNSPECIFIED
        self._until_ns = 0  # mono: when this phase is over at the latest
        self._busy = False  # deeds are under way
        self._gated = 0  # waves that have passed their gate
        self._gate_ns = 0  # mono: no gate is passed before
        self._deviation = Deviation()
        self._abort_told = False
        self._telling = False  # of the abort, which keeps nothing from being stopped; the end waits for it
        self._asked_anew_ns = 0  # mono: what was measured before counts for no gate, and for no end
        self._opening = Opening(run, self.steady, self._chores, self._enter)
        self._remedies = Remedies(run, ground.roster, self._chores)
        self._found = Findings()  # as it closes
        self._closed_on: Verdict | None = None  # what its strikes had come to then
        self._outcome: Verdict = (RunVerdict.RUN_VERDICT_UNSPECIFIED, "")  # and the run
        self._not_back = ""  # why it did not come back by itself, as far as that is known

    # --- before, between and during (see opening.py for what is before) -------------------------------------

    def look(self) -> None:
        """Once a tick and whenever something has come: measures, and ends a run that hurts."""
        run = self.run
        if not self._abort_told and (ending := run.aborting) is not None:
            self._abort_told = self._telling = True
            row = run.with_verdict(*ending)
            self._chores.do(self._outlook.on_abort, row, self._told, tries=TRIES, go_on=True)
        if not self.steady.measures or run.ending:
            return
        self._follow_strikes()
        self.steady.tick()
        standing = self.steady.look(Part.PART_STEADY_STATE, struck=bool(self._deviation.struck_ns))
        self._follow(standing)
        if self._opening.done and self.phase != RunPhase.RUN_PHASE_CLOSING and run.running:
            self._watch_abort_rules()

    def lets_strike(self, waves_done: int) -> bool:
        """May the next wave begin?"""
        opening = self._opening
        if not opening.done and opening.advance(self._now):
            self._enter(RunPhase.RUN_PHASE_WAVES)
        if opening.done and self._gated < waves_done:
            self._pass_gate(waves_done)
        return opening.done and self._gated >= waves_done and self.run.conclusion is None

    def surveyed(self, survey: Survey) -> None:
        self._services.update(candidate.service for candidate in survey.found())

    def wave_ended(self, wave: Wave) -> None:
        self._gate_ns = self._now + wave.spec.hold_ms * NS_PER_MS

    def _pass_gate(self, waves_done: int) -> None:
        if self._now < self._gate_ns:
            return
        if self.phase != RunPhase.RUN_PHASE_GATE:
            self._enter(RunPhase.RUN_PHASE_GATE, self.run.intake.recover_within_ms)
            self._measure_anew()
        if not self.steady.measured_since(self._asked_anew_ns):
            return
        standing = self.steady.look(Part.PART_STEADY_STATE, struck=bool(self._deviation.struck_ns))
        if self.steady.holds_now:
            self._gated = waves_done
            self._enter(RunPhase.RUN_PHASE_WAVES)
        elif self._now >= self._until_ns:
            known = standing == Standing.STANDING_UNMET
            verdict = RunVerdict.RUN_VERDICT_DEVIATED if known else RunVerdict.RUN_VERDICT_INCONCLUSIVE
            self.run.conclude(verdict, f"no further wave: {self._unmet()}")

    def _watch_abort_rules(self) -> None:
        """One of which nothing has been known for long guards nothing, and nothing is struck without a guard."""
        self.steady.look(Part.PART_ABORT_WHEN, struck=bool(self._deviation.struck_ns))
        judges = self.steady.judges(Part.PART_ABORT_WHEN)
        true = next((one.finding() for one in judges if one.standing == Standing.STANDING_MET), None)
        blind = next((one.finding() for one in judges if one.blind), None)
        if true is not None:
            why = f"{true.sentence!r} came true: {true.detail}"
            self.run.end_early(RunVerdict.RUN_VERDICT_ABORTED, why)
        elif blind is not None and self.run.conclusion is None:
            why = f"{blind.sentence!r} guards nothing: {blind.detail}"
            self.run.end_early(RunVerdict.RUN_VERDICT_INCONCLUSIVE, why)

    def _measure_anew(self) -> None:
        """What was measured before now says nothing of what the strikes have done (I8)."""
        self._asked_anew_ns = self._now
        self.steady.measure_anew()

    def _follow_strikes(self) -> None:
        """From when the first was sent: what it does may be seen before the store has the word of it. One of which
        its agent says that nothing was sent, has done nothing."""
        if not self.run.may_have_struck:
            self._deviation.nothing_struck()
        elif not self._deviation.struck_ns:
            self._deviation.struck_ns = self._now
            self.steady.begin_counting()

    def _follow(self, standing: Standing) -> None:
        news = self._deviation.follow(standing, self._now, met=self.steady.holds_now)
        if news:
            said = f"deviates: {self._unmet()}" if news == "deviates" else "holds again"
            self.run.say(f"the steady state {said}")

    def _unmet(self) -> str:
        return "; ".join(
            f"{finding.sentence!r}: {finding.detail}"
            for finding in self.steady.findings()
            if finding.part == Part.PART_STEADY_STATE and finding.standing != Standing.STANDING_MET
        )

    # --- after ----------------------------------------------------------------------------------------------

    def wind_up(self, verdict: RunVerdict, why: str) -> None:
        """The strikes are over; once a tick until the run is."""
        if self._busy or self._opening.busy or self.run.ending:
            return
        if self._remedies.busy:  # its time to help begins when it is done
            self._until_ns = self._now + self._window_ms * NS_PER_MS
            return
        if self.run.running and self._now < self._gate_ns:
            return  # the last wave is watched as long as its `hold` says
        halted = verdict == RunVerdict.RUN_VERDICT_HALTED or bool(self._ground.roster.halts.active)
        if self.phase != RunPhase.RUN_PHASE_CLOSING and not halted and not self._back_to_normal((verdict, why)):
            return
        if self.phase != RunPhase.RUN_PHASE_CLOSING:
            self._enter(RunPhase.RUN_PHASE_CLOSING)
            self._found, self._closed_on = self._what_was_found(), (verdict, why)
            self._outcome = concluded((verdict, why), self._sentences(), self._not_back)
            if self._outlook.at_end:
                self._busy = True
                row = self.run.with_verdict(*self._outcome)
                self._chores.do(self._outlook.at_end, row, self._closed, tries=TRIES, go_on=True)
                return
        if not self._telling:
            self._end((verdict, why))

    def _closed(self, failed: str) -> None:
        self._busy = False

    def _told(self, failed: str) -> None:
        self._telling = False

    def _end(self, struck: Verdict) -> None:
        """As it was told to those who hear of the end, unless a halt or an abort has come since."""
        if struck != self._closed_on:
            self._outcome = concluded(struck, self._sentences(), self._not_back)
        self._found.deeds.extend(self._chores.said)
        self.run.finish(*self._outcome, self._found.SerializeToString() if self._found.ByteSize() else b"")

    def _what_was_found(self) -> Findings:
        absences = [flight.absence for flight in self.run.flights.values()]
        found = Findings(
            findings=self.steady.findings(),
            baselines=self.steady.baselines(),
            impacts=self.steady.impacts(one for one in absences if one is not None),
        )
        self._deviation.tell(found)
        return found

    def _sentences(self) -> Sequence[Sentence]:
        """Of a steady state that deviated when nothing was hit after all, there is nothing to say."""
        return self._found.findings if self._deviation.struck_ns else ()

    def _back_to_normal(self, struck: Verdict) -> bool:
        """Has the steady state come back, or is there nothing left to try?"""
        if not self._deviation.struck_ns and not self.run.victims_struck:
            return True
        if self.phase != RunPhase.RUN_PHASE_RECOVERY:
            self._enter(RunPhase.RUN_PHASE_RECOVERY, self._window_ms)
            self._measure_anew()
        if not self.steady.measured_since(self._asked_anew_ns):
            return False
        stable_ns = self.run.intake.stable_for_ms * NS_PER_MS
        back = not self._outlook.steady_state or self._deviation.met_for(stable_ns, self._now)
        missing = self._remedies.missing
        tried = bool(self._remedies.last)
        if back and not missing:
            self._not_back = f"it came back only with {self._remedies.last}" if tried else ""
            return True
        if (not missing or tried) and self._now < self._until_ns:
            return False  # a lost victim has had its time; what comes after a remedy has not
        if self._remedies.left:
            self._until_ns = self._now + self._window_ms * NS_PER_MS
            self._remedies.try_next(missing)
            return False
        self._not_back = self._remedies.in_vain(self.steady, deviated=self._deviation.seen)
        if self._outlook.otherwise:
            self._busy = True
            sentences = self.steady.findings() if self._deviation.struck_ns else ()
            row = self.run.with_verdict(*concluded(struck, sentences, self._not_back))
            self._chores.do(self._outlook.otherwise, row, self._closed, tries=TRIES, go_on=True)
        return True

    @property
    def _window_ms(self) -> int:
        return self.run.intake.recover_within_ms + self.run.intake.stable_for_ms

    # --- heard and shown ------------------------------------------------------------------------------------

    def unit_started(self, answer: UnitStarted) -> None:
        self._remedies.unit_started(answer)

    def fill(self, view: RunView) -> None:
        """What is known while the run goes on; an ended one has its findings in the row."""
        view.phase = self.phase
        if self.steady.measures:
            view.ClearField("findings")  # of the row, once its end is on the way to the store
            view.latest.extend(self.steady.latest())
            view.findings.findings.extend(self.steady.findings())
            view.findings.baselines.extend(self.steady.baselines())
        hold_ns = self._gate_ns if self.run.running else 0  # a wave's `hold` is no phase of its own
        until_ns = max(self._until_ns, hold_ns)
        if until_ns > self._now:
            left_ms = (until_ns - self._now) // NS_PER_MS
            view.phase_ends_unix_ms = self._ground.errands.now.unix_ms + left_ms

    @property
    def _now(self) -> int:
        return self._ground.errands.now.mono_ns

    def _enter(self, phase: RunPhase, lasts_ms: int = 0) -> None:
        self.phase, self._until_ns = phase, self._now + lasts_ms * NS_PER_MS
        self.run.version += 1
