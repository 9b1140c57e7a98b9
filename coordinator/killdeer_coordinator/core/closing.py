"""Runs that have lost their driver and go on aborting here: what their files have done at the end is done, and they
end (see takeover.py). Should this coordinator die meanwhile, they are still in the books for the next one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from killdeer.v1.operator_pb2 import RunState
from killdeer.v1.probe_pb2 import Findings
from killdeer_coordinator.core import records
from killdeer_coordinator.core.books import Books, RunRow
from killdeer_coordinator.core.chores import TRIES, Chores
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.takeover import owed


@dataclass(slots=True)
class Closing:
    roster: Roster
    errands: Errands
    _begun: dict[str, int] = field(default_factory=dict)  # run -> its fence then: each once

    def look(self, books: Books, driven: Callable[[str], bool]) -> None:
        """`driven`: a run's driver is here, and closes it by itself."""
        for row in books.runs.values() if self.roster.taken_over else ():
            mine = row.driver in ("", self.roster.coordinator)
            if mine and _waits(row) and self._begun.get(row.run_id) != row.fence and not driven(row.run_id):
                self._begun[row.run_id] = row.fence
                self._close(row)

    def _close(self, row: RunRow) -> None:
        def say(line: str) -> None:
            self.errands.note("run.closing", run=row.run_id, said=line)

        chores = Chores(self.errands, say)
        chores.do(owed(row), row, partial(self._closed, row, chores), tries=TRIES, go_on=True)

    def _closed(self, row: RunRow, chores: Chores, failed: str) -> None:
        found = Findings(deeds=chores.said).SerializeToString()
        self.errands.insist(records.ended(replace(row, findings=found)))


def _waits(row: RunRow) -> bool:
    """A run that aborts under its driver has no verdict yet."""
    return row.state == RunState.RUN_STATE_ABORTING and bool(row.verdict)
