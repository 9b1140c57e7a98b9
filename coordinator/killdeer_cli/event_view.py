"""Kernel events as lines: who did what to whom. Pure."""

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import counted, signal_name
from killdeer_cli.text import (
    age_text,
    clock,
    dead_text,
    death_text,
    fate_text,
    memory_text,
    party_text,
    restarts_text,
)

_OURS = "cyan"
# Nothing is wrong where somebody meant it.
_STYLES = {p.CAUSE_STRIKE: _OURS, p.CAUSE_SUPERVISOR: "yellow", p.CAUSE_EXIT: "yellow"}


def death_style(death: p.Death) -> str:
    if death.cause == p.CAUSE_EXIT and not death.code:
        return ""
    return _STYLES.get(death.cause, "red")


def event_line(one: o.WatchEventsResponse) -> Text:
    """For a list of many hosts' events."""
    event = one.event
    kind, what, style = told(event)
    return Text.assemble(
        (f"{clock(one.received_unix_ms)}  {event.host}  ", "dim"),
        (f"{kind:<6}  ", f"bold {style}" if event.HasField("death") else "bold"),
        (what, style),
        (f"  (strike {event.command_id})" if event.command_id else "", _OURS),
    )


class Heard:
    """Which exits have been told already: one collector's word beside the other's may say nothing new."""

    def __init__(self) -> None:
        self._exits: dict[tuple[str, int, int], str] = {}

    def is_new(self, event: p.KernelEvent) -> bool:
        if not event.HasField("exit"):
            return True
        process = event.exit.process
        key = (event.host, process.pid or -process.host_pid, process.start_ticks)  # a pidfd knows one pid only
        if not (process.pid or process.host_pid):
            return True
        before, now = self._exits.get(key), fate_text(event.exit)
        # A pidfd tells neither code nor signal.
        if before is None or (now != before and (event.exit.code or event.exit.signal)):
            self._exits[key] = now
            return True
        return False


def told(event: p.KernelEvent) -> tuple[str, str, str]:
    """(kind, what happened, style)."""
    match event.WhichOneof("kind"):
        case "death":
            return "death", _death(event.death), death_style(event.death)
        case "signal":
            seen = event.signal
            sender = party_text(seen.sender) if seen.HasField("sender") else "the kernel"
            verdict = f": {seen.verdict.replace('_', ' ')}" if seen.verdict else ""
            return "signal", f"{signal_name(seen.signal)} from {sender} to {party_text(seen.target)}{verdict}", ""
        case "exit":
            left = event.exit
            age = f" after {age_text(left.age_ms)}" if left.age_ms else ""
            return "exit", f"{party_text(left.process)} {fate_text(left)}{age}", ""
        case "exec":
            return "exec", f"{party_text(event.exec.process)} runs {event.exec.file}", ""
        case "oom":
            return "oom", _oom(event.oom), "red"
        case "oom_counted":
            return "oom", _oom_counted(event.oom_counted), "red"
        case "lost":
            return "lost", f"{counted(event.lost.count, 'event')} of kind {event.lost.kind} were lost", "red"
        case _:
            return "?", "an event newer than this command line", ""


def _oom_counted(seen: p.OomCounted) -> str:
    limit = f" (limit {memory_text(seen.limit_kb)} of {seen.limit_cgroup})" if seen.limit_cgroup else ""
    killed = f"{counted(seen.kills, 'process', 'processes')} of {seen.cgroup}{limit}"
    return f"the OOM killer took {killed}, about when {party_text(seen.process)} exited"


def _death(death: p.Death) -> str:
    age = f" after {age_text(death.age_ms)}" if death.age_ms else ""
    often = restarts_text(death)
    return f"{dead_text(death)} died{age}: {death_text(death)}{f'; {often}' if often else ''}"


def _oom(oom: p.OomSeen) -> str:
    limit = f" (limit {memory_text(oom.limit_kb)})" if oom.limit_kb else ""
    where = f"its memory cgroup{limit}" if oom.memory_cgroup else "the whole host"
    trigger = f"; asked for by {party_text(oom.trigger)}" if oom.HasField("trigger") else ""
    used = f"{memory_text(oom.anon_rss_kb + oom.file_rss_kb + oom.shmem_rss_kb)} resident"
    return f"{party_text(oom.victim)} killed: out of memory in {where}, {used}{trigger}"
