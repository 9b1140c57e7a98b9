"""Where a process is in the cgroup tree: its path, and from that its systemd unit and its container."""

import re
from functools import lru_cache
from typing import NamedTuple

# Docker, containerd, CRI-O and Podman under systemd name a scope after the container; under cgroupfs, and inside
# a pod's slice, the folder is the id alone.
_CONTAINER = re.compile(r"(?:(?:docker|libpod|crio|cri-containerd|containerd|nerdctl)-)?([0-9a-f]{64})(?:\.scope)?")


class Place(NamedTuple):
    path: str
    unit: str
    container: str


@lru_cache(maxsize=1024)
def place_of(raw: bytes) -> Place:
    """The text of /proc/PID/cgroup -> where it is. Few processes are in a place of their own."""
    path = _path(raw)
    unit = container = ""
    for part in path.split("/"):
        if part.endswith((".service", ".scope")):
            unit = part
        if found := _CONTAINER.fullmatch(part):
            container = found[1]
    return Place(path, unit, container)


def _path(raw: bytes) -> str:
    """The unified hierarchy's, unless systemd still keeps its own (cgroup v1, hybrid) and only that tells."""
    unified = own = "/"
    for line in raw.decode(errors="replace").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        path = path.removesuffix(" (deleted)")
        if number == "0" and not controllers:
            unified = path
        elif controllers == "name=systemd":
            own = path
    return unified if unified != "/" else own
