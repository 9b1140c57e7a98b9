"""Whom the OOM killer took, who asked for the memory, and whose limit it was."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel_record import KernelRecord, process, until

LIMIT_KB = 40 * 1024
# Moves itself into the cgroup and takes memory until somebody stops it.
GREEDY = """
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
open("/proc/self/oom_score_adj", "w").write("300")
taken = []
while True:
    taken.append(b"x" * (1 << 20))
"""


@dataclass(frozen=True)
class Limited:
    outer: Path  # has the limit
    inner: Path  # has the processes


@pytest.fixture
def limited() -> Iterator[Limited]:
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    root = Path("/sys/fs/cgroup") if unified else Path("/sys/fs/cgroup/memory")
    if os.geteuid() != 0 or not root.is_dir():
        pytest.skip("needs root and a memory controller: it makes a cgroup with a limit")
    if unified and "memory" not in (root / "cgroup.subtree_control").read_text().split():
        pytest.skip("needs the memory controller: echo +memory > /sys/fs/cgroup/cgroup.subtree_control")
    outer = root / f"killdeer-test-{os.getpid()}"
    inner = outer / "inner"
    outer.mkdir()
    try:
        if unified:
            (outer / "cgroup.subtree_control").write_text("+memory")
            (outer / "memory.max").write_text(f"{LIMIT_KB}K")
            if (outer / "memory.swap.max").exists():
                (outer / "memory.swap.max").write_text("0")
        else:
            (outer / "memory.use_hierarchy").write_text("1")
            (outer / "memory.limit_in_bytes").write_text(f"{LIMIT_KB}K")
            (outer / "memory.swappiness").write_text("0")
        inner.mkdir()
        yield Limited(outer, inner)
    finally:
        for folder in (inner, outer):
            until(lambda folder=folder: _removed(folder))  # type: ignore[misc]


def _removed(folder: Path) -> bool:
    """A cgroup is busy for a moment after its last process has died."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def test_a_memory_cgroups_limit_is_told_with_victim_trigger_and_numbers(
    kernel: KernelRecord, limited: Limited
) -> None:
    with process(sys.executable, "-c", GREEDY, str(limited.inner)) as victim:
        victim.wait()
        event = kernel.only(victim.pid, "oom")
        sent, died = kernel.only(victim.pid, "signal"), kernel.only(victim.pid, "exit")

    oom = event.oom
    assert (oom.memory_cgroup, oom.limit_kb) == (True, LIMIT_KB)
    assert oom.limit_cgroup_id == limited.outer.stat().st_ino
    assert oom.victim.cgroup_id == limited.inner.stat().st_ino
    assert oom.trigger.pid == oom.victim.pid == victim.pid
    # Some of its memory was charged to the cgroup that it came from.
    assert LIMIT_KB // 2 < oom.anon_rss_kb < oom.total_vm_kb
    assert oom.anon_rss_kb < 2 * LIMIT_KB
    assert oom.file_rss_kb > 0
    assert oom.page_tables_kb > 0
    assert oom.oom_score_adj == 300

    # The kernel's own SIGKILL names no sender, and comes before the word about the victim.
    assert not sent.signal.HasField("sender")
    assert sent.signal.signal == died.exit.signal == signal.SIGKILL
    assert sent.at_boot_ns < event.at_boot_ns < died.at_boot_ns
