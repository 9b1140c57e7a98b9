"""The agent's side of one stream: who it is, its lease, and the updates that are kept until acknowledged."""

from collections.abc import Mapping

from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest, Heartbeat
from killdeer.v1.process_pb2 import StorePosition
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Now
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.memory import position_record
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.words import Record, Unlink

# A heartbeat that was not answered within this many intervals is forgotten.
_STAMPS_KEPT = 16
_LEAST_INTERVAL_MS = 50


class Session:
    """Heartbeats begin when the session's token is durable (rule R23); renewals count from their stamps (R7)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.linked = False
        self.lease = Lease()
        self._token = ""  # of this stream's Welcome
        self._beating = False
        self._interval_ns = 0
        self._next_beat_ns = 0
        self._stamps: dict[int, Now] = {}
        self._number = 0
        self._unacknowledged: dict[int, agent_pb2.StrikeUpdate] = {}
        self._relabelled = False  # since the last Hello
        self._witnessed = 0  # the highest position that is durable, or about to be

    @property
    def welcomed(self) -> bool:
        """Whether this stream has a session: frames of any other are dropped (rule R23)."""
        return bool(self._token)

    def opened(self, *, open_commands: list[str], guard_version: str, problem: str) -> None:
        self.closed()
        self.linked = True
        self._relabelled = False
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
        self._token = ""
        self._beating = False
        self._stamps.clear()

    def relabel(self, labels: Mapping[str, str]) -> None:
        if dict(self._desk.hello.labels) != labels:
            self._desk.hello.labels.clear()
            self._desk.hello.labels.update(labels)
            self._relabelled = True

    def tell_labels(self) -> None:
        """To be called while no strike is open. Labels are told in a Hello, so by a new stream; the lease runs on
        meanwhile."""
        if self._relabelled and self.linked:
            self._relabelled = False
            self._desk.note("labels_told_anew", labels=dict(self._desk.hello.labels))
            self._desk.emit(Unlink(1))

    def begun(self, welcome: agent_pb2.Welcome) -> None:
        self._interval_ns = max(welcome.heartbeat_ms, _LEAST_INTERVAL_MS) * NS_PER_MS
        token = self._token = welcome.session

        def begin(problem: str) -> None:
            # Without a durable token this host could not be told from a clone of it: no heartbeat, no lease. And
            # a token that became durable after its stream had ended says nothing of the present one.
            if not problem and self._token == token:
                self._beating = True
                self._next_beat_ns = 0

        self._desk.write(Record("session", {"token": token}), begin)
        for update in self._unacknowledged.values():
            self._desk.send(ConnectRequest(strike_update=update))

    def renewed(self, renewal: agent_pb2.LeaseRenewal) -> None:
        stamp = self._stamps.pop(renewal.heartbeat_boot_ns, None)
        if stamp is not None:
            self.lease = self.lease.renewed(stamp, renewal.lease_ms)

    def witness(self, position: StorePosition) -> None:
        """Agents are the audit chain's witnesses: the highest position seen is kept (rule R22)."""
        if position.length > max(self._witnessed, self._desk.memory.position.length):
            self._witnessed = position.length
            self._desk.write(position_record(position), self._forget_witnessed)

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

    def tell(self, update: agent_pb2.StrikeUpdate) -> None:
        """Numbered, sent, and kept until acknowledged; a later one of the same strike takes its place."""
        self._number += 1
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

    def _forget_witnessed(self, problem: str) -> None:
        if problem:
            self._witnessed = 0
