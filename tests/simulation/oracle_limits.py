"""I3: victims that have not recovered are never more than any limit allows, by the world's own count.

A victim counts from its first blow until something started later stands in for it (one for one), or it lives on
and runs, or an operator gave its permit up by name. Where the rules leave room, the count is the lowest possible:
what it calls a victim is one by every reading.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Books, Decision, FleetLimits, PutPermit
from tests.simulation.clock import MS, SECOND
from tests.simulation.deeds import Deeds
from tests.simulation.experiments import Limits as RunLimits
from tests.simulation.ground import Fell, Ground, Witness
from tests.simulation.processes import KILL, STOP, Proc

if TYPE_CHECKING:
    from tests.simulation.host import Machine

# From the scan and the grant to the blow: what was so once within this time may have been what was decided on.
LOOK_BACK_NS = 30 * SECOND
MINUTE_MS = 60_000


@dataclass(slots=True, kw_only=True, eq=False)
class Victim:
    command_id: str
    run_id: str
    machine: "Machine"
    service: str
    proc: Proc
    ordered_ns: int
    struck_ms: int  # the store's clock
    within_ms: int
    last_signal: int
    last_boot_ns: int
    boot_id: str
    ignored: bool = False
    stand_in_ns: int = 0  # when whoever was taken to stand in for it was started

    @property
    def is_late(self) -> bool:
        """Past the time in which it was to end. What becomes known in the same instant may be known too late."""
        return self.machine.boot_ns - self.last_boot_ns >= self.within_ms * MS - 200 * MS

    def lives_on(self) -> bool:
        if not self.proc.alive or self.last_signal == KILL:
            return False
        if self.last_signal == STOP:
            return self.proc.state != "T"
        if self.ignored or self.boot_id != self.machine.boot_id:
            return self.ignored
        return self.is_late


class LimitsHold(Witness):
    def __init__(
        self,
        ground: Ground,
        deeds: Deeds,
        machines: "Callable[[], list[Machine]]",
        limits: FleetLimits,
    ) -> None:
        self._ground = ground
        self._deeds = deeds
        self._machines = machines
        self._victims: dict[str, Victim] = {}  # in flight, by command id
        self._replaced: dict[str, Victim] = {}  # not in flight: another stands in, and no permit was given back yet
        self._struck: list[Victim] = []  # all there ever were
        self._spare: dict[tuple[str, str], list[int]] = defaultdict(list)  # machine, service -> births, unclaimed
        # scope -> value and until when it may have been what a grant went by (0: for ever)
        self._fleet = {scope: [(most, 0)] for scope, most in limits.limits.items()}
        self._asks: dict[tuple[str, int], o.SetLimitRequest] = {}
        # when, and: service -> processes there are or should be; by service and machine, those ready
        self._sizes: deque[tuple[int, dict[str, int]]] = deque()
        self._ready: deque[tuple[int, dict[tuple[str, str], list[Proc]]]] = deque()
        self._forgot: dict[str, int] = {}  # machine -> when its journal was last lost or rolled back
        self.cleared: set[str] = set()  # commands whose permits operators have given up by name
        self._back_ms = 0
        self._was_restored = False
        self._wall = (0, 0)

    def in_flight(self, command_id: str) -> bool:
        self._settle()
        return command_id in self._victims

    # --- what is known of the world -----------------------------------------------------------------------------

    def spawned(self, machine: "Machine", proc: Proc) -> None:
        self._spare[machine.name, proc.service].append(self._ground.clock.now_ns)
        self._note_sizes()  # they are never more than now

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None:
        if isinstance(request, o.ClearPermitRequest):
            self.cleared.add(request.permit_id.removeprefix("p-"))
            self._victims.pop(request.permit_id.removeprefix("p-"), None)
        elif isinstance(request, o.AcceptHostRequest) and self._was_restored:
            # What the lost store held there nobody counts any more: whoever accepts the host has looked.
            for victim in list(self._victims.values()):
                if victim.machine.identity == request.host:
                    del self._victims[victim.command_id]
        elif isinstance(request, o.SetLimitRequest):
            self._asks[coordinator, ask] = request
            self._fleet.setdefault(request.scope, [(1_000_000, 0)]).append((request.limit, 0))

    def replied(self, coordinator: str, ask: int, message: Message) -> None:
        request = self._asks.get((coordinator, ask))
        if request is not None and isinstance(message, o.SetLimitResponse):
            until = self._ground.clock.now_ns + LOOK_BACK_NS
            known = self._fleet[request.scope]
            self._fleet[request.scope] = [(most, at or until) for most, at in known]
            self._fleet[request.scope].append((request.limit, 0))

    def restored(self, position: StorePosition) -> None:
        self._was_restored = True
        self._struck.clear()  # rate and cooldown are counted from rows, and those are gone (docs/safety.md)
        self._fleet = {scope: [(most, 0) for most, _ in known] for scope, known in self._fleet.items()}

    def swept(self) -> None:
        self._settle()
        self._note_sizes()
        self._note_wall()

    def _note_sizes(self, just_gone: Proc | None = None) -> None:
        now = self._ground.clock.now_ns
        sizes: dict[str, int] = defaultdict(int)
        ready: dict[tuple[str, str], list[Proc]] = defaultdict(list)
        for machine in self._machines():
            for proc in machine.life.table:
                if proc.ready:
                    sizes[proc.service] += 1
                    ready[proc.service, machine.name].append(proc)
                elif proc is just_gone and proc.state not in "TtZX":
                    ready[proc.service, machine.name].append(proc)
        for victim in self._victims.values():
            sizes[victim.service] += 1
        self._ready.append((now, ready))
        self._sizes.append((now, sizes))
        while self._sizes[0][0] <= now - LOOK_BACK_NS:  # both are noted at the same times
            self._sizes.popleft()
            self._ready.popleft()

    def forgot(self, machine: "Machine") -> None:
        self._forgot[machine.name] = self._ground.clock.now_ns

    def exited(self, machine: "Machine", proc: Proc) -> None:
        """Whoever has lived on for long enough may end now, uncounted (docs/safety.md)."""
        self._note_sizes(just_gone=proc)
        for victim in list(self._victims.values()):
            if victim.proc is proc and victim.last_signal not in (KILL, STOP) and victim.is_late:
                del self._victims[victim.command_id]

    def resumed(self, machine: "Machine", proc: Proc) -> None:
        """A pause is over then, whatever ends the process later."""
        for victim in list(self._victims.values()):
            if victim.proc is proc and victim.last_signal == STOP:
                del self._victims[victim.command_id]

    # --- what is judged -------------------------------------------------------------------------------------------

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        """A permit is given back for a recovery only after one."""
        for change in decision.changes:
            if isinstance(change, PutPermit) and change.row.released_why == "recovered":
                self._settle()
                victim = self._victims.get(change.row.command_id)
                if victim is not None and self._deeds.orders[victim.command_id].spoken_for:
                    del self._victims[victim.command_id]
                elif victim is not None and not self._gives_way(victim, books):
                    what = f"the permit of {victim.command_id} is released, and {victim.proc} was not replaced"
                    raise self._ground.broken("I3", "R16", what)
                self._replaced.pop(change.row.command_id, None)
            elif isinstance(change, PutPermit) and change.row.released_why == "refused":
                order = self._deeds.orders.get(change.row.command_id)
                if order is not None and order.blows:
                    what = f"the permit of {change.row.command_id} is released as refused, and it was struck"
                    raise self._ground.broken("I3", "R16", what)

    def struck(self, fell: Fell) -> None:
        self._note_wall()
        self._host_rate(fell)
        if (known := self._victims.get(fell.command_id)) is not None:
            known.last_signal, known.last_boot_ns = fell.signal, fell.machine.boot_ns
            if fell.action == "hold-down":
                self._held_down(fell)
            return
        if fell.blow > 1:
            self._held_down(fell)
            return
        self._settle()
        order = self._deeds.order_of(fell.command_id)
        victim = Victim(
            command_id=fell.command_id,
            run_id=order.frame.run_id,
            machine=fell.machine,
            service=fell.proc.service,
            proc=fell.proc,
            ordered_ns=order.at_ns,
            struck_ms=fell.store_ms + self._back_ms,
            within_ms=order.frame.recover_within_ms,
            last_signal=fell.signal,
            last_boot_ns=fell.machine.boot_ns,
            boot_id=fell.machine.boot_id,
            ignored=fell.signal in fell.proc.ignored,
        )
        self._victims[fell.command_id] = victim
        self._note_sizes()
        for broken in (*self._fleets(victim), *self._runs(victim), *self._rates(victim)):
            raise self._ground.broken("I3", *broken)
        self._struck.append(victim)
        if victim.ignored:  # nothing came of it, says the kernel at once
            del self._victims[fell.command_id]

    def _held_down(self, fell: Fell) -> None:
        """The place of a victim is empty again: who stood in for it is none that anybody may claim."""
        spare = self._spare[fell.machine.name, fell.service]
        if fell.proc.born_ns in spare:
            spare.remove(fell.proc.born_ns)
        again = next((one for one in self._struck if one.command_id == fell.command_id), None)
        if again is not None and fell.action == "hold-down":
            # Another of its service, that was away when it began and came back since, stands in for it still.
            if self._replaced.pop(again.command_id, None) and again.stand_in_ns != fell.proc.born_ns:
                spare.append(again.stand_in_ns)
                spare.sort()
            again.proc = fell.proc
            self._victims[again.command_id] = again

    def _fleets(self, new: Victim) -> Iterator[tuple[str, str]]:
        places: dict[str, Callable[[Victim], str]] = {
            "in_flight": lambda _: "the fleet",
            "per_host": lambda victim: victim.machine.identity,
            "per_service": lambda victim: victim.service,
            "per_zone": lambda victim: victim.machine.labels["zone"],
        }
        for scope, place in places.items():
            most = self._most(scope)
            there = [victim.command_id for victim in self._victims.values() if place(victim) == place(new)]
            if most is not None and len(there) > most:
                yield "R19", f"{len(there)} victims in {place(new)}, the fleet's {scope} is {most}: {there}"

    def _runs(self, new: Victim) -> Iterator[tuple[str, str]]:
        victims = list(self._victims.values())
        own = [victim for victim in victims if victim.run_id == new.run_id]
        limits = self._deeds.runs[new.run_id].limits
        if len(own) > limits.in_flight:
            yield "R19", f"run {new.run_id} has {len(own)} victims in flight, its limit is {limits.in_flight}"
        here = [victim for victim in victims if victim.machine.identity == new.machine.identity]
        for run_id in sorted({victim.run_id for victim in here}):
            most = self._deeds.runs[run_id].limits.per_host
            if len(here) > most:
                yield "R19", f"{len(here)} victims on {new.machine.identity}, run {run_id} allows {most} on a host"
        service = [victim for victim in victims if victim.service == new.service]
        for run_id in sorted({victim.run_id for victim in service}):
            yield from self._of_service(run_id, self._deeds.runs[run_id].limits, new.service, len(service))

    def _of_service(self, run_id: str, limits: RunLimits, service: str, count: int) -> Iterator[tuple[str, str]]:
        if limits.per_service is not None and count > limits.per_service:
            yield "R19", f"{count} victims of {service}, run {run_id} allows {limits.per_service}"
        size = max((known[service] for _, known in self._sizes), default=0) if self._sizes else 0
        if limits.per_service_percent is not None:
            most = limits.per_service_percent * size // 100
            if count > most:
                yield "R19", f"{count} victims of {service}, run {run_id} allows {most} of {size} at most"
        yield from self._least_healthy(run_id, limits, service, count)

    def _least_healthy(self, run_id: str, limits: RunLimits, service: str, count: int) -> Iterator[tuple[str, str]]:
        """Of those that are no victims at most so many were ready on each host, at any time since the scan."""
        if limits.min_healthy is None and limits.min_healthy_percent is None:
            return
        victims = {victim.proc for victim in self._victims.values()}
        most: dict[str, int] = defaultdict(int)
        for _, known in self._ready:
            for (of, machine), procs in known.items():
                if of == service:
                    most[machine] = max(most[machine], sum(proc not in victims for proc in procs))
        left = sum(most.values())
        needed = -(-(limits.min_healthy_percent or 0) * (left + count) // 100)
        if left < max(needed, limits.min_healthy or 0):
            what = f"{count} victims of {service}, and {left} others were ready"
            yield "R21", f"{what}: run {run_id} wants {max(needed, limits.min_healthy or 0)} left"

    def _rates(self, new: Victim) -> Iterator[tuple[str, str]]:
        limits = self._deeds.runs[new.run_id].limits
        recent = [one for one in self._struck if new.struck_ms - one.struck_ms < MINUTE_MS]
        most = self._most("per_minute")
        if most is not None and len(recent) + 1 > most:
            yield "R20", f"{len(recent) + 1} victims within a minute, the fleet's limit is {most}"
        own = [one for one in recent if one.run_id == new.run_id]
        if limits.per_minute is not None and len(own) + 1 > limits.per_minute:
            yield "R20", f"{len(own) + 1} victims of run {new.run_id} within a minute, of {limits.per_minute}"
        last = max((one.struck_ms for one in self._struck if one.service == new.service), default=None)
        if last is not None and new.struck_ms - last < limits.cooldown_ms:
            yield "R20", f"{new.service} was struck {new.struck_ms - last} ms ago, run {new.run_id} cools down"

    def _host_rate(self, fell: Fell) -> None:
        most = fell.machine.guard_given.per_minute
        if most is None:
            return
        # A strike's further blows on the same process are no other strike (R4).
        since_ns = self._forgot.get(fell.machine.name, 0)  # what a lost journal held counts no more
        first: dict[tuple[str, object], int] = {}
        for order in self._deeds.orders.values():
            for blow in order.blows:
                if (
                    blow.machine is fell.machine
                    and blow.proc.boot_id == fell.proc.boot_id
                    and blow.at_ns > since_ns
                ):
                    first.setdefault((blow.command_id, blow.proc.key), blow.at_ns)
        struck = sum(fell.at_ns - at_ns < 59 * SECOND for at_ns in first.values())
        if struck > most:
            what = f"{struck} processes struck within a minute on {fell.machine}, its guard allows {most}"
            raise self._ground.broken("I7", "R1", what)

    # --- recovery -------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Each victim that is gone takes one that was started later; the oldest chooses first."""
        for victim in list(self._victims.values()):
            if victim.lives_on():
                del self._victims[victim.command_id]
                continue
            if victim.proc.alive:
                continue
            spare = self._spare[victim.machine.name, victim.service]
            later = next((at for at in spare if at >= victim.ordered_ns), None)
            if later is not None:
                spare.remove(later)
                victim.stand_in_ns = later
                self._replaced[victim.command_id] = self._victims.pop(victim.command_id)

    def _gives_way(self, victim: Victim, books: Books) -> bool:
        """Which of two victims of one service has recovered is open, as long as one has: another, whose permit is
        held still, waits on, and its stand-in is this one's."""
        held = {permit.command_id for permit in books.permits.values() if not permit.released_ms}
        there = (victim.machine.name, victim.service)
        others = [
            other
            for other in self._replaced.values()
            if (other.machine.name, other.service) == there and other.stand_in_ns >= victim.ordered_ns
        ]
        if not others:
            return False
        other = min(others, key=lambda one: one.ordered_ns)
        del self._victims[victim.command_id], self._replaced[other.command_id]
        if other.command_id in held:
            self._victims[other.command_id] = other
        return True

    def _most(self, scope: str) -> int | None:
        now = self._ground.clock.now_ns
        known = [most for most, until in self._fleet.get(scope, ()) if not until or until > now]
        return max(known, default=None)

    def _note_wall(self) -> None:
        """How far the store's clock has run back, in all: so much is added to its times, so that they never do."""
        true_ms, store_ms = self._ground.clock.now_ns // MS, self._ground.store_ms()
        before_true, before_store = self._wall
        if before_true:
            back = (true_ms - before_true) - (store_ms - before_store)
            self._back_ms += max(0, back)
        self._wall = (true_ms, store_ms)
