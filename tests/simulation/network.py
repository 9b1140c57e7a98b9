"""The network between agents and coordinators: each stream is ordered and reliable, for as long as it is up.

A stream has two ends that may differ in what they believe: one may live on when the other is gone (half-open).
"""

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse
from killdeer_coordinator.edges.outbox import urgency
from tests.simulation.clock import MS, SECOND, Clock
from tests.simulation.ground import Ground

if TYPE_CHECKING:
    from tests.simulation.agent import Agent
    from tests.simulation.coordinator import Coordinator

KEEPALIVE_NS = 15 * SECOND  # after so long without an answer each end gives the stream up
WRITE_MOST_NS = 5 * SECOND  # a write to an agent that takes longer ends its stream
OUTBOX_MOST = 60  # fewer than the real one, so that it fills
STEADY_NS = 10 * SECOND


class Pipe:
    """One direction. Frames that wait go by urgency; what is on the wire keeps its order."""

    def __init__(self, clock: Clock, latency_ns: Callable[[], int], arrive: Callable[[bytes], None]) -> None:
        self._clock = clock
        self._latency_ns = latency_ns
        self._arrive = arrive
        self._queues: tuple[deque[bytes], ...] = (deque(), deque(), deque())
        self._wire: deque[bytes] = deque()
        self._last_ns = 0
        self._owed = 0
        self._held = 0
        self._blocked = False
        self._cut = False

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues))

    def put(self, frame: bytes, place: int) -> None:
        if not self._cut:
            self._queues[place].append(frame)
            self._pump()

    def block(self, blocked: bool) -> None:
        """The reader does not read: nothing more is written."""
        self._blocked = blocked
        self._pump()

    def hold(self, by: int) -> None:
        """A partition: nothing moves until as many have ended as have begun."""
        self._held += by
        while not self._held and self._owed:
            self._owed -= 1
            self._deliver()
        self._pump()

    def cut(self) -> None:
        """What is on its way is lost."""
        self._cut = True
        self._wire.clear()
        for queue in self._queues:
            queue.clear()

    def _pump(self) -> None:
        while not self._blocked and not self._held:
            queue = next((queue for queue in self._queues if queue), None)
            if queue is None:
                return
            self._wire.append(queue.popleft())
            self._last_ns = max(self._last_ns + 1, self._clock.now_ns + self._latency_ns())
            self._clock.after(self._last_ns - self._clock.now_ns, self._due)

    def _due(self) -> None:
        if self._held:
            self._owed += 1
        else:
            self._deliver()

    def _deliver(self) -> None:
        if self._wire:
            self._arrive(self._wire.popleft())


class Stream:
    """One agent's connection to one coordinator. `number` is the coordinator's link."""

    def __init__(self, network: "Network", number: int, agent: "Agent", coordinator: "Coordinator") -> None:
        self.number = number
        self.agent = agent
        self.coordinator = coordinator
        self.machine = agent.machine
        self._ground = network.ground
        self._clock = network.ground.clock
        self._life = coordinator.life
        self._agent_open = self._coordinator_open = True
        self._joined = False
        self._dismissed = False
        self.ordered = network.ordered
        self.to_coordinator = Pipe(self._clock, network.latency_ns, self._at_coordinator)
        self.to_agent = Pipe(self._clock, network.latency_to_agent_ns, self._at_agent)
        self._clock.after(STEADY_NS, self._steady)

    @property
    def open(self) -> bool:
        return self._agent_open or self._coordinator_open

    @property
    def whole(self) -> bool:
        return self._agent_open and self._coordinator_open

    # --- frames ---------------------------------------------------------------------------------------------

    def send_to_coordinator(self, frame: ConnectRequest, *, urgent: bool) -> None:
        if not self._agent_open:
            return
        serialised = frame.SerializeToString(deterministic=True)
        self._ground.trace.frame(serialised)
        for witness in self._ground.witnesses:
            witness.sent(self.machine, frame)
        self.to_coordinator.put(serialised, 0 if urgent else 2)

    def send_to_agent(self, frame: ConnectResponse) -> None:
        serialised = frame.SerializeToString(deterministic=True)
        self._ground.trace.frame(serialised)
        for witness in self._ground.witnesses:
            witness.told(self.coordinator.name, self.machine, frame)
        if not self._coordinator_open or self._dismissed:
            return
        if frame.HasField("strike"):
            self.ordered.append((self.machine.identity, serialised))
        self.to_agent.put(serialised, urgency(frame))
        if self.to_agent.waiting > OUTBOX_MOST:
            self._ground.reach("fault outbox full")
            self.cut()

    def dismiss(self, frame: ConnectResponse) -> None:
        """The last frame; then the coordinator's end is closed."""
        self.send_to_agent(frame)
        self._dismissed = True
        self._clock.after(SECOND, self._gone_at_coordinator)

    def _at_coordinator(self, serialised: bytes) -> None:
        if not self._coordinator_open or not self.coordinator.lives(self._life):
            return
        frame = ConnectRequest.FromString(serialised)
        if self._joined:
            self.coordinator.heard(self.number, frame)
        elif frame.HasField("hello"):
            self._joined = True
            self.coordinator.joined(self.number, self.machine.identity, frame.hello)

    def _at_agent(self, serialised: bytes) -> None:
        if not self._agent_open:
            return
        if self.machine.frozen:
            self.machine.after(0, lambda: self._at_agent(serialised))
        else:
            self.agent.heard(self, ConnectResponse.FromString(serialised))

    # --- ends -----------------------------------------------------------------------------------------------

    def end_by_agent(self) -> None:
        """Its process is gone, or it has closed the stream: the coordinator learns of it behind its last frames."""
        if self._agent_open:
            self._agent_open = False
            self.to_agent.cut()
            self._clock.after(50 * MS, self._gone_at_coordinator)

    def drain_from_agent(self) -> None:
        """Closed after its last frames have arrived."""
        self._clock.after(SECOND, self.end_by_agent)

    def end_by_coordinator(self) -> None:
        if self._coordinator_open:
            self._coordinator_open = False
            self.to_coordinator.cut()
            self._clock.after(50 * MS, self._gone_at_agent)

    def cut(self) -> None:
        """What is on the wire is lost, and both ends see it."""
        self.to_agent.cut()
        self.to_coordinator.cut()
        self._gone_at_coordinator()
        self._gone_at_agent()

    def half_open(self, *, agent_lives: bool) -> None:
        """One end is gone at once, the other believes in it until the keepalive has had no answer."""
        self.to_agent.cut()
        self.to_coordinator.cut()
        if agent_lives:
            self._gone_at_coordinator()
            self._clock.after(KEEPALIVE_NS, self._gone_at_agent)
        else:
            self._gone_at_agent()
            self._clock.after(KEEPALIVE_NS, self._gone_at_coordinator)

    def replay(self, serialised: bytes) -> None:
        """A frame of some other time comes in once more."""
        self.to_agent.put(serialised, 2)

    def stay_late(self) -> None:
        """The agent's end is gone; what it had sent arrives when a newer stream is there."""
        self.to_coordinator.hold(1)
        self._gone_at_agent()
        self._clock.after(8 * SECOND, lambda: self.to_coordinator.hold(-1))
        self._clock.after(10 * SECOND, self._gone_at_coordinator)

    def block(self, ns: int) -> None:
        """The agent does not read for so long."""
        self.to_agent.block(True)
        self._clock.after(ns, lambda: self.to_agent.block(False))
        if ns > WRITE_MOST_NS:
            self._clock.after(WRITE_MOST_NS, lambda: self.cut() if self.to_agent.waiting else None)

    def hold(self, by: int) -> None:
        self.to_agent.hold(by)
        self.to_coordinator.hold(by)

    def give_up(self) -> None:
        """A partition has outlasted the keepalive."""
        self.cut()

    def _steady(self) -> None:
        if self._agent_open:
            self.agent.steady()

    def _gone_at_agent(self) -> None:
        if self._agent_open:
            if self.machine.frozen:
                self.machine.after(0, self._gone_at_agent)
                return
            self._agent_open = False
            self.agent.ended(self)

    def _gone_at_coordinator(self) -> None:
        if self._coordinator_open:
            self._coordinator_open = False
            if self.coordinator.lives(self._life):
                self.coordinator.left(self.number)


class Network:
    """`slow_ns`: the slowest frames take as long. `answers_late_ns`: so much longer takes each frame to an agent.
    Machines in a partition reach nobody."""

    def __init__(self, ground: Ground, coordinators: "list[Coordinator]") -> None:
        self.ground = ground
        self.coordinators = coordinators
        self.slow_ns = 0
        self.answers_late_ns = 0
        self._dice: random.Random = ground.dice("network")
        self._numbers = 0
        self._parted: dict[str, int] = {}
        self.streams: list[Stream] = []
        self.ordered: list[tuple[str, bytes]] = []  # every Strike that was ever sent, and to which host

    def latency_ns(self) -> int:
        if self.slow_ns and self._dice.random() < 0.1:
            return self._dice.randint(MS, self.slow_ns)
        return self._dice.randint(MS // 2, 8 * MS)

    def latency_to_agent_ns(self) -> int:
        return self.latency_ns() + self.answers_late_ns

    def dial(self, agent: "Agent") -> Stream | None:
        """None: nobody is reached."""
        coordinator = self._dice.choice(self.coordinators)
        if not coordinator.listening or self._parted.get(agent.machine.name):
            return None
        self._numbers += 1
        stream = Stream(self, self._numbers, agent, coordinator)
        self.streams = [one for one in self.streams if one.open]
        self.streams.append(stream)
        coordinator.accept(stream)
        self.ground.trace.line(agent.machine.name, f"dials {coordinator.name}, link {stream.number}")
        return stream

    def part(self, machine: str, ns: int) -> None:
        """Nothing goes to this machine or comes from it for so long."""
        cut_off = [stream for stream in self.streams if stream.machine.name == machine and stream.open]
        self._parted[machine] = self._parted.get(machine, 0) + 1
        for stream in cut_off:
            stream.hold(1)

        def heal() -> None:
            self._parted[machine] -= 1
            for stream in cut_off:
                stream.hold(-1)

        if ns > KEEPALIVE_NS:
            for stream in cut_off:
                self.ground.clock.after(KEEPALIVE_NS, stream.give_up)
        self.ground.clock.after(ns, heal)
