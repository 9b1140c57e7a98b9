"""May this agent be served? Its session, its view of the store and its halts, decided in one transaction.

A Hello must present the session of the last Welcome, or the one before while no heartbeat followed (R23); any
other is a clone, a rolled-back disk or a lost journal. A store position that the audit chain does not contain
means that the store was restored from a copy (R22): that latches a halt, which names the position, so that each
lost position halts the fleet once and not again after a rearm.

An agent's word can halt the fleet, and never release it: a release counts only from the store. An id that an
agent calls released and nobody here knows is engaged, so that both sides come to know the same halts again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import Hello, OpenStrike
from killdeer.v1.operator_pb2 import RunState, StrikeView
from killdeer.v1.process_pb2 import HaltRecord, Reason, StorePosition, StrikeState
from killdeer_coordinator.core.approval import not_to_accept
from killdeer_coordinator.core.books import (
    NOT_HEARD,
    Audited,
    Books,
    Change,
    Decide,
    Decision,
    HostRow,
    PutHalt,
    PutHost,
    PutStrike,
    ReleaseHalts,
    StrikeRow,
)
from killdeer_coordinator.core.joining import not_trusted
from killdeer_coordinator.core.refusal import Refused

WHO = "coordinator"
RESTORED = "store-restored-"  # what the ids of halts begin with that were latched for a lost position
UNFINISHED = (
    StrikeState.STRIKE_STATE_PLANNED,
    StrikeState.STRIKE_STATE_PERMITTED,
    StrikeState.STRIKE_STATE_SENT,
    StrikeState.STRIKE_STATE_RECORDED,
    StrikeState.STRIKE_STATE_STRUCK,
    StrikeState.STRIKE_STATE_GONE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """`quarantined` empty: served, with what is held open there; else why not."""

    quarantined: str
    halts: Halts
    row: HostRow
    open: tuple[StrikeRow, ...] = ()
    elsewhere: frozenset[str] = frozenset()  # ids of runs that another coordinator drives on


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Its certificate is not good any more. Nothing that it says counts, not even of halts."""

    why: str


Put = tuple[HostRow, tuple[Change, ...], tuple[Audited, ...]]
"""The host's row as it is from now on, and what of it and around it is new."""


def admit(
    host: str,
    hello: Hello,
    token: str,
    lease_ms: int,
    known: Halts,
    unix_ms: int,
    *,
    coordinator: str = "",
    serial: str = "",
) -> Decide:
    """Answers Admission, by this coordinator, or Untrusted. `known` are the halts it knows, `unix_ms` is for the
    records, `serial` that of the certificate it came with."""

    def decide(books: Books) -> Decision:
        if why := not_trusted(books, host, serial):
            return Decision(answer=Untrusted(why))
        halts, halt_changes, halt_audit = halts_to_store(
            books, known.union(told_by(host, hello, known.union(books.halts), unix_ms))
        )
        if (lost := lost_position(books, hello.position, f"host {host}", unix_ms)) is not None:
            halts = halts.engage(lost)
            halt_changes += (PutHalt(lost),)
            halt_audit += (Audited(WHO, "store.restored", host, lost.reason), _engaged(lost))
            halt_changes += not_heard(books, but=host)
        row = books.hosts.get(host)
        held = _open_strikes(books, host)
        why = _unknown_session(row, hello) or _lost_strikes(books, row, hello)
        if why:
            put, changes, audit = _quarantine(row, host, hello, why, held)
        else:
            put, changes, audit = _serve(row, host, hello, token, lease_ms, books.now_ms, coordinator)
        return Decision(
            changes=halt_changes + changes,
            audit=halt_audit + audit,
            answer=Admission(
                quarantined=why,
                halts=halts,
                row=put,
                open=() if why else tuple(held),
                elsewhere=driven_elsewhere(books, coordinator),
            ),
        )

    return decide


def heard(host: str, token: str) -> Decide:
    """A heartbeat followed the Welcome: the session before this one is over. Answers the HostRow, or None where
    this session is not the current one."""

    def decide(books: Books) -> Decision:
        row = books.hosts.get(host)
        if row is None or row.session != token or row.quarantined:
            return Decision()
        put = replace(row, heard=True, previous="", last_seen_ms=books.now_ms)
        return Decision(changes=(PutHost(put),), answer=put)

    return decide


def last_heard(heard: Mapping[str, tuple[str, int]]) -> Decide:
    """When hosts that have left were heard last: host -> (session, Unix ms). Those served since are passed over."""

    def decide(books: Books) -> Decision:
        rows = [(books.hosts.get(host), session, at_ms) for host, (session, at_ms) in heard.items()]
        return Decision(
            tuple(
                PutHost(replace(row, last_seen_ms=max(row.last_seen_ms, at_ms), coordinator=""))
                for row, session, at_ms in rows
                if row is not None and row.session == session
            )
        )

    return decide


def accept(host: str, who: str, reason: str) -> Decide:
    """End the quarantine; the next Hello counts as the first. Answers the HostRow, or Refused."""

    def decide(books: Books) -> Decision:
        row = books.hosts.get(host)
        if row is None:
            return Decision(answer=_no(host, "NOT_FOUND", "no such host has ever joined"))
        if not row.quarantined:
            return Decision(answer=_no(host, "FAILED_PRECONDITION", "it is not quarantined"))
        if row.removed:
            return Decision(answer=_no(host, "FAILED_PRECONDITION", f"{row.quarantined}; it can only join anew"))
        if (no := not_to_accept(books, row, who)) is not None:
            return Decision(answer=no)
        accepted = replace(row, quarantined="", session="", previous="", heard=False)
        entry = Audited(who, "host.accepted", host, reason, {"quarantined": row.quarantined})
        return Decision(changes=(PutHost(accepted),), audit=(entry,), answer=accepted)

    return decide


def driven_elsewhere(books: Books, coordinator: str) -> frozenset[str]:
    """Ids of runs that go on under another coordinator: their strikes are that one's to revert."""
    return frozenset(
        run.run_id
        for run in books.runs.values()
        if run.driver not in ("", coordinator) and run.state == RunState.RUN_STATE_RUNNING
    )


def not_heard(books: Books, but: str = "") -> tuple[Change, ...]:
    """After a restore: what is open on a host is known once it has said Hello again, or an operator accepts it."""
    return tuple(
        PutHost(replace(row, quarantined=NOT_HEARD))
        for row in books.hosts.values()
        if row.session and not row.quarantined and row.host != but
    )


def lost_position(books: Books, shown: StorePosition, by: str, unix_ms: int) -> HaltRecord | None:
    """The halt to latch for a position that this store does not contain; None if it does, or if it is latched."""
    if not shown.length or books.position_known(shown):
        return None
    halt_id = f"{RESTORED}{shown.length}-{shown.head[:12]}"
    if halt_id in books.halts.engaged:
        return None
    reason = (
        f"store restored: {by} has seen entry {shown.length} of the audit log, which this store does not contain"
    )
    return HaltRecord(id=halt_id, by=WHO, reason=reason, at_unix_ms=unix_ms)


def halts_to_store(books: Books, known: Halts) -> tuple[Halts, tuple[Change, ...], tuple[Audited, ...]]:
    """The union of what is known and stored, and what the store lacks of it."""
    missing = [known.engaged[halt_id] for halt_id in sorted(known.engaged) if halt_id not in books.halts.engaged]
    released = tuple(sorted(known.released - books.halts.released))
    changes: tuple[Change, ...] = tuple(PutHalt(record) for record in missing)
    audit = tuple(_engaged(record) for record in missing)
    if released:
        changes += (ReleaseHalts(released),)
        audit += tuple(Audited(WHO, "halt.released", halt_id, "kept outside the store") for halt_id in released)
    return known.union(books.halts), changes, audit


def told_by(host: str, hello: Hello, known: Halts, unix_ms: int) -> Halts:
    """The halts that an agent knows and this coordinator does not."""
    told = Halts.from_wire(hello.halts)
    unheard_of = told.released - set(known.engaged) - known.released - set(told.engaged)
    engaged = dict(told.engaged)
    for halt_id in unheard_of:
        reason = "this host says that it was released, and nothing is known of it here"
        engaged[halt_id] = HaltRecord(id=halt_id, by=f"host {host}", reason=reason, at_unix_ms=unix_ms)
    return Halts(engaged)


def open_strike(row: StrikeRow, boot_id: str) -> OpenStrike:
    """`boot_id` is the host's now. After a boot its disk may be an older one than the session tells."""
    view = row.view
    doubtful = view.reason == Reason.REASON_QUARANTINED or view.victim.boot_id != boot_id
    return OpenStrike(command_id=view.command_id, victim=view.victim, action=view.action, doubtful=doubtful)


def _unknown_session(row: HostRow | None, hello: Hello) -> str:
    """Why no session of this identity is served; empty if it is."""
    if row is None:
        return "it presents a session, yet has never joined here" if hello.session else ""
    if row.quarantined not in ("", NOT_HEARD):
        return row.quarantined
    if not row.session:  # accepted by an operator
        return ""
    if hello.session in row.good_sessions:
        return ""
    if not row.heard and not row.previous and not hello.session:
        return ""  # its first Welcome never reached it
    if not hello.session:
        return "its session is lost: a lost journal, or another machine with its name"
    return "its session is not the last one: a clone, or a disk that was rolled back"


def _lost_strikes(books: Books, row: HostRow | None, hello: Hello) -> str:
    """Strikes that are open there and unknown to these books were in a store that is lost (rule R22). Nobody counts
    their victims, so nothing is granted there until an operator has looked."""
    known = {permit.command_id for permit in books.permits.values()}
    lost = [command_id for command_id in hello.open_commands if command_id not in known]
    if not lost or row is None or not row.session:
        return ""
    return f"strikes are open on it that this store does not hold: {', '.join(lost[:3])}; it was restored, or lost"


def _quarantine(row: HostRow | None, host: str, hello: Hello, why: str, held: list[StrikeRow]) -> Put:
    if row is not None and row.quarantined not in ("", NOT_HEARD):
        return row, (), ()
    put = replace(row or HostRow(host=host, labels=dict(hello.labels)), quarantined=why)
    changes: list[Change] = [PutHost(put)]
    for strike in held:
        if strike.view.state in UNFINISHED:
            view = StrikeView()
            view.CopyFrom(strike.view)
            view.state = StrikeState.STRIKE_STATE_UNKNOWN
            # The mark stays over the acceptance: what this host's journal does not hold, an older one may have.
            view.reason = Reason.REASON_QUARANTINED
            view.detail = f"{host} is quarantined: {why}"
            changes.append(PutStrike(replace(strike, view=view)))
    return put, tuple(changes), (Audited(WHO, "host.quarantined", host, why),)


def _serve(
    row: HostRow | None, host: str, hello: Hello, token: str, lease_ms: int, now_ms: int, coordinator: str
) -> Put:
    labels = dict(hello.labels)
    served = HostRow(
        host=host,
        labels=labels,
        session=token,
        previous=_presented(row, hello),
        heard=False,
        boot_id=hello.boot_id,
        longest_lease_ms=max(lease_ms, row.longest_lease_ms if row else 0),
        version=hello.version,
        kernel=hello.kernel,
        last_seen_ms=now_ms,
        coordinator=coordinator,
        hello=_lasting(hello).SerializeToString(deterministic=True),
    )
    # A reconnect is no news for the record; a new host, a boot or new labels are.
    if row is not None and row.boot_id == hello.boot_id and row.labels == labels:
        return served, (PutHost(served),), ()
    details: dict[str, object] = {"boot_id": hello.boot_id, "labels": labels, "version": hello.version}
    return served, (PutHost(served),), (Audited(f"host {host}", "host.joined", host, details=details),)


def _lasting(hello: Hello) -> Hello:
    """What other coordinators are to know of it."""
    kept = Hello()
    kept.CopyFrom(hello)
    for name in ("session", "halts", "open_commands", "position"):
        kept.ClearField(name)
    return kept


def _presented(row: HostRow | None, hello: Hello) -> str:
    """The session that stays good until a heartbeat follows the new one."""
    if row is None or not row.session:
        return hello.session
    if hello.session in (row.session, row.previous):
        return hello.session
    return row.previous


def _open_strikes(books: Books, host: str) -> list[StrikeRow]:
    """Strikes on the host whose permit is held, oldest permit first."""
    held = sorted(
        (permit for permit in books.permits.values() if permit.host == host and not permit.released_ms),
        key=lambda permit: (permit.granted_ms, permit.permit_id),
    )
    return [books.strikes[permit.command_id] for permit in held if permit.command_id in books.strikes]


def _no(host: str, code: str, cause: str) -> Refused:
    return Refused(
        code=code, message=f"cannot accept {host}: {cause}", field="host", remedy="killdeer hosts lists them"
    )


def _engaged(record: HaltRecord) -> Audited:
    details: dict[str, object] = {"done_unix_ms": record.at_unix_ms}
    return Audited(record.by or WHO, "halt.engaged", record.id, record.reason, details)
