"""Kernel events of a service that dies and comes back, as an agent tells them."""

from typing import Any

from killdeer.v1 import process_pb2 as p

SECOND_NS = 1_000_000_000
AT_NS = 10_000 * SECOND_NS
"""Of the death that a test is about, on its host's clock."""
UNIT = "payment-worker@3.service"
SERVICE = "payment-worker@"
SYSTEMD = p.Party(pid=1, host_pid=1, start_ticks=1, name="systemd")


def party(pid: int = 4711, name: str = "payment-worker", **fields: Any) -> p.Party:
    """One of the service's processes; its start is told by its pid."""
    made = p.Party(pid=pid, host_pid=pid, start_ticks=pid * 10, name=name, uid=1000, parent_pid=1, cgroup_id=77)
    made.MergeFrom(p.Party(**fields))
    return made


def death(
    pid: int = 4711, *, cause: p.Cause = p.CAUSE_OOM_CGROUP, at_ns: int = AT_NS, command_id: str = "", **fields: Any
) -> p.KernelEvent:
    made = p.Death(
        process=party(pid), cause=cause, signal=9, age_ms=11_520_000, unit=UNIT, service=SERVICE, cgroup=f"/{UNIT}"
    )
    for field, value in fields.items():
        made.ClearField(field)
        made.MergeFrom(p.Death(**{field: value}))
    return p.KernelEvent(at_boot_ns=at_ns, host="alpha", command_id=command_id, death=made)


def signal(target: p.Party, number: int, *, at_ns: int, sender: p.Party | None = None) -> p.KernelEvent:
    seen = p.SignalSeen(sender=sender, target=target, signal=number, verdict="delivered")
    return p.KernelEvent(at_boot_ns=at_ns, host="alpha", signal=seen)


def exit_of(process: p.Party, *, at_ns: int, by: int = 9, code: int = 0) -> p.KernelEvent:
    return p.KernelEvent(
        at_boot_ns=at_ns, host="alpha", exit=p.ExitSeen(process=process, signal=by, code=code, age_ms=5_000)
    )


def exec_of(process: p.Party, *, at_ns: int) -> p.KernelEvent:
    seen = p.ExecSeen(process=process, file=f"/usr/bin/{process.name}")
    return p.KernelEvent(at_boot_ns=at_ns, host="alpha", exec=seen)


def oom(victim: p.Party, *, at_ns: int) -> p.KernelEvent:
    seen = p.OomSeen(victim=victim, trigger=victim, anon_rss_kb=498 * 1024, memory_cgroup=True, limit_kb=512 * 1024)
    return p.KernelEvent(at_boot_ns=at_ns, host="alpha", oom=seen)
