"""When has a service on this host recovered from a strike? (rule R18)

Recovered means as many ready processes of the service as before, where a successor is claimed by one strike
only and the victims of other strikes, with their stand-ins, are those strikes' own business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from killdeer_agent.core.facts import Process

Key = tuple[int, int]  # pid, start_ticks


def key_of(process: Process) -> Key:
    return (process.pid, process.start_ticks)


@dataclass(slots=True, kw_only=True)
class Wait:
    """One strike's wait for its service. `before`: who was there when it opened, the victim among them."""

    command_id: str
    victim: Key
    before: frozenset[Key]
    stable_ns: int
    gone: bool = False
    successor: Process | None = None
    whole_since_ns: int = 0  # since when as many as before are there; 0: they are not
    recovered: bool = False


@dataclass(slots=True)
class Recovery:
    """All waits on one service, oldest first. A recovered one stays, with its claim, until all are over."""

    waits: list[Wait] = field(default_factory=list)

    def wait(self, wait: Wait) -> None:
        self.waits.append(wait)

    def victim_gone(self, command_id: str) -> None:
        for wait in self.waits:
            if wait.command_id == command_id:
                wait.gone = True

    def forget(self, command_id: str) -> None:
        """The strike needs no recovery any more: it was refused, or its victim lives on."""
        self.waits = [wait for wait in self.waits if wait.command_id != command_id]
        self._sweep()

    @property
    def waiting(self) -> bool:
        return any(wait.gone and not wait.recovered for wait in self.waits)

    def counted(self, members: Iterable[Process], now_ns: int) -> tuple[list[Wait], list[Wait]]:
        """From a census: the waits that have just found their successor, and those that have just recovered."""
        alive = {key_of(member): member for member in members}
        found = self._claim(alive)
        recovered = []
        for wait in self.waits:
            if not wait.gone or wait.recovered:
                continue
            if not self._whole(wait, alive):
                wait.whole_since_ns = 0
                continue
            wait.whole_since_ns = wait.whole_since_ns or now_ns
            if now_ns - wait.whole_since_ns >= wait.stable_ns:
                wait.recovered = True
                recovered.append(wait)
        self._sweep()
        return found, recovered

    def _claim(self, alive: dict[Key, Process]) -> list[Wait]:
        taken = {key for wait in self.waits for key in wait.before}
        for wait in self.waits:
            if wait.successor is not None and key_of(wait.successor) not in alive and not wait.recovered:
                wait.successor = None  # it died as well: the strike waits for the next
        taken |= {key_of(wait.successor) for wait in self.waits if wait.successor is not None}
        fresh = [alive[key] for key in sorted(alive, key=lambda key: (key[1], key[0])) if key not in taken]
        found = []
        for wait in self.waits:
            if fresh and wait.gone and wait.successor is None:
                wait.successor = fresh.pop(0)
                found.append(wait)
        return found

    def _whole(self, wait: Wait, alive: dict[Key, Process]) -> bool:
        if wait.successor is None:
            return False
        others = [other for other in self.waits if other is not wait]
        not_mine = {other.victim for other in others}
        not_mine |= {key_of(other.successor) for other in others if other.successor is not None}
        expected = len(wait.before - {other.victim for other in others})
        return len(alive.keys() - not_mine) >= expected

    def _sweep(self) -> None:
        if all(wait.recovered for wait in self.waits):
            self.waits.clear()
