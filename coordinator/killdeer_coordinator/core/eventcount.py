"""What the evidence of the target's hosts comes to: OOM kills, deaths by other causes, restarts. Pure.

What a host can't tell is never nothing (I8). Once events of a host were lost that may have been such, its count is
unknown for the rest of the run; it is while a host has no link here, or no record of its kernel. What was counted
is then what it comes to at least.

An event counts from when it came here, which is up to two seconds after it happened; evidence that an agent kept
while it had no link comes when it is back.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from killdeer.v1 import probe_pb2
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from killdeer.v1.probe_pb2 import EventsSource
from killdeer.v1.process_pb2 import Cause, Death, KernelEvent, Party
from killdeer_coordinator.core.restarts import Restarts
from killdeer_coordinator.core.roster import NS_PER_MS, Link
from killdeer_coordinator.core.series import Value, known, unknown

OOM, DEATH, RESTART = probe_pb2.EVENT_KIND_OOM, probe_pb2.EVENT_KIND_DEATH, probe_pb2.EVENT_KIND_RESTART

MOST_COUNTED = 10_000
MOST_MARKED = 4_096

HARMLESS = {
    OOM: frozenset({"signal", "exec", "watched exec"}),
    DEATH: frozenset({"signal", "exec", "watched exec"}),
    RESTART: frozenset({"signal", "deadly signal", "watched signal", "oom"}),
}
"""Kinds of lost events that can't have been one of those counted, nor one that tells their cause or their service.
Signals that end a process are kept apart from the others by the agents, as `deadly signal` and `watched signal`."""

_OOM_KILLS = (Cause.CAUSE_OOM_CGROUP, Cause.CAUSE_OOM_GLOBAL)


@dataclass(frozen=True, slots=True)
class _Counted:
    at_ns: int
    host: str
    names: frozenset[str]  # of what it belonged to
    what: str


class EventCount:
    def __init__(
        self,
        source: EventsSource,
        *,
        run_id: str,
        services: Callable[[], Collection[str]],
        hosts: Callable[[], Iterable[Link]],
    ) -> None:
        """`services`: those that candidates were seen in, so far; for a source that names no unit. `hosts`: the
        links of the target's hosts now. One that is gone from there stays a host of the target."""
        self._source = source
        self._run_id = run_id
        self._services = services
        self._hosts = hosts
        self._began_ns: int | None = None
        self._counted: deque[_Counted] = deque(maxlen=MOST_COUNTED)
        self._left_out_ns: int | None = None  # when the newest came that there was no room for
        self._lost: dict[str, str] = {}  # host -> what
        self._aimed_at: set[str] = set()
        self._looked_ns: int | None = None
        self._marked: OrderedDict[tuple[str, int, int], None] = OrderedDict()  # by the OOM killer
        self._restarts: dict[str, Restarts] = {}

    def begin(self, now_ns: int) -> None:
        """The run strikes for the first time: without a window, what comes from now on counts."""
        if self._began_ns is None:
            self._began_ns = now_ns

    def saw(self, host: str, event: KernelEvent, now_ns: int) -> None:
        """Events of one host in the order in which they came; hosts that are not of the target are passed over."""
        if host not in self._aimed_at and self._looked_ns != now_ns:  # of a batch, the first event alone
            self._look_around()
            self._looked_ns = now_ns
        if host not in self._aimed_at:
            return
        if event.HasField("lost"):
            self._lose(host, event)
        for death in self._found(host, event):
            if len(self._counted) == MOST_COUNTED:
                self._left_out_ns = self._counted[0].at_ns
            self._counted.append(_Counted(now_ns, host, _names(death), _what(host, death)))

    def count(self, now_ns: int, over_ms: int = 0) -> Value:
        """Those of the last `over_ms` or, with 0, since the first strike; the detail names the newest."""
        since_ns = self._began_ns if not over_ms else now_ns - over_ms * NS_PER_MS
        if since_ns is None:
            since_ns = now_ns + 1
        found = [one for one in self._counted if one.at_ns >= since_ns and self._is_meant(one.names)]
        deaf = self._deaf()
        if self._left_out_ns is not None and self._left_out_ns >= since_ns:
            deaf.append(f"there were more than {MOST_COUNTED}")
        if deaf:
            more = f", and {len(deaf) - 1} more" if len(deaf) > 1 else ""
            return unknown(deaf[0] + more, float(len(found)))
        return known(float(len(found)), found[-1].what if found else "")

    def _look_around(self) -> list[Link]:
        links = list(self._hosts())
        self._aimed_at.update(link.host for link in links)
        return links

    def _deaf(self) -> list[str]:
        links = {link.host: link for link in self._look_around()}
        whys = {host: self._lost.get(host) or deaf(host, links.get(host)) for host in sorted(self._aimed_at)}
        return [why for why in whys.values() if why]

    def _lose(self, host: str, event: KernelEvent) -> None:
        if event.lost.kind in HARMLESS.get(self._source.kind, ()):
            return
        what = f"events of kind {event.lost.kind!r}" if event.lost.kind else "events"
        self._lost.setdefault(host, f"{host} has lost {event.lost.count} {what}")

    def _found(self, host: str, event: KernelEvent) -> Iterator[Death]:
        """The deaths that this event adds to the count; of restarts, those whose place was taken."""
        if self._source.kind == RESTART:
            yield from self._restarts.setdefault(host, Restarts()).saw(event)
        elif event.HasField("oom"):
            self._marked[_key(host, event.oom.victim)] = None
            if len(self._marked) > MOST_MARKED:
                self._marked.popitem(last=False)
        elif event.HasField("death"):
            by_oom = self._killed_by_oom(host, event.death)
            if by_oom if self._source.kind == OOM else not self._is_ours(event):
                yield event.death

    def _killed_by_oom(self, host: str, death: Death) -> bool:
        """Or chosen by the OOM killer, of a death whose cause isn't certain."""
        marked = _key(host, death.process) in self._marked
        return death.cause in _OOM_KILLS or (death.cause == Cause.CAUSE_UNKNOWN and marked)

    def _is_ours(self, event: KernelEvent) -> bool:
        """By a strike of this run. A victim of it whose cause of death isn't certain is taken to be."""
        of_this_run = event.command_id.rpartition("-")[0] == self._run_id
        return of_this_run and event.death.cause in (Cause.CAUSE_STRIKE, Cause.CAUSE_UNKNOWN)

    def _is_meant(self, names: frozenset[str]) -> bool:
        if self._source.unit:
            return any(fnmatchcase(name, self._source.unit) for name in names)
        return not names.isdisjoint(self._services())


def deaf(host: str, link: Link | None) -> str:
    """Why the evidence of this host does not come here whole now; empty if it does."""
    if link is None:
        return f"{host} is not connected"
    if link.far:
        return f"{host} is connected to the coordinator {link.far}, which keeps its evidence to itself"
    if link.hello.evidence != EVIDENCE_LEVEL_BPF:
        why = f": {link.hello.evidence_detail}" if link.hello.evidence_detail else ""
        return f"{host} has no record of its kernel{why}"
    return ""


def _names(death: Death) -> frozenset[str]:
    """What it belonged to, by all names; a service outside of units and containers is its program (rule R19)."""
    names = {death.unit, death.service}
    if not (death.unit or death.container):
        names |= {death.process.executable, death.process.name}
    return frozenset(names - {""})


def _what(host: str, death: Death) -> str:
    process = death.process
    return f"{process.name or death.service} {process.pid or process.host_pid} on {host}: {death.why}"


def _key(host: str, process: Party) -> tuple[str, int, int]:
    return (host, process.host_pid, process.start_ticks)
