"""Coordinators that share a store: each is seen in it, and ends the runs of those that are not seen any more.

Only who has itself been seen without a break for as long as makes another count as away may judge that one: where
the store was down for all, nobody takes over everybody's runs. A break is much shorter than that: whoever beats
first once the store is back must not find others, whose beats come later, away by the difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from killdeer.halts import Halts
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    CoordinatorRow,
    Decide,
    Decision,
    PutCoordinator,
    RunRow,
    StrikeRow,
    VoidLetters,
)
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.takeover import WHO, end_runs, left_open, restored
from killdeer_coordinator.core.words import Decided, Quit

BEAT_EVERY_NS = 2_000_000_000
# Positions that are asked about in one beat: what a busy coordinator decides between two.
POSITIONS_MOST = 200
# Not seen for so long, by the store's clock: several beats, and what a store may take to fail over.
AWAY_MS = 15_000
# Not seen for so long, one begins to be seen anew: three beats. The difference holds a late beat of each other.
BREAK_MS = 6_000


@dataclass(frozen=True, slots=True)
class Beaten:
    """`usurped`: another coordinator has started under this name. `runs` were ended; `open` are their strikes whose
    permits are held."""

    halts: Halts = field(default_factory=Halts)  # to be latched: the store lacks what it had
    usurped: bool = False
    gone: tuple[str, ...] = ()  # coordinators whose runs were ended
    runs: tuple[RunRow, ...] = ()
    open: tuple[StrikeRow, ...] = ()


def away(row: CoordinatorRow, now_ms: int) -> bool:
    return now_ms - row.seen_ms > AWAY_MS


def beat(coordinator: str, instance: str, positions: Sequence[StorePosition] = (), unix_ms: int = 0) -> Decide:
    """Seen now; and who is gone is named, and its runs end. `positions` are those that this coordinator's decisions
    have led to since it asked last: a store that failed over without one of them is noticed, however far it has
    come since (rule R22). Answers Beaten."""

    def decide(books: Books) -> Decision:
        now_ms, mine = books.now_ms, books.coordinators.get(coordinator)
        if mine is not None and mine.instance != instance:
            return Decision(answer=Beaten(usurped=True))
        missing = next((known for known in positions if not books.position_known(known)), StorePosition())
        lost = restored(missing, f"coordinator {coordinator}", unix_ms)(books)
        halts = lost.answer if isinstance(lost.answer, Halts) else Halts()
        unbroken = mine is not None and now_ms - mine.seen_ms <= BREAK_MS
        since_ms = mine.since_ms if mine is not None and unbroken else now_ms
        row = CoordinatorRow(coordinator=coordinator, instance=instance, since_ms=since_ms, seen_ms=now_ms)
        gone, named = _gone(books, coordinator, judges=now_ms - since_ms >= AWAY_MS)
        runs = [run for run in books.runs.values() if run.driver in gone]
        drivers = sorted({run.driver for run in runs})
        why = f"its coordinator {' and '.join(drivers)} is gone"
        halted = bool(books.halts.union(halts).active)
        ended, entries, open_strikes = end_runs(books, runs, why, halted=halted, by=coordinator)
        if named.changes:
            open_strikes += left_open(books)  # it may have ended runs itself, and not reverted yet
        return Decision(
            (*lost.changes, PutCoordinator(row), *named.changes, *map(VoidLetters, drivers), *ended),
            (*lost.audit, *named.audit, *entries),
            Beaten(halts=halts, gone=tuple(drivers), runs=tuple(runs), open=open_strikes),
        )

    return decide


def _gone(books: Books, coordinator: str, *, judges: bool) -> tuple[set[str], Decision]:
    """Who has left or was named before; and who is named now, by one who may judge."""
    others = [other for other in books.coordinators.values() if other.coordinator != coordinator]
    gone = {other.coordinator for other in others if not other.seen_ms}
    if not judges:
        return gone, Decision()
    named = [other for other in others if other.seen_ms and away(other, books.now_ms)]
    unknown = {run.driver for run in books.runs.values()} - books.coordinators.keys() - {coordinator}
    return gone | {other.coordinator for other in named} | unknown, Decision(
        tuple(PutCoordinator(replace(other, since_ms=books.now_ms, seen_ms=0)) for other in named),
        tuple(
            Audited(
                WHO,
                "coordinator.gone",
                other.coordinator,
                f"not seen for {(books.now_ms - other.seen_ms) // 1000} s",
            )
            for other in named
        ),
    )


def leave(coordinator: str, instance: str) -> Decide:
    """Gone by its own word: its runs need not wait to be ended."""

    def decide(books: Books) -> Decision:
        mine = books.coordinators.get(coordinator)
        if mine is None or mine.instance != instance:
            return Decision()
        entry = Audited(WHO, "coordinator.gone", coordinator, "it was stopped")
        return Decision((PutCoordinator(replace(mine, since_ms=books.now_ms, seen_ms=0)),), (entry,))

    return decide


class Presence:
    """`orphaned` is told the strikes of runs that were ended here for another coordinator; `restored`, of halts
    that were latched because the store has lost what it had, and of its position."""

    def __init__(
        self,
        roster: Roster,
        errands: Errands,
        *,
        orphaned: Callable[[Sequence[StrikeRow]], None],
        restored: Callable[[Halts, StorePosition], None],
    ) -> None:
        self._roster = roster
        self._errands = errands
        self._orphaned = orphaned
        self._restored = restored
        self._positions: list[StorePosition] = []  # not asked about yet
        self._due_ns = 0
        self._beating = False
        self._left = False

    def tick(self) -> None:
        now_ns = self._errands.now.mono_ns
        if self._beating or self._left or now_ns < self._due_ns or not self._roster.taken_over:
            return
        self._beating, self._due_ns = True, now_ns + BEAT_EVERY_NS
        roster, asked, self._positions = self._roster, tuple(self._positions), []
        decide = beat(roster.coordinator, roster.instance, asked, self._errands.now.unix_ms)
        self._errands.transact(decide, lambda decided: self._beaten(asked, decided), anyway=True)

    def decided(self, position: StorePosition) -> None:
        if position.length and position not in self._positions[-1:]:
            self._positions = [*self._positions[1 - POSITIONS_MOST :], position]

    def leave(self) -> None:
        self._left = True
        self._errands.transact(leave(self._roster.coordinator, self._roster.instance), lambda _: None)

    def _beaten(self, asked: Sequence[StorePosition], decided: Decided) -> None:
        self._beating = False
        beaten = decided.answer
        if not isinstance(beaten, Beaten):
            self._positions = [*asked, *self._positions][-POSITIONS_MOST:]
            return
        if beaten.usurped:
            why = (
                f"another coordinator has started under the name {self._roster.coordinator}; "
                "give each a name of its own"
            )
            self._errands.ask(Quit(why))
            return
        if beaten.halts.active:
            self._restored(beaten.halts, decided.position)
        if beaten.runs:
            self._errands.warn(
                "runs.taken_over", gone=list(beaten.gone), runs_ended=[run.run_id for run in beaten.runs]
            )
        self._orphaned(beaten.open)
