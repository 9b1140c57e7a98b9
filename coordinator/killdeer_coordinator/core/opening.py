"""What must be so before a run strikes: its load started, its preconditions met, its steady state measured.

What does not hold, or is not known, refuses the run, and nothing is hit.
"""

from collections.abc import Callable

from killdeer.v1.operator_pb2 import RunPhase, RunVerdict
from killdeer.v1.probe_pb2 import Part, Standing
from killdeer_coordinator.core.chores import Chores
from killdeer_coordinator.core.roster import NS_PER_MS
from killdeer_coordinator.core.run import Run
from killdeer_coordinator.core.steady import Steady

# The first readings may take as long as a probe's own time; no answer at all is unknown after this.
FIRST_READINGS_MS = 10_000

# Unknown is not met, and a rule of which nothing is known is no guard.
_WRONG = {
    (Part.PART_PRECONDITION, Standing.STANDING_UNMET): "does not hold",
    (Part.PART_PRECONDITION, Standing.STANDING_UNKNOWN): "does not hold",
    (Part.PART_STEADY_STATE, Standing.STANDING_UNMET): "does not hold",
    (Part.PART_STEADY_STATE, Standing.STANDING_UNKNOWN): "does not hold",
    (Part.PART_ABORT_WHEN, Standing.STANDING_MET): "is true already",
    (Part.PART_ABORT_WHEN, Standing.STANDING_UNKNOWN): "guards nothing",
}

Enter = Callable[[RunPhase, int], None]
"""Begins a phase that lasts so many ms at the most."""


class Opening:
    """`done` once the first wave may strike; a run that is refused is concluded."""

    def __init__(self, run: Run, steady: Steady, chores: Chores, enter: Enter) -> None:
        self.done = False
        self.busy = False  # with the deeds at the start
        self._run = run
        self._outlook = run.intake.outlook
        self._steady = steady
        self._chores = chores
        self._enter = enter
        self._begun = False
        self._until_ns: int | None = None  # mono: when the baseline has lasted long enough

    def advance(self, now_ns: int) -> bool:
        """Once a tick, as long as it is not done. Whether it is now."""
        if not self._begun:
            self._begun = True
            if self._outlook.at_start:
                self._enter(RunPhase.RUN_PHASE_LOADING, 0)
            self.busy = True
            self._chores.do(self._outlook.at_start, self._run.row, self._loaded, wanted=lambda: self._run.running)
        elif self._until_ns is not None and now_ns >= self._until_ns:
            self._close(now_ns, self._until_ns)
        return self.done

    def _loaded(self, failed: str) -> None:
        self.busy = False
        if not self._run.running:  # ended meanwhile, and that is its verdict
            return
        if failed:
            self._run.conclude(RunVerdict.RUN_VERDICT_REFUSED, f"nothing was hit: {failed}")
        elif not self._steady.measures:
            self.done = True
        else:
            baseline_ms = self._outlook.baseline_ms
            if self._outlook.at_start:
                self._steady.begin_baseline()
            self._until_ns = self._chores.errands.now.mono_ns + baseline_ms * NS_PER_MS
            self._enter(RunPhase.RUN_PHASE_BASELINE, baseline_ms)
            self._run.say(f"measuring for {baseline_ms / 1000:g} s before anything is hit")

    def _close(self, now_ns: int, until_ns: int) -> None:
        """What is not known yet is waited for as long as first readings may take."""
        if self._steady.blind and now_ns < until_ns + FIRST_READINGS_MS * NS_PER_MS:
            return
        self._steady.close_baseline()
        for sentence in self._steady.of_nothing():
            self._run.say(
                f"{sentence!r}: the baseline is 0, and so is any factor of it; a floor says what is too little to"
                " count, such as 2x baseline at least 5"
            )
        for part in (Part.PART_PRECONDITION, Part.PART_STEADY_STATE, Part.PART_ABORT_WHEN):
            self._steady.look(part, struck=False)
        said = [
            f"{one.sentence!r} {_WRONG[one.part, one.standing]} ({one.detail})"
            for one in self._steady.findings()
            if (one.part, one.standing) in _WRONG
        ]
        wrong = {one.sentence for one in self._steady.findings() if (one.part, one.standing) in _WRONG}
        said += [
            f"{sentence!r} held, and then did not, while nothing was hit"
            for sentence in self._steady.relapsed
            if sentence not in wrong
        ]
        if said:
            self._run.conclude(RunVerdict.RUN_VERDICT_REFUSED, f"nothing was hit: {'; '.join(said)}")
        else:
            self.done = True
