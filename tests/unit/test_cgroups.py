"""Cgroup ids turned into paths, on every layout of hierarchies."""

from pathlib import Path

import pytest

from killdeer.v1.process_pb2 import ExitSeen, KernelEvent, OomSeen, Party
from killdeer_agent.core.place import is_managers, place_at
from killdeer_agent.kernel import cgroups
from killdeer_agent.kernel.cgroups import Cgroups


class Host:
    """A /proc and mounted hierarchies in a folder. Inodes there are the file system's own."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.now_ns = folder / "proc", 0
        (self.proc / "self").mkdir(parents=True)
        self.mounts = self.proc / "self" / "mountinfo"
        self.mounts.write_text("20 1 0:19 / /proc rw - proc proc rw\n")
        self.folder = folder

    def mount(self, name: str, kind: str, options: str = "rw", root: str = "/") -> Path:
        place = self.folder / name
        place.mkdir()
        escaped = str(place).replace(" ", "\\040")
        with self.mounts.open("a") as file:
            file.write(f"31 24 0:27 {root} {escaped} rw,nosuid shared:9 - {kind} {kind} {options}\n")
        return place

    def runs(self, pid: int, *lines: str) -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def cgroups(self) -> Cgroups:
        return Cgroups(self.proc, lambda: self.now_ns)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "a host")


@pytest.fixture(autouse=True)
def made_here(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The initial cgroup namespace is whatever this inode says."""
    (host.proc / "self" / "ns").mkdir()
    (host.proc / "self" / "ns" / "cgroup").touch()
    monkeypatch.setattr(cgroups, "INITIAL_NAMESPACE", inode(host.proc / "self" / "ns" / "cgroup"))


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir(parents=True)
    return made


def inode(path: Path) -> int:
    return path.stat().st_ino


def named(known: Cgroups, cgroup_id: int, pid: int = 0) -> str:
    event = KernelEvent(exit=ExitSeen(process=Party(pid=pid, cgroup_id=cgroup_id)))
    known.name(event)
    return event.exit.process.cgroup


def test_what_is_there_at_the_start_is_known(host: Host) -> None:
    unified = host.mount("unified", "cgroup2")
    unit = folder(unified, "system.slice/worker.service")
    known = host.cgroups()
    assert known.path(inode(unit)) == "/system.slice/worker.service"
    assert known.path(inode(unified)) == "/"


def test_on_v1_the_memory_controllers_hierarchy_is_the_one(host: Host) -> None:
    host.mount("cpu", "cgroup", "rw,cpu")
    inner = folder(host.mount("memory", "cgroup", "rw,memory"), "a/b")
    assert host.cgroups().path(inode(inner)) == "/a/b"


def test_on_a_hybrid_host_both_hierarchies_are_known(host: Host) -> None:
    unified = folder(host.mount("unified", "cgroup2"), "system.slice")
    memory = folder(host.mount("memory", "cgroup", "rw,memory"), "docker")
    known = host.cgroups()
    assert (known.path(inode(unified)), known.path(inode(memory))) == ("/system.slice", "/docker")


def test_a_cgroup_that_is_gone_keeps_its_name(host: Host) -> None:
    gone = folder(host.mount("unified", "cgroup2"), "worker.service")
    cgroup_id, known = inode(gone), host.cgroups()
    gone.rmdir()
    assert named(known, cgroup_id) == "/worker.service"


def test_one_that_came_and_went_between_two_looks_is_known_by_the_kernels_word(host: Host) -> None:
    host.mount("unified", "cgroup2")
    known = host.cgroups()
    known.made(4_711, "/run-1.scope")
    assert named(known, 4_711) == "/run-1.scope"


def test_in_a_cgroup_namespace_the_kernels_word_is_of_paths_that_mean_nothing_here(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "INITIAL_NAMESPACE", 1)
    host.mount("unified", "cgroup2")
    known = host.cgroups()
    known.made(4_711, "/kubepods/pod/run-1.scope")
    assert named(known, 4_711) == ""


def test_a_new_one_is_asked_of_its_process(host: Host) -> None:
    unified = host.mount("unified", "cgroup2")
    known = host.cgroups()
    new = folder(unified, "new.service")
    host.runs(7, "0::/new.service")
    assert named(known, inode(new), pid=7) == "/new.service"
    assert known.path(inode(new)) == "/new.service"


def test_a_process_that_has_moved_says_nothing_of_where_it_was(host: Host) -> None:
    unified = host.mount("unified", "cgroup2")
    known = host.cgroups()
    folder(unified, "elsewhere.service")
    host.runs(7, "0::/elsewhere.service")
    assert named(known, 4_711, pid=7) == ""


def test_a_new_one_without_a_process_is_looked_for_but_not_all_the_time(host: Host) -> None:
    unified = host.mount("unified", "cgroup2")
    known = host.cgroups()
    new = folder(unified, "new.service")
    assert named(known, inode(new)) == ""
    host.now_ns += cgroups.LEAST_PAUSE_NS
    assert named(known, inode(new)) == "/new.service"


def test_an_id_that_two_hierarchies_give_to_different_cgroups_is_asked_of_the_process(host: Host) -> None:
    memory = host.mount("memory", "cgroup", "rw,memory")
    unit = folder(memory, "docker/one")
    known = host.cgroups()
    known.made(inode(unit), "/system.slice/other.service")
    assert known.path(inode(unit)) == ""
    host.runs(7, "4:memory:/docker/one", "0::/")
    assert named(known, inode(unit), pid=7) == "/docker/one"


def test_the_limits_cgroup_is_found_above_its_victims(host: Host) -> None:
    unified = host.mount("unified", "cgroup2")
    known = host.cgroups()
    inner = folder(unified, "outer/inner")
    oom = OomSeen(victim=Party(cgroup="/outer/inner"), limit_cgroup_id=inode(inner.parent))
    event = KernelEvent(oom=oom)
    known.name(event)
    assert event.oom.limit_cgroup == "/outer"


def test_what_is_mounted_from_within_the_tree_begins_where_it_does(host: Host) -> None:
    part = host.mount("part", "cgroup2", root="/kubepods/pod")
    known = host.cgroups()
    own = folder(part, "app")
    host.runs(7, "0::/kubepods/pod/app")
    assert named(known, inode(own), pid=7) == "/kubepods/pod/app"
    host.runs(8, "0::/../../outside")
    assert named(known, 4_711, pid=8) == ""


def test_without_any_hierarchy_nothing_is_said(host: Host) -> None:
    host.runs(7, "0::/")
    assert named(host.cgroups(), 1, pid=7) == ""


def test_the_least_used_are_forgotten(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOST_KEPT", 2)
    host.mount("unified", "cgroup2")
    known = host.cgroups()
    for cgroup_id in (10_001, 10_002):
        known.made(cgroup_id, f"/{cgroup_id}")
    assert known.path(10_001) == "/10001"
    known.made(10_003, "/10003")
    assert (known.path(10_001), known.path(10_002)) == ("/10001", "")


@pytest.mark.parametrize(
    ("path", "unit", "container"),
    [
        ("/system.slice/a.service", "a.service", ""),
        ("/user.slice/user-1.slice/user@1.service/app.slice/b.service", "user@1.service", ""),
        ("/machine.slice/machine-web.scope/system.slice/nginx.service", "machine-web.scope", ""),
        (
            "/system.slice/systemd-nspawn@w.service/payload/system.slice/nginx.service",
            "systemd-nspawn@w.service",
            "",
        ),
        (f"/system.slice/docker-{'ab' * 32}.scope/system.slice/a.service", f"docker-{'ab' * 32}.scope", "ab" * 32),
        (f"/docker/{'ab' * 32}/system.slice/a.service", "", "ab" * 32),
        (f"/system.slice/docker-{'ab' * 32}.scope", f"docker-{'ab' * 32}.scope", "ab" * 32),
        (f"/docker/{'ab' * 32}", "", "ab" * 32),
        ("/", "", ""),
    ],
)
def test_a_path_says_unit_and_container(path: str, unit: str, container: str) -> None:
    assert place_at(path) == (path, unit, container)


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("/init.scope", True),
        ("/user.slice/user-1.slice/user@1.service/init.scope", True),
        ("/system.slice/a.service", False),
        ("/init.scope/sub", False),
    ],
)
def test_where_systemd_itself_lives(path: str, holds: bool) -> None:
    assert is_managers(path) is holds
