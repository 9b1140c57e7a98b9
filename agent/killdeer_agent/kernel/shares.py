"""What a cgroup uses of memory and tasks, and how much it may: the nearest limit of its own and of those above it.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and cgroup-v1/pids.rst. Of cgroup v1 only the
memory controller is read.
"""

from collections.abc import Iterator
from pathlib import Path

from killdeer_agent.core.preparedness import CgroupFacts, Share
from killdeer_agent.kernel.cgroups import Hierarchy, hierarchies, lines_of, path_in
from killdeer_agent.kernel.oomcounts import NO_LIMIT_KB

_V1 = {"memory.current": "memory.usage_in_bytes", "memory.max": "memory.limit_in_bytes"}


class Shares:
    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._hierarchies = {one.controller: one for one in hierarchies(proc / "self" / "mountinfo")}

    def of(self, pid: int) -> CgroupFacts:
        """Of the cgroup that the process is in now. What cannot be read is not known, never no limit."""
        memory, path = self._hierarchies.get("memory") or self._hierarchies.get(""), ""
        if memory is None or not (path := self._path(pid, memory.controller)):
            return CgroupFacts(path=path)
        folder = memory.folder_of(path)
        if folder is None or (used := _number(folder, _file("memory.current", memory))) is None:
            return CgroupFacts(path=path)
        unified = self._hierarchies.get("")
        within = unified.folder_of(self._path(pid, "") or "/") if unified else None
        return CgroupFacts(
            path=path,
            read=True,
            memory_used=used,
            memory=_nearest(memory, folder, "memory.current", "memory.max"),
            throttle=_nearest(memory, folder, "memory.current", "memory.high"),
            tasks=_nearest(unified, within, "pids.current", "pids.max") if unified and within else None,
            whole=_number(folder, "memory.oom.group") == 1,
        )

    def _path(self, pid: int, controller: str) -> str:
        return path_in(lines_of(self._proc, pid), controller)


def _nearest(hierarchy: Hierarchy, folder: Path, used: str, most: str) -> Share | None:
    found = []
    for place in _upwards(hierarchy, folder):
        now, limit = _number(place, _file(used, hierarchy)), _number(place, _file(most, hierarchy))
        if now is not None and limit is not None and limit >> 10 < NO_LIMIT_KB:
            found.append(Share(cgroup=hierarchy.path_of(str(place)), used=now, most=limit))
    return min(found, key=lambda share: share.most - share.used, default=None)


def _upwards(hierarchy: Hierarchy, folder: Path) -> Iterator[Path]:
    while folder != hierarchy.folder and hierarchy.folder in folder.parents:
        yield folder
        folder = folder.parent


def _file(name: str, hierarchy: Hierarchy) -> str:
    return _V1.get(name, name) if hierarchy.controller else name


def _number(folder: Path, name: str) -> int | None:
    """None for `max`, too, and where the controller is not on there."""
    try:
        return int((folder / name).read_text())
    except (OSError, ValueError):
        return None
