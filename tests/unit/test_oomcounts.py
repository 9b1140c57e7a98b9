"""The OOM counters of cgroups v1 and v2, and what may be said by them."""

from pathlib import Path

import pytest

from killdeer_agent.kernel.oomcounts import Count, OomCounts, risen

V2 = "30 20 0:26 / {root} rw - cgroup2 cgroup2 rw\n"
V1 = "31 20 0:27 / {root} rw - cgroup cgroup rw,memory\n"
HYBRID = "30 20 0:26 / {root}/unified rw - cgroup2 cgroup2 rw\n" + V1
UNLIMITED = "9223372036854771712"


def host(tmp_path: Path, mountinfo: str, cgroup: str) -> OomCounts:
    """With one process, pid 7."""
    root = tmp_path / "cgroup"
    for folder in ("self", "7"):
        (tmp_path / "proc" / folder).mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo.format(root=root))
    (tmp_path / "proc/7/cgroup").write_text(cgroup)
    root.mkdir(exist_ok=True)
    return OomCounts(tmp_path / "proc")


def v2(tmp_path: Path, path: str, *, oom: int = 0, kills: int = 0, limit: str = "max") -> None:
    folder = tmp_path / "cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.events").write_text(f"low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kills}\noom_group_kill 0\n")
    (folder / "memory.max").write_text(f"{limit}\n")


def v1(tmp_path: Path, path: str, *, kills: int = 0, limit: str = UNLIMITED) -> None:
    folder = tmp_path / "cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")


def test_v2_counts_from_the_process_s_cgroup_up_to_below_the_root(tmp_path: Path) -> None:
    counts = host(tmp_path, V2, "0::/app.slice/app.service\n")
    v2(tmp_path, "app.slice", oom=1, kills=2, limit="1048576")
    v2(tmp_path, "app.slice/app.service", kills=2)
    assert counts.cgroup_of(7) == "/app.slice/app.service"
    assert counts.read("/app.slice/app.service") == (
        Count(path="/app.slice/app.service", kills=2, reached=0, limit_kb=0),
        Count(path="/app.slice", kills=2, reached=1, limit_kb=1024),
    )


@pytest.mark.parametrize("mounts", [V1, HYBRID])
def test_v1_counts_in_the_memory_hierarchy_and_knows_no_limit_reached(tmp_path: Path, mounts: str) -> None:
    counts = host(tmp_path, mounts, "4:memory,hugetlb:/rt/child\n1:name=systemd:/init.scope\n0::/init.scope\n")
    v1(tmp_path, "rt", limit="1048576")
    v1(tmp_path, "rt/child", kills=3)
    assert counts.cgroup_of(7) == "/rt/child"
    assert counts.read("/rt/child") == (
        Count(path="/rt/child", kills=3, reached=0, limit_kb=0),
        Count(path="/rt", kills=0, reached=0, limit_kb=1024),
    )


def test_v1_tells_no_cgroup_of_a_process_on_its_way_out(tmp_path: Path) -> None:
    assert host(tmp_path, V1, "4:memory:/\n").cgroup_of(7) == ""


def test_a_cgroup_without_the_controller_is_passed_over(tmp_path: Path) -> None:
    counts = host(tmp_path, V2, "0::/app.slice/app.service\n")
    v2(tmp_path, "app.slice")
    (tmp_path / "cgroup/app.slice/app.service").mkdir()
    assert [one.path for one in counts.read("/app.slice/app.service")] == ["/app.slice"]


def test_where_there_is_no_hierarchy_there_is_nothing_to_count(tmp_path: Path) -> None:
    counts = host(tmp_path, "", "0::/\n")
    assert (counts.kept, counts.cgroup_of(7), counts.read("/app")) == (False, "", ())


def count(path: str, kills: int, reached: int = 0, limit_kb: int = 0) -> Count:
    return Count(path=path, kills=kills, reached=reached, limit_kb=limit_kb)


def test_the_limit_is_that_of_the_lowest_cgroup_that_reached_it() -> None:
    before = (count("/a/b/c", 1), count("/a/b", 1, 1, 2048), count("/a", 5, 4, 4096))
    after = (count("/a/b/c", 2), count("/a/b", 2, 2, 2048), count("/a", 6, 5, 4096))
    found = risen(before, after)
    assert found is not None
    assert (found.cgroup, found.kills, found.limit_cgroup, found.limit_kb) == ("/a/b/c", 1, "/a/b", 2048)


def test_a_kill_for_the_whole_machine_has_no_limit() -> None:
    found = risen((count("/a", 0, 3, 1024),), (count("/a", 1, 3, 1024),))
    assert found is not None
    assert (found.cgroup, found.limit_cgroup, found.limit_kb) == ("/a", "", 0)


def test_of_a_cgroup_that_has_gone_those_above_it_tell() -> None:
    found = risen((count("/a/b", 0), count("/a", 0)), (count("/a", 2),))
    assert found is not None
    assert (found.cgroup, found.kills) == ("/a", 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((count("/a", 3),), (count("/a", 3),)),
        ((count("/a", 3, 1),), (count("/a", 3, 2),)),  # the limit was reached, and nobody was killed
        ((), (count("/a", 3),)),  # since when is not known
        ((count("/a", 3),), ()),
    ],
)
def test_no_kill_is_told_where_no_count_rose(before: tuple[Count, ...], after: tuple[Count, ...]) -> None:
    assert risen(before, after) is None
