"""What this coordinator knows of the fleet: its links, their rights to act, the halts, the store's last word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import Heartbeat, Hello
from killdeer.v1.process_pb2 import HaltRecord, StorePosition
from killdeer_coordinator.core.books import Books, HostRow
from killdeer_coordinator.core.words import Now

NS_PER_MS = 1_000_000

# A renewal rests on a store read begun less than this ago (rule R9).
FRESH_NS = 2_000_000_000

# Added to each right that this coordinator counts, after 1% for the drift of clocks (rule R7).
GRACE_NS = 1_000_000_000


def right_ns(lease_ms: int) -> int:
    """How long, from its sending, a renewal may give an agent the right to act, as its coordinator counts."""
    return lease_ms * NS_PER_MS * 101 // 100 + GRACE_NS


@dataclass(slots=True, kw_only=True)
class Link:
    """One agent's stream. It is served once its session is in the store and it was told Welcome."""

    number: int
    host: str
    hello: Hello
    token: str
    serial: str = ""  # of its certificate
    served: bool = False
    heard: bool = False  # the store knows that a heartbeat followed the Welcome
    heard_ns: int = 0  # mono, of the last frame
    heard_unix_ms: int = 0
    heartbeat: Heartbeat | None = None
    answered_boot_ns: int = 0  # the agent's stamp of the last heartbeat that was answered; 0: none
    lease_until_ns: int = 0  # mono, as counted from the sending of the renewal
    stopped: set[str] = field(default_factory=set)  # ids of halts it has acknowledged, or came with
    served_ns: int = 0  # mono, since when
    far: str = ""  # the coordinator that serves it; empty: this one

    def leased(self, now_ns: int) -> bool:
        return self.served and now_ns < self.lease_until_ns


@dataclass(slots=True, kw_only=True)
class Roster:
    coordinator: str = ""
    instance: str = ""  # of this start; empty: no other coordinator shares the store
    lease_ms: int = 0
    heartbeat_ms: int = 0
    started_ns: int = 0  # mono
    halts: Halts = field(default_factory=Halts)
    position: StorePosition = field(default_factory=StorePosition)
    books: Books | None = None  # as of the latest read
    read_begun_ns: int | None = None
    read_ended_ns: int = 0
    taken_over: bool = False  # the runs of the coordinator before this one are ended in the books
    links: dict[int, Link] = field(default_factory=dict)
    rights: dict[str, int] = field(default_factory=dict)  # host -> mono ns: hosts that were connected
    heard_unix_ms: dict[str, int] = field(default_factory=dict)  # host -> when it was heard last: the same
    far: dict[str, Link] = field(default_factory=dict)  # host -> its link to another coordinator
    _serving: dict[str, Link] = field(default_factory=dict)  # by host

    def serve(self, link: Link) -> None:
        """Its host has no other link that is served."""
        link.served = True
        self._serving[link.host] = link

    def drop(self, number: int) -> Link | None:
        link = self.links.pop(number, None)
        if link is not None and self._serving.get(link.host) is link:
            del self._serving[link.host]
        return link

    def served(self) -> list[Link]:
        """By host."""
        return [self._serving[host] for host in sorted(self._serving)]

    def link_of(self, host: str) -> Link | None:
        return self._serving.get(host)

    def way_to(self, host: str) -> Link | None:
        """Its link, here or to another coordinator."""
        return self._serving.get(host) or self.far.get(host)

    def labels(self, host: str) -> Mapping[str, str]:
        """As its last Hello had them; none of one out of reach."""
        link = self.way_to(host)
        return link.hello.labels if link is not None else {}

    def reachable(self) -> list[Link]:
        """By host, here or on another coordinator."""
        return [link for host in sorted(self._serving.keys() | self.far.keys()) if (link := self.way_to(host))]

    def store_ms(self, now: Now) -> tuple[int, int]:
        """The store's clock now, at the earliest and at the latest, as far as the last read tells."""
        if not self.instance or self.books is None or self.read_begun_ns is None:
            return now.unix_ms, now.unix_ms  # it is this machine's
        since_ms = [(now.mono_ns - at_ns) // NS_PER_MS for at_ns in (self.read_ended_ns, self.read_begun_ns)]
        return self.books.now_ms + since_ms[0], self.books.now_ms + since_ms[1] + 1

    def put(self, row: HostRow) -> None:
        """As it was committed just now; the next read of the store has it too."""
        if self.books is not None:
            self.books.hosts[row.host] = row

    def forget(self, host: str) -> None:
        """One that was removed, has no link, and no right to act."""
        if self.books is not None:
            self.books.hosts.pop(host, None)
        self.rights.pop(host, None)
        self.heard_unix_ms.pop(host, None)

    def recognised(self, link: Link) -> bool:
        """Is it the host that was served last, as far as can be told without asking the store?"""
        row = self.books.hosts.get(link.host) if self.books else None
        return link.served or (row is not None and link.hello.session in row.good_sessions)

    def store_fresh(self, now_ns: int) -> bool:
        return self.read_begun_ns is not None and now_ns - self.read_begun_ns < FRESH_NS

    def store_trouble(self, now_ns: int) -> str:
        """Why no lease is renewed and no permit granted; empty when the store answers."""
        if self.read_begun_ns is None:
            return "the store has not been read since this coordinator started: no lease, no permit"
        if self.store_fresh(now_ns):
            return "" if self.taken_over else "the books have not been taken over yet: nothing is run"
        age = (now_ns - self.read_begun_ns) / 1e9
        return f"the store was read last {age:.0f} s ago: no lease is renewed, no permit granted"

    def hosts(self) -> list[str]:
        """Every host that has ever joined, as far as known here, by name."""
        known = set(self.books.hosts) if self.books else set()
        return sorted(known | {link.host for link in self.links.values()} | set(self.rights))

    def right_until(self, host: str, now_ns: int) -> int:
        """Mono ns by which this host's right to act has ended, if it is not renewed.

        Where others share the store, any of them may serve it by now, and have renewed its lease on a read begun
        less than two seconds before this moment (rule R9). A host not seen since the start may hold the longest
        lease ever stored for it, from the coordinator before this one.
        """
        row = self.books.hosts.get(host) if self.books else None
        right = FRESH_NS + right_ns(row.longest_lease_ms if row else self.lease_ms)
        elsewhere = now_ns + right if self._others(right, now_ns) else 0
        if (link := self.link_of(host)) is not None:
            return max(link.lease_until_ns, self.rights.get(host, 0), elsewhere)
        return max(self.rights.get(host, self.started_ns + right), elsewhere)

    def _others(self, right: int, now_ns: int) -> bool:
        """May another coordinator have given a right that lasts so long, and is not over? Who has not read the
        store lately knows of none that has come since."""
        if not self.instance or self.books is None or not self.store_fresh(now_ns):
            return bool(self.instance)
        return any(
            row.seen_ms or (self.books.now_ms - row.since_ms) * NS_PER_MS < right
            for row in self.books.coordinators.values()
            if row.coordinator != self.coordinator
        )

    def stop_order(self, open_hosts: Iterable[str]) -> list[int]:
        """Every link, those whose host has an open strike first."""
        busy = set(open_hosts)
        return [
            link.number
            for link in sorted(self.links.values(), key=lambda link: (link.host not in busy, link.number))
        ]


def describe(halts: Iterable[HaltRecord]) -> list[str]:
    """`by NAME (REASON), halt ID` for each."""
    return [f"by {halt.by}{f' ({halt.reason})' if halt.reason else ''}, halt {halt.id}" for halt in halts]
