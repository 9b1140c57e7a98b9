"""I8: an outcome says only what the world saw, on the wire and in the store."""

from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core.books import Books, Decision, PutStrike
from tests.simulation.deeds import Deeds, Order
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.processes import TERM, Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine

_OVER_FOR_THE_VICTIM = (p.STRIKE_STATE_GONE, p.STRIKE_STATE_RECOVERED, p.STRIKE_STATE_LOST)
_NOTHING_SENT = (p.STRIKE_STATE_REFUSED, p.STRIKE_STATE_RECORDED, p.STRIKE_STATE_EXPIRED, p.STRIKE_STATE_HALTED)


class Truth(Witness):
    def __init__(self, ground: Ground, deeds: Deeds) -> None:
        self._ground = ground
        self._deeds = deeds
        self._used_up: set[str] = set()
        self.unknown: set[str] = set()  # commands of which a host has said that it cannot tell
        self._forgot: dict[str, int] = {}  # machine -> when its journal was last lost or rolled back

    def forgot(self, machine: "Machine") -> None:
        self._forgot[machine.name] = self._ground.clock.now_ns

    def struck(self, fell: Fell) -> None:
        if fell.command_id in self._used_up:
            raise self._ground.broken("I8", "R16", f"{fell.command_id} struck after it was said to be used up")

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        if frame.HasField("strike_update"):
            update = frame.strike_update
            self._ground.reach(f"agent says {p.StrikeState.Name(update.state).removeprefix('STRIKE_STATE_')}")
            if update.state == p.STRIKE_STATE_UNKNOWN:
                self.unknown.add(update.command_id)
            if update.reason:
                self._ground.reach(f"agent refuses {p.Reason.Name(update.reason).removeprefix('REASON_')}")
            self._said(update)
        elif frame.HasField("evidence"):
            for event in frame.evidence.events:
                if event.HasField("death"):
                    self._died(machine, event)

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            if isinstance(change, PutStrike) and not change.row.view.dry_run:
                view = change.row.view
                self._ground.reach(f"outcome {p.StrikeState.Name(view.state).removeprefix('STRIKE_STATE_')}")
                if (order := self._deeds.orders.get(view.command_id)) is not None:
                    self._fits(order, view)

    def _said(self, update: a.StrikeUpdate) -> None:
        order = self._deeds.orders.get(update.command_id)
        if order is None:  # its frame never left, and a revert or a question has used its id up
            if any(not blow.revert for blow in update.blows):
                raise self._ground.broken("I8", "R16", f"blows of {update.command_id}, which was never ordered")
            return
        if order.spoken_for:
            return
        if update.used_up:
            self._used_up.add(update.command_id)
            if order.blows and self._forgot.get(order.machine.name, 0) > order.blows[-1].at_ns:
                return  # its journal does not know better; its coordinator must
            if order.blows:
                raise self._ground.broken("I8", "R16", f"{update.command_id} is called used up, and was struck")
        self._fits(order, update)

    def _fits(self, order: Order, said: a.StrikeUpdate | o.StrikeView) -> None:
        """An agent's word, or what the store makes of it."""
        if order.spoken_for:
            return
        broken, command_id = self._ground.broken, said.command_id
        state = p.StrikeState.Name(said.state).removeprefix("STRIKE_STATE_").lower()
        fell = {(blow.blow, blow.signal) for blow in order.blows}
        for blow in said.blows:
            if not blow.revert and (blow.number, blow.signal) not in fell:
                raise broken("I8", "R16", f"{command_id} is said to have sent blow {blow.number}, and has not")
        if said.state == p.STRIKE_STATE_STRUCK and not fell:
            raise broken("I8", "R16", f"{command_id} is said to be {state}, and nothing fell")
        if said.state == p.STRIKE_STATE_REFUSED and fell:
            raise broken("I8", "R16", f"{command_id} is said to be {state}, and was struck")
        proc = self._deeds.victim_of(order)
        if proc is None:
            return
        if said.state in _OVER_FOR_THE_VICTIM and proc.alive:
            raise broken("I8", "R16", f"{command_id} is said to be {state}, and {proc} lives")
        if said.HasField("exit"):
            self._exited(command_id, said.exit, proc)
        if said.HasField("successor"):
            self._succeeded(order, said.successor)

    def _exited(self, command_id: str, exit_: p.Exit, proc: Proc) -> None:
        if proc.alive:
            raise self._ground.broken("I8", "R16", f"an exit of {command_id} is told, and {proc} lives")
        if exit_.source == "bpf" and (exit_.code, exit_.signal) != (proc.code, proc.died_of):
            raise self._ground.broken("I8", "R16", f"the exit of {command_id} was another one")

    def _succeeded(self, order: Order, successor: p.Successor) -> None:
        identity = successor.identity
        proc = self._deeds.procs.get((identity.boot_id, identity.pid, identity.start_ticks))
        if proc is None:
            raise self._ground.broken("I8", "R18", f"the successor of {order.frame.command_id} never was")

    def _died(self, machine: "Machine", event: p.KernelEvent) -> None:
        death, broken = event.death, self._ground.broken
        self._ground.reach(f"death by {p.Cause.Name(death.cause).removeprefix('CAUSE_')}")
        proc = self._deeds.procs.get((machine.boot_id, death.process.pid, death.process.start_ticks))
        if proc is None or proc.alive:
            raise broken("I8", "causes", f"a death of pid {death.process.pid} is told, which has not died")
        if death.cause == p.CAUSE_EXIT and proc.died_of:
            raise broken("I8", "causes", f"{proc} is said to have exited, and died of signal {proc.died_of}")
        if death.cause == p.CAUSE_STRIKE:
            order = self._deeds.orders.get(event.command_id)
            signals = [blow.signal for blow in order.blows if blow.proc is proc] if order is not None else []
            asked = TERM in signals and not proc.died_of  # it took TERM as a word to end, and exited by itself
            if proc.died_of not in signals and not asked:
                raise broken("I8", "causes", f"{proc} is said to have died of strike {event.command_id!r}")
        elif death.cause == p.CAUSE_SIGNAL and death.killer.pid not in machine.life.senders.get(proc, ()):
            raise broken("I8", "causes", f"{proc} is said to have been killed by pid {death.killer.pid}")
