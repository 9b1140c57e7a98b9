"""From records of the BPF rings to the wire's KernelEvent. Pure: what the host has of its own is an argument.

`host` and `command_id` stay empty: the kernel knows neither.
"""

from collections.abc import Callable
from dataclasses import dataclass

from killdeer.v1.process_pb2 import EventsLost, ExecSeen, ExitSeen, KernelEvent, OomSeen, Party, SignalSeen
from killdeer_agent.kernel import layout
from killdeer_agent.kernel.filter import VERDICTS

LOST = {
    layout.LOST_SIGNAL: "signal",
    layout.LOST_DEADLY_SIGNAL: "deadly signal",
    layout.LOST_EXIT: "exit",
    layout.LOST_EXEC: "exec",
    layout.LOST_WATCHED_SIGNAL: "watched signal",
    layout.LOST_WATCHED_EXIT: "watched exit",
    layout.LOST_WATCHED_EXEC: "watched exec",
    layout.LOST_OOM: "oom",
    layout.LOST_CGROUP: "cgroup",
}
FILTERED = {layout.LOST_FILTERED_SIGNAL: "signal", layout.LOST_FILTERED_EXIT: "exit"}


@dataclass(frozen=True, slots=True)
class Units:
    """This host's. `tick_ns`: of the start times in /proc; `page_kb`: of memory counts; `executable`: the path of
    the file that a process ran, empty where that is not certain."""

    tick_ns: int
    page_kb: int
    executable: Callable[[layout.Party], str] = lambda _process: ""


def to_wire(record: bytes, units: Units) -> KernelEvent:
    """Raises ValueError for a record of a kind that this agent does not know."""
    kind = kind_of(record)
    if kind == layout.SIGNAL:
        return _signal(layout.decode_signal(record), units)
    if kind == layout.EXIT:
        return _exit(layout.decode_exit(record), units)
    if kind == layout.EXEC:
        return _exec(layout.decode_exec(record), units)
    if kind == layout.OOM:
        return _oom(layout.decode_oom(record), units)
    raise ValueError(f"cannot read a kernel event of kind {kind}: agent and BPF object differ")


def kind_of(record: bytes) -> int:
    kind: int = layout.HEAD.unpack_from(record)[1]
    return kind


def new_cgroup(record: bytes) -> tuple[int, str]:
    """For the record of a cgroup that was made, which is no event of the wire: its id and path."""
    cgroup = layout.decode_cgroup(record)
    return cgroup.id, _text(cgroup.path)


def executed(record: bytes) -> tuple[layout.Party, str]:
    """For the record of an exec: who it is, and the name that was asked for."""
    event = layout.decode_exec(record)
    return event.process, _text(event.file)


def doubtful_exit(record: bytes) -> tuple[int, int] | None:
    """For the record of an exit that the kernel may make twice, who it is (host pid, start); else None."""
    if not layout.HEAD.unpack_from(record)[2] & layout.DOUBTFUL:
        return None
    process = layout.decode_exit(record).process
    return process.host_pid, process.start_ns


def losses(before: list[int], now: list[int], at_boot_ns: int) -> list[KernelEvent]:
    """One event for each slot of the kernel's counters that has grown."""
    return [
        KernelEvent(at_boot_ns=at_boot_ns, lost=EventsLost(kind=kind, count=now[slot] - before[slot]))
        for slot, kind in LOST.items()
        if now[slot] > before[slot]
    ]


def _signal(event: layout.Signal, units: Units) -> KernelEvent:
    known = 0 <= event.verdict < len(VERDICTS)
    by_kernel = event.flags & layout.NO_SENDER
    current = _party(event.sender, units)
    return KernelEvent(
        at_boot_ns=event.at_boot_ns,
        signal=SignalSeen(
            sender=None if by_kernel else current,
            running=current if by_kernel else None,
            target=_party(event.target, units),
            signal=event.signal,
            code=event.code,
            group=bool(event.group),
            verdict=VERDICTS[event.verdict] if known else "unknown",
            fatal=bool(event.flags & layout.FATAL),
            internal=bool(event.flags & layout.INTERNAL),
            exiting=bool(event.flags & layout.EXITING),
            namespace_init=bool(event.flags & layout.NS_INIT),
        ),
    )


def _exit(event: layout.Exit, units: Units) -> KernelEvent:
    return KernelEvent(
        at_boot_ns=event.at_boot_ns,
        exit=ExitSeen(
            process=_party(event.process, units),
            code=event.status >> 8 & 0xFF,
            signal=event.status & 0x7F,
            core_dumped=bool(event.status & 0x80),
            age_ms=max(0, event.at_boot_ns - event.process.start_ns) // 1_000_000,
        ),
    )


def _exec(event: layout.Exec, units: Units) -> KernelEvent:
    return KernelEvent(
        at_boot_ns=event.at_boot_ns,
        exec=ExecSeen(process=_party(event.process, units), file=_text(event.file)),
    )


def _oom(event: layout.Oom, units: Units) -> KernelEvent:
    return KernelEvent(
        at_boot_ns=event.at_boot_ns,
        oom=OomSeen(
            victim=_party(event.victim, units),
            trigger=_party(event.trigger, units),
            total_vm_kb=event.total_vm * units.page_kb,
            # The kernel's counters of a process may stand a little below zero.
            anon_rss_kb=max(0, event.anon_rss) * units.page_kb,
            file_rss_kb=max(0, event.file_rss) * units.page_kb,
            shmem_rss_kb=max(0, event.shmem_rss) * units.page_kb,
            page_tables_kb=event.page_tables // 1024,
            oom_score_adj=event.oom_score_adj,
            memory_cgroup=bool(event.flags & layout.LIMIT_FOUND),
            limit_cgroup_id=event.limit_cgroup_id,
            limit_kb=event.limit * units.page_kb,
            group=bool(event.flags & layout.OOM_GROUP),
        ),
    )


def _party(party: layout.Party, units: Units) -> Party:
    return Party(
        pid=party.pid,
        host_pid=party.host_pid,
        tid=party.tid,
        start_ticks=party.start_ns // units.tick_ns,
        name=_text(party.name),
        uid=party.uid,
        parent_pid=party.parent_pid,
        cgroup_id=party.cgroup_id,
        pid_namespace=party.pid_ns,
        executable=units.executable(party),
    )


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
