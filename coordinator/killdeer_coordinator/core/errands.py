"""What the core has asked of its shell: the effects of the input under way, and who waits for their answers.

A decision that must not be lost (a halt's record, an agent's word, a run's end) is insisted on: it is asked
again every second until the store has committed it. All others fail once, and whoever asked decides.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Decide
from killdeer_coordinator.core.words import Decided, Effect, Keep, Kept, Note, Now, Transact

AGAIN_NS = 1_000_000_000

Then = Callable[[Decided], None]


@dataclass(frozen=True, slots=True)
class _Errand:
    decide: Decide
    then: Then
    insisted: bool


@dataclass(slots=True)
class Errands:
    """Shared by all parts of the core; `now` is that of the input under way."""

    now: Now = field(default_factory=lambda: Now(0, 0))
    _effects: list[Effect] = field(default_factory=list)
    _token: int = 0
    _waiting: dict[int, _Errand] = field(default_factory=dict)
    _keeping: dict[int, Keep] = field(default_factory=dict)
    _again: list[tuple[int, _Errand | Keep]] = field(default_factory=list)  # (due, what)

    def ask(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note(self, event: str, **fields: object) -> None:
        self.ask(Note(event, dict(fields)))

    def taken(self) -> list[Effect]:
        """The effects asked for since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def transact(self, decide: Decide, then: Then) -> None:
        """`then` hears the answer, also when it is a failure."""
        self._send(_Errand(decide, then, insisted=False))

    def insist(self, decide: Decide, then: Then | None = None) -> None:
        """`then` hears the answer once it is committed, never a failure."""
        self._send(_Errand(decide, then or _nothing, insisted=True))

    def keep(self, halts: Halts, position: StorePosition) -> None:
        """Make halts and position durable outside the store; tried again until it works."""
        self._token += 1
        self._keeping[self._token] = Keep(self._token, halts, position)
        self.ask(self._keeping[self._token])

    def decided(self, decided: Decided) -> None:
        errand = self._waiting.pop(decided.token, None)
        if errand is None:
            return
        if decided.failure and errand.insisted:
            self.note("store.failed", cause=decided.failure, remedy="it is asked again every second")
            self._again.append((self.now.mono_ns + AGAIN_NS, errand))
        else:
            errand.then(decided)

    def kept(self, kept: Kept) -> None:
        keep = self._keeping.pop(kept.token, None)
        if keep is not None and kept.problem:
            self.note("halts.not_kept", cause=kept.problem, remedy="it is tried again every second")
            self._again.append((self.now.mono_ns + AGAIN_NS, keep))

    def tick(self) -> None:
        due = [what for at, what in self._again if at <= self.now.mono_ns]
        self._again = [(at, what) for at, what in self._again if at > self.now.mono_ns]
        for what in due:
            if isinstance(what, Keep):
                self.keep(what.halts, what.position)
            else:
                self._send(what)

    def _send(self, errand: _Errand) -> None:
        self._token += 1
        self._waiting[self._token] = errand
        self.ask(Transact(self._token, errand.decide))


def _nothing(decided: Decided) -> None:
    """For whoever only wants it committed."""
