"""The fleet's emergency stop: engaged, told, acknowledged host by host, bounded for the rest (section 7, R9-R14).

A halt is told first and recorded later (R28); the store and the state directory are asked until they have it.
A release is stored first. Each host is done when it has acknowledged `stopped`, or when the last right to act
that it can hold is over: hosts that owe the acknowledgement get no renewal.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectResponse, Halt, HaltAck, HaltStage, Rearm
from killdeer.v1.operator_pb2 import HaltHost, HaltResponse, RearmResponse
from killdeer.v1.process_pb2 import HaltRecord
from killdeer_coordinator.core.approval import not_to_rearm
from killdeer_coordinator.core.books import Audited, Books, Decide, Decision, PutHalt, ReleaseHalts
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster
from killdeer_coordinator.core.words import Broadcast, Decided, Now, Refuse, Reply

# Once complete, how long a stream stays open for reverts and the store's word.
AFTERMATH_NS = 5_000_000_000


@dataclass(slots=True, kw_only=True)
class HaltWatch:
    """How far one halt has come."""

    record: HaltRecord
    begun_ns: int
    changed_ns: int
    hosts: dict[str, HaltHost]
    owing: set[str]  # hosts that have not acknowledged that all is reverted
    bounds: dict[str, int]  # host -> mono ns by which its right to act is over
    stored: bool = False
    complete_ns: int = 0
    asks: dict[int, HaltResponse | None] = field(default_factory=dict)  # ask -> what it was told last

    def acknowledged(self, host: str, ack: HaltAck, now_ns: int) -> bool:
        """Whether all have now stopped and reverted."""
        if host not in self.hosts:
            return False
        known = self.hosts[host]
        known.stage = max(known.stage, ack.stage)
        self.changed_ns = now_ns
        if ack.stage != HaltStage.HALT_STAGE_REVERTED:
            return False
        known.reverted = ack.reverted
        known.left[:] = ack.left
        self.owing.discard(host)
        return not self.owing

    def response(self, roster: Roster, now_ns: int) -> HaltResponse:
        bounded = self.stored or not roster.instance
        for host, known in self.hosts.items():
            stopped = known.stage >= HaltStage.HALT_STAGE_STOPPED
            known.connected = roster.link_of(host) is not None
            passed = not stopped and bounded and now_ns >= self.bounds[host]
            if passed and not known.bound_passed:
                self.changed_ns = now_ns
            known.bound_passed = passed
            if stopped:
                known.stops_by_unix_ms = 0
        stages = [known.stage for known in self.hosts.values()]
        complete = all(known.stage or known.bound_passed for known in self.hosts.values())
        if complete and not self.complete_ns:
            self.complete_ns = now_ns
        return HaltResponse(
            halt_id=self.record.id,
            hosts=[self.hosts[host] for host in sorted(self.hosts)],
            complete=complete,
            stopped=sum(1 for stage in stages if stage >= HaltStage.HALT_STAGE_STOPPED),
            reverted=sum(1 for stage in stages if stage >= HaltStage.HALT_STAGE_REVERTED),
            total=len(stages),
            elapsed_ms=(self.changed_ns - self.begun_ns) // NS_PER_MS,
            stored=self.stored,
        )

    def bound_from(self, roster: Roster, now: Now) -> None:
        """It is in the store now: another coordinator that has not read it yet may still renew (rule R9)."""
        for host, known in self.hosts.items():
            self.bounds[host] = max(self.bounds[host], roster.right_until(host, now.mono_ns))
            known.stops_by_unix_ms = now.unix_ms + max(0, self.bounds[host] - now.mono_ns) // NS_PER_MS

    def over(self, response: HaltResponse, now_ns: int) -> bool:
        """Nothing more is worth waiting for: all has stopped, is reverted and recorded, or has had its time."""
        if not response.complete:
            return False
        settled = self.stored and response.reverted == response.stopped
        return settled or now_ns - self.complete_ns > AFTERMATH_NS


class Halting:
    def __init__(
        self,
        roster: Roster,
        errands: Errands,
        *,
        halted: Callable[[HaltRecord], None],
        open_hosts: Callable[[], Iterable[str]],
    ) -> None:
        self._roster = roster
        self._errands = errands
        self._halted = halted
        self._open_hosts = open_hosts
        self._watches: dict[str, HaltWatch] = {}

    def engage(self, record: HaltRecord) -> None:
        """Stop the fleet; record it as soon as the store can."""
        self._begin(record)
        self._keep()
        halt_id = record.id
        self._errands.insist(_put(record), lambda decided: self._stored(halt_id))

    def watch(self, ask: int, record: HaltRecord) -> None:
        """An operator's halt; a halt that is engaged already is told once more and joined."""
        if record.id in self._roster.halts.engaged:
            if record.id not in self._watches:
                self._begin(record, known=True)
                self._stored(record.id)
            else:
                self._broadcast(ConnectResponse(halt=Halt(halt=record)))
        else:
            self.engage(record)
        self._watches[record.id].asks[ask] = None
        self._push(self._watches[record.id])

    def learn(self, halts: Halts, *, stored: bool = True) -> None:
        """Halts and releases that the store holds, or will."""
        fresh = [record for record in halts.active if record.id not in self._roster.halts.engaged]
        active_before = {record.id for record in self._roster.halts.active}
        merged = self._roster.halts.union(halts)
        if merged.digest == self._roster.halts.digest:
            return
        for record in fresh:
            self._begin(record)
            if stored:
                self._stored(record.id)
        self._roster.halts = self._roster.halts.union(halts)
        released = sorted(active_before & self._roster.halts.released)
        self._keep()
        if released:
            self._broadcast(ConnectResponse(rearm=Rearm(released=released, by="another coordinator")))

    def rearm(self, ask: int, who: str, reason: str) -> None:
        active = self._roster.halts.active
        if not active:
            self._errands.ask(Reply(ask, RearmResponse()))
            return
        self._errands.transact(
            _release(active, who, reason), lambda decided: self._rearmed(ask, who, active, decided)
        )

    def acknowledged(self, link: Link, ack: HaltAck) -> None:
        if ack.stage >= HaltStage.HALT_STAGE_STOPPED:
            link.stopped.add(ack.halt_id)
        if not self._roster.recognised(link):
            return  # it may be a clone, while the host itself is cut off and acts until its bound (R23)
        watch = self._watches.get(ack.halt_id)
        if watch is not None and watch.acknowledged(link.host, ack, self._errands.now.mono_ns):
            self._push(watch)  # all others wait for a tick: of a thousand hosts, each answer is a long one

    def came(self, link: Link) -> None:
        """A host that came with a halt in its Hello has stopped for it: it keeps halts before it reports them."""
        for halt_id in link.stopped & set(self._watches):
            ack = HaltAck(halt_id=halt_id, stage=HaltStage.HALT_STAGE_STOPPED)
            self._watches[halt_id].acknowledged(link.host, ack, self._errands.now.mono_ns)

    def owed_by(self, link: Link) -> bool:
        return any(record.id not in link.stopped for record in self._roster.halts.active)

    def gone(self, ask: int) -> None:
        for watch in self._watches.values():
            watch.asks.pop(ask, None)

    def stop(self) -> None:
        """This coordinator stops: the halt stands, its streams end."""
        for watch in self._watches.values():
            for ask in watch.asks:
                message = f"this coordinator stops; halt {watch.record.id} stands"
                self._errands.ask(Refuse(ask=ask, code="UNAVAILABLE", message=message))
            watch.asks.clear()

    def tick(self) -> None:
        for halt_id, watch in list(self._watches.items()):
            if watch.asks:
                self._push(watch)
            elif halt_id in self._roster.halts.released:
                del self._watches[halt_id]

    def _begin(self, record: HaltRecord, *, known: bool = False) -> None:
        now = self._errands.now
        self._roster.halts = self._roster.halts.engage(record)
        self._broadcast(ConnectResponse(halt=Halt(halt=record)))
        self._errands.recall()
        hosts, bounds = {}, {}
        for host in self._roster.hosts():
            bounds[host] = self._roster.right_until(host, now.mono_ns)
            link = self._roster.link_of(host)
            hosts[host] = HaltHost(
                host=host,
                connected=link is not None,
                stops_by_unix_ms=now.unix_ms + max(0, bounds[host] - now.mono_ns) // NS_PER_MS,
                no_rtc=link is not None and not link.hello.has_rtc,
            )
        self._watches[record.id] = HaltWatch(
            record=record,
            begun_ns=now.mono_ns,
            changed_ns=now.mono_ns,
            hosts=hosts,
            bounds=bounds,
            owing=set(hosts),
        )
        for link in self._roster.served():
            if known and record.id in link.stopped:
                self.came(link)
        self._halted(record)

    def _stored(self, halt_id: str) -> None:
        watch = self._watches.get(halt_id)
        if watch is not None and not watch.stored:
            watch.stored = True
            if self._roster.instance:
                watch.bound_from(self._roster, self._errands.now)

    def _rearmed(self, ask: int, who: str, active: tuple[HaltRecord, ...], decided: Decided) -> None:
        if isinstance(no := decided.answer, Refused):
            self._errands.ask(Refuse(ask=ask, code=no.code, message=no.message, remedy=no.remedy))
            return
        if decided.failure:
            message = f"cannot rearm: the release cannot be stored: {decided.failure}; the fleet stays halted"
            self._errands.ask(
                Refuse(ask=ask, code="UNAVAILABLE", message=message, remedy="mend the store, then rearm again")
            )
            return
        released = [record.id for record in active]
        self._roster.halts = self._roster.halts.release(released)
        self._keep()
        self._broadcast(ConnectResponse(rearm=Rearm(released=released, by=who)))
        for halt_id in released:
            if halt_id in self._watches:
                self._push(self._watches[halt_id])
        self._errands.ask(Reply(ask, RearmResponse(released=active)))

    def _push(self, watch: HaltWatch) -> None:
        """Each ask hears of a change once, and the last word once."""
        now_ns = self._errands.now.mono_ns
        response = watch.response(self._roster, now_ns)
        last = watch.over(response, now_ns) or watch.record.id in self._roster.halts.released
        for ask, told in list(watch.asks.items()):
            if last or told != response:
                copy = HaltResponse()
                copy.CopyFrom(response)
                self._errands.ask(Reply(ask, copy, last))
                watch.asks[ask] = copy
            if last:
                del watch.asks[ask]

    def _broadcast(self, frame: ConnectResponse) -> None:
        links = tuple(self._roster.stop_order(self._open_hosts()))
        if links:
            self._errands.ask(Broadcast(links, frame))

    def _keep(self) -> None:
        self._errands.keep(self._roster.halts, self._roster.position)


def _put(record: HaltRecord) -> Decide:
    def decide(books: Books) -> Decision:
        if record.id in books.halts.engaged:
            return Decision()
        details: dict[str, object] = {"done_unix_ms": record.at_unix_ms}
        entry = Audited(record.by, "halt.engaged", record.id, record.reason, details)
        return Decision(changes=(PutHalt(record),), audit=(entry,))

    return decide


def _release(active: tuple[HaltRecord, ...], who: str, reason: str) -> Decide:
    """Exactly the halts that the operator was shown: one that crosses the rearm stays. Answers Refused, or None."""

    def decide(books: Books) -> Decision:
        if (no := not_to_rearm(books, who)) is not None:
            return Decision(answer=no)
        missing = tuple(PutHalt(record) for record in active if record.id not in books.halts.engaged)
        released = tuple(record.id for record in active)
        audit = tuple(Audited(who, "halt.released", halt_id, reason) for halt_id in released)
        return Decision(changes=(*missing, ReleaseHalts(released)), audit=audit)

    return decide
