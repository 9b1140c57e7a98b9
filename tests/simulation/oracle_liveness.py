"""Ten minutes after the last fault every permit is released or named, nothing is stopped, and every agent is served
or quarantined by name."""

from typing import TYPE_CHECKING

from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core.ledger import OVER

if TYPE_CHECKING:
    from tests.simulation.host import Machine
    from tests.simulation.world import World


class Liveness:
    def __init__(self, world: "World") -> None:
        self._world = world

    def restless(self) -> str:
        """What is not well yet; empty: all is."""
        world = self._world
        for coordinator in world.coordinators:
            if not coordinator.listening:
                return f"{coordinator.name} does not listen"
        for machine in world.machines:
            if why := self._unserved(machine):
                return f"{machine} {why}"
        for paused in world.oracles.reverts.open:
            order = world.oracles.deeds.orders[paused.command_id]
            unheld = paused.unstored or order.spoken_for or paused.command_id in world.oracles.limits.cleared
            if paused.forgotten and unheld:
                continue  # journal and store have both lost it: nobody knows (docs/safety.md)
            return f"{paused.proc} on {paused.machine} is stopped by {paused.command_id}"
        books = world.store.read()
        if books.runs:
            return f"the run {min(books.runs)} goes on and on"
        for permit in books.permits.values():
            if permit.released_ms:
                continue
            row = books.strikes.get(permit.command_id)
            state = row.view.state if row is not None else p.STRIKE_STATE_UNSPECIFIED
            if permit.command_id not in world.operators.named:
                return f"the permit {permit.permit_id} is held and not named"
            if permit.command_id in world.oracles.truth.unknown:
                continue  # its host has lost its journal: an operator clears it
            if state not in OVER and not world.oracles.limits.in_flight(permit.command_id):
                name = p.StrikeState.Name(state)
                return f"the permit {permit.permit_id} is held as {name}, and its victim has recovered"
        return ""

    def ended(self) -> None:
        if why := self.restless():
            raise self._world.ground.broken("liveness", "liveness", why)
        if problem := self._world.store.real.verify_audit({}):
            raise self._world.ground.broken("I9", "R28", problem)

    def _unserved(self, machine: "Machine") -> str:
        world = self._world
        if machine.agent is None or not machine.up or not machine.agent.alive:
            return "has no agent"
        if machine.boot_ns < world.oracles.leases.right_of(machine).until_boot_ns:
            return ""
        view = world.operators.hosts.get(machine.identity)
        if view is not None and view.quarantined and view.problem:
            return ""
        return "is neither served nor quarantined by name"
