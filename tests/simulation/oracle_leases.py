"""I5: no signal after the true end of an agent's right, and what rights rest on (rules R7 to R9)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from killdeer.v1 import agent_pb2 as a
from tests.simulation.clock import MS, SECOND
from tests.simulation.deeds import Deeds
from tests.simulation.ground import Fell, Ground, Witness

if TYPE_CHECKING:
    from tests.simulation.host import Machine

NOT_AFTER_NS = 10 * SECOND
FROZEN_NS = 3 * SECOND  # rule R8: a shorter standstill is not noticed


@dataclass(slots=True)
class Right:
    """`until_boot_ns` in the host's own clock; `until_true_ns` for a host that can see that it stood still."""

    until_boot_ns: int = 0
    until_true_ns: int = 0
    stamps: dict[int, int] = field(default_factory=dict)  # heartbeat -> true time of its making


class Leases(Witness):
    def __init__(self, ground: Ground, deeds: Deeds) -> None:
        self._ground = ground
        self._deeds = deeds
        self._rights: dict[str, Right] = {}
        self._answered: dict[
            tuple[str, str], int
        ] = {}  # machine, boot id -> the latest heartbeat that was answered

    def right_of(self, machine: "Machine") -> Right:
        return self._rights.setdefault(machine.name, Right())

    def agent_started(self, machine: "Machine") -> None:
        self._rights[machine.name] = Right()

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        if frame.HasField("heartbeat"):
            stamp = frame.heartbeat.stamp_boot_ns
            self.right_of(machine).stamps[stamp] = self._ground.clock.now_ns - (machine.boot_ns - stamp)

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        if frame.HasField("lease_renewal"):
            boot = (machine.name, machine.boot_id)
            self._answered[boot] = max(self._answered.get(boot, 0), frame.lease_renewal.heartbeat_boot_ns)
            return
        # A victim of the boot before, chosen before anybody knew, is refused; its time is then that of this boot.
        boots = (machine.boot_id, frame.strike.victim.boot_id)
        answered_ns = max(self._answered.get((machine.name, boot_id), 0) for boot_id in boots)
        if frame.HasField("strike") and frame.strike.not_after_boot_ns > answered_ns + NOT_AFTER_NS:
            what = f"{frame.strike.command_id} may act for longer after the last answered heartbeat than is bounded"
            raise self._ground.broken("I5", "R7", what)

    def delivered(self, machine: "Machine", frame: a.ConnectResponse) -> None:
        if not frame.HasField("lease_renewal"):
            return
        right, renewal = self.right_of(machine), frame.lease_renewal
        made_ns = right.stamps.get(renewal.heartbeat_boot_ns)
        if made_ns is None:
            return  # it answers no heartbeat of this agent
        length_ns = renewal.lease_ms * MS
        right.until_boot_ns = max(right.until_boot_ns, renewal.heartbeat_boot_ns + length_ns)
        right.until_true_ns = max(right.until_true_ns, made_ns + length_ns * 101 // 100)

    def struck(self, fell: Fell) -> None:
        machine, right, broken = fell.machine, self.right_of(fell.machine), self._ground.broken
        order = self._deeds.order_of(fell.command_id)
        if machine.boot_ns >= right.until_boot_ns:
            raise broken("I5", "R7", f"{fell.command_id} struck on {machine} after the end of its lease")
        if machine.rtc and fell.at_ns >= right.until_true_ns + FROZEN_NS:
            raise broken("I5", "R8", f"{fell.command_id} struck on {machine}, which had stood still past its lease")
        action = order.frame.action
        if fell.blow > 1 and order.action == "hold-down":
            if machine.boot_ns > order.blows[0].boot_ns + action.hold_down.length_ms * MS:
                raise broken("I5", "R4", f"{fell.command_id} struck after its hold was over")
            return
        grace_ns = action.terminate.grace_ms * MS if fell.blow > 1 else 0
        if machine.boot_ns >= order.frame.not_after_boot_ns + grace_ns:
            raise broken("I5", "R7", f"{fell.command_id} struck past its not_after")
