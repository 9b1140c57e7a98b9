"""The agent's side of one stream: who it is, its lease, and the updates that are kept until acknowledged."""

from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest, Heartbeat
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Now
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.memory import position_record
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike
from killdeer_agent.core.words import Record

# A heartbeat that was not answered within this many intervals is forgotten.
_STAMPS_KEPT = 16


class Session:
    """Heartbeats begin when the session's token is durable (rule R23); renewals count from their stamps (R7)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.linked = False
        self.lease = Lease()
        self._beating = False
        self._interval_ns = 0
        self._next_beat_ns = 0
        self._stamps: dict[int, Now] = {}
        self._number = 0
        self._unacknowledged: dict[int, agent_pb2.StrikeUpdate] = {}

    def opened(self, *, open_commands: list[str], guard_version: str, problem: str) -> None:
        self.linked = True
        hello = agent_pb2.Hello()
        hello.CopyFrom(self._desk.hello)
        hello.session = self._desk.memory.session
        hello.halts.CopyFrom(self._desk.memory.halts.to_wire())
        hello.position.CopyFrom(self._desk.memory.position)
        hello.open_commands.extend(open_commands)
        hello.guard_version = guard_version
        hello.problem = problem
        self._desk.send(ConnectRequest(hello=hello))

    def closed(self) -> None:
        """The lease runs on: it is a right in time, not in connection."""
        self.linked = False
        self._beating = False
        self._stamps.clear()

    def welcomed(self, welcome: agent_pb2.Welcome) -> None:
        self._interval_ns = max(welcome.heartbeat_ms, 50) * NS_PER_MS

        def begin(problem: str) -> None:
            # Without a durable token this host could not be told from a clone of it: no heartbeat, no lease.
            if not problem and self.linked:
                self._beating = True
                self._next_beat_ns = 0

        self._desk.write(Record("session", {"token": welcome.session}), begin)
        for update in self._unacknowledged.values():
            self._desk.send(ConnectRequest(strike_update=update))

    def renewed(self, renewal: agent_pb2.LeaseRenewal) -> None:
        stamp = self._stamps.pop(renewal.heartbeat_boot_ns, None)
        if stamp is not None:
            self.lease = self.lease.renewed(stamp, renewal.lease_ms)
        self.keep_position(renewal.position.length, renewal)

    def keep_position(self, length: int, carrier: agent_pb2.LeaseRenewal | agent_pb2.Welcome) -> None:
        """Agents are the audit chain's witnesses: the highest position seen is kept (rule R22)."""
        if length > self._desk.memory.position.length:
            self._desk.write(position_record(carrier.position), lambda problem: None)

    def beat(self, heartbeat: Heartbeat) -> None:
        """With each tick; sends when one is due."""
        now = self._desk.now
        if not self._beating or now.boot_ns < self._next_beat_ns:
            return
        self._next_beat_ns = now.boot_ns + self._interval_ns
        heartbeat.stamp_boot_ns = now.boot_ns
        self._stamps[now.boot_ns] = now
        while len(self._stamps) > _STAMPS_KEPT:
            del self._stamps[next(iter(self._stamps))]
        self._desk.send(ConnectRequest(heartbeat=heartbeat))

    def tell(self, strike: OpenStrike) -> None:
        """A change of a strike, numbered, kept until acknowledged; a later one of the same strike replaces it."""
        self._number += 1
        update = strike.update(self._number, self._desk.now.boot_ns)
        self.tell_update(update)

    def tell_update(self, update: agent_pb2.StrikeUpdate) -> None:
        self._number = max(self._number + 1, update.number)
        update.number = self._number
        for number, kept in list(self._unacknowledged.items()):
            if kept.command_id == update.command_id:
                del self._unacknowledged[number]
        self._unacknowledged[update.number] = update
        self._desk.send(ConnectRequest(strike_update=update))

    def acknowledged(self, number: int) -> str:
        """The command id whose latest word is now with the coordinator; empty: an older word."""
        update = self._unacknowledged.pop(number, None)
        return update.command_id if update is not None else ""

    @property
    def all_acknowledged(self) -> bool:
        return not self._unacknowledged
