"""The journal's disk: one write after the other, each durable some time after it was asked for, or not at all."""

import random
from collections import deque
from collections.abc import Callable

from killdeer_agent.core.words import Record
from tests.simulation.clock import MS, US

Answer = Callable[[str], None]
After = Callable[[int, Callable[[], None]], None]


class Disk:
    """`records` is what a restarted agent reads. `problem`: every write fails with it; `slow_ns`: how long the
    slowest take. `after` is the host's own: it stands still with it."""

    def __init__(self, after: After, dice: random.Random) -> None:
        self.records: tuple[Record, ...] = ()
        self.problem = ""
        self.slow_ns = 0
        self._after = after
        self._dice = dice
        self._waiting: deque[tuple[tuple[Record, ...] | Record, Answer]] = deque()
        self._life = 0
        self._copies: list[tuple[Record, ...]] = []

    def append(self, record: Record, answer: Answer) -> None:
        self._ask(record, answer)

    def compact(self, records: tuple[Record, ...], answer: Answer) -> None:
        self._ask(records, answer)

    def cut(self) -> None:
        """The agent, or the machine, is gone: of what was under way the first may have become durable."""
        if self._waiting and not self.problem and self._dice.random() < 0.5:
            self._put(self._waiting[0][0])
        self._waiting.clear()
        self._life += 1

    def copy(self) -> None:
        """A snapshot that somebody may roll back to."""
        self._copies.append(self.records)

    def roll_back(self) -> bool:
        """To a snapshot that lacks something; False: there is none."""
        older = [copy for copy in self._copies if len(copy) < len(self.records)]
        if not older:
            return False
        self.records = self._dice.choice(older)
        return True

    def wipe(self) -> None:
        self.records = ()
        self._copies.clear()

    def _ask(self, what: tuple[Record, ...] | Record, answer: Answer) -> None:
        self._waiting.append((what, answer))
        if len(self._waiting) == 1:
            self._begin()

    def _begin(self) -> None:
        life = self._life
        most = self.slow_ns or 2 * MS
        self._after(self._dice.randint(50 * US, most), lambda: self._done(life))

    def _done(self, life: int) -> None:
        if life != self._life:
            return
        what, answer = self._waiting.popleft()
        problem = self.problem
        if not problem:
            self._put(what)
        if self._waiting:
            self._begin()
        answer(problem)

    def _put(self, what: tuple[Record, ...] | Record) -> None:
        self.records = (*self.records, what) if isinstance(what, Record) else what
