"""Memory cgroups of the test's own, on cgroup v1 and v2."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kernel_record import until

LIMIT_KB = 40 * 1024
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
ROOT = Path("/sys/fs/cgroup") if UNIFIED else Path("/sys/fs/cgroup/memory")


@dataclass(frozen=True)
class Limited:
    outer: Path  # has the limit
    inner: Path  # has the processes


def obstacle() -> str:
    """Why there can be no memory cgroup with a limit here; empty: there can."""
    if os.geteuid() != 0 or not ROOT.is_dir():
        return "needs root and a memory controller: it makes a cgroup with a limit"
    if UNIFIED and "memory" not in (ROOT / "cgroup.subtree_control").read_text().split():
        return "needs the memory controller: echo +memory > /sys/fs/cgroup/cgroup.subtree_control"
    return ""


@contextmanager
def limited() -> Iterator[Limited]:
    """A cgroup with a limit, and one in it without."""
    outer = ROOT / f"killdeer-test-{os.getpid()}"
    inner = outer / "inner"
    outer.mkdir()
    try:
        if UNIFIED:
            (outer / "cgroup.subtree_control").write_text("+memory")
            if (outer / "memory.swap.max").exists():
                (outer / "memory.swap.max").write_text("0")
        else:
            (outer / "memory.use_hierarchy").write_text("1")
            (outer / "memory.swappiness").write_text("0")
        limit(outer, LIMIT_KB)
        inner.mkdir()
        yield Limited(outer, inner)
    finally:
        for folder in (inner, outer):
            until(lambda folder=folder: _removed(folder))  # type: ignore[misc]


def limit(folder: Path, kilobytes: int) -> None:
    (folder / ("memory.max" if UNIFIED else "memory.limit_in_bytes")).write_text(f"{kilobytes}K")


def _removed(folder: Path) -> bool:
    """A cgroup is busy for a moment after its last process has died."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
