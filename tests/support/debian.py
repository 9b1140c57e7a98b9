"""What tests have of Debian beyond this machine: from the mirror that apt here is set up for, made once, and kept
in the user's cache folder under a name that holds the hash of its recipe.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Against hanging only.
PATIENCE_S = 600.0


class CannotBuild(Exception):
    """What a test needs of Debian cannot be had: cause and remedy."""


def mirror(suite: str) -> str:
    """Where apt on this machine has the main part of a suite (its code name) from."""
    chosen = ("Created-By: Packages", f"Codename: {suite}", "Component: main")
    addresses = ran("apt-get", "indextargets", "--format", "$(REPO_URI)", *chosen).split()
    if not addresses:
        raise CannotBuild(f"cannot find a mirror: apt here has no source for Debian {suite}; run on Debian 12")
    return addresses[0]


def cached(part: str, name: str, *recipe: object) -> Path:
    """Where the part of the tests that needs it keeps what is made so. It may not be there yet."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "killdeer" / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]}"


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Where to make a file or folder that then stands at `target`, whole or not at all. What else is put beside it
    goes."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        yield made
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first
                raise


def ran(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command said. CannotBuild: it failed, with the last that it said."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired as problem:
        raise CannotBuild(f"cannot run {command[0]}: no end after {PATIENCE_S:.0f} s") from problem
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise CannotBuild(f"cannot run {command[0]}: it ended with {done.returncode}\n{last}")
    return done.stdout
