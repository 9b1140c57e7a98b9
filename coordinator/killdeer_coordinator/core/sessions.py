"""Links and sessions: Hello, Welcome, leases and their renewals (rules R7, R9, R22, R23).

The coordinator counts an agent's right to act from when it sends the renewal. A link that is not served yet
hears halts and nothing else; one that has been silent for longer than its right is dismissed.
"""

from collections.abc import Callable, Collection, Sequence

from killdeer.v1.agent_pb2 import (
    ConnectResponse,
    Goodbye,
    Halt,
    Heartbeat,
    LeaseRenewal,
    Welcome,
)
from killdeer.v1.process_pb2 import Reason
from killdeer_coordinator.core.admission import Admission, Untrusted, admit, heard, last_heard, open_strike
from killdeer_coordinator.core.books import Decide, HostRow, StrikeRow
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.gate import Gate, some_time
from killdeer_coordinator.core.halting import Halting
from killdeer_coordinator.core.roster import Link, Roster, right_ns
from killdeer_coordinator.core.words import Decided, Dismiss, Joined, Tell

QUARANTINE_RETRY_MS = 30_000
STORE_RETRY_MS = 4_000
DRAIN_SPREAD_MS = 5_000  # agents told to leave come back over this long

Welcomed = Callable[[Link, Sequence[StrikeRow], Collection[str]], None]
"""Told after each Welcome, with the strikes that are held open on that host, and the ids of those runs among theirs
that another coordinator drives on."""

Lost = Callable[[Link], None]


class Sessions:
    def __init__(
        self, roster: Roster, errands: Errands, halting: Halting, *, welcomed: Welcomed, lost: Lost
    ) -> None:
        self._roster = roster
        self._errands = errands
        self._halting = halting
        self._welcomed = welcomed
        self._lost = lost
        self._gate = Gate(roster, errands)
        self._hearing: set[int] = set()  # links whose first heartbeat is on its way to the store
        self._parted: set[int] = set()  # links that said Goodbye
        self._boots: dict[str, str] = {}  # host -> boot id of its last link that was served here
        self._left: dict[str, tuple[str, int]] = {}  # (session, when it was heard last): not in the store yet

    def joined(self, joined: Joined) -> None:
        now_ns, link_number = self._errands.now.mono_ns, joined.link
        if joined.hello.host != joined.host:
            detail = f"this host calls itself {joined.hello.host!r}, its certificate says {joined.host!r}"
            self._errands.ask(Dismiss(link_number, Reason.REASON_NOT_PERMITTED, detail, QUARANTINE_RETRY_MS))
            return
        link = Link(
            number=link_number,
            host=joined.host,
            hello=joined.hello,
            token=joined.token,
            serial=joined.serial,
            heard_ns=now_ns,
            heard_unix_ms=self._errands.now.unix_ms,
            stopped={halt.id for halt in joined.hello.halts.engaged},
        )
        self._roster.links[link_number] = link
        for halt in self._roster.halts.active:  # before the store is asked: a halt waits for nothing
            if halt.id not in link.stopped:
                self._tell(link, ConnectResponse(halt=Halt(halt=halt)))
        if self._of_another_boot(link):
            detail = "an earlier boot of this host may act still: it is served once that right is over"
            self._dismiss(link, Reason.REASON_NO_ANSWER, detail, some_time(link.token, STORE_RETRY_MS))
            return
        if self._gate.full:
            detail = "too many agents come at once: this one's turn is later"
            self._dismiss(link, Reason.REASON_NO_ANSWER, detail, some_time(link.token))
            return
        self._gate.wait(
            link, lambda: self._admit(link), lambda answer, decided: self._admitted(link, answer, decided)
        )

    def _of_another_boot(self, link: Link) -> bool:
        """A machine that boots has lost its right; a copy of its disk comes while the original has it. To serve
        that one would be to take its word for what became of the other's victims."""
        far = self._roster.far.get(link.host)
        if far is not None and far.hello.boot_id != link.hello.boot_id:
            return True  # until the coordinator that serves the other lets it go
        older, boot_id = self._roster.link_of(link.host), self._boots.get(link.host, link.hello.boot_id)
        right_ns = older.lease_until_ns if older is not None else self._roster.rights.get(link.host, 0)
        return boot_id != link.hello.boot_id and self._errands.now.mono_ns < right_ns

    def left(self, number: int) -> None:
        link = self._roster.drop(number)
        self._hearing.discard(number)
        if link is None:
            return
        if link.served:
            # By its own word it has stopped and reverted; otherwise it may act until its lease is over, be it one
            # that an earlier link gave and this one never renewed.
            parted, before_ns = number in self._parted, self._roster.rights.get(link.host, 0)
            until_ns = self._errands.now.mono_ns if parted else max(before_ns, link.lease_until_ns)
            self._roster.rights[link.host] = until_ns
            if not parted:
                self._errands.note("host.lost", host=link.host)
            self._roster.heard_unix_ms[link.host] = link.heard_unix_ms
            self._left[link.host] = (link.token, link.heard_unix_ms)
            self._lost(link)
        self._parted.discard(number)

    def goodbye(self, link: Link, goodbye: Goodbye) -> None:
        self._parted.add(link.number)
        self._errands.note("host.goodbye", host=link.host, reason=goodbye.reason)

    def superseded(self, link: Link, row: HostRow) -> None:
        """The store knows better than this link: a newer session, on another coordinator, or a quarantine."""
        if row.quarantined:
            self._dismiss(link, Reason.REASON_QUARANTINED, row.quarantined, QUARANTINE_RETRY_MS)
        else:
            detail = f"a newer link of this host, to the coordinator {row.coordinator}, has replaced this one"
            self._dismiss(link, Reason.REASON_UNSPECIFIED, detail)

    def turned_away(self, link: Link, reason: Reason, detail: str) -> None:
        """It is not to be served again, and may well try."""
        self._dismiss(link, reason, detail, QUARANTINE_RETRY_MS)

    def heartbeat(self, link: Link, heartbeat: Heartbeat) -> None:
        link.heartbeat = heartbeat
        if link.heard:
            self._renew(link)
        elif link.number not in self._hearing:
            self._hearing.add(link.number)
            decide = heard(link.host, link.token)
            self._gate.wait(link, lambda: decide, lambda answer, decided: self._heard(link, answer, decided))

    def tick(self) -> None:
        silent_ns = right_ns(self._roster.lease_ms)
        for link in list(self._roster.links.values()):
            if self._errands.now.mono_ns - link.heard_ns > silent_ns:
                self._dismiss(link, Reason.REASON_NO_ANSWER, "nothing was heard for longer than the lease")
        self._put_left()

    def begin_anew(self, why: str) -> None:
        """Every host says Hello again, and is asked about what the books hold open on it (rule R22)."""
        for link in list(self._roster.links.values()):
            self._dismiss(link, Reason.REASON_UNSPECIFIED, why, some_time(link.token))

    def drain(self) -> None:
        """Tell all agents to leave, and to come back spread over time."""
        links = sorted(self._roster.links.values(), key=lambda link: link.host)
        for place, link in enumerate(links):
            retry_ms = 1 + DRAIN_SPREAD_MS * place // max(1, len(links))
            self._dismiss(link, Reason.REASON_STOPPING, "this coordinator stops", retry_ms)
        self._put_left()

    def _put_left(self) -> None:
        """For `killdeer hosts` after a restart; nothing rests on it, so it is tried once."""
        if self._left:
            self._errands.transact(last_heard(self._left), lambda decided: None)
            self._left = {}

    def _admit(self, link: Link) -> Decide:
        roster = self._roster
        return admit(
            link.host,
            link.hello,
            link.token,
            roster.lease_ms,
            roster.halts,
            self._errands.now.unix_ms,
            coordinator=roster.coordinator,
            serial=link.serial,
        )

    def _admitted(self, link: Link, admission: object, decided: Decided) -> None:
        if isinstance(admission, Untrusted):
            detail = f"{admission.why}; to serve this host again, let it join: killdeer-coordinator token create"
            self.turned_away(link, Reason.REASON_NOT_PERMITTED, detail)
            return
        if not isinstance(admission, Admission):
            detail = f"no session can be stored: {decided.failure}"
            self._dismiss(link, Reason.REASON_NO_ANSWER, detail, some_time(link.token, STORE_RETRY_MS))
            return
        self._roster.put(admission.row)
        self._halting.learn(admission.halts)
        if admission.quarantined:
            detail = (
                f"{link.host} is quarantined: {admission.quarantined}; "
                f"if it is what it says it is: killdeer hosts accept {link.host} --reason …"
            )
            # Which of the two is the real one cannot be told: neither is served (rule R23).
            for one in (self._roster.link_of(link.host), link):
                if one is not None:
                    self._dismiss(one, Reason.REASON_QUARANTINED, detail, QUARANTINE_RETRY_MS)
            return
        older = self._roster.link_of(link.host)
        if older is not None:
            self._dismiss(older, Reason.REASON_UNSPECIFIED, "a newer link of this host has replaced this one")
        self._roster.serve(link)
        self._boots[link.host] = link.hello.boot_id
        link.served_ns = self._errands.now.mono_ns
        self._tell(
            link,
            ConnectResponse(
                welcome=Welcome(
                    halts=self._roster.halts.to_wire(),
                    session=link.token,
                    lease_ms=self._roster.lease_ms,
                    position=decided.position,
                    open=[open_strike(row, link.hello.boot_id) for row in admission.open],
                    heartbeat_ms=self._roster.heartbeat_ms,
                )
            ),
        )
        self._halting.came(link)
        self._welcomed(link, admission.open, admission.elsewhere)

    def _heard(self, link: Link, row: object, decided: Decided) -> None:
        self._hearing.discard(link.number)
        if isinstance(row, HostRow):
            self._roster.put(row)
            link.heard = True
            self._renew(link)
        elif not decided.failure:  # the store knows of another session than this: let it dial anew
            self._dismiss(link, Reason.REASON_UNSPECIFIED, "its session is not the one in the store")

    def _renew(self, link: Link) -> None:
        """Nothing is renewed on an old read of the store, nor for a host that owes a halt its acknowledgement:
        so the bound that the halt has printed for it stands."""
        now_ns = self._errands.now.mono_ns
        if link.heartbeat is None or not self._roster.store_fresh(now_ns) or self._halting.owed_by(link):
            return
        link.answered_boot_ns = link.heartbeat.stamp_boot_ns
        link.lease_until_ns = max(link.lease_until_ns, now_ns + right_ns(self._roster.lease_ms))
        renewal = LeaseRenewal(
            heartbeat_boot_ns=link.heartbeat.stamp_boot_ns,
            lease_ms=self._roster.lease_ms,
            halts=self._roster.halts.to_wire(),
            position=self._roster.position,
        )
        self._tell(link, ConnectResponse(lease_renewal=renewal))

    def _tell(self, link: Link, frame: ConnectResponse) -> None:
        self._errands.ask(Tell(link.number, frame))

    def _dismiss(self, link: Link, reason: Reason, detail: str, retry_ms: int = 0) -> None:
        self._errands.ask(Dismiss(link.number, reason, detail, retry_ms))
        self.left(link.number)
