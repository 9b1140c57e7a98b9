"""Without the kernel's record: exits of watched processes by pidfd, and what bears on them as far as the kernel's
counters and its log tell. Neither sender nor code; a cause only where the log names the process.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import EventsLost, ExitSeen, KernelEvent, OomSeen, Party, SignalSeen
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.place import place_at
from killdeer_agent.kernel import clock, oomcounts
from killdeer_agent.kernel.filter import Filter
from killdeer_agent.kernel.kernellog import DEVICE, FaultLine, KernelLog, OomLine, obstacle_to
from killdeer_agent.kernel.obstacle import INITIAL_PID_NAMESPACE
from killdeer_agent.kernel.oomcounts import Count, OomCounts
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.tracing import OnEvents, OnTold, units

LOOK_EVERY_S: Final = 0.25
# Counters that rose longer before a death than that are of another one: whom the OOM killer takes needs a while to
# be gone, and all that while its counters have risen already.
DYING_NS: Final = 5_000_000_000
# The kernel writes into its log after it has killed, on the processor of the one that it did it for.
LOG_TRIES, LOG_PAUSE_S = 10, 0.001


@dataclass(slots=True)
class _Watched:
    process: Party
    pidfd: int
    cgroup: str  # where memory is counted
    reads: deque[tuple[int, tuple[Count, ...]]]  # each with its time; the first is the one a death is held against

    def remember(self, now_ns: int, counts: tuple[Count, ...]) -> None:
        self.reads.append((now_ns, counts))
        while len(self.reads) > 1 and self.reads[1][0] <= now_ns - DYING_NS:
            self.reads.popleft()


class PidfdCollector:
    """`why`: why there is no more, and what to do."""

    level = EvidenceLevel.EVIDENCE_LEVEL_PIDFD

    def __init__(self, why: str, device: Path = DEVICE) -> None:
        self._counts = OomCounts()
        self._log, no_log = _opened(device)
        counted = (
            "the OOM counters of their cgroups" if self._counts.kept else "no OOM counters (no memory controller)"
        )
        log = f"not the kernel's log: {no_log}" if no_log else "the kernel's log"
        self.detail = f"{why}; instead: exits of victims, {counted}, {log}"
        self._watched: dict[int, _Watched] = {}
        self._early: list[KernelEvent] = []
        self._on_events: OnEvents = self._early.extend
        self._lock = threading.Lock()  # over all of these, and the order of hand-over
        self._overruns = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        """Never calls `on_told`: there is no record that could be whole."""
        with self._lock:
            self._on_events = on_events
            self._hand_over(self._early)
        self._thread = threading.Thread(target=self._run, name="kernel-evidence", daemon=True)
        self._thread.start()

    def watch(self, pid: int, start_ticks: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        process = _described(pid)
        if process is None or process.start_ticks != start_ticks:  # it is gone, or another one
            os.close(pidfd)
            return
        cgroup = self._counts.cgroup_of(pid)
        with self._lock:
            self._drop(pid)
            first = (clock.boot_ns(), self._counts.read(cgroup))
            self._watched[pid] = _Watched(process, pidfd, cgroup, deque([first]))

    def unwatch(self, pid: int) -> None:
        with self._lock:
            self._drop(pid)

    def choose(self, told: Filter) -> None:
        """Nothing is told that could be filtered."""

    def flush(self) -> None:
        with self._lock:
            self._look()

    def lost(self) -> dict[str, int]:
        return {"kernel log": self._overruns} if self._overruns else {}

    def filtered(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        for pid in list(self._watched):
            self._drop(pid)
        if self._log is not None:
            self._log.close()

    def _run(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            with self._lock:
                self._look()

    def _drop(self, pid: int) -> None:
        watched = self._watched.pop(pid, None)
        if watched is not None:
            os.close(watched.pidfd)

    def _look(self) -> None:
        """Who has died, counters and log; what bears on a death is told before it."""
        dead = [one for one in self._watched.values() if _is_dead(one.pidfd)]
        events = list(self._logged())
        now_ns = clock.boot_ns()
        after = {pid: self._counts.read(one.cgroup) for pid, one in self._watched.items()}
        for one in dead:
            since_ns, before = one.reads[0]
            counted = oomcounts.risen(before, after[one.process.pid])
            if counted is not None:
                events += self._named(one, events)
                counted.process.CopyFrom(one.process)
                counted.since_boot_ns = since_ns
                events.append(KernelEvent(at_boot_ns=now_ns, oom_counted=counted))
            events.append(_exit(one.process))
            self._drop(one.process.pid)
        for pid, one in self._watched.items():
            one.remember(now_ns, after[pid])
            cgroup = self._counts.cgroup_of(pid)
            if cgroup and cgroup != one.cgroup:
                one.cgroup, one.reads = cgroup, deque([(now_ns, self._counts.read(cgroup))])
        self._hand_over(events)

    def _named(self, dead: _Watched, events: list[KernelEvent]) -> Iterator[KernelEvent]:
        """The counters know of a kill: the log's word of whom may be a moment away."""
        found = list(events)
        for _ in range(LOG_TRIES if self._log is not None else 0):
            if any(event.oom.victim == dead.process for event in found):
                return
            time.sleep(LOG_PAUSE_S)
            more = list(self._logged())
            found += more
            yield from more

    def _logged(self) -> Iterator[KernelEvent]:
        """What the log says since it was read last; of processes that are not watched OOM kills alone."""
        if self._log is None:
            return
        now_ns = clock.boot_ns()
        try:
            lines = self._log.read()
        except OSError as problem:  # exits and counters are told without it
            self._log.close()
            self._log, self.detail = None, f"{self.detail}, until it failed: {problem.strerror}"
            return
        for line in lines:
            match line:
                case OomLine():
                    yield KernelEvent(at_boot_ns=now_ns, oom=self._oom(line))
                case FaultLine():
                    process = self._of_thread(line.tid)
                    if process is not None:
                        yield KernelEvent(at_boot_ns=now_ns, signal=SignalSeen(target=process, signal=line.signal))
        if self._log.overrun > self._overruns:
            count, self._overruns = self._log.overrun - self._overruns, self._log.overrun
            yield KernelEvent(at_boot_ns=now_ns, lost=EventsLost(kind="kernel log", count=count))

    def _oom(self, line: OomLine) -> OomSeen:
        watched = self._watched.get(line.pid)
        victim = watched.process if watched else Party(pid=line.pid, host_pid=line.pid, name=line.name)
        limit = next((one for one in self._counts.read(line.limit_cgroup)), None)
        return OomSeen(
            victim=victim,
            total_vm_kb=line.total_vm,
            anon_rss_kb=line.anon,
            file_rss_kb=line.file,
            shmem_rss_kb=line.shmem,
            page_tables_kb=line.page_tables,
            oom_score_adj=line.oom_score_adj,
            memory_cgroup=line.memory_cgroup,
            limit_cgroup=line.limit_cgroup,
            limit_kb=limit.limit_kb if limit and limit.path == line.limit_cgroup else 0,
            group=line.group,
        )

    def _of_thread(self, tid: int) -> Party | None:
        for pid, watched in self._watched.items():
            if tid == pid or Path(f"/proc/{pid}/task/{tid}").exists():
                return watched.process
        return None

    def _hand_over(self, events: list[KernelEvent]) -> None:
        if events:
            self._on_events(events)


def _opened(device: Path) -> tuple[KernelLog | None, str]:
    """The log, or why not."""
    problem = obstacle_to(device)
    if problem:
        return None, problem
    try:
        return KernelLog(device), ""
    except OSError as error:
        return None, f"{device}: {error.strerror}"


def _described(pid: int) -> Party | None:
    """As the kernel's record would name it, as far as /proc tells; None: it is gone."""
    facts = ProcFacts(pid)
    try:
        place = place_at(facts.cgroup)
        party = Party(
            pid=pid,
            tid=pid,
            start_ticks=facts.start_ticks,
            name=facts.name,
            uid=facts.uid,
            parent_pid=facts.parent_pid,
            cgroup=place.path,
            container=place.container,
        )
    except FactMissing:
        return None
    if Path("/proc/self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE:
        party.host_pid = pid
    try:
        party.executable = facts.exe
    except FactMissing:
        party.executable = ""
    return party


def _is_dead(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _exit(process: Party) -> KernelEvent:
    now_ns = clock.boot_ns()
    age_ms = max(0, now_ns - process.start_ticks * units().tick_ns) // 1_000_000
    return KernelEvent(at_boot_ns=now_ns, exit=ExitSeen(process=process, age_ms=age_ms, unread=True))
