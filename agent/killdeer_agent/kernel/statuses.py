"""What /proc says of one process beyond what selectors ask: signals, capabilities, limits, children.

Sources: proc_pid_status(5), proc_pid_limits(5), proc_pid_fd(5), signalfd(2) for the lines of fdinfo.
"""

# ruff: noqa: PTH115, PTH208 - as in proc.py

import os
from collections.abc import Iterator
from functools import cache

from killdeer.v1.process_pb2 import Candidate, Reason
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.preparedness import ProcessFacts
from killdeer_agent.kernel.proc import ProcFacts

# Of a process with more of them, these many are looked at.
_MOST_THREADS = 512
_MOST_FILES = 4_096
_SIGNALFD = "anon_inode:[signalfd]"


class Children:
    """Who is whose child, and which of them are zombies, as one look at all processes had it."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = root
        self._zombies: dict[int, list[int]] = {}
        for pid in _pids(root):
            try:
                facts = ProcFacts(pid, root)
                if facts.state == "Z" and facts.threads <= 1:
                    self._zombies.setdefault(facts.parent_pid, []).append(pid)
            except FactMissing:
                continue

    def zombies_of(self, pid: int) -> tuple[int, ...]:
        return tuple(self._zombies.get(pid, ()))

    def is_zombie(self, pid: int, parent: int) -> bool:
        """Now."""
        try:
            facts = ProcFacts(pid, self._root)
            return facts.state == "Z" and facts.parent_pid == parent
        except FactMissing:
            return False


def process_facts(candidate: Candidate, children: Children, root: str = "/proc") -> ProcessFacts:
    """Raises FactMissing: REASON_GONE when it has exited, REASON_UNREADABLE for a /proc that is none."""
    pid = candidate.identity.pid
    folder = f"{root}/{pid}"
    status = _status(f"{folder}/status", pid)
    try:
        ignored, caught = _signals(status["SigIgn"]), _signals(status["SigCgt"])
        capabilities = int(status["CapEff"], 16)
        effective = int(status["Uid"].split()[1])
    except (KeyError, ValueError, IndexError) as error:
        detail = f"cannot read {folder}/status: it says nothing of {error}"
        raise FactMissing(Reason.REASON_UNREADABLE, detail) from error
    masks = list(_masks(folder)) or [_signals(status.get("SigBlk", "0"))]
    blocked = frozenset.intersection(*masks)
    soft, hard = _file_limits(folder)
    namespaces = status.get("NSpid", "").split()
    opened = _opened(folder)
    return ProcessFacts(
        pid=pid,
        name=candidate.name,
        cmdline=candidate.cmdline,
        user=candidate.user,
        age_ms=candidate.age_ms,
        verdict=candidate.verdict,
        unit=candidate.unit,
        parent=_parent(candidate.parent_pid, root),
        caught=caught,
        ignored=ignored,
        blocked=blocked,
        held_back=frozenset.union(*masks) - blocked,
        heard=None if opened is None else _heard(folder, opened),
        effective_uid=effective,
        capabilities=capabilities,
        all_capabilities=capabilities == _every_capability(root) != 0,
        open_files=None if opened is None else len(opened),
        files_soft=soft,
        files_hard=hard,
        oom_score_adj=_whole_number(f"{folder}/oom_score_adj"),
        first_of_namespace=len(namespaces) > 1 and namespaces[-1] == "1",
        zombies=children.zombies_of(pid),
    )


def _status(file: str, pid: int) -> dict[str, str]:
    text = _text(file)
    if text is None:
        raise FactMissing(Reason.REASON_GONE, f"pid {pid} has no status: it has exited")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _signals(mask: str) -> frozenset[int]:
    """A mask in hex -> signal numbers: bit 0 is signal 1."""
    bits = int(mask, 16)
    return frozenset(number for number in range(1, 65) if bits >> number - 1 & 1)


def _masks(folder: str) -> Iterator[frozenset[int]]:
    """What each thread blocks. One that waits in sigwait() does not block, just then, what it waits for."""
    try:
        threads = os.listdir(f"{folder}/task")[:_MOST_THREADS]
    except OSError:
        return
    for thread in threads:
        for line in (_text(f"{folder}/task/{thread}/status") or "").splitlines():
            if line.startswith("SigBlk:"):
                yield _signals(line.removeprefix("SigBlk:").strip())


def _file_limits(folder: str) -> tuple[int | None, int | None]:
    """RLIMIT_NOFILE, soft and hard; None: without limit, or not known."""
    for line in (_text(f"{folder}/limits") or "").splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.removeprefix("Max open files").split()[:2]
            return (int(soft) if soft.isdecimal() else None, int(hard) if hard.isdecimal() else None)
    return None, None


def _opened(folder: str) -> list[str] | None:
    """None where this agent may not look."""
    try:
        return os.listdir(f"{folder}/fd")
    except OSError:
        return None


def _heard(folder: str, opened: list[str]) -> frozenset[int]:
    found: frozenset[int] = frozenset()
    for number in opened[:_MOST_FILES]:
        try:
            if os.readlink(f"{folder}/fd/{number}") != _SIGNALFD:
                continue
        except OSError:
            continue
        for line in (_text(f"{folder}/fdinfo/{number}") or "").splitlines():
            if line.startswith("sigmask:"):
                found |= _signals(line.removeprefix("sigmask:").strip())
    return found


def _parent(pid: int, root: str) -> str:
    try:
        return f"{ProcFacts(pid, root).name} (pid {pid})" if pid else ""
    except FactMissing:
        return ""


@cache
def _every_capability(root: str) -> int:
    """A mask; 0: not known."""
    last = _whole_number(f"{root}/sys/kernel/cap_last_cap")
    return 0 if last is None else (1 << last + 1) - 1


def _whole_number(file: str) -> int | None:
    text = _text(file)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _text(file: str) -> str | None:
    """None where it is not there any more, or may not be read."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with os.fdopen(fd, "rb") as opened:
            return opened.read().decode(errors="replace")
    except OSError:
        return None


def _pids(root: str) -> list[int]:
    return [int(entry) for entry in os.listdir(root) if entry.isdecimal()]
