"""Hosts that another coordinator serves: known by their rows, reached by letters (docs/decisions/0016)."""

from collections.abc import Callable

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Hello, Inspected
from killdeer_coordinator.core import letters
from killdeer_coordinator.core.books import REMOVED, Books, HostRow, Letter
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.presence import away
from killdeer_coordinator.core.roster import FRESH_NS, NS_PER_MS, Link, Roster
from killdeer_coordinator.core.runs import Runs
from killdeer_coordinator.core.scans import Scans
from killdeer_coordinator.core.words import Collect, Delivered, StoreRead, Tell

COLLECT_EVERY_NS = 1_000_000_000
# Far longer than a letter with a strike is good for, by whatever the store's clock does.
REMEMBERED_NS = 600_000_000_000


class Far:
    """Nothing of it happens where no other coordinator shares the store. `superseded` is told of links that the
    store knows better."""

    def __init__(
        self,
        roster: Roster,
        errands: Errands,
        scans: Scans,
        runs: Runs,
        superseded: Callable[[Link, HostRow], None],
        inspected: Callable[[Link, Inspected], None],
    ) -> None:
        self._roster = roster
        self._errands = errands
        self._scans = scans
        self._runs = runs
        self._superseded = superseded
        self._inspected = inspected
        self._number = 0  # far links have numbers below zero: no stream has
        self._collect_due_ns = 0
        self._told: dict[str, int] = {}  # command id -> mono ns: strikes that came by letter

    def read(self, read: StoreRead) -> None:
        """What the store says of others' hosts, of our links and of our runs."""
        for link in self._roster.served():
            row = read.books.hosts.get(link.host)
            if row is None and read.books.position.length >= self._roster.position.length:
                row = HostRow(
                    host=link.host, labels={}, quarantined=f"{REMOVED} while this coordinator was cut off"
                )
            if row is not None and read.begun_ns > link.served_ns and self._outdated(link, row):
                self._superseded(link, row)
        before = self._roster.far
        self._roster.far = {row.host: self._link(row, read) for row in self._elsewhere(read.books)}
        for host, link in self._roster.far.items():
            if before.get(host) is not link:
                self._runs.moved(link)
        self._runs.compared(read.books, read.begun_ns)

    def tick(self) -> None:
        if self._errands.now.mono_ns >= self._collect_due_ns:
            self._collect_due_ns = self._errands.now.mono_ns + COLLECT_EVERY_NS
            self._errands.ask(Collect(self._roster.coordinator))

    def woken(self) -> None:
        self._collect_due_ns = 0

    def delivered(self, delivered: Delivered) -> None:
        waited_ms = (self._errands.now.mono_ns - delivered.begun_ns) // NS_PER_MS + 1
        for letter in delivered.letters:
            if letter.heard:
                self._hear(letter)
            else:
                self._hand_over(letter, delivered.now_ms + waited_ms)

    def forwards(self, link: Link, frame: ConnectRequest) -> bool:
        """Candidates, or an inspection, that another coordinator waits for."""
        asker = (frame.candidates.scan_id or frame.inspected.ask).partition("@")[2]
        if asker in ("", self._roster.coordinator):
            return False
        books = self._roster.books
        known = books.coordinators.get(asker) if books else None
        if books and known and not away(known, books.now_ms):
            self._errands.post(letters.from_host(self._roster.coordinator, asker, link, frame))
        return True

    def _hand_over(self, letter: Letter, store_ms: int) -> None:
        link, now_ns = self._roster.link_of(letter.host), self._errands.now.mono_ns
        if link is None:
            return  # where it joins next, its Welcome asks (rule R23)
        frame = letters.opened(letter, link, store_ms, now_ns, halted=bool(self._roster.halts.active))
        if frame is not None and not (letter.until_ms and self._again(frame)):
            self._errands.ask(Tell(link.number, frame))

    def _again(self, frame: ConnectResponse) -> bool:
        """Has this strike come before? A store that was restored, or has failed over, may hold its letter still."""
        now_ns, command_id = self._errands.now.mono_ns, frame.strike.command_id or frame.revert.command_id
        before = command_id in self._told
        self._told = {told: at_ns for told, at_ns in self._told.items() if now_ns - at_ns < REMEMBERED_NS}
        self._told[command_id] = now_ns
        return before

    def _hear(self, letter: Letter) -> None:
        frame = ConnectRequest.FromString(letter.heard)
        link = self._roster.far.get(letter.host)
        if frame.HasField("strike_update"):
            self._runs.heard_of(letter.host, frame.strike_update)
        elif frame.HasField("candidates") and link is not None and link.token == letter.session:
            self._scans.answered(link, frame.candidates)
        elif frame.HasField("inspected") and link is not None and link.token == letter.session:
            self._inspected(link, frame.inspected)

    def _outdated(self, link: Link, row: HostRow) -> bool:
        moved = row.coordinator != self._roster.coordinator and row.session != link.token
        return bool(row.quarantined) or moved

    def _elsewhere(self, books: Books) -> list[HostRow]:
        """Those that are served by a coordinator that is there, and by none here."""
        there = {
            row.coordinator
            for row in books.coordinators.values()
            if row.coordinator != self._roster.coordinator and not away(row, books.now_ms)
        }
        return [
            row
            for row in books.hosts.values()
            if row.coordinator in there
            and row.heard
            and not row.quarantined
            and self._roster.link_of(row.host) is None
        ]

    def _link(self, row: HostRow, read: StoreRead) -> Link:
        link = self._roster.far.get(row.host)
        if link is None or (link.far, link.token) != (row.coordinator, row.session):
            self._number -= 1
            link = Link(
                number=self._number,
                host=row.host,
                hello=Hello.FromString(row.hello),
                token=row.session,
                served=True,
                heard=True,
                far=row.coordinator,
            )
        link.lease_until_ns = read.begun_ns + FRESH_NS
        return link
