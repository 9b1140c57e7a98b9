"""What a cgroup's path says of the processes in it: their systemd unit and their container."""

import re
from functools import lru_cache
from typing import NamedTuple

# Docker, containerd, CRI-O and Podman under systemd name a scope after the container; under cgroupfs, and inside
# a pod's slice, the folder is the id alone.
_CONTAINER = re.compile(r"(?:(?:docker|libpod|crio|cri-containerd|containerd|nerdctl)-)?([0-9a-f]{64})(?:\.scope)?")
# systemd keeps itself there: the system's and a container's in the first, a user's in the second.
_MANAGER = re.compile(r"(?:.*/)?init\.scope")

_CONTAINER_DIGITS = 12


class Place(NamedTuple):
    path: str
    unit: str
    container: str


@lru_cache(maxsize=1024)
def place_at(path: str) -> Place:
    """The unit and the innermost container in the path; empty where there is none.

    The unit is the first after the slices, as systemd itself has it: what stands below is a container's own, and
    its names are nothing that this host has consented to.
    """
    container = ""
    parts = path.strip("/").split("/")
    first = next((part for part in parts if not part.endswith(".slice")), "")
    for part in parts:
        if found := _CONTAINER.fullmatch(part):
            container = found[1]
    return Place(path, first if first.endswith((".service", ".scope")) else "", container)


def service_of(unit: str, container: str, exe_or_name: str) -> str:
    """What a process belongs to: `worker@3.service` -> `worker@`, `nginx.service` as it is; outside of units, and
    in a unit that is but the shell of a container, `container:` and 12 digits; else the executable or name."""
    if unit and not (container and container in unit):
        template, at, _ = unit.partition("@")
        return template + at if at and unit.endswith(".service") else unit
    if container:
        return f"container:{container[:_CONTAINER_DIGITS]}"
    return exe_or_name


def is_managers(path: str) -> bool:
    """Whether systemd itself lives there, for the whole machine, a container or a user."""
    return _MANAGER.fullmatch(path) is not None
