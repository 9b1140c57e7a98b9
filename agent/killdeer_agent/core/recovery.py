"""When has a service on this host recovered from a strike? (rule R18)

Recovered means as many ready processes of the service as before, where a successor is claimed by one strike
only and what others' victims left behind, with what came in their place, is those strikes' own business.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from killdeer_agent.core.facts import Process
from killdeer_agent.core.readiness import Readiness

Key = tuple[int, int]  # pid, start_ticks

# A successor that so many counts in a row do not find has died. One alone may be of a moment when it was paused.
DIED = 2


def key_of(process: Process) -> Key:
    return (process.pid, process.start_ticks)


def _process(key: Key) -> Process:
    return Process(boot_id="", pid=key[0], start_ticks=key[1])


@dataclass(slots=True, kw_only=True, eq=False)
class Wait:
    """One strike's wait for its service, from before its processes were counted.

    `before`: who was ready then, the victim among them. `since_ticks`: a successor started no earlier.
    """

    command_id: str
    victim: Key
    since_ticks: int
    stable_ns: int
    before: frozenset[Key] = frozenset()
    taken: frozenset[Key] = frozenset()  # successors of strikes that were over before this agent was started
    here: bool = True  # the victim is of this boot: a key of another one may be anybody's by now
    gone: bool = False
    successor: Process | None = None
    missed: int = 0  # counts in a row that did not find the successor
    readiness: Readiness | None = None  # where its experiment asks for more than processes
    whole_since_ns: int = 0  # since when as many as before are there; 0: they are not
    recovered: bool = False
    beside: frozenset[str] = frozenset()  # the strikes that waited when this one recovered

    def may_claim(self, process: Process) -> bool:
        key = key_of(process)
        return key not in self.before and key not in self.taken and process.start_ticks >= self.since_ticks


@dataclass(slots=True)
class Recovery:
    """All waits on one service, oldest first. A recovered one stays, with its claim, for as long as a strike that
    waited beside it does: that one must not take the same successor."""

    waits: list[Wait] = field(default_factory=list)

    def wait(self, wait: Wait) -> None:
        self.waits.append(wait)

    def of(self, command_id: str) -> Wait | None:
        return next((wait for wait in self.waits if wait.command_id == command_id), None)

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
            whole = self._whole(wait, alive)
            if wait.readiness is not None:
                wait.readiness.stood(self._standing_in(wait) if whole else None)
            if not whole:
                wait.whole_since_ns = 0
                continue
            wait.whole_since_ns = wait.whole_since_ns or now_ns
            ready = wait.readiness is None or wait.readiness.met_for(wait.stable_ns)
            if ready and now_ns - wait.whole_since_ns >= wait.stable_ns:
                recovered.append(wait)
        for wait in recovered:
            wait.recovered = True
        for wait in recovered:
            wait.beside = frozenset(other.command_id for other in self.waits if not other.recovered)
        self._sweep()
        return found, recovered

    def was_whole(self, wait: Wait, members: Iterable[Process]) -> bool:
        """Are as many as before among these alone?"""
        return self._whole(wait, {key_of(member): member for member in members})

    def _claim(self, alive: dict[Key, Process]) -> list[Wait]:
        victims = {wait.victim for wait in self.waits if wait.here}
        # A recovered strike needs a stand-in still where it is the heir of one that has not recovered.
        claiming = [wait for wait in self.waits if wait.gone and (not wait.recovered or self._is_heir(wait))]
        for wait in claiming:
            key = key_of(wait.successor) if wait.successor is not None else None
            wait.missed = wait.missed + 1 if key is not None and key not in alive and key not in victims else 0
            if wait.missed >= DIED:
                wait.successor = None  # it died by itself: the strike waits for the next
        # A successor that was itself struck before it was counted is one all the same, paused or dead.
        there = {key: _process(key) for key in victims} | alive
        for wait in self.waits:
            if wait.successor is not None:
                there.pop(key_of(wait.successor), None)
        free = [there[key] for key in sorted(there, key=lambda key: (key[1], key[0]))]
        found = []
        for wait in claiming:
            if wait.successor is not None:
                continue
            wait.successor = next((process for process in free if wait.may_claim(process)), None)
            if wait.successor is not None:
                free.remove(wait.successor)
                found += [] if wait.recovered else [wait]
        return found

    def _is_heir(self, heir: Wait) -> bool:
        open_waits = [wait for wait in self.waits if wait.gone and not wait.recovered]
        return any(heir in self._line(wait) for wait in open_waits)

    def _whole(self, wait: Wait, alive: dict[Key, Process]) -> bool:
        line = list(self._line(wait))
        if self._standing_in(wait) not in alive:
            return False
        # A process that was there before and is another strike's victim is that strike's own business, with all
        # that takes its place. Who came later takes somebody's place, whoever struck it meanwhile.
        others = [other for other in self.waits if other not in line and other.victim in wait.before]
        taken_care_of = {other.victim for other in others}
        instead = {
            key_of(heir.successor) for other in others for heir in self._line(other) if heir.successor is not None
        }
        expected = wait.before - taken_care_of
        return len(alive.keys() - taken_care_of - (instead - wait.before)) >= len(expected)

    def _standing_in(self, wait: Wait) -> Key | None:
        successor = list(self._line(wait))[-1].successor
        return key_of(successor) if successor is not None else None

    def _line(self, wait: Wait) -> Iterator[Wait]:
        """The strike, the one that struck its successor, and so on: the last one's successor stands in for all."""
        heir: Wait | None = wait
        while heir is not None:
            yield heir
            key = key_of(heir.successor) if heir.successor is not None else None
            heir = next((other for other in self.waits if other.gone and other.here and other.victim == key), None)

    def _sweep(self) -> None:
        open_ids = {wait.command_id for wait in self.waits if not wait.recovered}
        self.waits = [wait for wait in self.waits if not wait.recovered or wait.beside & open_ids]
