"""I4: a halt that an agent has acknowledged holds there until it is released by its id."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Books, Decision, Letter, PutHalt
from tests.simulation.coordinator import Coordinator
from tests.simulation.deeds import Deeds, strikes_of
from tests.simulation.ground import Fell, Ground, Witness

if TYPE_CHECKING:
    from tests.simulation.host import Machine


@dataclass(slots=True)
class Halt:
    engaged_ns: int
    by: str  # of which coordinator it was asked; empty: nobody asked, it was first seen on the wire
    released_ns: int = 0  # when an operator asked for a rearm after it; 0: nobody has
    stored: set[str] = field(default_factory=set)  # coordinators that have said so
    stored_ns: int = 0  # when it was put into the store, that still has it; 0: it was not
    runs: set[str] = field(default_factory=set)  # those that were under way at that coordinator
    bound: dict[str, int] = field(default_factory=dict)  # host -> when its bound was said to have passed


class Halting(Witness):
    def __init__(self, ground: Ground, deeds: Deeds, coordinators: list[Coordinator]) -> None:
        self._ground = ground
        self._deeds = deeds
        self._coordinators = coordinators
        self._halts: dict[str, Halt] = {}
        self._asks: dict[tuple[str, int], str] = {}
        self._acknowledged: dict[str, dict[str, int]] = {}  # machine -> halt -> when
        self._heard_released: dict[str, set[str]] = {}  # machine -> halts
        self._begun: dict[str, set[str]] = {}  # coordinator -> runs begun since it started
        self._posted_ns: dict[str, int] = {}  # command that went by a letter -> when its driver sent that

    # --- what people asked for ------------------------------------------------------------------------------

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None:
        if isinstance(request, o.HaltRequest):
            self._halt(request.id, coordinator)
            self._asks[coordinator, ask] = request.id
        elif isinstance(request, o.RearmRequest):
            for halt in self._halts.values():
                halt.released_ns = halt.released_ns or self._ground.clock.now_ns

    def replied(self, coordinator: str, ask: int, message: Message) -> None:
        if isinstance(message, o.RunResponse):
            self._begun.setdefault(coordinator, set()).add(message.run_id)
        elif isinstance(message, o.HaltResponse):
            halt = self._halt(message.halt_id, "")
            if message.stored:
                halt.stored.add(coordinator)
            for host in message.hosts:
                if host.bound_passed:
                    halt.bound.setdefault(host.host, self._ground.clock.now_ns)
                    self._ground.reach("halt bound passed")
            if message.complete:
                self._ground.reach("halt complete")

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            if isinstance(change, PutHalt):
                halt = self._halt(change.record.id, "")
                halt.stored_ns = halt.stored_ns or self._ground.clock.now_ns

    def restored(self, position: StorePosition) -> None:
        for halt in self._halts.values():
            halt.stored_ns = 0

    def coordinator_died(self, coordinator: str) -> None:
        self._begun.pop(coordinator, None)

    # --- what went over the wire ------------------------------------------------------------------------------

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        match frame.WhichOneof("frame"):
            case "halt":
                self._halt(frame.halt.halt.id, "")
            case "rearm":
                for halt_id in frame.rearm.released:
                    self._released(halt_id)
            case "welcome":
                for halt_id in frame.welcome.halts.released:
                    self._released(halt_id)
            case "strike":
                self._unhalted(coordinator, frame.strike)
                if frame.strike.command_id not in self._deeds.posted_strikes:
                    self._driven_on(frame.strike)

    def posted(self, coordinator: str, letters: Sequence[Letter]) -> None:
        for strike in strikes_of(letters):
            self._posted_ns.setdefault(strike.command_id, self._ground.clock.now_ns)
            self._unhalted(coordinator, strike)
            self._driven_on(strike)

    def delivered(self, machine: "Machine", frame: a.ConnectResponse) -> None:
        heard = self._heard_released.setdefault(machine.name, set())
        match frame.WhichOneof("frame"):
            case "rearm":
                heard.update(frame.rearm.released)
            case "welcome":
                heard.update(frame.welcome.halts.released)
            case "lease_renewal":
                heard.update(frame.lease_renewal.halts.released)

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        if frame.HasField("halt_ack"):
            stage = "reverted" if frame.halt_ack.stage == a.HALT_STAGE_REVERTED else "stopped"
            self._ground.reach(f"halt acknowledged: {stage}")
            acknowledged = self._acknowledged.setdefault(machine.name, {})
            acknowledged.setdefault(frame.halt_ack.halt_id, self._ground.clock.now_ns)
            self._durable(machine, frame.halt_ack.halt_id)

    # --- what came of it ----------------------------------------------------------------------------------------

    def struck(self, fell: Fell) -> None:
        order, broken = self._deeds.order_of(fell.command_id), self._ground.broken
        for halt_id, at_ns in self._acknowledged.get(fell.machine.name, {}).items():
            halt = self._halt(halt_id, "")
            if not halt.released_ns:
                raise broken("I4", "R10", f"{fell.command_id} struck after {halt_id} was acknowledged at {at_ns}")
            if halt_id not in self._heard_released.get(fell.machine.name, ()):
                raise broken("I4", "R10", f"{fell.command_id} struck before {fell.machine} heard of its release")
            if self._posted_ns.get(fell.command_id, order.at_ns) < halt.engaged_ns:
                raise broken("I4", "R10", f"{fell.command_id} was ordered before {halt_id} and acted after it")
        for halt_id, halt in self._halts.items():
            passed_ns = halt.bound.get(fell.machine.identity)
            unseen = fell.machine.stood_ns and not fell.machine.rtc
            if passed_ns is not None and not halt.released_ns and not unseen:
                what = f"{fell.command_id} struck after the bound of {halt_id} for {fell.machine} had passed"
                raise broken("I4", "R12", what)

    def _driven_on(self, strike: a.Strike) -> None:
        """As its driver orders it, be it by a letter."""
        for halt_id, halt in self._halts.items():
            if strike.run_id in halt.runs:
                what = f"run {strike.run_id} was stopped by {halt_id} and went on with {strike.command_id}"
                raise self._ground.broken("I4", "R10", what)

    def _unhalted(self, coordinator: str, strike: a.Strike) -> None:
        """No coordinator orders anything, nor delivers an order, that knows of a halt: by its own word, or by the
        store."""
        read_ns = next(one.known_read_ns for one in self._coordinators if one.name == coordinator)
        for halt_id, halt in self._halts.items():
            known = coordinator in halt.stored or 0 < halt.stored_ns < read_ns
            if known and not halt.released_ns:
                what = f"{strike.command_id} was ordered by {coordinator} while {halt_id} was engaged and stored"
                raise self._ground.broken("I4", "R10", what)

    def _durable(self, machine: "Machine", halt_id: str) -> None:
        kept = [record.body["id"] for record in machine.disk.records if record.kind == "halt"]
        if halt_id not in kept:
            raise self._ground.broken("I4", "R10", f"{machine} acknowledged {halt_id} before it was durable")

    def _halt(self, halt_id: str, coordinator: str) -> Halt:
        halt = self._halts.get(halt_id)
        if halt is None:
            halt = self._halts[halt_id] = Halt(self._ground.clock.now_ns, coordinator)
            if coordinator:
                begun = self._begun.get(coordinator, set())
                halt.runs |= {run_id for run_id in begun if self._deeds.drivers.get(run_id) == coordinator}
        return halt

    def _released(self, halt_id: str) -> None:
        if not self._halt(halt_id, "").released_ns:
            raise self._ground.broken("I4", "R10", f"{halt_id} is called released, and nobody has released it")
