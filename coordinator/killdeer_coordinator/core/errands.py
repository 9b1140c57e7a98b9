"""What the core has asked of its shell: the effects of the input under way, and who waits for their answers.

A decision that must not be lost (a halt's record, an agent's word, a run's end) is insisted on: it is asked
again every second until the store has committed it. All others fail once, and whoever asked decides.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectResponse
from killdeer.v1.probe_pb2 import Deed, Probe, Reading
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core import letters
from killdeer_coordinator.core.books import Books, Decide, Decision, Letter
from killdeer_coordinator.core.roster import Link
from killdeer_coordinator.core.words import (
    Decided,
    Effect,
    Keep,
    Kept,
    Measure,
    Measured,
    Note,
    Now,
    Perform,
    Performed,
    Post,
    Posted,
    Tell,
    Transact,
)

AGAIN_NS = 1_000_000_000
REVERT_AGAIN_NS = (3_000_000_000, 9_000_000_000)

Then = Callable[[Decided], None]


@dataclass(frozen=True, slots=True)
class _Errand:
    decide: Decide
    then: Then
    insisted: bool
    anyway: bool  # also by a store that has lost what it held


@dataclass(frozen=True, slots=True)
class _Lost:
    """The answer of a store that does not hold this position any more: nothing was decided."""

    known: StorePosition


def _on(known: StorePosition, decide: Decide) -> Decide:
    """No decision rests on a store that has lost what its coordinator has seen in it (rule R22), or has decided in
    it while this one waited for its turn."""

    @wraps(decide)
    def on_the_same(books: Books) -> Decision:
        lost = books.lacks(known)
        return decide(books) if lost is None else Decision(answer=_Lost(lost))

    return on_the_same


@dataclass(slots=True)
class Errands:
    """Shared by all parts of the core; `now` is that of the input under way."""

    now: Now = field(default_factory=lambda: Now(0, 0))
    _effects: list[Effect] = field(default_factory=list)
    _token: int = 0
    _waiting: dict[int, _Errand] = field(default_factory=dict)
    _keeping: dict[int, Keep] = field(default_factory=dict)
    _posting: dict[int, Post] = field(default_factory=dict)
    _letters: list[Letter] = field(default_factory=list)
    _measuring: dict[int, Callable[[Reading], None]] = field(default_factory=dict)
    _performing: dict[int, Callable[[str], None]] = field(default_factory=dict)
    _later: list[tuple[int, Callable[[], None]]] = field(default_factory=list)  # (due, what)
    _again: list[tuple[int, _Errand | Keep | Post]] = field(default_factory=list)  # (due, what)
    _last_keep: int = 0  # token of the latest Keep
    sender: str = ""  # this coordinator, on its letters
    known: Callable[[], StorePosition] = StorePosition  # the highest position seen
    lost: Callable[[StorePosition], None] = lambda known: None  # called when the store does not hold it any more

    def ask(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note(self, event: str, **fields: object) -> None:
        self.ask(Note(event, dict(fields)))

    def warn(self, event: str, **fields: object) -> None:
        self.ask(Note(event, dict(fields), wrong=True))

    def taken(self) -> list[Effect]:
        """The effects asked for since the last call, in order."""
        if self._letters and not self._posting:  # those of a whole fleet wait together for the ones under way
            self._send_letters(tuple(self._letters))
            self._letters.clear()
        effects, self._effects = self._effects, []
        return effects

    def tell(self, link: Link, frame: ConnectResponse, *, until_ms: int = 0) -> None:
        """A frame for an agent, wherever it is linked; `until_ms` is a strike's, by the store's clock."""
        if not link.far:
            self.ask(Tell(link.number, frame))
            return
        letter = letters.to_host(self.sender, link, frame, until_ms)
        self._letters.append(letter)
        if frame.HasField("revert"):  # once is as good as thrice, unless the store lost it on its way out
            self._again += [(self.now.mono_ns + after_ns, Post(0, (letter,))) for after_ns in REVERT_AGAIN_NS]

    def post(self, letter: Letter) -> None:
        self._letters.append(letter)

    def recall(self) -> None:
        """No strike that waits to be posted is: its id is used up instead."""
        self._letters = [letters.void(letter) for letter in self._letters]

    def posted(self, posted: Posted) -> None:
        """What may or may not be on its way is not sent again: a strike's id is used up instead (rule R23)."""
        post = self._posting.pop(posted.token, None)
        if post is not None and posted.failure:
            self.warn("letters.not_posted", cause=posted.failure, remedy="they are posted again every second")
            void = Post(0, tuple(letters.void(letter) for letter in post.letters))
            self._again.append((self.now.mono_ns + AGAIN_NS, void))

    def transact(self, decide: Decide, then: Then, *, anyway: bool = False) -> None:
        """`then` hears the answer, also when it is a failure. `anyway`: it looks for itself whether the store was
        restored."""
        self._send(_Errand(decide, then, insisted=False, anyway=anyway))

    def insist(self, decide: Decide, then: Then | None = None, *, anyway: bool = False) -> None:
        """`then` hears the answer once it is committed, never a failure."""
        self._send(_Errand(decide, then or _nothing, insisted=True, anyway=anyway))

    def keep(self, halts: Halts, position: StorePosition) -> None:
        """Make halts and position durable outside the store; tried again until it works, or a later one, which
        holds all of it, was asked for."""
        self._token += 1
        self._last_keep = self._token
        self._keeping[self._token] = Keep(self._token, halts, position)
        self.ask(self._keeping[self._token])

    def decided(self, decided: Decided) -> None:
        errand = self._waiting.pop(decided.token, None)
        if errand is None:
            return
        if isinstance(decided.answer, _Lost):
            self.lost(decided.answer.known)
            decided = replace(decided, answer=None, failure="the store was restored: it lacks what it held")
        if decided.failure and errand.insisted:
            self.warn("store.failed", cause=decided.failure, remedy="it is asked again every second")
            self._again.append((self.now.mono_ns + AGAIN_NS, errand))
        else:
            errand.then(decided)

    def kept(self, kept: Kept) -> None:
        keep = self._keeping.pop(kept.token, None)
        if keep is not None and kept.problem:
            self.warn("halts.not_kept", cause=kept.problem, remedy="it is tried again every second")
            self._again.append((self.now.mono_ns + AGAIN_NS, keep))

    def measure(self, probe: Probe, then: Callable[[Reading], None]) -> None:
        self._token += 1
        self._measuring[self._token] = then
        self.ask(Measure(self._token, probe))

    def measured(self, measured: Measured) -> None:
        if (then := self._measuring.pop(measured.token, None)) is not None:
            then(measured.reading)

    def perform(self, deed: Deed, state: str, then: Callable[[str], None]) -> None:
        """`then` hears the problem, empty where there was none."""
        self._token += 1
        self._performing[self._token] = then
        self.ask(Perform(self._token, deed, state))

    def performed(self, performed: Performed) -> None:
        if (then := self._performing.pop(performed.token, None)) is not None:
            then(performed.problem)

    def later(self, what: Callable[[], None], after_ns: int = AGAIN_NS) -> None:
        self._later.append((self.now.mono_ns + after_ns, what))

    def tick(self) -> None:
        calls = [what for at, what in self._later if at <= self.now.mono_ns]
        self._later = [(at, what) for at, what in self._later if at > self.now.mono_ns]
        for call in calls:
            call()
        due = [what for at, what in self._again if at <= self.now.mono_ns]
        self._again = [(at, what) for at, what in self._again if at > self.now.mono_ns]
        for what in due:
            if isinstance(what, Keep):
                if what.token == self._last_keep:  # a later one knows more, and is not to be overwritten
                    self.keep(what.halts, what.position)
            elif isinstance(what, Post):
                self._send_letters(what.letters)
            else:
                self._send(what)

    def _send_letters(self, letters: tuple[Letter, ...]) -> None:
        self._token += 1
        self._posting[self._token] = Post(self._token, letters)
        self.ask(self._posting[self._token])

    def _send(self, errand: _Errand) -> None:
        self._token += 1
        self._waiting[self._token] = errand
        self.ask(Transact(self._token, errand.decide if errand.anyway else _on(self.known(), errand.decide)))


def _nothing(decided: Decided) -> None:
    """For whoever only wants it committed."""
