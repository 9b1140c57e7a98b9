"""How often the OOM killer struck in the cgroups of a process, by the kernel's own counters. They name no process.

cgroup v2 counts in each cgroup what happened in it or below: `oom_kill` where the victim was, `oom` where the limit
was. cgroup v1 counts kills alone, each in its victim's cgroup. Source: Documentation/admin-guide/cgroup-v2.rst,
mm/memcontrol.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killdeer.v1.process_pb2 import OomCounted
from killdeer_agent.kernel.cgroups import Hierarchy, hierarchies, lines_of, path_in

EVENTS, LIMIT = "memory.events", "memory.max"
EVENTS_V1, LIMIT_V1 = "memory.oom_control", "memory.limit_in_bytes"
NO_LIMIT_KB: Final = 1 << 52  # v1 has some large number there


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """`reached`: how often the cgroup was at its limit and nothing could be freed; 0 where that isn't counted.
    `limit_kb`: 0 where there is none."""

    path: str
    kills: int
    reached: int
    limit_kb: int


class OomCounts:
    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._hierarchy = _with_memory(hierarchies(proc / "self" / "mountinfo"))

    @property
    def kept(self) -> bool:
        """Whether there is a memory controller to ask."""
        return self._hierarchy is not None

    def cgroup_of(self, pid: int) -> str:
        """Its path where memory is counted; empty where that cannot be told, and for the root, which counts nothing
        and where on v1 a process seems to be that is on its way out, by the OOM killer too."""
        if self._hierarchy is None:
            return ""
        return path_in(lines_of(self._proc, pid), self._hierarchy.controller).removesuffix("/")

    def read(self, cgroup: str) -> tuple[Count, ...]:
        """Of this cgroup and those above it, as far as there are counters; the root has none."""
        return tuple(self._upwards(cgroup))

    def _upwards(self, cgroup: str) -> Iterator[Count]:
        hierarchy = self._hierarchy
        folder = hierarchy.folder_of(cgroup) if hierarchy and cgroup else None
        while hierarchy and folder is not None and folder != hierarchy.folder:
            count = _read(folder, hierarchy.path_of(str(folder)), unified=not hierarchy.controller)
            if count is not None:
                yield count
            folder = folder.parent


def risen(before: tuple[Count, ...], after: tuple[Count, ...]) -> OomCounted | None:
    """What the counters say of the time between; None: nothing. The lowest cgroup that can still be read counts: it
    may have gone with its last process, those above it tell then (v2)."""
    were = {one.path: one for one in before}
    known = [(were[now.path], now) for now in after if now.path in were]
    struck = next(((was, now) for was, now in known if now.kills > was.kills), None)
    if struck is None:
        return None
    was, now = struck
    limited = next((now for was, now in known if now.reached > was.reached), None)
    return OomCounted(
        cgroup=now.path,
        kills=now.kills - was.kills,
        limit_cgroup=limited.path if limited else "",
        limit_kb=limited.limit_kb if limited else 0,
    )


def _with_memory(found: tuple[Hierarchy, ...]) -> Hierarchy | None:
    """The memory controller is in its own hierarchy (v1) or in the unified one."""
    return next((one for one in found if one.controller == "memory"), next(iter(found), None))


def _read(folder: Path, path: str, *, unified: bool) -> Count | None:
    try:
        text = (folder / (EVENTS if unified else EVENTS_V1)).read_text()
        limit = (folder / (LIMIT if unified else LIMIT_V1)).read_text().strip()
    except OSError:
        return None
    counts = {name: int(number) for name, _, number in (line.partition(" ") for line in text.splitlines())}
    limit_kb = 0 if limit == "max" else int(limit) // 1024
    return Count(
        path=path,
        kills=counts.get("oom_kill", 0),
        reached=counts.get("oom", 0) if unified else 0,
        limit_kb=0 if limit_kb >= NO_LIMIT_KB else limit_kb,
    )
