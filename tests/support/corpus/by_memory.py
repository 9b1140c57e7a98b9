"""Deaths for want of memory: in a cgroup, or on the whole machine."""

import os
from pathlib import Path

from killdeer.v1.process_pb2 import Cause
from tests.support import memory_cgroups
from tests.support.coroner import Coroner
from tests.support.corpus.kinds import IN_GUEST, Check, kind, ready
from tests.support.kernel_record import process

GREEDY = """
import os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
open("/proc/self/oom_score_adj", "w").write(sys.argv[2])
most = int(sys.argv[3]) << 10
taken = [bytearray(b"x") * (1 << 20) for _ in range(most >> 20)]
print(1, flush=True)
input()
while True:
    taken.append(bytearray(b"x") * (1 << 20))
"""
HAS_LIMITS = memory_cgroups.obstacle() == ""


def limit_is(name: str) -> Check:
    return lambda death: death.limit_cgroup.endswith(name) and death.limit_kb == memory_cgroups.LIMIT_KB


OUTER, INNER = f"/killdeer-test-{os.getpid()}", f"/killdeer-test-{os.getpid()}/inner"


def greedy(folder: Path) -> int:
    with ready(GREEDY, str(folder), "0", "0") as victim:
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_OOM_CGROUP, limit_is(INNER), where=HAS_LIMITS, cheap=False)
def out_of_memory_by_its_own_limit(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup:
        memory_cgroups.limit(cgroup.inner, memory_cgroups.LIMIT_KB)
        memory_cgroups.limit(cgroup.outer, 4 * memory_cgroups.LIMIT_KB)
        return greedy(cgroup.inner)


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.cgroup.endswith(INNER) and not death.memory_group,
    where=HAS_LIMITS,
)
def out_of_memory_by_a_parents_limit(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup:
        return greedy(cgroup.inner)


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.killer.pid not in (0, death.process.pid),
    where=HAS_LIMITS,
)
def out_of_memory_for_what_another_asked(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "900", "16384") as victim:
        with ready(GREEDY, str(cgroup.inner), "0", "0") as other:
            assert other.stdin
            other.stdin.write("\n")
            other.stdin.flush()
            victim.wait()
        return victim.pid


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: limit_is(OUTER)(death) and death.memory_group and "memory.oom.group" in death.why,
    where=HAS_LIMITS and memory_cgroups.UNIFIED,
)
def out_of_memory_with_all_of_its_cgroup(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, process("sleep", "300") as bystander:
        (cgroup.outer / "memory.oom.group").write_text("1")
        (cgroup.inner / "cgroup.procs").write_text(str(bystander.pid))
        greedy(cgroup.inner)
        bystander.wait()
        return bystander.pid


@kind(
    Cause.CAUSE_OOM_CGROUP,
    lambda death: death.limit_cgroup.endswith(OUTER) and death.limit_kb == memory_cgroups.LIMIT_KB // 4,
    where=HAS_LIMITS and memory_cgroups.UNIFIED,
)
def out_of_memory_as_the_limit_was_lowered(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "0", "16384") as victim:
        memory_cgroups.limit(cgroup.outer, memory_cgroups.LIMIT_KB // 4)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_OOM_GLOBAL, lambda death: death.limit_cgroup == "", where=IN_GUEST, cheap=False)
def out_of_memory_of_the_whole_machine(_: Coroner) -> int:
    with ready(GREEDY, "/sys/fs/cgroup", "1000", "0") as victim:
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_OOM_GLOBAL, lambda death: death.limit_cgroup == "", where=IN_GUEST, cheap=False)
def out_of_memory_of_the_whole_machine_in_a_cgroup_full_of_caches(_: Coroner) -> int:
    """The victim's cgroup is at its limit too, and that is not what killed it."""
    with memory_cgroups.limited() as cgroup, ready(GREEDY, str(cgroup.inner), "1000", "16384") as victim:
        with ready(GREEDY, "/sys/fs/cgroup", "0", "0") as other:
            used = int((cgroup.outer / "memory.current").read_text())
            memory_cgroups.limit(cgroup.outer, used // 1024 + 64)
            assert other.stdin
            other.stdin.write("\n")
            other.stdin.flush()
            victim.wait()
        return victim.pid
