"""The record of one run on its way to the store: what was measured and said, second by second."""

from dataclasses import dataclass, replace

from killdeer.wording import NOT_ON_RECORD, counted
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.run import Run
from killdeer_coordinator.core.steady import Steady
from killdeer_coordinator.core.words import KeepRecord, Unrecorded

EVERY_NS = 1_000_000_000
# For so long it is tried again, where the store fails.
AGAIN_FOR_NS = 60_000_000_000


@dataclass(slots=True)
class Recording:
    run: Run
    steady: Steady
    errands: Errands
    _lines: int = 0  # of the log, on their way or there
    _due_ns: int = 0

    def keep(self, *, at_once: bool = False) -> None:
        now_ns = self.errands.now.mono_ns
        if now_ns < self._due_ns and not (at_once or self.run.ended):  # who has seen the end may ask for all of it
            return
        readings, lines = self.steady.fresh(), tuple(self.run.log[self._lines :])
        self._lines, self._due_ns = len(self.run.log), now_ns + EVERY_NS
        if readings:
            self.run.version += 1
        if readings or lines:
            self.errands.ask(KeepRecord(run_id=self.run.row.run_id, readings=readings, lines=lines))

    def failed(self, unrecorded: Unrecorded) -> None:
        """It is kept again every second; what the store never takes is missing, and the record says so."""
        kept, now_ns = unrecorded.kept, self.errands.now.mono_ns
        again = replace(kept, since_ns=kept.since_ns or now_ns)
        if now_ns - again.since_ns < AGAIN_FOR_NS:
            self.errands.later(lambda: self.errands.ask(again), EVERY_NS)
            return
        told = [line for line in kept.lines if not line.line.startswith(NOT_ON_RECORD)]
        if kept.readings or told:
            missing = f"{counted(len(kept.readings), 'reading')} and {counted(len(told), 'line')}"
            self.run.say(f"{NOT_ON_RECORD}{missing}: {unrecorded.cause}")
