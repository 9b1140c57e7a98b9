"""Whom the OOM killer took, who asked for the memory, and whose limit it was."""

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.kernel_record import KernelRecord, process
from tests.support.memory_cgroups import LIMIT_KB, Limited, limited, obstacle

# Moves itself into the cgroup and takes memory until somebody stops it.
GREEDY = """
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
open("/proc/self/oom_score_adj", "w").write("300")
taken = []
while True:
    taken.append(b"x" * (1 << 20))
"""


@pytest.fixture
def cgroup() -> Iterator[Limited]:
    if reason := obstacle():
        pytest.skip(reason)
    with limited() as made:
        yield made


def test_a_memory_cgroups_limit_is_told_with_victim_trigger_and_numbers(
    kernel: KernelRecord, cgroup: Limited
) -> None:
    with process(sys.executable, "-c", GREEDY, str(cgroup.inner)) as victim:
        victim.wait()
        event = kernel.only(victim.pid, "oom")
        sent, died = kernel.only(victim.pid, "signal"), kernel.only(victim.pid, "exit")

    oom = event.oom
    assert (oom.memory_cgroup, oom.limit_kb) == (True, LIMIT_KB)
    assert oom.limit_cgroup_id == cgroup.outer.stat().st_ino
    assert oom.victim.cgroup_id == cgroup.inner.stat().st_ino
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
