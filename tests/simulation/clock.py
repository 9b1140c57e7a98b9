"""True time, and what is to happen in it: one heap of events for the whole simulated world."""

import heapq
from collections.abc import Callable

US = 1_000
MS = 1_000_000
SECOND = 1_000 * MS


class Clock:
    """True time in nanoseconds. Events of one moment happen in the order they were asked for."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000 * SECOND
        self.begun_ns = self.now_ns
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._asked = 0

    def after(self, ns: int, then: Callable[[], None]) -> None:
        self._asked += 1
        heapq.heappush(self._due, (self.now_ns + max(0, ns), self._asked, then))

    def run_until(self, ns: int) -> None:
        """All that is due by then, in order."""
        due = self._due
        while due and due[0][0] <= ns:
            self.now_ns, _, then = heapq.heappop(due)
            then()
        self.now_ns = ns

    @property
    def since_begin_ns(self) -> int:
        return self.now_ns - self.begun_ns
