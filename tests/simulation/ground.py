"""What everything in a simulated world stands on: time, the trace, lots, a count of what was reached, witnesses."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Books, Decision, Letter
from tests.simulation.clock import Clock
from tests.simulation.processes import Proc
from tests.simulation.told import Broken, Violation
from tests.simulation.trace import Trace

if TYPE_CHECKING:
    from tests.simulation.host import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Fell:
    """A blow that an agent really sent. `proc` is as it was looked at; `store_ms` is the store's clock then."""

    at_ns: int
    machine: "Machine"
    command_id: str
    blow: int
    signal: int
    action: str
    proc: Proc
    service: str  # of the process then
    unit: str
    boot_ns: int  # the host's clock
    store_ms: int


class Witness:
    """Sees what happens in the world, as it happens. Oracles are witnesses; none of them sees into a core."""

    def struck(self, fell: Fell) -> None:
        """Called before the signal has its effect."""

    def resumed(self, machine: "Machine", proc: Proc) -> None:
        """An agent's CONT reached a process."""

    def unit_started(self, machine: "Machine", unit: str) -> None:
        """An agent has systemd start a unit; called before it does."""

    def revert_failed(self, machine: "Machine", proc: Proc) -> None: ...
    def spawned(self, machine: "Machine", proc: Proc) -> None: ...
    def exited(self, machine: "Machine", proc: Proc) -> None: ...
    def agent_started(self, machine: "Machine") -> None: ...
    def agent_died(self, machine: "Machine") -> None: ...
    def agent_left(self, machine: "Machine") -> None:
        """It was asked to stop, and has done what it had to."""

    def guarded(self, machine: "Machine") -> None:
        """The agent was given the guard files of this host anew."""

    def forgot(self, machine: "Machine") -> None:
        """The agent's disk was wiped or rolled back."""

    def lost_events(self, machine: "Machine") -> None:
        """Its agent, which runs, was told that kernel events were lost."""

    def sent(self, machine: "Machine", frame: ConnectRequest) -> None:
        """By an agent, on its stream."""

    def delivered(self, machine: "Machine", frame: ConnectResponse) -> None:
        """To an agent."""

    def told(self, coordinator: str, machine: "Machine", frame: ConnectResponse) -> None:
        """By a coordinator, on an agent's stream."""

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None: ...
    def replied(self, coordinator: str, ask: int, message: Message) -> None: ...
    def coordinator_died(self, coordinator: str) -> None: ...
    def committed(self, coordinator: str, books: Books, decision: Decision) -> None: ...
    def posted(self, coordinator: str, letters: Sequence[Letter]) -> None:
        """By a coordinator, to others, before the store has them."""

    def restored(self, position: StorePosition) -> None:
        """The store is what it was some time ago, at this position."""

    def swept(self) -> None:
        """Called several times a simulated second."""


@dataclass(slots=True, kw_only=True)
class Ground:
    seed: int
    clock: Clock
    trace: Trace
    reached: "Counter[str]" = field(default_factory=Counter)
    witnesses: list[Witness] = field(default_factory=list)
    store_ms: Callable[[], int] = lambda: 0
    _drawn: int = 0

    def dice(self, name: str) -> random.Random:
        """Lots of its own for each part, so that one part's draws move no other's. The same on every machine."""
        return random.Random(f"{self.seed}/{name}")

    def reach(self, what: str) -> None:
        self.reached[what] += 1

    def fresh(self) -> str:
        """64 hex digits that were never drawn before in this history."""
        self._drawn += 1
        return hashlib.sha256(f"{self.seed}/fresh/{self._drawn}".encode()).hexdigest()

    def broken(self, invariant: str, rule: str, what: str) -> Broken:
        violation = Violation(invariant, rule, what, self.clock.since_begin_ns)
        self.trace.line("ORACLE", str(violation))
        return Broken(violation)
