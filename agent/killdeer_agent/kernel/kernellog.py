"""What the kernel's log says of deaths: whom the OOM killer took and for which limit, and faults nobody handled.

Only the kernel's own lines count; processes may write there too, under another facility. Pids are the host's.
"""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killdeer_agent.core import signals
from killdeer_agent.kernel.obstacle import CAP_SYSLOG, INITIAL_PID_NAMESPACE, holds

DEVICE: Final = Path("/dev/kmsg")
REMEDY: Final = "the drop-in 30-kernel-log.conf gives it"
KERNEL = 0  # facility: who wrote the line (syslog(3))
RECORD_BYTES = 8_192
MOST_RECORDS = 4_096  # at a time

# Names of processes and cgroups may hold anything; what follows them is the kernel's, so they match greedily.
_CONTEXT = re.compile(r"oom-kill:constraint=\w+,(?P<where>.*),pid=(?P<pid>\d+),uid=\d+")
_LIMIT, _AFTER_LIMIT = ",oom_memcg=", ",task_memcg="
_WHOLE_GROUP = re.compile(r"Tasks in .* are going to be killed due to memory\.oom\.group set")
_KILLED = re.compile(
    r"(?P<why>Memory cgroup out of memory|Out of memory[^:]*): Killed process (?P<pid>\d+) \((?P<name>.*)\) "
    r"total-vm:(?P<total_vm>\d+)kB, anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB"
    r"(?:, UID:(?P<uid>\d+) pgtables:(?P<page_tables>\d+)kB oom_score_adj:(?P<adj>-?\d+))?"
)
_SEGFAULT = re.compile(r"(?P<name>.*)\[(?P<tid>\d+)\]: (?P<fault>segfault) at [0-9a-f]+ ip .*")
_TRAP = re.compile(
    r"traps: (?P<name>.*)\[(?P<tid>\d+)\] "
    r"(?P<fault>general protection|trap invalid opcode|trap divide error|trap int3)\b.*"
)
_FAULTS: Final = {
    "segfault": signals.SEGV,
    "general protection": signals.SEGV,
    "trap invalid opcode": signals.ILL,
    "trap divide error": signals.FPE,
    "trap int3": signals.TRAP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OomLine:
    """`memory_cgroup`: a cgroup's limit was reached, `limit_cgroup`'s where the log has it; else the machine's.
    Memory in kB."""

    pid: int
    name: str
    memory_cgroup: bool
    limit_cgroup: str = ""
    group: bool = False
    total_vm: int = 0
    anon: int = 0
    file: int = 0
    shmem: int = 0
    page_tables: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultLine:
    """A thread got a signal for what it did itself, and had no handler for it."""

    tid: int
    name: str
    signal: int


class KernelLog:
    """From the line after the last one at the time it is opened. Raises OSError where it may not be read."""

    def __init__(self, device: Path = DEVICE) -> None:
        self._fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._reader = Lines()
        self.overrun = 0
        """How often lines were overwritten before they were read."""

    def read(self) -> list[OomLine | FaultLine]:
        found = []
        for _ in range(MOST_RECORDS):
            try:
                record = os.read(self._fd, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.EPIPE:
                    raise
                self.overrun += 1
                continue
            if (said := self._reader.take(record.decode(errors="replace"))) is not None:
                found.append(said)
        return found

    def close(self) -> None:
        os.close(self._fd)


class Lines:
    """Of an OOM kill the log has several lines; which limit it was for stands before who was killed."""

    def __init__(self) -> None:
        self._context: re.Match[str] | None = None
        self._whole_group = False

    def take(self, record: str) -> OomLine | FaultLine | None:
        """One record of /dev/kmsg: `level,number,time,flags;text`, then lines with a space before."""
        head, _, rest = record.partition(";")
        level = head.partition(",")[0]
        if not level.isdecimal() or int(level) >> 3 != KERNEL:
            return None
        text = rest.partition("\n")[0]
        if context := _CONTEXT.fullmatch(text):
            self._context, self._whole_group = context, False
        elif _WHOLE_GROUP.fullmatch(text):
            self._whole_group = True
        elif killed := _KILLED.match(text):
            return self._killed(killed)
        elif fault := _SEGFAULT.fullmatch(text) or _TRAP.fullmatch(text):
            return FaultLine(tid=int(fault["tid"]), name=fault["name"], signal=_FAULTS[fault["fault"]])
        return None

    def _killed(self, line: re.Match[str]) -> OomLine:
        context = self._context
        its = context is not None and (self._whole_group or context["pid"] == line["pid"])
        memory_cgroup = line["why"].startswith("Memory cgroup")
        return OomLine(
            pid=int(line["pid"]),
            name=line["name"],
            memory_cgroup=memory_cgroup,
            limit_cgroup=_limit(context["where"]) if context is not None and its and memory_cgroup else "",
            group=self._whole_group,
            total_vm=int(line["total_vm"]),
            anon=int(line["anon"]),
            file=int(line["file"]),
            shmem=int(line["shmem"]),
            page_tables=int(line["page_tables"] or 0),
            oom_score_adj=int(line["adj"] or 0),
        )


def _limit(where: str) -> str:
    """Empty where a name has the kernel's own words in it, so that there are several ways to read it."""
    _, found, rest = where.partition(_LIMIT)
    parts = rest.split(_AFTER_LIMIT)
    return parts[0] if found and len(parts) == 2 and _LIMIT not in rest else ""


def obstacle_to(device: Path = DEVICE, proc: Path = Path("/proc")) -> str:
    """Why the log cannot be read, or not be understood, and what is missing; empty: it can."""
    if (proc / "self/ns/pid").stat().st_ino != INITIAL_PID_NAMESPACE:
        return "it names pids of the host, which the agent's pid namespace does not have"
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {device}; {REMEDY}"
    except OSError as problem:
        if not holds(CAP_SYSLOG, proc):
            return f"the agent lacks CAP_SYSLOG (kernel.dmesg_restrict is {_restricted(proc)}); {REMEDY}"
        return f"{device}: {problem.strerror}"
    return ""


def _restricted(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/dmesg_restrict").read_text().strip()
    except OSError:
        return "unknown"
