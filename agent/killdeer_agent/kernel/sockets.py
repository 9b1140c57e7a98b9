"""Which ports a process listens on: its sockets joined to the tables of its network namespace."""

# ruff: noqa: PTH115, PTH123, PTH208 - as in proc.py

import os

# A TCP socket in LISTEN; a UDP socket that is bound and not connected (net/tcp_states.h).
_TABLES = (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07"))

# Network namespace -> socket inode -> port.
Tables = dict[str, dict[str, int]]


def ports_of(folder: str, tables: Tables) -> frozenset[int]:
    """The ports of the process in /proc/PID; `tables` keeps what was read. OSError when one may not look."""
    sockets = set()
    for fd in os.listdir(f"{folder}/fd"):
        try:
            target = os.readlink(f"{folder}/fd/{fd}")
        except FileNotFoundError:
            continue  # closed since
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    if not sockets:
        return frozenset()
    namespace = os.readlink(f"{folder}/ns/net")
    if namespace not in tables:
        tables[namespace] = _listening(f"{folder}/net")
    ports = tables[namespace]
    return frozenset(ports[inode] for inode in sockets & ports.keys())


def _listening(folder: str) -> dict[str, int]:
    """Socket inode -> port. OSError when a table cannot be read; one that is not there (no IPv6) is empty."""
    ports = {}
    for table, state in _TABLES:
        try:
            with open(f"{folder}/{table}", encoding="ascii") as lines:
                next(lines, None)
                for line in lines:
                    fields = line.split()
                    if fields[3] == state:
                        ports[fields[9]] = int(fields[1].rpartition(":")[2], 16)
        except FileNotFoundError:
            continue
    return ports
