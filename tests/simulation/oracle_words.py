"""I2, I8: an agent's words and blows, held against what its disk held then and what befell the host."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core.books import Books, Decision, PutRun
from tests.simulation.clock import MS
from tests.simulation.deeds import Deeds
from tests.simulation.faults import NOT_KNOWN
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.oracle_reverts import Reverts
from tests.simulation.processes import KILL

if TYPE_CHECKING:
    from tests.simulation.host import Machine

# An agent that runs has taken a loss into account by then.
HEARD_NS = 500 * MS


@dataclass(slots=True)
class Heard:
    """A command as an agent took it in: in which of its lives, and how far its words have come."""

    life: int
    at_ns: int
    last_word_ns: int = 0


class Words(Witness):
    def __init__(self, ground: Ground, deeds: Deeds, reverts: Reverts) -> None:
        self._ground = ground
        self._deeds = deeds
        self._reverts = reverts
        self._lives: dict[str, int] = {}
        self._strange: dict[str, bool] = {}  # machine -> its agent has found what it does not know in its journal
        self._heard: dict[str, Heard] = {}
        self._losses: dict[str, list[int]] = {}  # machine -> when its agent was told of lost events

    def agent_started(self, machine: "Machine") -> None:
        self._lives[machine.name] = self._lives.get(machine.name, 0) + 1
        self._strange[machine.name] = any(record.kind == NOT_KNOWN for record in machine.disk.records)

    def delivered(self, machine: "Machine", frame: a.ConnectResponse) -> None:
        if frame.HasField("strike"):
            heard = Heard(self._lives[machine.name], self._ground.clock.now_ns)
            self._heard.setdefault(frame.strike.command_id, heard)

    def lost_events(self, machine: "Machine") -> None:
        self._losses.setdefault(machine.name, []).append(self._ground.clock.now_ns)

    def struck(self, fell: Fell) -> None:
        heard, broken = self._heard.get(fell.command_id), self._ground.broken
        if not _intended(fell):
            raise broken("I2", "R1", f"blow {fell.blow} of {fell.command_id} fell before its intent was durable")
        if self._strange[fell.machine.name]:
            raise broken("I10", "R13", f"{fell.command_id} struck on a journal that is not understood")
        if heard is not None and heard.life != self._lives[fell.machine.name]:
            raise broken("I2", "R4", f"{fell.command_id} struck by an agent that was started anew since")

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        broken = self._ground.broken
        if frame.HasField("halt_ack") and frame.halt_ack.stage == a.HALT_STAGE_REVERTED:
            for paused in self._reverts.open:
                if paused.machine is machine and not paused.forgotten:
                    what = f"{machine} says it has reverted, and {paused.proc} is stopped by {paused.command_id}"
                    raise broken("I8", "R12", what)
        if not frame.HasField("strike_update"):
            return
        update = frame.strike_update
        if (heard := self._heard.get(update.command_id)) is not None:
            heard.last_word_ns = self._ground.clock.now_ns
        if update.used_up and not used_up(machine, update.command_id):
            raise broken("I2", "R11", f"{update.command_id} is called used up before that is durable")
        killed = any(blow.signal == KILL and not blow.revert for blow in update.blows)
        if killed and update.state == p.STRIKE_STATE_SURVIVED:
            raise broken("I8", "R16", f"{update.command_id} is said to live on, and was sent SIGKILL")

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            if isinstance(change, PutRun) and change.row.verdict == o.RUN_VERDICT_HELD:
                self._held(change.row.run_id)

    def _held(self, run_id: str) -> None:
        """Nobody may say so where events were lost while a victim was struck."""
        for command_id, order in self._deeds.orders.items():
            heard = self._heard.get(command_id)
            if order.frame.run_id != run_id or not order.blows or heard is None:
                continue
            until_ns = heard.last_word_ns - HEARD_NS
            if any(order.blows[0].at_ns < lost < until_ns for lost in self._losses.get(order.machine.name, ())):
                what = f"run {run_id} is said to have held, and events were lost while {command_id} was open"
                raise self._ground.broken("I8", "R28", what)


def _intended(fell: Fell) -> bool:
    for record in reversed(fell.machine.disk.records):
        if record.kind == "intent" and record.body["blow"] == fell.blow:
            command = a.Strike.FromString(base64.b64decode(str(record.body["strike"])))
            if command.command_id == fell.command_id:
                return True
    return False


def used_up(machine: "Machine", command_id: str) -> bool:
    return any(
        record.kind in ("used", "not_sent") and record.body["command"] == command_id
        for record in machine.disk.records
    )
