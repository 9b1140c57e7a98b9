"""Halt on this host: latched, durable before it is reported, two acknowledgements (rules R10 to R14)."""

from dataclasses import dataclass

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest, HaltAck, HaltStage
from killdeer.v1.process_pb2 import HaltRecord, HaltSet, Reason
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.memory import halt_record
from killdeer_agent.core.reverts import Reverts
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Record


@dataclass(slots=True)
class Stopping:
    """One halt that this host is carrying out."""

    to_revert: int
    said_left: tuple[str, ...] | None = None  # on this stream


class Halting:
    def __init__(self, desk: Desk, strikes: Strikes, reverts: Reverts) -> None:
        self._desk = desk
        self._strikes = strikes
        self._reverts = reverts
        self._stopping: dict[str, Stopping] = {}
        self._writing: set[str] = set()
        self._releasing: set[str] = set()

    def merge(self, known: HaltSet) -> None:
        """From Welcome and each renewal: what the coordinator knows joins what this host knows."""
        theirs = Halts.from_wire(known)
        self.release(sorted(theirs.released))
        for halt in theirs.engaged.values():
            if halt.id in theirs.released:
                self._write(halt)  # after its release: it is never in force here
            elif halt.id not in self._desk.memory.halts.engaged:
                self.engage(halt)

    def engage(self, halt: HaltRecord) -> None:
        """Everything stops at once, in memory; the report waits for the disk."""
        stopping = self._stopping.setdefault(halt.id, Stopping(len(self._strikes.effects_open)))
        stopping.said_left = None
        if halt.id not in self._desk.memory.halts.engaged:
            self._desk.halting[halt.id] = halt
        self._reverts.cancel_all(Refusal(Reason.REASON_HALTED, f"the fleet was halted by {halt.by}"))
        self._write(halt)
        self.progress()

    def progress(self) -> None:
        """The first acknowledgement once the halt is durable and no signal is under way; then one after each
        revert, with what was reverted and what is left. Where nothing is left, the first is the last one too."""
        if not self._stopping or self._strikes.striking:
            return
        left = tuple(self._strikes.effects_open)
        for halt_id, stopping in self._stopping.items():
            if halt_id in self._desk.memory.halts.engaged and stopping.said_left != left:
                stopping.said_left = left
                reverted = max(0, stopping.to_revert - len(left))
                stage = HaltStage.HALT_STAGE_STOPPED if left else HaltStage.HALT_STAGE_REVERTED
                self._ack(halt_id, stage, reverted, left)

    def linked(self) -> None:
        """A new stream: what was acknowledged on the old one may not have arrived."""
        for halt in self._desk.memory.halts.active:
            stopping = self._stopping.setdefault(halt.id, Stopping(len(self._strikes.effects_open)))
            stopping.said_left = None
        self.progress()

    def release(self, halt_ids: list[str]) -> None:
        fresh = [i for i in halt_ids if i not in self._desk.memory.halts.released and i not in self._releasing]
        if not fresh:
            return
        # Released only once it is durable: until then this host stays halted, which is the safe side.
        self._releasing.update(fresh)
        self._desk.write(Record("released", {"ids": fresh}), lambda problem: self._released(fresh, problem))

    def _write(self, halt: HaltRecord) -> None:
        if halt.id in self._desk.memory.halts.engaged or halt.id in self._writing:
            return
        self._writing.add(halt.id)
        self._desk.write(halt_record(halt), lambda problem: self._durable(halt.id, problem))

    def _durable(self, halt_id: str, problem: str) -> None:
        """A halt that could not be written holds all the same; it is written again when it is heard again."""
        self._writing.discard(halt_id)
        if not problem:
            self._desk.halting.pop(halt_id, None)
            self.progress()

    def _released(self, halt_ids: list[str], problem: str) -> None:
        self._releasing.difference_update(halt_ids)
        if not problem:
            for halt_id in halt_ids:
                self._stopping.pop(halt_id, None)

    def _ack(self, halt_id: str, stage: HaltStage, reverted: int, left: tuple[str, ...]) -> None:
        ack = HaltAck(halt_id=halt_id, stage=stage, reverted=reverted, left=left)
        self._desk.send(ConnectRequest(halt_ack=ack), urgent=True)
