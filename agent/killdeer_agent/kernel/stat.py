"""/proc/PID/stat: one line, and of its 52 fields those that the agent uses."""

from typing import NamedTuple

# linux/sched.h; the same number since 2.6.
PF_KTHREAD = 0x0020_0000
PF_FORKNOEXEC = 0x0000_0040  # forked, and no exec since


class Stat(NamedTuple):
    """/proc/PID/stat, the fields that are used; the numbers are those of proc_pid_stat(5)."""

    comm: bytes  # 2
    state: str  # 3
    parent_pid: int  # 4
    flags: int  # 9
    threads: int  # 20; a leader that has exited counts itself
    start_ticks: int  # 22
    start_code: int  # 26; 1 to those who may not know, 0 without memory
    start_stack: int  # 28; 0 to those who may not know, or without memory


def parse_stat(raw: bytes) -> Stat:
    """/proc/PID/stat; the name may hold spaces, parentheses and newlines. ValueError, IndexError: it is torn."""
    opens, closes = raw.index(b"("), raw.rindex(b")")
    fields = raw[closes + 1 :].split()
    return Stat(
        raw[opens + 1 : closes],
        fields[0].decode(),
        int(fields[1]),
        int(fields[6]),
        int(fields[17]),
        int(fields[19]),
        int(fields[23]),
        int(fields[25]),
    )
