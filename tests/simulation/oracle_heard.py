"""I4: what an agent has taken in holds from then on: no blow falls after a halt, or after a Revert of its command;
and no halt is called released that nobody has released (rules R1, R10, R11)."""

from typing import TYPE_CHECKING

from google.protobuf.message import Message

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from tests.simulation.ground import Fell, Ground, Witness

if TYPE_CHECKING:
    from tests.simulation.host import Machine


class HeardHolds(Witness):
    """Only of frames that came to an agent with nothing else to do, and until it dies: they may not be
    durable."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._welcomed: set[str] = set()  # machines whose agent has a session on its stream
        self._halts: dict[str, set[str]] = {}  # machine -> halts that its agent has taken in
        self._taken_back: dict[str, set[str]] = {}  # machine -> commands that its agent was told to take back
        self._heard_released: dict[str, set[str]] = {}  # machine -> halts
        self._seen: set[str] = set()  # halts that were asked for, or told, and not released since
        self._released: set[str] = set()  # halts that may have been released

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None:
        if isinstance(request, o.HaltRequest):
            self._seen.add(request.id)
        elif isinstance(request, o.RearmRequest):
            self._released |= self._seen

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        if frame.HasField("halt"):
            self._seen.add(frame.halt.halt.id)

    def delivered(self, machine: "Machine", frame: a.ConnectResponse) -> None:
        released = self._heard_released.setdefault(machine.name, set())
        released.update(frame.rearm.released, frame.welcome.halts.released, frame.lease_renewal.halts.released)
        if machine.agent is None or not machine.agent.takes_in:
            return
        match frame.WhichOneof("frame"):
            case "welcome":
                self._welcomed.add(machine.name)
            case "halt":
                self._halts.setdefault(machine.name, set()).add(frame.halt.halt.id)
            case "revert" if machine.name in self._welcomed:
                self._taken_back.setdefault(machine.name, set()).add(frame.revert.command_id)

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        if not frame.HasField("hello"):
            return
        self._welcomed.discard(machine.name)
        for halt_id in frame.hello.halts.released:
            if halt_id in self._seen and halt_id not in self._released:
                what = f"{halt_id} is called released by {machine}, and nobody has released it"
                raise self._ground.broken("I4", "R10", what)

    def agent_died(self, machine: "Machine") -> None:
        self._welcomed.discard(machine.name)
        self._halts.pop(machine.name, None)
        self._taken_back.pop(machine.name, None)

    def struck(self, fell: Fell) -> None:
        name = fell.machine.name
        if fell.command_id in self._taken_back.get(name, ()):
            what = f"blow {fell.blow} of {fell.command_id} fell after its agent was told to take it back"
            raise self._ground.broken("I4", "R11", what)
        if left := self._halts.get(name, set()) - self._heard_released.get(name, set()):
            what = f"blow {fell.blow} of {fell.command_id} fell after its agent was told of {min(left)}"
            raise self._ground.broken("I4", "R1", what)
