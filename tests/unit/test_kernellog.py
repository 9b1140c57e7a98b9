"""Lines of the kernel's log: what they say of deaths, and that nobody else's are believed."""

from pathlib import Path

import pytest

from killdeer_agent.kernel.kernellog import FaultLine, Lines, OomLine, obstacle_to
from killdeer_agent.kernel.obstacle import INITIAL_PID_NAMESPACE

NUMBERS = "total-vm:53636kB, anon-rss:43648kB, file-rss:5860kB, shmem-rss:4kB"
TAIL = ", UID:0 pgtables:136kB oom_score_adj:300"
CONTEXT = (
    "oom-kill:constraint={constraint},nodemask=(null),cpuset=/,mems_allowed=0,{whose},task={task},pid={pid},uid=0"
)


def said(*texts: str, level: int = 6) -> list[OomLine | FaultLine]:
    lines = Lines()
    read = [lines.take(f"{level},{number},12345,-;{text}\n SUBSYSTEM=x\n") for number, text in enumerate(texts)]
    return [one for one in read if one is not None]


def context(pid: int, limit: str = "/rt", task: str = "worker") -> str:
    whose = f"oom_memcg={limit},task_memcg={limit}/child"
    return CONTEXT.format(constraint="CONSTRAINT_MEMCG", whose=whose, task=task, pid=pid)


def test_a_memory_cgroups_kill_has_its_limit_and_numbers() -> None:
    killed = f"Memory cgroup out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}"
    assert said(context(123), killed) == [
        OomLine(
            pid=123,
            name="worker",
            memory_cgroup=True,
            limit_cgroup="/rt",
            total_vm=53636,
            anon=43648,
            file=5860,
            shmem=4,
            page_tables=136,
            oom_score_adj=300,
        )
    ]


def test_the_machines_kill_has_no_limit() -> None:
    about = CONTEXT.format(
        constraint="CONSTRAINT_NONE", whose="global_oom,task_memcg=/rt/child", task="worker", pid=123
    )
    (found,) = said(about, f"Out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}")
    assert isinstance(found, OomLine)
    assert (found.memory_cgroup, found.limit_cgroup) == (False, "")


def test_without_the_line_that_is_rate_limited_the_limit_is_not_known() -> None:
    (found,) = said(f"Memory cgroup out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}")
    assert isinstance(found, OomLine)
    assert (found.memory_cgroup, found.limit_cgroup) == (True, "")


def test_the_limit_of_another_kill_is_not_taken_for_this_ones() -> None:
    (found,) = said(context(99), f"Memory cgroup out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}")
    assert isinstance(found, OomLine)
    assert found.limit_cgroup == ""


def test_all_of_a_group_that_is_killed_together_have_its_limit() -> None:
    killed = "Memory cgroup out of memory: Killed process {pid} (worker) " + NUMBERS + TAIL
    group = "Tasks in /rt are going to be killed due to memory.oom.group set"
    found = said(context(1), killed.format(pid=1), group, killed.format(pid=1), killed.format(pid=2))
    assert [(one.limit_cgroup, one.group) for one in found if isinstance(one, OomLine)] == [
        ("/rt", False),
        ("/rt", True),
        ("/rt", True),
    ]


@pytest.mark.parametrize("name", ["a) total-vm:1kB", "x (y", ",pid=1,uid=0", "Killed process"])
def test_a_name_that_looks_like_a_line_changes_nothing(name: str) -> None:
    killed = f"Memory cgroup out of memory: Killed process 123 ({name}) {NUMBERS}{TAIL}"
    (found,) = said(context(123, limit="/a,task=b", task=name), killed)
    assert isinstance(found, OomLine)
    assert (found.pid, found.anon, found.limit_cgroup) == (123, 43648, "/a,task=b")


@pytest.mark.parametrize("limit", ["/a,task_memcg=/b", "/a,oom_memcg=/b"])
def test_a_limit_that_can_be_read_in_two_ways_is_not_told(limit: str) -> None:
    killed = f"Memory cgroup out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}"
    (found,) = said(context(123, limit=limit), killed)
    assert isinstance(found, OomLine)
    assert found.limit_cgroup == ""


def test_the_shorter_line_of_older_kernels_is_read() -> None:
    (found,) = said(f"Out of memory: Killed process 123 (worker) {NUMBERS}")
    assert isinstance(found, OomLine)
    assert (found.anon, found.page_tables, found.oom_score_adj) == (43648, 0, 0)


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ("worker[12]: segfault at 0 ip 00007f3172985ad8 sp 00007ffd695638f8 error 4 in libc.so.6[167ad8]", 11),
        ("traps: worker[12] general protection fault ip:4011 sp:7ffd error:0 in worker[4000+1000]", 11),
        ("traps: worker[12] trap invalid opcode ip:4011 sp:7ffd error:0 in worker[4000+1000]", 4),
        ("traps: worker[12] trap divide error ip:4011 sp:7ffd error:0 in worker[4000+1000]", 8),
    ],
)
def test_a_fault_has_thread_and_signal(text: str, signal: int) -> None:
    assert said(text) == [FaultLine(tid=12, name="worker", signal=signal)]


def test_a_name_with_a_pid_in_it_is_a_name() -> None:
    (found,) = said("a[1]: segfault[12]: segfault at 0 ip 0 sp 0 error 4")
    assert found == FaultLine(tid=12, name="a[1]: segfault", signal=11)


@pytest.mark.parametrize("text", ["eth0: link up", "worker[12]: something else", "", "Killed process 5 (x)"])
def test_what_is_of_no_death_says_nothing(text: str) -> None:
    assert said(text) == []


def test_lines_that_processes_wrote_are_not_believed() -> None:
    killed = f"Out of memory: Killed process 123 (worker) {NUMBERS}{TAIL}"
    user, level = 1, 3
    assert said(killed, level=user << 3 | level) == []
    assert said(killed, level=level) != []


def test_a_record_that_is_none_says_nothing() -> None:
    assert Lines().take("nonsense") is None


def test_in_a_pid_namespace_the_log_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").touch()
    assert (tmp_path / "self/ns/pid").stat().st_ino != INITIAL_PID_NAMESPACE
    assert "pids of the host" in obstacle_to(tmp_path / "kmsg", tmp_path)
