"""What is done for a run besides strikes: deeds, one after the other, and what came of each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from killdeer.v1.operator_pb2 import RunState, RunVerdict
from killdeer.v1.probe_pb2 import Deed
from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.errands import Errands

# What must be done at a run's end is tried so often; its receivers take it as once.
TRIES = 3
# A deed has its own time, which the shell holds it to. One without a word for so much longer has failed.
MARGIN_MS = 30_000
NS_PER_MS = 1_000_000

Then = Callable[[str], None]


def _always() -> bool:
    return True


@dataclass(slots=True)
class Chores:
    """`said` holds a line for each deed; `say` tells those who watch."""

    errands: Errands
    say: Callable[[str], None]
    said: list[str] = field(default_factory=list)

    def do(
        self,
        deeds: Sequence[Deed],
        row: RunRow,
        then: Then,
        *,
        tries: int = 1,
        go_on: bool = False,
        wanted: Callable[[], bool] = _always,
    ) -> None:
        """In order. The first that fails ends them, unless the others `go_on`; so does the first that is not
        `wanted` any more when its turn comes. `then` hears what failed, empty where nothing has."""

        def begin(left_over: tuple[Deed, ...], left: int, failed: str) -> None:
            if not left_over or not wanted():
                then(failed)
                return
            deed, waiting = left_over[0], True

            def performed(problem: str) -> None:
                nonlocal waiting
                if not waiting:
                    return
                waiting = False
                if problem and left > 1:  # it may be just coming up
                    self.errands.later(lambda: begin(left_over, left - 1, failed))
                    return
                self.note(f"{deed.name}: {problem or 'done'}")
                trouble = failed or (f"{deed.name}: {problem}" if problem else "")
                begin(left_over[1:] if go_on or not problem else (), tries, trouble)

            self.errands.perform(deed, state_of(row), performed)
            overdue_ns = (deed.within_ms + MARGIN_MS) * NS_PER_MS
            self.errands.later(lambda: performed("no answer, not even that it took too long"), overdue_ns)

        begin(tuple(deeds), tries, "")

    def note(self, line: str) -> None:
        self.said.append(line)
        self.say(line)


def state_of(row: RunRow) -> str:
    """A run as JSON: what a webhook gets where the file gives it no body."""
    return json.dumps(
        {
            "run": row.run_id,
            "experiment": row.experiment,
            "environment": row.environment,
            "owner": row.owner,
            "started_by": row.started_by,
            "state": RunState.Name(row.state).removeprefix("RUN_STATE_").lower(),
            "verdict": RunVerdict.Name(row.verdict).removeprefix("RUN_VERDICT_").lower() if row.verdict else "",
            "why": row.why,
        }
    )
