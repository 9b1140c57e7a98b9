"""Where a process is in the cgroup tree, as /proc tells it."""

from functools import lru_cache

from killdeer_agent.core.place import Place, place_at

__all__ = ["Place", "place_of"]


@lru_cache(maxsize=1024)
def place_of(raw: bytes) -> Place:
    """The text of /proc/PID/cgroup -> where it is. Few processes are in a place of their own.

    The unified hierarchy's, unless systemd still keeps its own (cgroup v1, hybrid) and only that tells.
    """
    unified = own = "/"
    for line in raw.decode(errors="replace").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        path = path.removesuffix(" (deleted)")
        if number == "0" and not controllers:
            unified = path
        elif controllers == "name=systemd":
            own = path
    return place_at(unified if unified != "/" else own)
