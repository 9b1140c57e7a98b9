"""The simulation itself: histories without a violation, all of them different, and each the same wherever it runs.

SIMULATE_SEEDS says how many histories, SIMULATE_FROM the first seed; `make simulate SEEDS=N` runs as many and
prints what they reached.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import campaign
from tests.simulation.history import run

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATE_SEEDS", "2000"))
FIRST = int(os.environ.get("SIMULATE_FROM", "1"))
DIGEST = "from tests.simulation.history import run; print(run({seed}).digest)"


@pytest.mark.timeout(5_000)
def test_no_history_breaks_an_invariant_and_all_is_reached() -> None:
    told = io.StringIO()
    failed = campaign(range(FIRST, FIRST + SEEDS), jobs=os.cpu_count() or 1, out=told)
    print(told.getvalue())
    assert not failed, told.getvalue()


@pytest.mark.parametrize("seed", (3, 14, 159))
def test_one_seed_is_one_history_under_any_hash_seed_of_python(seed: int) -> None:
    digests = {_digest(sys.executable, seed, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(digests) == 1


def test_another_seed_is_another_history() -> None:
    assert run(3).digest != run(14).digest


def test_who_reads_the_trace_does_not_change_it() -> None:
    lines: list[str] = []
    assert run(3, trace=lines.append).digest == run(3).digest
    assert lines


def _digest(python: str, seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [python, "-c", DIGEST.format(seed=seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.strip()
