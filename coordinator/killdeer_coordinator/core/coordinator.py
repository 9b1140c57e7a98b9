"""The coordinator's core: `handle(input, now) -> effects`. No I/O, no clock, no randomness.

Each input goes to one noun: sessions (links and leases), halting, runs, asks. What they share is the roster
(what is known of the fleet) and the errands (what was asked of the shell, and who waits for the answer).
"""

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core import words
from killdeer_coordinator.core.admission import RESTORED
from killdeer_coordinator.core.asks import Asks
from killdeer_coordinator.core.closing import Closing
from killdeer_coordinator.core.departures import Departures
from killdeer_coordinator.core.drafts import Drafts
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.far import Far
from killdeer_coordinator.core.halting import Halting
from killdeer_coordinator.core.inspecting import Inspections
from killdeer_coordinator.core.presence import Presence
from killdeer_coordinator.core.roster import Link, Roster
from killdeer_coordinator.core.runs import Runs
from killdeer_coordinator.core.scans import Scans
from killdeer_coordinator.core.sessions import Sessions
from killdeer_coordinator.core.starting import Starting
from killdeer_coordinator.core.takeover import TakenOver, restored, take_over
from killdeer_coordinator.core.words import Decided, Effect, Input, KeepEvents, Now, ReadStore, Started, StoreRead

READ_EVERY_NS = 1_000_000_000
READ_LOST_NS = 2_000_000_000  # a read without an answer for so long has failed, or hangs: another is asked for
KEEP_EVERY_NS = 1_000_000_000
LOST = "the store was restored: each host is to say anew what is open on it"


class Core:
    def __init__(self) -> None:
        self.roster = Roster()
        self.errands = Errands(known=lambda: self.roster.position, lost=self._store_lacks)
        self.scans = Scans(self.roster, self.errands)
        self.inspections = Inspections(self.roster, self.errands)
        self.runs = Runs(self.roster, self.errands, self.scans)
        self.closing = Closing(self.roster, self.errands)
        self.halting = Halting(self.roster, self.errands, halted=self.runs.halted, open_hosts=self.runs.open_hosts)
        self.sessions = Sessions(
            self.roster, self.errands, self.halting, welcomed=self.runs.welcomed, lost=self._link_lost
        )
        self.presence = Presence(self.roster, self.errands, orphaned=self.runs.orphaned, restored=self._lost)
        self.far = Far(
            self.roster, self.errands, self.scans, self.runs, self.sessions.superseded, self.inspections.answered
        )
        self.departures = Departures(self.roster, self.errands, self.sessions)
        drafts = Drafts(self.roster, self.errands, self.scans)
        starting = Starting(self.roster, self.errands, drafts, self.runs)
        self.asks = Asks(
            self.roster,
            self.errands,
            self.halting,
            self.runs,
            drafts,
            starting,
            removed=self.departures.removed,
            inspections=self.inspections,
        )
        self._read_asked_ns: int | None = None  # a read is under way since
        self._read_due_ns = 0
        self._read_after = StorePosition()  # the highest position known when the read was asked for
        self._kept = StorePosition()
        self._keep_due_ns = 0
        self._stopping = False

    def handle(self, what: Input, now: Now) -> list[Effect]:
        self.errands.now = now
        match what:
            case words.Heard(link, frame):
                self._heard(link, frame)
            case words.Tick():
                self._tick()
            case Decided():
                self._rose(what.position)
                if self.roster.instance:
                    self.presence.decided(what.position)
                self.errands.decided(what)
            case StoreRead():
                self._read(what)
            case words.Kept():
                self.errands.kept(what)
            case words.Posted():
                self.errands.posted(what)
            case words.Delivered():
                self.far.delivered(what)
            case words.Measured():
                self.errands.measured(what)
            case words.Unrecorded():
                self.runs.unrecorded(what)
            case words.Performed():
                self.errands.performed(what)
            case words.Woken():
                self._read_due_ns = 0
                self.far.woken()
                self._look()
            case words.Asked():
                self.asks.asked(what)
            case words.Gone(ask):
                self.halting.gone(ask)
                self.runs.gone(ask)
            case words.Joined():
                self.sessions.joined(what)
            case words.Left(link):
                self.sessions.left(link)
            case Started():
                self._started(what)
            case words.Stop():
                self._stopping = True
                self.roster.far.clear()  # nor is anything struck by letter any more
                self.halting.stop()
                self.runs.stop()
                self.sessions.drain()
                if self.roster.instance:
                    self.presence.leave()
        return self.errands.taken()

    def _started(self, started: Started) -> None:
        now, roster = self.errands.now, self.roster
        roster.coordinator, roster.instance = started.coordinator, started.instance
        self.errands.sender = started.coordinator
        roster.lease_ms, roster.heartbeat_ms = started.lease_ms, started.heartbeat_ms
        roster.started_ns = now.mono_ns
        roster.halts, roster.position = started.halts, started.position
        if started.books is not None:
            roster.books, roster.read_begun_ns, roster.read_ended_ns = started.books, now.mono_ns, now.mono_ns
            roster.halts = started.halts.union(started.books.halts)
            self._read_due_ns = now.mono_ns + READ_EVERY_NS
        decide = take_over(started.coordinator, started.halts, started.position, now.unix_ms, started.instance)
        self.errands.insist(decide, self._taken_over, anyway=True)

    def _taken_over(self, decided: Decided) -> None:
        if isinstance(decided.answer, TakenOver):
            self.roster.taken_over, self.roster.position = True, decided.position
            self.halting.learn(decided.answer.halts)
            ended = decided.answer.runs
            # Without other coordinators whoever holds open strikes comes back here, and they are reverted then.
            self.runs.orphaned(decided.answer.open if self.roster.instance else ())
            self.errands.note("coordinator.started", runs_ended=[run.run_id for run in ended])

    def _heard(self, number: int, frame: ConnectRequest) -> None:
        """Frames of unknown links are dropped; a link that is not served may only acknowledge halts."""
        link = self.roster.links.get(number)
        if link is None:
            return
        link.heard_ns, link.heard_unix_ms = self.errands.now.mono_ns, self.errands.now.unix_ms
        if frame.HasField("halt_ack"):
            self.halting.acknowledged(link, frame.halt_ack)
        elif link.served:
            self._heard_served(link, frame)

    def _heard_served(self, link: Link, frame: ConnectRequest) -> None:
        match frame.WhichOneof("frame"):
            case "heartbeat":
                self.sessions.heartbeat(link, frame.heartbeat)
            case "strike_update":
                self.runs.updated(link, frame.strike_update)
            case "candidates":
                if not self.far.forwards(link, frame):
                    self.scans.answered(link, frame.candidates)
            case "inspected":
                if not self.far.forwards(link, frame):
                    self.inspections.answered(link, frame.inspected)
            case "evidence":
                for event in frame.evidence.events:  # an agent speaks of its own host only
                    event.host = link.host
                self.errands.ask(KeepEvents(link.host, tuple(frame.evidence.events)))
                self.runs.saw(link.host, frame.evidence.events)
            case "unit_started":
                self.runs.unit_started(frame.unit_started)
            case "goodbye":
                self.sessions.goodbye(link, frame.goodbye)

    def _link_lost(self, link: Link) -> None:
        self.scans.lost(link)
        self.inspections.lost(link)

    def _read(self, read: StoreRead) -> None:
        now, roster = self.errands.now, self.roster
        self._read_asked_ns = None
        if roster.read_begun_ns is not None and read.begun_ns < roster.read_begun_ns:
            return  # an older read that was overtaken
        if read.books.position != self._read_after:
            # It has grown, or it is another one now (rule R22): only its chain can tell.
            self._store_lacks(self._read_after)
        roster.books, roster.read_begun_ns, roster.read_ended_ns = read.books, read.begun_ns, now.mono_ns
        self._rose(read.books.position)
        self.closing.look(read.books, self.runs.drives)
        known = set(roster.halts.engaged)
        self.halting.learn(read.books.halts)
        if any(halt_id.startswith(RESTORED) for halt_id in roster.halts.engaged.keys() - known):
            self.sessions.begin_anew(LOST)  # another coordinator has noticed it
        if roster.instance and not self._stopping:
            self.far.read(read)

    def _store_lacks(self, position: StorePosition) -> None:
        """Or may: the store is asked, and what is to be done then is done there (rule R22)."""
        decide = restored(position, f"coordinator {self.roster.coordinator}", self.errands.now.unix_ms)
        self.errands.insist(decide, self._restored, anyway=True)

    def _restored(self, decided: Decided) -> None:
        if isinstance(decided.answer, Halts):
            self._lost(decided.answer, decided.position)

    def _lost(self, halts: Halts, position: StorePosition) -> None:
        self.roster.position = position
        self.halting.learn(halts)
        self.sessions.begin_anew(LOST)

    def _rose(self, position: StorePosition) -> None:
        if position.length > self.roster.position.length:
            self.roster.position = position

    def _tick(self) -> None:
        now_ns = self.errands.now.mono_ns
        self.errands.tick()
        self._look()
        if now_ns >= self._keep_due_ns and self.roster.position.length > self._kept.length:
            self._keep_due_ns, self._kept = now_ns + KEEP_EVERY_NS, self.roster.position
            self.errands.keep(self.roster.halts, self.roster.position)
        if self.roster.instance:
            self.presence.tick()
            self.far.tick()
        self.scans.tick()
        self.inspections.tick()
        self.halting.tick()
        self.runs.tick()
        if not self._stopping:
            self.sessions.tick()
            self.departures.tick()

    def _look(self) -> None:
        """At the store: once a second, and when there is something to see."""
        now_ns = self.errands.now.mono_ns
        lost = self._read_asked_ns is not None and now_ns - self._read_asked_ns > READ_LOST_NS
        if now_ns >= self._read_due_ns and (self._read_asked_ns is None or lost):
            self._read_asked_ns, self._read_due_ns = now_ns, now_ns + READ_EVERY_NS
            self._read_after = self.roster.position
            self.errands.ask(ReadStore())
