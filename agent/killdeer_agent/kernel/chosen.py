"""The cgroups whose processes are told of in all: the kernel side's table of them, kept while cgroups come and go
and the filter changes."""

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from killdeer_agent.kernel.cgroups import Cgroups
from killdeer_agent.kernel.filter import Filter

MOST_CHOSEN: Final = 4_096  # what the kernel side has room for


class Maps(Protocol):
    def put(self, name: str, key: bytes, value: bytes) -> None: ...
    def drop(self, name: str, key: bytes) -> None: ...


class Chosen:
    """`told`: the filter in force. `configure`: has the kernel side go by it and by how many cgroups there are.

    Not for several threads at once; `begin`, the look that follows it, and `finish` may have others between them.
    """

    def __init__(self, told: Filter, cgroups: Cgroups, configure: Callable[[], None]) -> None:
        self.told = told
        self.problem = ""
        """What of the filter is not in force, and why."""
        self._cgroups = cgroups
        self._configure = configure
        self._ids: set[int] = set()
        self._coming: Filter | None = None  # while it takes the other's place
        self._ahead: set[int] = set()  # those made meanwhile that are in that one alone
        self._left_out = 0

    def __len__(self) -> int:
        return len(self._ids)

    def begin(self, told: Filter) -> None:
        """From now on cgroups that are made are held against this one too."""
        self._coming, self._ahead = told, set()

    def look(self, told: Filter) -> set[int]:
        living = self._cgroups.living() if told.cgroups else {}
        return {one for one, path in living.items() if told.chooses(path)}

    def finish(self, found: set[int], maps: Maps) -> None:
        """In force: all or nothing. Raises OSError."""
        told, self._coming = self._coming or self.told, None
        try:
            self._replace(found, told, maps)
        except OSError:
            self._forget(self._ahead, maps)
            raise

    def without_cgroups(self, problem: OSError) -> None:
        """At the start there is none before it that could stay."""
        self.told = replace(self.told, cgroups=())
        self.problem = f"evidence.cgroups is not in force: {problem.strerror}"

    def _replace(self, found: set[int], told: Filter, maps: Maps) -> None:
        if len(found) > MOST_CHOSEN:
            raise OSError(errno.E2BIG, f"evidence.cgroups are {len(found)}, there is room for {MOST_CHOSEN}")
        stale = {one for one in self._ids - found if not told.chooses(self._cgroups.path(one))}
        if len(self._ids | found) > MOST_CHOSEN:
            self._forget(stale, maps)  # else there is no room for the new ones
        added: set[int] = set()
        try:
            for one in found - self._ids:
                maps.put("chosen", _key(one), b"\1")
                added.add(one)
        except OSError:
            self._ids |= added
            self._forget(added, maps)
            raise
        self._ids |= found
        self.told, self.problem, self._left_out = told, "", 0
        self._configure()
        self._forget(stale, maps)

    def made(self, cgroup_id: int, path: str, maps: Maps) -> None:
        if not self.told.chooses(path):
            if self._coming is None or not self._coming.chooses(path):
                return
            self._ahead.add(cgroup_id)
        if len(self._ids) >= MOST_CHOSEN:
            self._forget(self._ids - set(self._cgroups.living()), maps)
        try:
            maps.put("chosen", _key(cgroup_id), b"\1")
        except OSError:
            self._left_out += 1
            self.problem = f"{self._left_out} cgroups of evidence.cgroups left out, for want of room"
            return
        self._ids.add(cgroup_id)
        self._configure()

    def _forget(self, cgroups: set[int], maps: Maps) -> None:
        for one in cgroups & self._ids:
            maps.drop("chosen", _key(one))
        self._ids -= cgroups
        self._configure()


def _key(cgroup_id: int) -> bytes:
    return cgroup_id.to_bytes(8, "little")
