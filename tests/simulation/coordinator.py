"""One coordinator: the real core, and its shell's part played one effect at a time.

The store's writer, its reader and the state directory are threads of their own, each in the order it was asked.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import Message

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Dismissal, Hello
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core import drafts
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.books import FleetLimits
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.intake import take_in
from killdeer_coordinator.store.errors import StoreFailure
from tests.simulation.clock import MS, SECOND
from tests.simulation.ground import Ground
from tests.simulation.network import Stream
from tests.simulation.store import FaultyStore
from tests.simulation.trace import text_of
from tests.simulation.troubles import Troubles

TICK_NS = 100 * MS
RESTART_NS = 1 * SECOND
T0_MS = 1_700_000_000_000
OF_THE_FUTURE = b"\xc0\x3e\x01"  # field 1000, which no program of today knows

# Reading experiments would take a fifth of a history's time, and all histories choose from the same ones.
vars(drafts)["take_in"] = lru_cache(maxsize=None)(take_in)

Answered = Callable[[Message | w.Refuse, bool], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    lease_ms: int
    heartbeat_ms: int
    limits: FleetLimits
    shared: bool  # the store, by several coordinators


class Worker:
    """A thread of the shell: one piece of work after the other. A crash may fall before or after what it does."""

    def __init__(self, owner: "Coordinator", takes_ns: Callable[[], int]) -> None:
        self._owner = owner
        self._takes_ns = takes_ns
        self._waiting: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._under_way: Callable[[], None] | None = None
        self.hangs = False

    def ask(self, work: Callable[[], None], answer: Callable[[], None]) -> None:
        self._waiting.append((work, answer))
        if len(self._waiting) == 1:
            self._begin()

    def crash(self) -> None:
        """What was under way may be done all the same."""
        if self._under_way is not None and self._owner.dice.random() < 0.5:
            self._under_way()
        self._waiting.clear()
        self._under_way = None

    def _begin(self) -> None:
        self._under_way = self._waiting[0][0]
        self._owner.beside(self._takes_ns(), self._work)

    def _work(self) -> None:
        if self.hangs:
            self._owner.beside(200 * MS, self._work)
            return
        self._waiting[0][0]()
        self._under_way = None
        self._owner.beside(self._takes_ns() // 2, self._answer)

    def _answer(self) -> None:
        _, answer = self._waiting.popleft()
        if self._waiting:
            self._begin()
        answer()


class Coordinator:
    """`kept` is its state directory: what survives it, and the store."""

    def __init__(
        self, ground: Ground, name: str, *, store: FaultyStore, settings: Settings, troubles: Troubles
    ) -> None:
        self.name = name
        self.ground = ground
        self.dice = ground.dice(f"coordinator {name}")
        self.life = 0
        self.alive = False
        self.listening = False
        self.stopping = False
        self.wall_ms = 0  # how far its wall clock is off
        self.keep_problem = ""
        self.kept: tuple[Halts, StorePosition] = (Halts(), StorePosition())
        self.read_begun_ns = 0  # true time of the last read of the store that it was given
        self.held_up_ns = 0  # true time when it stalled last
        self.newer = False  # it sends what today's agents do not know
        self.known_read_ns = 0  # true time of the last read of the store that its core has taken in
        self.wanted = True  # systemd starts it
        self.tick_ns = TICK_NS
        self._store = store
        self._real = store.opened()
        self._hangs = False
        self._settings = settings
        self._troubles = troubles
        self._core = Core()
        self._inputs: deque[w.Input] = deque()
        self._effects: deque[w.Effect] = deque()
        self._streams: dict[int, Stream] = {}
        self._answers: dict[int, Answered] = {}
        self._asks = 0
        self._stalled = self._pumping = False
        self._workers()

    def _workers(self) -> None:
        self._writer = Worker(self, self._store.takes_ns)
        self._reader = Worker(self, self._store.takes_ns)
        self._collector = Worker(self, self._store.takes_ns)
        self._keeper = Worker(self, lambda: self.dice.randint(MS // 5, 5 * MS))
        self._writer.hangs = self._reader.hangs = self._collector.hangs = self._hangs

    @property
    def now(self) -> w.Now:
        return w.Now(self.ground.clock.now_ns, self.unix_ms)

    @property
    def unix_ms(self) -> int:
        return T0_MS + self.ground.clock.since_begin_ns // MS + self.wall_ms

    def lives(self, life: int) -> bool:
        return self.alive and self.life == life

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.alive or not self.wanted:
            return
        self.alive, self._stalled, self.stopping = True, False, False
        self.known_read_ns = 0
        self.life += 1
        self._core = Core()
        self._real = self._store.opened()
        self._workers()
        self.ground.reach("coordinator started")
        halts, position = self.kept
        try:
            books = None if self._hangs else self._store.read()
            self.read_begun_ns = self.ground.clock.now_ns if books is not None else 0
        except StoreFailure:
            books = None
        life = self.life
        self.post(
            w.Started(
                coordinator=self.name,
                limits=self._settings.limits,
                halts=halts,
                position=position,
                books=books,
                lease_ms=self._settings.lease_ms,
                heartbeat_ms=self._settings.heartbeat_ms,
                instance=self.ground.fresh()[:32] if self._settings.shared else "",
            )
        )
        if self.lives(life):  # else it crashed at its first effect, and nobody listens
            self.beside(TICK_NS, self._tick)
            self.beside(self.dice.randint(100, 1_500) * MS, self._listen)

    def _listen(self) -> None:
        self.listening = True

    def crash(self) -> None:
        if not self.alive:
            return
        self.ground.trace.line(self.name, "crashes")
        self.alive = self.listening = False
        self.life += 1
        for worker in (self._writer, self._reader, self._collector, self._keeper):
            worker.crash()
        self._inputs.clear()
        self._effects.clear()
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.end_by_coordinator()
        answers, self._answers = list(self._answers.values()), {}
        for witness in self.ground.witnesses:
            witness.coordinator_died(self.name)
        for ask, answer in enumerate(answers):
            answer(w.Refuse(ask=ask, code="UNAVAILABLE", message="the coordinator has died"), True)
        self.ground.clock.after(RESTART_NS + self.dice.randint(0, 2_000) * MS, self.start)

    def stall(self, ns: int) -> None:
        if self._stalled or not self.alive:
            return
        self._stalled, self.held_up_ns = True, self.ground.clock.now_ns + ns
        self.ground.trace.line(self.name, f"stalls for {ns / 1e9:.3f}s")
        self.beside(ns, self._wake)

    def hang(self, hangs: bool) -> None:
        """The store takes what it is asked, and answers nothing until this is over."""
        self._hangs = self._writer.hangs = self._reader.hangs = self._collector.hangs = hangs

    def hang_writes(self, hangs: bool) -> None:
        """What it has to write waits until this is over; it reads as before."""
        self._writer.hangs = hangs or self._hangs

    def hang_letters(self, hangs: bool) -> None:
        """Those for it stay where they are until this is over."""
        self._collector.hangs = hangs or self._hangs

    def go(self, ns: int) -> None:
        """Ended at once, and not started again for so long."""
        self.wanted = False
        self.crash()
        self.ground.clock.after(ns, self.come_back)

    def come_back(self) -> None:
        self.wanted = True
        self.start()

    def stop(self) -> None:
        """systemctl restart: it drains, and is ended soon."""
        if self.alive:
            self.stopping = True
            self.post(w.Stop())
            self.beside(self.dice.randint(100, 3_000) * MS, self.crash)

    @property
    def store_fails(self) -> bool:
        return bool(self._store.failing)

    @property
    def able(self) -> bool:
        """It runs, and nothing keeps it from its store."""
        return self.listening and not self._stalled and not self._hangs and not self.stopping

    def woken(self) -> None:
        """Another coordinator has written something."""
        self.post(w.Woken())

    def _wake(self) -> None:
        self._stalled = False
        self._pump()

    def beside(self, ns: int, then: Callable[[], None]) -> None:
        life = self.life
        self.ground.clock.after(ns, lambda: then() if life == self.life else None)

    # --- streams and asks -----------------------------------------------------------------------------------

    def accept(self, stream: Stream) -> None:
        self._streams[stream.number] = stream

    def joined(self, link: int, host: str, hello: Hello) -> None:
        self.post(w.Joined(link=link, host=host, hello=hello, token=self.ground.fresh()[:12]))

    def heard(self, link: int, frame: ConnectRequest) -> None:
        self.post(w.Heard(link, frame))

    def left(self, link: int) -> None:
        if link in self._streams:
            self.post(w.Left(link))

    def ask(self, request: Message, who: w.Operator, answered: Answered) -> int:
        self._asks += 1
        ask = self._asks
        if not self.listening:
            answered(w.Refuse(ask=ask, code="UNAVAILABLE", message="nobody listens"), True)
            return ask
        self._answers[ask] = answered
        self.post(w.Asked(ask=ask, who=who, request=request, fresh=self.ground.fresh()))
        return ask

    # --- the core -------------------------------------------------------------------------------------------

    def post(self, message: w.Input) -> None:
        if self.alive:
            self._inputs.append(message)
            self._pump()

    def _tick(self) -> None:
        self.beside(self.tick_ns, self._tick)
        self.post(w.Tick(self.ground.fresh()))

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while self.alive and not self._stalled and (self._effects or self._inputs):
                self._step()
        finally:
            self._pumping = False

    def _step(self) -> None:
        trace = self.ground.trace
        if not self._effects:
            message = self._inputs.popleft()
            if isinstance(message, w.Left):
                self._streams.pop(message.link, None)
            if isinstance(message, w.Asked):
                for witness in self.ground.witnesses:
                    witness.asked(self.name, message.ask, message.who.name, message.request)
            if isinstance(message, w.StoreRead):
                self.known_read_ns = max(self.known_read_ns, message.begun_ns)
            if not isinstance(message, w.Tick):
                trace.line(self.name, f"< {text_of(message)}")
            try:
                effects = self._core.handle(message, self.now)
                # What is kept of a run's readings and lines no core ever reads: there is no fault in between.
                self._effects.extend(effect for effect in effects if not isinstance(effect, w.KeepRecord))
            except Exception as error:
                raise self.ground.broken("I10", "core", f"the coordinator's core raised {error!r}") from error
            return
        trouble = self._troubles.between_effects()
        if trouble < 0:
            self.ground.reach("fault coordinator crashes between effects")
            self.crash()
        elif trouble > 0:
            self.ground.reach("fault coordinator stalls between effects")
            self.stall(trouble)
        else:
            effect = self._effects.popleft()
            trace.line(self.name, f"> {text_of(effect)}")
            self._carry_out(effect)

    def _carry_out(self, effect: w.Effect) -> None:
        match effect:
            case w.Tell(link, frame):
                self._tell(link, frame)
            case w.Broadcast(links, frame):
                for link in links:
                    self._tell(link, frame)
            case w.Dismiss(link, reason, detail, retry):
                stream = self._streams.get(link)
                if stream is not None:
                    dismissal = Dismissal(reason=reason, detail=detail, retry_after_ms=retry)
                    stream.dismiss(ConnectResponse(dismissal=dismissal))
            case w.Reply(ask, message, last):
                for witness in self.ground.witnesses:
                    witness.replied(self.name, ask, message)
                self._answer(ask, message, last)
            case w.Refuse(ask=ask):
                self._answer(ask, effect, True)
            case w.Transact():
                self._transact(effect)
            case w.Keep():
                self._keep(effect)
            case w.ReadStore():
                self._read()
            case w.Post():
                self._post(effect)
            case w.Collect():
                self._collect()
            case w.Quit():
                self.ground.reach("coordinator quits")
                self.crash()
            case w.KeepEvents():
                # It takes the writer's time; what is in it no core ever reads.
                self._writer.ask(lambda: None, lambda: None)

    def _tell(self, link: int, frame: ConnectResponse) -> None:
        stream = self._streams.get(link)
        if self.newer and frame.HasField("strike"):
            frame.strike.MergeFromString(OF_THE_FUTURE)
        if stream is not None:
            stream.send_to_agent(frame)

    def _answer(self, ask: int, message: "Message | w.Refuse", last: bool) -> None:
        answered = self._answers.get(ask)
        if last:
            self._answers.pop(ask, None)
        if answered is not None:
            answered(message, last)

    def _transact(self, effect: w.Transact) -> None:
        came: list[w.Decided] = []

        def work() -> None:
            try:
                committed = self._store.decide(self.name, self._real, effect.decide)
            except StoreFailure as failure:
                came.append(w.Decided(effect.token, None, StorePosition(), str(failure)))
            else:
                came.append(w.Decided(effect.token, committed.answer, committed.position))

        self._writer.ask(work, lambda: self.post(came[0]))

    def _read(self) -> None:
        begun_ns = self.ground.clock.now_ns
        came: list[w.StoreRead] = []

        def work() -> None:
            try:
                came.append(w.StoreRead(begun_ns, self._store.read()))
            except StoreFailure:
                return

        def answer() -> None:
            for read in came:
                self.read_begun_ns = begun_ns
                self.post(read)

        self._reader.ask(work, answer)

    def _post(self, effect: w.Post) -> None:
        came: list[w.Posted] = []
        for witness in self.ground.witnesses:
            witness.posted(self.name, effect.letters)

        def work() -> None:
            try:
                self._store.post(self.name, self._real, effect.letters)
            except StoreFailure as failure:
                came.append(w.Posted(effect.token, str(failure)))
            else:
                came.append(w.Posted(effect.token))

        self._writer.ask(work, lambda: self.post(came[0]))

    def _collect(self) -> None:
        begun_ns = self.ground.clock.now_ns
        came: list[w.Delivered] = []

        def work() -> None:
            try:
                now_ms, letters = self._store.collect(self.name, self._real)
            except StoreFailure:
                return
            if letters:
                came.append(w.Delivered(begun_ns=begun_ns, now_ms=now_ms, letters=tuple(letters)))

        def answer() -> None:
            for delivered in came:
                self.post(delivered)

        self._collector.ask(work, answer)

    def _keep(self, effect: w.Keep) -> None:
        def work() -> None:
            if not self.keep_problem:
                self.kept = (effect.halts, effect.position)

        self._keeper.ask(work, lambda: self.post(w.Kept(effect.token, self.keep_problem)))
