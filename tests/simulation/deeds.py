"""What was ordered and what was done: the log that the oracles share. None of it is any core's word."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.core.books import Books, Decision, Letter, PutRun
from tests.simulation.experiments import Experiment
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.processes import Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine


@dataclass(slots=True, kw_only=True)
class Order:
    """One command, as it was told to an agent, and the blows that it came to."""

    frame: a.Strike
    coordinator: str
    machine: "Machine"
    at_ns: int
    blows: list[Fell] = field(default_factory=list)
    # A machine made from this one's image has spoken of it, in good faith, of a boot that it takes for an earlier
    # one of its own. Nobody can tell while the original is out of reach (docs/safety.md).
    spoken_for: bool = False

    @property
    def action(self) -> str:
        """As a file has it."""
        return (self.frame.action.WhichOneof("kind") or "").replace("_", "-")


def strikes_of(letters: Sequence[Letter]) -> Iterator[a.Strike]:
    """Those that are ordered by these letters."""
    for letter in letters:
        frame = a.ConnectResponse.FromString(letter.told)
        if frame.HasField("strike"):
            yield frame.strike


class Deeds(Witness):
    """The first witness: the others find here what it has just seen."""

    def __init__(self, ground: Ground, keys: dict[str, Experiment]) -> None:
        self._ground = ground
        self._keys = keys
        self._asks: dict[tuple[str, int], str] = {}
        self.orders: dict[str, Order] = {}
        self.runs: dict[str, Experiment] = {}
        self.granted: Counter[str] = Counter()  # command ids with an audit entry of their permit
        self.posted_strikes: set[str] = set()  # command ids: those whose frames went by a letter
        self.drivers: dict[str, str] = {}  # run -> coordinator
        self.procs: dict[tuple[str, int, int], Proc] = {}  # boot id, pid, start ticks: all there ever were

    def order_of(self, command_id: str) -> Order:
        order = self.orders.get(command_id)
        if order is None:
            raise self._ground.broken("I9", "R17", f"{command_id} was never ordered")
        return order

    def experiment_of(self, order: Order) -> Experiment:
        experiment = self.runs.get(order.frame.run_id)
        if experiment is None:
            raise self._ground.broken("I9", "R17", f"nobody asked for the run {order.frame.run_id}")
        return experiment

    def victim_of(self, order: Order) -> Proc | None:
        victim = order.frame.victim
        return self.procs.get((victim.boot_id, victim.pid, victim.start_ticks))

    def spawned(self, machine: "Machine", proc: Proc) -> None:
        self.procs[proc.boot_id, proc.pid, proc.start_ticks] = proc

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None:
        if isinstance(request, o.RunRequest):
            self._asks[coordinator, ask] = request.key

    def replied(self, coordinator: str, ask: int, message: Message) -> None:
        if isinstance(message, o.RunResponse):
            self.runs[message.run_id] = self._keys[self._asks[coordinator, ask]]

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for entry in decision.audit:
            if entry.what == "permit.granted":
                self.granted[str(entry.details["command"])] += 1
        for change in decision.changes:
            if isinstance(change, PutRun):
                self.drivers[change.row.run_id] = change.row.driver

    def posted(self, coordinator: str, letters: Sequence[Letter]) -> None:
        for strike in strikes_of(letters):
            if strike.command_id not in self.posted_strikes:
                self._ground.reach("strike by letter")
            self.posted_strikes.add(strike.command_id)

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        if not frame.HasField("strike"):
            return
        command_id = frame.strike.command_id
        if command_id in self.orders:
            raise self._ground.broken("I2", "R23", f"{command_id} was sent a second time")
        copy = a.Strike()
        copy.CopyFrom(frame.strike)
        self._ground.reach("strike ordered")
        self.orders[command_id] = Order(
            frame=copy, coordinator=coordinator, machine=machine, at_ns=self._ground.clock.now_ns
        )

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        order = self.orders.get(frame.strike_update.command_id)
        if order is not None and order.machine is not machine:
            self._ground.reach("clone speaks for its original")
            order.spoken_for = True

    def struck(self, fell: Fell) -> None:
        self._ground.reach("blow")
        self._ground.reach(f"blow {fell.blow if fell.blow < 4 else '4 or later'} of {fell.action}")
        order = self.order_of(fell.command_id)
        if any(blow.blow == fell.blow for blow in order.blows):
            raise self._ground.broken("I2", "R4", f"blow {fell.blow} of {fell.command_id} fell twice")
        if not self.granted[fell.command_id]:
            raise self._ground.broken("I9", "R17", f"{fell.command_id} has no permit on the record")
        order.blows.append(fell)
