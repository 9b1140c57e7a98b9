"""Cgroup ids, as the kernel's record has them, turned into paths; also of a cgroup that is gone with its process.

An id is the inode of the cgroup's folder, and each hierarchy counts for itself. The record names the unified
hierarchy's, or the memory controller's where that one is not in use (cgroup v1): so both are looked through.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from killdeer.v1.process_pb2 import KernelEvent, Party
from killdeer_agent.core.place import place_at
from killdeer_agent.kernel import clock

MOST_KEPT = 8_192
MOST_SCANNED = 20_000  # folders
# Looks at all of them take no more than a twentieth of the thread's time.
LEAST_PAUSE_NS, PAUSE_TIMES = 50_000_000, 20
INITIAL_NAMESPACE = 0xEFFFFFFB  # PROC_CGROUP_INIT_INO
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup tree. `controller` is empty for the unified one. `root`: the path, as /proc/PID/cgroup
    would have it, of what is mounted; not `/` where only a part of the tree is."""

    folder: Path
    controller: str
    root: str

    def path_of(self, folder: str) -> str:
        inside = folder[len(str(self.folder)) :]
        return (self.root.rstrip("/") + inside) or "/"

    def folder_of(self, path: str) -> Path | None:
        """None for a path that is not below what is mounted: the agent's cgroup namespace hides it."""
        root = self.root.rstrip("/")
        if path != self.root and not path.startswith(root + "/"):
            return None
        return self.folder / path[len(root) :].lstrip("/")


class Cgroups:
    """Filled by a look at all there are, then by each event about a process in one that is not known yet: from the
    process while it is there, else by another look at all. In a cgroup namespace paths begin at its root; what
    lies outside has no path.

    Threads: one fills it (the collector's); any may ask.
    """

    def __init__(self, proc: Path = Path("/proc"), now_ns: Callable[[], int] = clock.boot_ns) -> None:
        self._proc = proc
        self._hierarchies = hierarchies(proc / "self" / "mountinfo")
        self._known: OrderedDict[int, set[str]] = OrderedDict()
        self._lock = threading.Lock()
        self._whole = _inode(proc / "self" / "ns" / "cgroup") == INITIAL_NAMESPACE
        self._now_ns = now_ns
        self._scan_again_ns = 0
        self._scan()

    def made(self, cgroup_id: int, path: str) -> None:
        """The kernel's word of a new one. From within a cgroup namespace its path can't be told in the agent's
        own terms."""
        if path and self._whole:
            self._keep(cgroup_id, path)

    def path(self, cgroup_id: int) -> str:
        """Empty where it is not known, and where two hierarchies have it for different cgroups."""
        with self._lock:
            paths = self._known.get(cgroup_id, set())
            if paths:
                self._known.move_to_end(cgroup_id)
            return next(iter(paths)) if len(paths) == 1 else ""

    def living(self) -> dict[int, str]:
        """All that are there now, by a look at them."""
        return {cgroup_id: path for hierarchy in self._hierarchies for cgroup_id, path in _all(hierarchy)}

    def name(self, event: KernelEvent) -> None:
        """Puts the paths into the event: those of its parties, their containers with them, and of the limit."""
        for party in _parties(event):
            if party.cgroup_id and not party.cgroup:
                party.cgroup = self.path(party.cgroup_id) or self._ask(party) or self._look(party.cgroup_id)
                if container := place_at(party.cgroup).container:
                    party.container = container
        if event.oom.limit_cgroup_id:
            limit_id = event.oom.limit_cgroup_id
            event.oom.limit_cgroup = self.path(limit_id) or self._above(event) or self._look(limit_id)

    def _ask(self, party: Party) -> str:
        """Of the process itself, which may have moved or gone meanwhile: the folder's inode must be the id."""
        if not party.pid:
            return ""
        lines = lines_of(self._proc, party.pid)
        for hierarchy in self._hierarchies:
            path = path_in(lines, hierarchy.controller)
            folder = hierarchy.folder_of(path) if path else None
            if folder is not None and _inode(folder) == party.cgroup_id:
                self._keep(party.cgroup_id, path)
                return path
        return ""

    def _look(self, cgroup_id: int) -> str:
        """At all of them again, unless that was just done."""
        if self._now_ns() < self._scan_again_ns:
            return ""
        self._scan()
        return self.path(cgroup_id)

    def _scan(self) -> None:
        begun_ns = self._now_ns()
        for hierarchy in self._hierarchies:
            for cgroup_id, path in _all(hierarchy):
                self._keep(cgroup_id, path)
        ended_ns = self._now_ns()
        self._scan_again_ns = ended_ns + max(LEAST_PAUSE_NS, PAUSE_TIMES * (ended_ns - begun_ns))

    def _above(self, event: KernelEvent) -> str:
        """The limit's cgroup is the victim's, or one above it."""
        if not event.oom.victim.cgroup:
            return ""
        for hierarchy in self._hierarchies:
            folder = hierarchy.folder_of(event.oom.victim.cgroup)
            while folder is not None and folder != hierarchy.folder.parent:
                if _inode(folder) == event.oom.limit_cgroup_id:
                    path = hierarchy.path_of(str(folder))
                    self._keep(event.oom.limit_cgroup_id, path)
                    return path
                folder = folder.parent
        return ""

    def _keep(self, cgroup_id: int, path: str) -> None:
        with self._lock:
            self._known.setdefault(cgroup_id, set()).add(path)
            self._known.move_to_end(cgroup_id)
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)


def hierarchies(mountinfo: Path) -> tuple[Hierarchy, ...]:
    """The unified one and the memory controller's, as far as they are mounted here (proc_pid_mountinfo(5))."""
    found: dict[str, Hierarchy] = {}
    try:
        lines = mountinfo.read_text().splitlines()
    except OSError:
        return ()
    for line in lines:
        before, _, after = line.partition(" - ")
        root, folder = (_ESCAPE.sub(_character, field) for field in before.split(" ")[3:5])
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", Hierarchy(Path(folder), "", root))
        elif kind == "cgroup" and "memory" in options.split(","):
            found.setdefault("memory", Hierarchy(Path(folder), "memory", root))
    return tuple(found.values())


def _all(hierarchy: Hierarchy) -> Iterator[tuple[int, str]]:
    for folder, _, _ in islice(os.walk(hierarchy.folder), MOST_SCANNED):
        inode = _inode(Path(folder))
        if inode:
            yield inode, hierarchy.path_of(folder)


def lines_of(proc: Path, pid: int) -> list[str]:
    """Of /proc/PID/cgroup; none where it cannot be read."""
    try:
        return (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return []


def path_in(lines: list[str], controller: str) -> str:
    """The path of a hierarchy in /proc/PID/cgroup; empty where it has no line, or the process is outside the
    agent's cgroup namespace."""
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller in controllers.split(","):
            path = path.removesuffix(" (deleted)")
            return "" if path.startswith("/..") else path
    return ""


def _parties(event: KernelEvent) -> list[Party]:
    match event.WhichOneof("kind"):
        case "signal":
            who = event.signal.sender if event.signal.HasField("sender") else event.signal.running
            return [event.signal.target, who]
        case "exit":
            return [event.exit.process]
        case "exec":
            return [event.exec.process]
        case "oom":
            return [event.oom.victim, event.oom.trigger]
    return []


def _inode(folder: Path) -> int:
    try:
        return folder.stat().st_ino
    except OSError:
        return 0


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))
