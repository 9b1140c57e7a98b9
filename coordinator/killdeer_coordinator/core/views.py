"""What operators are shown: runs, hosts, the coordinator itself."""

from collections.abc import Iterable

from killdeer.v1.operator_pb2 import GetStatusResponse, HostView, RunState, RunVerdict, RunView, StrikeView
from killdeer.v1.probe_pb2 import Findings
from killdeer_coordinator.core.books import HostRow, RunRow
from killdeer_coordinator.core.limits import held
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster
from killdeer_coordinator.core.words import Now, Operator


def run_view(row: RunRow, strikes: Iterable[StrikeView], *, wave: str, waves_done: int) -> RunView:
    return RunView(
        run_id=row.run_id,
        experiment=row.experiment,
        environment=row.environment,
        owner=row.owner,
        started_by=row.started_by,
        seed=row.seed,
        state=RunState.Name(row.state),
        verdict=RunVerdict.Name(row.verdict),
        why=row.why,
        started_unix_ms=row.started_ms,
        ended_unix_ms=row.ended_ms,
        wave=wave,
        strikes=list(strikes),
        hypothesis=row.hypothesis,
        plan_hash=row.plan_hash,
        waves_done=waves_done,
        waves_total=row.waves_total,
        findings=Findings.FromString(row.findings) if row.findings else None,
    )


def host_views(roster: Roster, now: Now) -> list[HostView]:
    """Every host that has ever joined, by name."""
    victims: dict[str, int] = {}
    for permit in held(roster.books) if roster.books else []:
        victims[permit.host] = victims.get(permit.host, 0) + 1
    views = []
    for host in roster.hosts():
        row = roster.books.hosts.get(host) if roster.books else None
        view = host_view(host, row, roster.way_to(host), now)
        view.last_seen_unix_ms = max(view.last_seen_unix_ms, roster.heard_unix_ms.get(host, 0))
        view.victims = victims.get(host, 0)
        views.append(view)
    return views


def host_view(host: str, row: HostRow | None, link: Link | None, now: Now) -> HostView:
    view = HostView(host=host, connected=link is not None)
    if row is not None:
        view.labels.update(row.labels)
        view.version, view.kernel, view.last_seen_unix_ms = row.version, row.kernel, row.last_seen_ms
        view.quarantined, view.problem = bool(row.quarantined), row.quarantined
    if link is None:
        return view
    hello = link.hello
    view.labels.clear()
    view.labels.update(hello.labels)
    view.version, view.kernel, view.has_rtc = hello.version, hello.kernel, hello.has_rtc
    view.quarantined, view.problem = False, hello.problem
    view.evidence, view.evidence_detail = hello.evidence, hello.evidence_detail
    view.cannot_evaluate.extend(hello.cannot_evaluate)
    if link.far:  # the rest is known where it is linked
        return view
    view.lease_left_ms = max(0, link.lease_until_ns - now.mono_ns) // NS_PER_MS
    view.last_seen_unix_ms = link.heard_unix_ms
    if (beat := link.heartbeat) is not None:
        view.load_1m, view.cpu_percent = beat.load_1m, beat.cpu_percent
        view.memory_percent, view.memory_pressure = beat.memory_percent, beat.memory_pressure
        view.reverts_left.extend(beat.reverts_left)
        view.revert_problems.extend(beat.revert_problems)
        view.events_lost, view.halted_locally = beat.events_lost, beat.halted_locally
        view.notice, view.journal_bytes = beat.notice, beat.journal_bytes
        view.state_free_bytes = beat.state_free_bytes
    return view


def status(roster: Roster, runs_active: int, who: Operator, now: Now) -> GetStatusResponse:
    """Without what only the shell knows: version, sizes."""
    books, trouble = roster.books, roster.store_trouble(now.mono_ns)
    quarantined = sum(1 for row in books.hosts.values() if row.quarantined) if books else 0
    noticed = sum(1 for link in roster.served() if link.heartbeat is not None and link.heartbeat.notice)
    notices = [f"hosts with a word for their operator: {noticed} (see: killdeer hosts)"] if noticed else []
    return GetStatusResponse(
        halts=roster.halts.active,
        hosts_connected=len(roster.reachable()),
        hosts_known=len(roster.hosts()),
        hosts_quarantined=quarantined,
        runs_active=max(runs_active, len(books.runs) if books else 0),
        permits_held=len(held(books)) if books else 0,
        store_ok=not trouble,
        store_detail=trouble,
        position=roster.position,
        name=who.name,
        roles=sorted(who.roles),
        notices=notices,
    )
