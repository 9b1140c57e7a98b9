"""Which socket listens on which port, from /proc/PID/net of one network namespace."""

# A TCP socket in LISTEN; a UDP socket that is bound and not connected (net/tcp_states.h).
_TABLES = (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07"))


def listening(folder: str) -> dict[str, int]:
    """Socket inode -> port. OSError when a table cannot be read; one that is not there (no IPv6) is empty."""
    ports = {}
    for table, state in _TABLES:
        try:
            with open(f"{folder}/{table}", encoding="ascii") as lines:  # noqa: PTH123 - paths are text here
                next(lines, None)
                for line in lines:
                    fields = line.split()
                    if fields[3] == state:
                        ports[fields[9]] = int(fields[1].rpartition(":")[2], 16)
        except FileNotFoundError:
            continue
    return ports
