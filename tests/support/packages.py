"""The Debian packages, as `make deb` makes them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def made(out: Path) -> dict[str, Path]:
    """By name; those in the folder KILLDEER_PACKAGES, or made anew: build/ may have some of other sources."""
    if ready := os.environ.get("KILLDEER_PACKAGES"):
        return _named(Path(ready))
    done = subprocess.run(
        [sys.executable, "-m", "deploy.debian.build", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _named(out)


def _named(folder: Path) -> dict[str, Path]:
    return {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}
