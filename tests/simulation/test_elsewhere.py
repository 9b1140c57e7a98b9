"""A history is the same on another version of Python, with another libc and another SQLite under it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.debian import pins
from tests.support import debian, next_python

ROOT = Path(__file__).parents[2]
SOURCES = ("proto", "agent", "coordinator")
DIGESTS = ("-m", "tests.simulation", "--from", "1", "--digests", "10")
# The cores ask for no more than the project itself; the store that they play on asks for this.
EXTRAS = ("coordinator",)
PATIENCE_S = 300


@pytest.mark.timeout(900)
def test_one_seed_is_one_history_on_another_version_of_python() -> None:
    if reason := next_python.obstacle():
        pytest.skip(reason)
    lock, pyproject = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
    try:
        other = next_python.interpreter()
        site = next_python.site(pins.requirements(lock, pyproject, EXTRAS))
    except debian.CannotBuild as problem:
        pytest.skip(f"{problem}\nneeds, the first time, apt's mirror and an index of wheels")
    modules = os.pathsep.join(map(str, (site, *SOURCES)))
    assert _said(other, modules, "-c", "import sys; print(sys.version_info[:2])") == [str(next_python.VERSION)]
    there, here = _said(other, modules, *DIGESTS), _said((sys.executable,), "", *DIGESTS)
    replay = f"PYTHONPATH={modules} {' '.join(other)} -m tests.simulation --replay SEED"
    assert there == here, f"see where they part, here and there: {replay}"


def _said(python: tuple[str, ...], modules: str, *arguments: str) -> list[str]:
    """Its lines. `modules`: where it finds them beside its own."""
    done = subprocess.run(
        (*python, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": modules},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
