"""Where agents wait to be admitted, and their first heartbeats to be known: many in one decision, one decision at a
time (section 4: admission is paced).

Each decision reads the whole books. One for each agent of a storm would keep permits, outcomes and halts' records
waiting for minutes; so they wait for one batch at most, and what is over the gate's size comes back later, each
agent at a time of its own.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from killdeer_coordinator.core.admission import Admission
from killdeer_coordinator.core.books import Audited, Books, Change, Decide, Decision, HostRow, PutHost
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.roster import Link, Roster
from killdeer_coordinator.core.words import Decided

TOGETHER = 200  # in one decision
WAITING_MOST = 2_000
# Who is turned away comes back spread over this long.
SPREAD_MS = 10_000

Answered = Callable[[Admission | HostRow | None, Decided], None]
"""The answer of its own decision, and the word of the whole one: its failure, its position."""


def some_time(token: str, most_ms: int = SPREAD_MS) -> int:
    """Full jitter: from 1 ms to that, drawn from a link's fresh token."""
    return 1 + int.from_bytes(hashlib.sha256(token.encode()).digest()[:8]) % most_ms


@dataclass(frozen=True, slots=True)
class _Waiting:
    link: Link
    decide: Callable[[], Decide]  # made when its turn comes, of what is known then
    then: Answered


@dataclass(slots=True)
class Gate:
    roster: Roster
    errands: Errands
    _queue: deque[_Waiting] = field(default_factory=deque)
    _under_way: bool = False
    _together: int = TOGETHER

    @property
    def full(self) -> bool:
        return len(self._queue) >= WAITING_MOST

    def wait(self, link: Link, decide: Callable[[], Decide], then: Answered) -> None:
        """`then` is not called for a link that has left meanwhile. Who is in goes first: its lease waits for it."""
        waiting = _Waiting(link, decide, then)
        if link.served:
            self._queue.appendleft(waiting)
        else:
            self._queue.append(waiting)
        self._open()

    def _open(self) -> None:
        if self._under_way:
            return
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._together:
            one = self._queue.popleft()
            if self._linked(one.link):
                batch.append(one)
        if batch:
            self._under_way = True
            self.errands.transact(
                _in_turn([one.decide() for one in batch]), lambda decided: self._answered(batch, decided)
            )

    def _answered(self, batch: Sequence[_Waiting], decided: Decided) -> None:
        self._under_way = False
        # What cannot be stored of one fails all of its batch: the next go alone, then two, then four.
        self._together = 1 if decided.failure else min(TOGETHER, self._together * 2)
        answers = decided.answer if isinstance(decided.answer, tuple) else (None,) * len(batch)
        for one, answer in zip(batch, answers, strict=True):
            if self._linked(one.link):
                one.then(answer, decided)
        self._open()

    def _linked(self, link: Link) -> bool:
        return self.roster.links.get(link.number) is link


def _in_turn(decides: Sequence[Decide]) -> Decide:
    """Each reads what those before it have put of hosts and halts. Answers the tuple of their answers."""

    def decide(books: Books) -> Decision:
        hosts = dict(books.hosts)
        seen = replace(books, hosts=hosts)
        changes: list[Change] = []
        audit: list[Audited] = []
        answers = []
        for one in decides:
            made = one(seen)
            hosts |= {change.row.host: change.row for change in made.changes if isinstance(change, PutHost)}
            if isinstance(made.answer, Admission):
                seen = replace(seen, halts=made.answer.halts)
            changes += made.changes
            audit += made.audit
            answers.append(made.answer)
        return Decision(tuple(changes), tuple(audit), tuple(answers))

    return decide
