"""I3: a service has recovered when as many processes are there as before the blow; a refusal gives a permit
back once it is durable (rules R16 and R18)."""

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core.books import Books, Decision, Permit, PutPermit, PutStrike
from tests.simulation.clock import SECOND
from tests.simulation.deeds import Deeds, Order
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.oracle_words import used_up
from tests.simulation.processes import Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine

LOOKED_NS = 1 * SECOND  # how far before an order its agent's last look may be

Place = tuple[str, str]  # machine, service


class Recovery(Witness):
    """Counts all who live, ready or not, and takes every other order on that host and service for a victim of its
    own: what it calls too few are too few by every reading."""

    def __init__(self, ground: Ground, deeds: Deeds, machines: "Callable[[], list[Machine]]") -> None:
        self._ground = ground
        self._deeds = deeds
        self._machines = machines
        self._unready: dict[Proc, int] = {}  # those that were alive and not ready -> when they were seen so last
        self._ready: dict[str, int] = {}  # command -> how many were ready just before its first blow
        self._most: dict[str, int] = {}  # command -> the most that lived at any time since its victim died
        self._waits: dict[Place, list[str]] = defaultdict(list)  # commands whose victims may be waited for
        self._forgot: set[str] = set()  # machines whose journal was lost or rolled back

    def forgot(self, machine: "Machine") -> None:
        self._forgot.add(machine.name)

    def spawned(self, machine: "Machine", proc: Proc) -> None:
        place = (machine.name, proc.service)
        living = self._count(machine, proc.service)
        for command_id in self._waits[place]:
            self._most[command_id] = max(self._most[command_id], living)

    def struck(self, fell: Fell) -> None:
        if fell.blow > 1 or fell.command_id in self._ready:
            return
        of_it = [one for one in fell.machine.life.table if one.service == fell.service and one.alive]
        since_ns = self._deeds.order_of(fell.command_id).at_ns - LOOKED_NS
        self._ready[fell.command_id] = sum(
            one.ready and one.born_ns < since_ns and self._unready.get(one, 0) < since_ns for one in of_it
        )
        self._most[fell.command_id] = len(of_it) - 1
        self._waits[fell.machine.name, fell.service].append(fell.command_id)

    def swept(self) -> None:
        now = self._ground.clock.now_ns
        for machine in self._machines():
            self._unready.update((one, now) for one in machine.life.table if one.alive and not one.ready)

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        views = [change.row.view for change in decision.changes if isinstance(change, PutStrike)]
        recovered = {view.command_id for view in views if view.state == p.STRIKE_STATE_RECOVERED}
        for change in decision.changes:
            if not isinstance(change, PutPermit) or not change.row.released_ms:
                continue
            order = self._deeds.orders.get(change.row.command_id)
            if order is None or order.machine.name in self._forgot or order.spoken_for:
                continue
            if change.row.released_why == "refused":
                self._refused(order, change.row)
            elif change.row.command_id in recovered:
                self._recovered(order, change.row)

    def _refused(self, order: Order, permit: Permit) -> None:
        if not used_up(order.machine, permit.command_id):
            what = f"the permit of {permit.command_id} is released as refused, and that is not durable"
            raise self._ground.broken("I3", "R16", f"{what} on {order.machine}")

    def _recovered(self, order: Order, permit: Permit) -> None:
        machine, before = order.machine, self._ready.get(permit.command_id)
        proc = self._deeds.victim_of(order)
        if before is None or proc is None or proc.alive or proc.boot_id != machine.boot_id:
            return  # or the machine has started all anew
        if order.action == "hold-down":
            return  # others were struck in its place
        service = order.blows[0].service
        others = sum(
            one is not order and one.machine is machine and one.frame.service == order.frame.service
            for one in self._deeds.orders.values()
        )
        living = max(self._most[permit.command_id], self._count(machine, service))
        if living + others < before:
            what = f"{service} on {machine} is said to have recovered from {permit.command_id}"
            raise self._ground.broken("I3", "R18", f"{what}: {living} were there at most, of {before} before")

    def _count(self, machine: "Machine", service: str) -> int:
        return sum(one.alive and one.service == service for one in machine.life.table)
