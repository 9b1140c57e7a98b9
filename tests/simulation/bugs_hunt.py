"""The first history in which each deliberate bug is found, and the catalogue of them: `make simulate-bugs`.

A history is lived with a bug where that would have answered otherwise in it. Bugs of which that cannot be told are
planted together: it ends at the first violation, and those that may have made it live it alone.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.bugs import BUGS, Bug, CutError
from tests.simulation.bugs_sense import can_be_sensed, sensing
from tests.simulation.history import run
from tests.simulation.told import Violation

CATALOGUE = Path(__file__).with_name("bugs_found.json")
REGENERATE = "make simulate-bugs"
MOST_SEEDS = 2_000
# How many of those that may have made a violation live the history alone, before it is given up for another.
SUSPECTS = 6


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    seed: int
    violation: Violation


def catalogue() -> dict[str, int]:
    """Bug -> the first seed that is known to find it."""
    return dict(json.loads(CATALOGUE.read_text())) if CATALOGUE.exists() else {}


def alone(bug: Bug, seed: int) -> Found | None:
    """What breaks with this bug alone, where it is what the bug must break."""
    with bug.apply():
        told = run(seed, to_the_end=bug.invariant == "liveness")
    for violation in told.violations:
        if violation.invariant == bug.invariant:
            return Found(bug.name, seed, violation)
    return None


def history(seed: int, names: Sequence[str]) -> list[Found]:
    """All that one history finds of these bugs: of the silent ones those that would have answered otherwise in it,
    of the others those that break something where many are planted together."""
    sensed = [name for name in names if can_be_sensed(name)]
    with sensing(sensed) as differ:
        told = run(seed, to_the_end=False)
    if told.violations:
        return []  # of the code as it is: nothing can be told by it
    rare = [name for name in sorted(differ) if can_be_sensed(name)]
    found = [one for name in rare if (one := alone(BUGS[name], seed)) is not None]
    return found + _planted_together(seed, [name for name in names if name not in sensed])


def _planted_together(seed: int, names: Sequence[str]) -> list[Found]:
    left, tried, misses = set(names), set[str](), 0
    found: list[Found] = []
    lots = random.Random(seed)
    while left and misses < 2:
        planted = _together(lots.sample(sorted(left), len(left)))
        with _joined(planted).apply():
            told = run(seed, to_the_end=False)
        if not told.violations:
            break
        violation = told.violations[0]
        likely = [bug for bug in planted if bug.invariant == violation.invariant and bug.name not in tried]
        likely.sort(key=lambda bug: bug.rule != violation.rule)
        misses += 1
        for bug in likely[:SUSPECTS]:
            tried.add(bug.name)
            if (one := alone(bug, seed)) is not None:
                found.append(one)
                left.discard(bug.name)
                misses -= 1
                break
    return found


def _together(names: Iterable[str]) -> list[Bug]:
    """As many of them as can be planted side by side."""
    planted: list[Bug] = []
    for name in names:
        try:
            _joined([*planted, BUGS[name]]).codes()
        except (CutError, SyntaxError):
            continue
        planted.append(BUGS[name])
    return planted


def _joined(bugs: Sequence[Bug]) -> Bug:
    cuts = tuple(cut for bug in bugs for cut in bug.cuts)
    return Bug(name="several", rule="", invariant="", what="", cuts=cuts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bugs", nargs="*", metavar="BUG", help="which; none: those whose seed finds them no longer")
    parser.add_argument("--seeds", type=int, default=MOST_SEEDS, help="how many histories are tried at most")
    parser.add_argument("--first", type=int, default=1, help="where to begin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args()
    os.nice(10)
    with multiprocessing.Pool(asked.jobs) as pool:
        known = catalogue()
        names = asked.bugs or _stale(pool, known)
        print(f"{len(names)} of {len(BUGS)} bugs are sought", flush=True)
        left = set(names)
        for begin in range(asked.first, asked.first + asked.seeds, asked.jobs):
            if not left:
                break
            seeds = range(begin, begin + asked.jobs)
            for found in pool.starmap(history, [(seed, sorted(left)) for seed in seeds], chunksize=1):
                for one in found:
                    if one.name in left:
                        left.discard(one.name)
                        known[one.name] = one.seed
                        print(f"seed {one.seed:>5} {one.name}: {one.violation}", flush=True)
            keep(known, left)
    for name in sorted(left):
        print(f"not found in {asked.seeds} histories: {name} ({BUGS[name].invariant}, {BUGS[name].rule})")
    return 1 if left else 0


def keep(known: dict[str, int], left: Iterable[str]) -> None:
    held = {name: known[name] for name in BUGS if name in known and name not in left}
    CATALOGUE.write_text(json.dumps(held, indent=1) + "\n")


def _stale(pool: "multiprocessing.pool.Pool", known: dict[str, int]) -> list[str]:
    at = [(BUGS[name], known[name]) for name in BUGS if name in known]
    finds = {one.name for one in pool.starmap(alone, at, chunksize=1) if one is not None}
    return [name for name in BUGS if name not in finds]


if __name__ == "__main__":
    sys.exit(main())
