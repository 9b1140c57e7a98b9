"""Halt on this host: latched, durable before it is reported, two acknowledgements (rules R10 to R14)."""

from dataclasses import dataclass

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest, HaltAck, HaltStage
from killdeer.v1.process_pb2 import HaltRecord, HaltSet, Reason
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.memory import halt_record
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Record


@dataclass(slots=True)
class Stopping:
    """One halt that this host is carrying out."""

    to_revert: int
    stopped: bool = False  # durable and told
    said_left: tuple[str, ...] | None = None


class Halting:
    def __init__(self, desk: Desk, strikes: Strikes) -> None:
        self._desk = desk
        self._strikes = strikes
        self._stopping: dict[str, Stopping] = {}

    def merge(self, known: HaltSet) -> None:
        """From Welcome and each renewal: what the coordinator knows joins what this host knows."""
        theirs = Halts.from_wire(known)
        mine = self._desk.memory.halts
        for halt in theirs.engaged.values():
            if halt.id not in mine.engaged:
                self.engage(halt, released=halt.id in theirs.released)
        self.release(sorted(theirs.released - mine.released))

    def engage(self, halt: HaltRecord, *, released: bool = False) -> None:
        """Everything stops at once, in memory; the report waits for the disk."""
        if not released:
            stopping = self._stopping.setdefault(halt.id, Stopping(len(self._strikes.effects_open)))
            stopping.stopped = stopping.stopped and halt.id in self._desk.memory.halts.engaged
            stopping.said_left = None
            self._strikes.cancel_all(Refusal(Reason.REASON_HALTED, f"the fleet was halted by {halt.by}"))
        if halt.id in self._desk.memory.halts.engaged:
            self._durable(halt.id)
        else:
            self._desk.write(halt_record(halt), lambda problem: None if problem else self._durable(halt.id))

    def _durable(self, halt_id: str) -> None:
        stopping = self._stopping.get(halt_id)
        if stopping is not None:
            stopping.stopped = True
            self._ack(halt_id, HaltStage.HALT_STAGE_STOPPED, 0, ())
            self.progress()

    def progress(self) -> None:
        """After each revert: the second acknowledgement, with what was reverted and what is left."""
        left = tuple(self._strikes.effects_open)
        for halt_id, stopping in self._stopping.items():
            if stopping.stopped and stopping.said_left != left:
                stopping.said_left = left
                reverted = max(0, stopping.to_revert - len(left))
                stage = HaltStage.HALT_STAGE_STOPPED if left else HaltStage.HALT_STAGE_REVERTED
                self._ack(halt_id, stage, reverted, left)

    def linked(self) -> None:
        """A new stream: what was acknowledged on the old one may not have arrived."""
        for halt in self._desk.memory.halts.active:
            self._stopping.setdefault(halt.id, Stopping(0)).said_left = None
            self._durable(halt.id)

    def release(self, halt_ids: list[str]) -> None:
        fresh = [halt_id for halt_id in halt_ids if halt_id not in self._desk.memory.halts.released]
        if not fresh:
            return
        # Released only once it is durable: until then this host stays halted, which is the safe side.
        self._desk.write(Record("released", {"ids": fresh}), lambda problem: None)
        for halt_id in fresh:
            self._stopping.pop(halt_id, None)

    def _ack(self, halt_id: str, stage: HaltStage, reverted: int, left: tuple[str, ...]) -> None:
        ack = HaltAck(halt_id=halt_id, stage=stage, reverted=reverted, left=left)
        self._desk.send(ConnectRequest(halt_ack=ack), urgent=True)
