"""I4, I9, I10: what coordinators owe: to the halted, to the record, to sessions, to who agreed to what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.admission import RESTORED
from killdeer_coordinator.core.books import Books, Decision, Letter, PutHalt, PutPermit, PutRun, PutStrike
from killdeer_coordinator.core.ledger import OVER
from tests.simulation.clock import SECOND
from tests.simulation.coordinator import Coordinator
from tests.simulation.deeds import Deeds, strikes_of
from tests.simulation.ground import Fell, Ground, Witness

if TYPE_CHECKING:
    from tests.simulation.host import Machine
    from tests.simulation.network import Network

FRESH_NS = 2 * SECOND  # rule R9
REARM_NS = 20 * SECOND  # a rearm that waits for the store releases the halts that came meanwhile
NEVER_NS = 2**63
KEPT_NS = 4 * SECOND  # an attempt a second; slower than any write of a state directory that works

# Entries that stand for the ends of many strikes at once.
_ENDS_MANY = {"run.ended", "host.quarantined"}


class Duties(Witness):
    def __init__(self, ground: Ground, deeds: Deeds, network: "Network") -> None:
        self._ground = ground
        self._deeds = deeds
        self._network = network
        self._coordinators = network.coordinators
        self._asks: dict[tuple[str, int], tuple[str, Message]] = {}
        self._starters: dict[str, str] = {}
        self._over: dict[str, tuple[int, str]] = {}  # run -> when it was committed to be ending, and by whom
        self._ended: dict[str, int] = {}  # run -> when its driver had it ended, which waits for every answer
        self._stored: dict[str, int] = {}  # halts that were ever in the store, and since when
        self._lost: set[str] = set()  # coordinators that had kept what the store has lost, and must halt the fleet
        self._gone: set[str] = set()  # heads of positions that were lost
        self._requested: set[str] = set()  # halts that people asked for
        self._standing: set[str] = set()  # those of them that no rearm was asked for since
        self._rearmed: set[str] = set()  # halts that may have been released
        self._rearming_ns = -REARM_NS  # when the last rearm was asked for
        self._told: dict[str, dict[str, set[str]]] = {}  # machine -> halts it was told of -> by whom
        self._acknowledged: dict[str, set[str]] = {}
        self._shown: dict[str, set[str]] = {}  # machine -> halts of its last Hello
        self._learnt: dict[str, dict[str, int]] = {}  # coordinator -> halts that its agents came with
        self._served: dict[str, list[str]] = {}  # host -> machines that were given leases, since it was accepted
        self._wiped: dict[str, bool] = {}  # machines that lost a session with their journal -> said Hello since
        self._asked_of: dict[
            str, dict[str, int]
        ] = {}  # coordinator -> halts that it told of, and has not died since
        self._kept: dict[str, set[str]] = {}  # coordinator -> halts in its state directory
        self._kept_ns: dict[str, int] = {}  # coordinator -> when it could last not write its state directory

    # --- people ---------------------------------------------------------------------------------------------

    def asked(self, coordinator: str, ask: int, who: str, request: Message) -> None:
        self._asks[coordinator, ask] = (who, request)
        if isinstance(request, o.RearmRequest):
            self._rearmed.update(self._requested, *self._told.values(), *self._shown.values())
            self._standing.clear()
            self._rearming_ns = self._ground.clock.now_ns
        elif isinstance(request, o.HaltRequest):
            if request.id not in self._requested:
                self._standing.add(request.id)
            self._requested.add(request.id)
        elif isinstance(request, o.AcceptHostRequest):
            self._served.pop(request.host, None)
            self._wiped = {name: back for name, back in self._wiped.items() if name.rstrip("x") != request.host}

    def replied(self, coordinator: str, ask: int, message: Message) -> None:
        who, request = self._asks.get((coordinator, ask), ("", None))
        broken = self._ground.broken
        if isinstance(message, o.RunResponse) and isinstance(request, o.RunRequest):
            if who == "sam":
                raise broken("I10", "R30", f"{who}, a viewer, has started run {message.run_id}")
            if not message.plan.hash.startswith(request.plan_hash) and message.HasField("plan"):
                raise broken("I10", "R26", f"run {message.run_id} is of another plan than was approved")
            self._starters.setdefault(message.run_id, who)
        elif isinstance(message, o.ClearPermitResponse):
            run_id = message.permit.run_id
            experiment = self._deeds.runs.get(run_id)
            if self._starters.get(run_id) == who and experiment and experiment.environment == "production":
                raise broken("I10", "R30", f"{who} has cleared {message.permit.permit_id} of their own run")
        elif isinstance(message, o.AbortRunResponse):
            self._over.setdefault(message.run.run_id, (self._ground.clock.now_ns, coordinator))
        elif isinstance(message, o.HaltResponse):
            self._halting(coordinator, message)

    def _halting(self, coordinator: str, response: o.HaltResponse) -> None:
        halt_id, broken = response.halt_id, self._ground.broken
        if response.stored and halt_id not in self._stored:
            raise broken("I9", "R28", f"{halt_id} is said to be stored, and never was")
        for host in response.hosts if halt_id not in self._rearmed else ():
            told = any(halt_id in known for name, known in self._told.items() if name.rstrip("x") == host.host)
            if host.connected and not host.stage and not told and self._is_there(coordinator, host.host):
                raise broken("I4", "R28", f"{host.host} is connected, and was not told of {halt_id}")

    def _is_there(self, coordinator: str, host: str) -> bool:
        """Its stream is whole, and not one whose end the coordinator is about to hear of."""
        return any(
            stream.whole
            for stream in self._network.streams
            if stream.machine.identity == host and stream.coordinator.name == coordinator
        )

    # --- the record -------------------------------------------------------------------------------------------

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        entries = {entry.what for entry in decision.audit}
        for change in decision.changes:
            match change:
                case PutHalt(record):
                    self._stored.setdefault(record.id, self._ground.clock.now_ns)
                    if record.id.startswith(RESTORED):
                        self._lost.clear()
                case PutRun(row) if row.state != o.RUN_STATE_RUNNING:
                    self._over.setdefault(row.run_id, (self._ground.clock.now_ns, coordinator))
                    known = books.runs.get(row.run_id)
                    if row.state == o.RUN_STATE_ENDED and known is not None and known.fence == row.fence:
                        self._ended.setdefault(row.run_id, self._ground.clock.now_ns)
                case PutPermit(row) if row.permit_id not in books.permits:
                    if coordinator in self._lost:
                        what = (
                            f"{row.permit_id} is granted by {coordinator} on a restored store, with no halt latched"
                        )
                        raise self._ground.broken("I3", "R22", what)
                    if books.now_ms < books.last_decision_ms:
                        what = f"{row.permit_id} is granted by a clock that is behind its last decision"
                        raise self._ground.broken("I3", "R20", what)
                case PutStrike(row) if not row.view.dry_run:
                    before = books.strikes.get(row.view.command_id)
                    ends = row.view.state in OVER and (before is None or before.view.state != row.view.state)
                    if ends and not entries & {"strike.ended", *_ENDS_MANY}:
                        what = f"the end of {row.view.command_id} is not on the record"
                        raise self._ground.broken("I9", "R17", what)

    # --- the wire ---------------------------------------------------------------------------------------------

    def told(self, coordinator: str, machine: "Machine", frame: a.ConnectResponse) -> None:
        match frame.WhichOneof("frame"):
            case "halt":
                halt_id = frame.halt.halt.id
                self._told.setdefault(machine.name, {}).setdefault(halt_id, set()).add(coordinator)
                self._asked_of.setdefault(coordinator, {}).setdefault(halt_id, self._ground.clock.now_ns)
                if self._ground.clock.now_ns - self._rearming_ns < REARM_NS:
                    self._rearmed.add(halt_id)
            case "welcome":
                learnt = self._learnt.setdefault(coordinator, {})
                for halt_id in self._shown.get(machine.name, ()):
                    learnt.setdefault(halt_id, self._ground.clock.now_ns)
            case "lease_renewal":
                self._renewed(coordinator, machine, frame.lease_renewal)
            case "strike":
                self._delivers(coordinator, frame.strike)
                if frame.strike.command_id not in self._deeds.posted_strikes:
                    self._orders(coordinator, frame.strike)

    def posted(self, coordinator: str, letters: Sequence[Letter]) -> None:
        for strike in strikes_of(letters):
            self._orders(coordinator, strike)

    def sent(self, machine: "Machine", frame: a.ConnectRequest) -> None:
        if frame.HasField("halt_ack"):
            self._acknowledged.setdefault(machine.name, set()).add(frame.halt_ack.halt_id)
        elif frame.HasField("hello"):
            halts = frame.hello.halts
            if machine.name in self._wiped:
                self._wiped[machine.name] = True
            known = {halt.id for halt in halts.engaged}
            self._shown[machine.name] = known - set(halts.released)
            self._acknowledged.setdefault(machine.name, set()).update(known)
            for halt_id in known:
                self._told.setdefault(machine.name, {}).setdefault(halt_id, set())

    def forgot(self, machine: "Machine") -> None:
        if not machine.disk.records and machine.name in self._served.get(machine.identity, ()):
            self._wiped[machine.name] = False

    def restored(self, position: StorePosition) -> None:
        """Hosts that joined since the copy was made are as good as new to it."""
        self._served.clear()
        self._wiped.clear()
        self._stored = dict.fromkeys(self._stored, NEVER_NS)
        for coordinator in self._coordinators:
            _, kept = coordinator.kept
            if kept.length > position.length and kept.head not in self._gone:
                self._gone.add(kept.head)
                self._lost.add(coordinator.name)

    def coordinator_died(self, coordinator: str) -> None:
        self._learnt.pop(coordinator, None)
        self._asked_of.pop(coordinator, None)

    def struck(self, fell: Fell) -> None:
        order, broken = self._deeds.order_of(fell.command_id), self._ground.broken
        if _unknown(order.frame):
            raise broken("I10", "R25", f"{fell.command_id} struck, and holds what its agent does not know")
        ended_ns = self._ended.get(order.frame.run_id)
        unseen = fell.machine.stood_ns and not fell.machine.rtc  # bounds are in the host's own running time
        if ended_ns is not None and not unseen:
            raise broken("I4", "R11", f"{fell.command_id} struck after its run had ended, at {ended_ns}")

    def _orders(self, coordinator: str, strike: a.Strike) -> None:
        """As its driver, be it by a letter."""
        over_ns, by = self._over.get(strike.run_id, (0, ""))
        if over_ns and (by == coordinator or over_ns < self._named(coordinator).known_read_ns):
            what = f"{strike.command_id} was ordered after its run had ended, or was told to"
            raise self._ground.broken("I4", "R24", what)

    def _delivers(self, coordinator: str, strike: a.Strike) -> None:
        for halt_id in self._learnt.get(coordinator, {}).keys() - self._rearmed:
            what = f"{strike.command_id} was ordered by {coordinator}, whose agents came with {halt_id}"
            raise self._ground.broken("I4", "R10", what)

    def _renewed(self, coordinator: str, machine: "Machine", renewal: a.LeaseRenewal) -> None:
        now, broken = self._ground.clock.now_ns, self._ground.broken
        by = self._named(coordinator)
        if now > by.held_up_ns and now - by.read_begun_ns >= FRESH_NS:
            raise broken("I5", "R9", f"{machine} has a lease of {coordinator}, which has not read the store lately")
        told = self._told.get(machine.name, {})
        owed = {halt_id for halt_id, tellers in told.items() if coordinator in tellers}
        owed -= self._rearmed
        owed |= {one for one in self._standing if self._stored.get(one, NEVER_NS) < by.known_read_ns}
        owed -= self._acknowledged.get(machine.name, set())
        if owed:
            raise broken("I4", "R9", f"{machine} has a lease of {coordinator}, and owes an answer to {min(owed)}")
        if self._wiped.get(machine.name):
            raise broken("I10", "R23", f"{machine} has lost its journal, and is served unseen")
        served = self._served.setdefault(machine.identity, [])
        if not served or served[-1] != machine.name:
            if machine.name in served:
                raise broken("I10", "R23", f"{' and '.join(served)} are served in turn as one host")
            served.append(machine.name)

    def _named(self, coordinator: str) -> Coordinator:
        return next(one for one in self._coordinators if one.name == coordinator)

    # --- the state directory ------------------------------------------------------------------------------------

    def swept(self) -> None:
        now = self._ground.clock.now_ns
        for coordinator in self._coordinators:
            if gone := self._kept.get(coordinator.name, set()) - coordinator.kept[0].engaged.keys():
                what = f"{min(gone)} was kept by {coordinator.name} outside of the store, and is no more"
                raise self._ground.broken("I4", "R10", what)
            self._kept[coordinator.name] = set(coordinator.kept[0].engaged)
            if not coordinator.alive or coordinator.keep_problem or now <= coordinator.held_up_ns:
                self._kept_ns[coordinator.name] = now
            for halt_id, at_ns in self._asked_of.get(coordinator.name, {}).items():
                since_ns = max(at_ns, self._kept_ns.get(coordinator.name, 0))
                if now - since_ns > KEPT_NS and halt_id not in coordinator.kept[0].engaged:
                    what = f"{halt_id} is not kept by {coordinator.name} outside of the store"
                    raise self._ground.broken("I4", "R10", what)


def _unknown(message: Message) -> bool:
    if len(UnknownFieldSet(message)):
        return True
    return any(
        isinstance(inner, Message) and _unknown(inner)
        for field, value in message.ListFields()
        for inner in (value if field.is_repeated else [value])
    )
