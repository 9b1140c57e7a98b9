"""I1, I7, I10: every signal meets the one process that was chosen, and only while target and guard say yes."""

from tests.simulation.deeds import Deeds, Order
from tests.simulation.experiments import Experiment
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.processes import KILL, STOP, TERM, Proc


class Aim(Witness):
    def __init__(self, ground: Ground, deeds: Deeds) -> None:
        self._ground = ground
        self._deeds = deeds

    def struck(self, fell: Fell) -> None:
        order = self._deeds.order_of(fell.command_id)
        victim, proc, machine = order.frame.victim, fell.proc, fell.machine
        broken = self._ground.broken
        if order.action == "hold-down" and fell.blow > 1:
            self._succeeds(order, proc)
        elif (machine.boot_id, proc.pid, proc.start_ticks) != (victim.boot_id, victim.pid, victim.start_ticks):
            raise broken("I1", "R1", f"{fell.command_id} was for pid {victim.pid}/{victim.start_ticks}, hit {proc}")
        if victim.host != machine.identity:
            raise broken("I1", "R1", f"{fell.command_id} was for {victim.host}, struck on {machine.identity}")
        if not proc.alive or proc.state in "TtZX":
            raise broken("I1", "R5", f"{fell.command_id} hit {proc}, which is in no state to be struck")
        if proc.program != victim.program and fell.blow == 1:
            raise broken("I1", "R1", f"{fell.command_id} hit {proc}, which runs another program than was chosen")
        if proc.unreadable:
            raise broken("I10", "R1", f"{fell.command_id} hit {proc}, of which nothing can be told")
        experiment = self._deeds.experiment_of(order)
        if not experiment.target.matches(proc):
            raise broken("I1", "R1", f"{fell.command_id} hit {proc}, which is not {experiment.target.text}")
        if not machine.guard_given.allows(proc, order.action):
            raise broken("I7", "R29", f"{fell.command_id} hit {proc}, which the guard does not open to it")
        if fell.signal != _signal(order.action, fell.blow, order.frame.action.kill.signal):
            raise broken("I1", "R4", f"blow {fell.blow} of {fell.command_id} was signal {fell.signal}")
        if order.action not in _wanted(experiment):
            raise broken("I1", "R4", f"{fell.command_id} does {order.action}, which nobody asked for")
        if machine.halt_file:
            raise broken("I4", "R14", f"{fell.command_id} struck while the halt file was on {machine}")

    def _succeeds(self, order: Order, proc: Proc) -> None:
        """A later blow of a hold meets one that has come in the victim's place since the first."""
        first = order.blows[0]
        if (proc.service, proc.unit) != (first.service, first.unit) or proc.born_ns < first.at_ns:
            command_id = order.frame.command_id
            raise self._ground.broken("I1", "R4", f"{command_id} held down {first.unit} and hit {proc}")


def _signal(action: str, blow: int, killing: int) -> int:
    if action == "kill":
        return killing
    if action == "terminate":
        return TERM if blow == 1 else KILL
    return KILL if action == "hold-down" else STOP


def _wanted(experiment: Experiment) -> list[str]:
    return [action.strip("{}").split(":")[0] for action in experiment.actions]
