"""What `killdeer doctor` looks at, from this machine outward: context, keys, coordinators, store, hosts."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from killdeer.version import VERSION
from killdeer.wording import counted
from killdeer_cli.text import moment, size
from killdeer_client.client import QUICK_S, Coordinator
from killdeer_client.contexts import Context
from killdeer_client.errors import ClientError
from killdeer_client.identity import identity

DAY_S = 86_400
EXPIRES_SOON_DAYS = 30
# An operator reads times of several machines beside each other.
APART_MS = 5_000
NAMED_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`needed`: without it nothing can be asked of the fleet, or nothing is granted there. `remedy`: what to do
    where it is not `ok`."""

    name: str
    ok: bool
    needed: bool = False
    fact: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one coordinator: its status, or why there is none; `apart_ms`: how far its clock is ahead of ours."""

    address: str
    status: o.GetStatusResponse | None = None
    problem: ClientError | None = None
    apart_ms: int = 0
    hosts: tuple[o.HostView, ...] = ()


def certificate(context: Context, now_s: float) -> Finding:
    try:
        me = identity(context)
    except ClientError as error:
        return Finding(name="certificate", ok=False, needed=True, fact=error.message, remedy=error.remedy)
    left_s = me.ends_s - now_s
    enough = left_s >= min(EXPIRES_SOON_DAYS * DAY_S, (me.ends_s - me.begins_s) / 5)
    left = f"{left_s // DAY_S:.0f} days" if left_s >= 3 * DAY_S else f"{left_s // 3_600:.0f} hours"
    fact = f"you are {me.name} ({', '.join(me.roles) or 'no role'}), for {left} more"
    remedy = f"have another issued before it ends: killdeer-coordinator operator create {me.name} --role …"
    return Finding(name="certificate", ok=enough, fact=fact, remedy=remedy)


def ask(context: Context, address: str) -> Answer:
    """Never raises ClientError: that is an answer, too."""
    coordinator = Coordinator(context, address)
    try:
        before_ns = time.time_ns()
        status: o.GetStatusResponse = coordinator.call("GetStatus", o.GetStatusRequest(), QUICK_S)
        middle_ms = (before_ns + time.time_ns()) // 2_000_000
        hosts: o.ListHostsResponse = coordinator.call("ListHosts", o.ListHostsRequest(), QUICK_S)
    except ClientError as error:
        return Answer(address=address, problem=error)
    finally:
        coordinator.close()
    apart_ms = status.unix_ms - middle_ms if status.unix_ms else 0
    return Answer(address=address, status=status, apart_ms=apart_ms, hosts=tuple(hosts.hosts))


def findings_of(answers: Sequence[Answer]) -> Iterator[Finding]:
    """The fleet's own state is the same whoever is asked: it is told by the first that answered."""
    alone = all(answer.status is None for answer in answers)
    for answer in answers:
        yield from _coordinator(answer, alone)
    if (first := next((answer for answer in answers if answer.status is not None), None)) is not None:
        assert first.status is not None
        yield _halt(first.status)
        yield from _hosts(first)


def _coordinator(answer: Answer, alone: bool) -> Iterator[Finding]:
    name = f"coordinator {answer.address}"
    if answer.status is None:
        assert answer.problem is not None
        problem = answer.problem
        yield Finding(name=name, ok=False, needed=alone, fact=problem.message, remedy=problem.remedy)
        return
    status = answer.status
    same = status.version == VERSION
    yield Finding(
        name=name,
        ok=same,
        fact=f"answers, version {status.version or 'unknown'}{'' if same else f'; this command line is {VERSION}'}",
        remedy="install the same version here: what one knows and the other does not is refused",
    )
    yield Finding(
        name="clock",
        ok=abs(answer.apart_ms) <= APART_MS,
        fact=_apart(answer.apart_ms) if status.unix_ms else "it does not tell its time",
        remedy="timedatectl set-ntp true, on whichever is wrong; leases do not rest on it, records do",
    )
    held = f"{size(status.store_bytes)}, {evidence_kept(status)}"
    yield Finding(
        name="store",
        ok=status.store_ok,
        needed=True,
        fact=held if status.store_ok else f"not usable: {status.store_detail}",
        remedy="no lease is renewed and no permit granted until it is: look at the disk, or the database",
    )
    for notice in status.notices:
        remedy = "mend what it names, then reload or restart that daemon"
        yield Finding(name="notice", ok=False, fact=" ".join(notice.split()), remedy=remedy)


def evidence_kept(status: o.GetStatusResponse) -> str:
    """How much, since when, and for how long any is kept."""
    held = f"{counted(status.evidence_rows, 'piece')} of evidence"
    since = f" since {moment(status.evidence_since_unix_ms)}" if status.evidence_since_unix_ms else ""
    return f"{held}{since} (kept for {counted(status.retention_days, 'day')})" if status.retention_days else held


def _apart(ms: int) -> str:
    if abs(ms) < 1_000:
        return "agrees with this machine's within a second"
    return f"{abs(ms) / 1_000:,.0f} s {'ahead of' if ms > 0 else 'behind'} this machine's"


def _halt(status: o.GetStatusResponse) -> Finding:
    if not status.halts:
        return Finding(name="halt", ok=True, fact="none is engaged")
    said = "; ".join(f"by {halt.by}: {halt.reason or 'no reason given'}" for halt in status.halts)
    return Finding(
        name="halt",
        ok=False,
        fact=f"the fleet is halted {said}",
        remedy="once it is safe: killdeer rearm --reason …",
    )


def _hosts(answer: Answer) -> Iterator[Finding]:
    hosts = answer.hosts
    if not hosts:
        remedy = "on the coordinator: killdeer-coordinator token create, then what it prints on the host"
        yield Finding(name="hosts", ok=False, fact="none has ever joined", remedy=remedy)
        return
    here = [host for host in hosts if host.connected]
    gone = [host for host in hosts if not host.connected and not host.quarantined]
    fact = f"{len(here):,} of {counted(len(hosts), 'host')} connected"
    yield Finding(
        name="hosts",
        ok=not gone,
        fact=f"{fact}; gone: {_named(gone)}" if gone else fact,
        remedy="on each: killdeer-agent doctor; one that will not come back: killdeer hosts remove HOST --reason …",
    )
    for name, found, what, remedy in (
        (
            "quarantine",
            [host for host in hosts if host.quarantined],
            "not served",
            "killdeer hosts says why; if it is what it says it is: killdeer hosts accept HOST --reason …",
        ),
        (
            "evidence",
            [host for host in here if host.evidence != EVIDENCE_LEVEL_BPF],
            "without the kernel's record (no sender, no hold-down)",
            "on each: killdeer-agent doctor says what is missing",
        ),
        ("reverts", [host for host in here if host.reverts_left], "not all reverted", "killdeer hosts says why"),
        (
            "local halt",
            [host for host in here if host.halted_locally],
            "halted on the host itself",
            "there, once it is safe: killdeer-agent rearm",
        ),
        ("problem", [host for host in here if host.problem], "takes no strikes", "killdeer hosts says why"),
    ):
        if found:
            yield Finding(name=name, ok=False, fact=f"{what}: {_named(found)}", remedy=remedy)


def _named(hosts: Iterable[o.HostView]) -> str:
    names = [host.host for host in hosts]
    more = f" and {len(names) - NAMED_MOST:,} more" if len(names) > NAMED_MOST else ""
    return f"{', '.join(names[:NAMED_MOST])}{more}"
