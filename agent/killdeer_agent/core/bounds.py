"""What a service may use and how much of it is gone: memory, tasks, files; and whom the OOM killer takes first."""

from collections.abc import Iterator

from killdeer.v1.agent_pb2 import Severity
from killdeer.wording import counted
from killdeer_agent.core.finding import INFO, PROBLEM, WARNING, Finding, percent, sized
from killdeer_agent.core.preparedness import CgroupFacts, ProcessFacts, ServiceFacts

# Beyond these parts of a limit, what a restart or a strike's survivors need on top may not fit.
_HIGH, _NEAR = 0.75, 0.9
_ROOMY_FILES = 65_536
_SPARED, _FIRST = -500, 500  # of oom_score_adj
_NEVER = -1_000


def memory(service: ServiceFacts) -> Iterator[Finding]:
    for cgroup in service.cgroups:
        if not cgroup.read:
            continue
        if cgroup.memory is None:
            yield _unlimited(cgroup)
        else:
            share = cgroup.memory
            where = "" if share.cgroup == cgroup.path else f" of {share.cgroup}"
            fact = f"{sized(share.used)} of MemoryMax={sized(share.most)}{where} is in use, {percent(share.part)}"
            severity = _severity(share.part)
            more = f"MemoryMax={sized(_rounded(share.most * 2))}" if severity != INFO and not where else ""
            change = "find what grows, or raise it: at the limit the OOM killer ends it" if severity != INFO else ""
            section = "Service" if more else ""
            yield Finding(severity, "memory-limit", fact, change, section, more, weight=share.part)
        if cgroup.throttle is not None and cgroup.throttle.part >= _NEAR:
            share = cgroup.throttle
            fact = f"{sized(share.used)} of MemoryHigh={sized(share.most)} is in use: beyond it, it is slowed down"
            yield Finding(WARNING, "memory-high", fact, "raise it, or find what grows", weight=share.part)
        if cgroup.whole and len(service.processes) > 1:
            fact = "an OOM kill ends all of its cgroup at once (memory.oom.group)"
            yield Finding(INFO, "oom-group", fact)


def tasks(service: ServiceFacts) -> Iterator[Finding]:
    units = {unit.name: unit for unit in service.units}
    for cgroup in service.cgroups:
        if (share := cgroup.tasks) is None:
            continue
        where = "" if share.cgroup == cgroup.path else f" of {share.cgroup}"
        fact = f"{share.used:,} of TasksMax={share.most:,}{where} are there, {percent(share.part)}"
        severity = _severity(share.part)
        if severity == INFO:
            yield Finding(INFO, "tasks", fact, weight=share.part)
        else:
            line = "" if where or not units else f"TasksMax={share.most * 2}"
            change = "raise it, or find what forks: at the limit no thread and no process is made"
            yield Finding(severity, "tasks", fact, change, "Service" if line else "", line, weight=share.part)


def files(process: ProcessFacts) -> Iterator[Finding]:
    """And its place in the order of the OOM killer."""
    soft = process.files_soft
    if process.open_files is None:
        if soft is not None:
            fact = f"it may open {counted(soft, 'file')}; this agent may not count how many it has open"
            yield Finding(INFO, "files", fact, "install the drop-in 10-deep.conf of killdeer-agent.service")
    elif soft is not None:
        part = process.open_files / soft if soft else 1.0
        fact = f"{process.open_files:,} of {counted(soft, 'file')} are open, {percent(part)} (LimitNOFILE=)"
        if (severity := _severity(part)) == INFO:
            yield Finding(INFO, "files", fact, weight=part)
        else:
            line = f"LimitNOFILE={max(_ROOMY_FILES, 2 * soft)}"
            change = "raise it, or find what is not closed: at the limit it takes no more connections"
            yield Finding(severity, "files", fact, change, "Service", line, weight=part)
    yield from _oom_order(process)


def _oom_order(process: ProcessFacts) -> Iterator[Finding]:
    score = process.oom_score_adj
    if score is None:
        return
    if score == _NEVER:
        fact = "oom_score_adj is -1000: the OOM killer never takes it, and takes others for its memory"
        yield Finding(WARNING, "oom-never", fact, "", "Service", "OOMScoreAdjust=0")
    elif score <= _SPARED:
        yield Finding(INFO, "oom-order", f"oom_score_adj is {score}: the OOM killer takes nearly all others first")
    elif score >= _FIRST:
        yield Finding(INFO, "oom-order", f"oom_score_adj is {score}: the OOM killer takes it before others")


def _unlimited(cgroup: CgroupFacts) -> Finding:
    if cgroup.memory_used is None:
        fact, line = "its memory has no limit", "MemoryMax=1G"
    else:
        fact = f"its memory has no limit, it uses {sized(cgroup.memory_used)}"
        line = f"MemoryMax={sized(_rounded(max(2 * cgroup.memory_used, 64 << 20)))}"
    fact += ": a leak takes the whole host's, and the OOM killer chooses among all"
    change = "limit it to what it needs at its busiest"
    return Finding(WARNING, "memory-unlimited", fact, change, "Service", line, weight=cgroup.memory_used or 0)


def _severity(part: float) -> Severity:
    return PROBLEM if part >= _NEAR else WARNING if part >= _HIGH else INFO


def _rounded(number: int) -> int:
    """Up to the next 64 MiB."""
    step = 64 << 20
    return -(-number // step) * step
