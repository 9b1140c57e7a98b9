"""Small troubles that fall between any two steps of a daemon: a crash, a stall, a slow look, a burnt fuse."""

import random

from tests.simulation.clock import MS, SECOND


class Troubles:
    """Each rate is the chance at each occasion; all are 0 in calm weather."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.crash = 0.0
        self.stall = 0.0
        self.hold_up = 0.0
        self.change = 0.0
        self.slow_look = 0.0

    def calm(self) -> None:
        self.crash = self.stall = self.hold_up = self.change = self.slow_look = 0.0

    def between_effects(self) -> int:
        """-1: it crashes here; more than 0: it stalls for so many nanoseconds; else nothing."""
        both = self.crash + self.stall
        if not both:
            return 0
        lot = self._dice.random()
        if lot < self.crash:
            return -1
        if lot < both:
            return self._dice.choice((5 * MS, 200 * MS, 2 * SECOND, 9 * SECOND))
        return 0

    def held_up_ns(self) -> int:
        """Between the last look and the signal."""
        if not self.hold_up or self._dice.random() >= self.hold_up:
            return 0
        return self._dice.choice((1 * MS, 100 * MS, 3 * SECOND))

    def changes(self) -> bool:
        """The process becomes another one between the last look and the signal."""
        return bool(self.change) and self._dice.random() < self.change

    def look_ns(self) -> int:
        if self.slow_look and self._dice.random() < self.slow_look:
            return self._dice.randint(50, 3_000) * MS
        return self._dice.randint(1, 10) * MS
