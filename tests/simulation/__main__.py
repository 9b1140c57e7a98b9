"""Runs histories in processes of their own, or replays one: `python -m tests.simulation --seeds 2000`."""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TextIO

from tests.simulation import invariants
from tests.simulation.history import run
from tests.simulation.reach import TABLE_AT, table, unreached
from tests.simulation.told import Told

CHUNK = 10
GARBAGE = 20_000  # new objects: a history is over before much of it is garbage


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many histories")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", type=int, help="this seed alone, with a readable trace")
    parser.add_argument("--digests", type=int, help="only the digests of so many histories, from the first seed")
    parser.add_argument("--bug", default="", help="with a deliberate bug")
    asked = parser.parse_args(arguments)
    if asked.replay is not None:
        return replay(asked.replay, asked.bug)
    if asked.digests is not None:
        for seed in range(asked.first, asked.first + asked.digests):
            print(seed, run(seed).digest)
        return 0
    return campaign(range(asked.first, asked.first + asked.seeds), asked.jobs)


def replay(seed: int, bug: str) -> int:
    if bug:
        from tests.simulation.bugs import planted

        with planted(bug):
            told = run(seed, trace=print)
    else:
        told = run(seed, trace=print)
    for violation in told.violations:
        print(violation)
    print(f"seed {seed}: {told.strikes} blows, {told.faults} faults, digest {told.digest}")
    return 1 if told.violations else 0


def campaign(seeds: range, jobs: int, out: TextIO = sys.stdout) -> int:
    """0 when no history broke anything and, where there were enough of them, everything was reached."""
    began = time.monotonic()
    told: list[Told] = []
    failed: list[Told] = []
    with ProcessPoolExecutor(jobs, initializer=gc.set_threshold, initargs=(GARBAGE,)) as pool:
        for one in pool.map(run, seeds, chunksize=CHUNK):
            told.append(one)
            if one.violations:
                failed.append(one)
                print(f"seed {one.seed}: {one.violations[0]}", file=out)
                print(f"  replay: {sys.executable} -m tests.simulation --replay {one.seed}", file=out, flush=True)
            if len(told) % 200 == 0:
                print(f"{len(told)} of {len(seeds)} histories", file=out, flush=True)
    took = time.monotonic() - began
    print(table(told), file=out)
    print(invariants.table(told), file=out)
    print(
        f"{len(told)} histories in {took:.0f} s, {60 * len(told) / took:.0f} a minute; "
        f"{sum(one.strikes for one in told)} blows, {sum(one.faults for one in told)} faults, "
        f"{len(failed)} with a violation",
        file=out,
    )
    by_invariant = Counter(one.violations[0].invariant for one in failed)
    for invariant, count in sorted(by_invariant.items()):
        print(f"  {invariant}: {count}", file=out)
    missing = unreached(told) if len(told) >= TABLE_AT else []
    if missing:
        print(f"never reached: {', '.join(missing)}", file=out)
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
