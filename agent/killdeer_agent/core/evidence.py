"""What the kernel reported: each event fitted to the strike it belongs to, and told in batches (I8)."""

from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.agent_pb2 import Evidence as Batch
from killdeer.v1.process_pb2 import Blow, EventsLost, Exit, KernelEvent
from killdeer_agent.core.deaths import Deaths
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.holds import Holds
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.recovery import key_of
from killdeer_agent.core.strike import OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.unrecorded import Unrecorded

# Events of one frame; and how many wait for a coordinator, the oldest being given up first.
BATCH = 1_000
MOST_WAITING = 10_000


class Evidence:
    def __init__(self, desk: Desk, strikes: Strikes, recoveries: Recoveries, holds: Holds) -> None:
        self._desk = desk
        self._strikes = strikes
        self._recoveries = recoveries
        self._holds = holds
        self._deaths = Deaths()
        self._unrecorded = Unrecorded()
        self._waiting: list[KernelEvent] = []
        self._dropped = 0  # of those that waited
        self.lost = 0
        """Events lost since the start, by the kernel or here."""

    def seen(self, event: KernelEvent, source: str) -> None:
        event.host = self._desk.hello.host
        match event.WhichOneof("kind"):
            case "signal":
                self._signal(event)
            case "exit":
                self._exit(event, "pidfd" if event.exit.unread else source)
            case "exec":
                self._holds.appeared(event)
                self._recoveries.executed()
            case "lost":
                self._lose(event.lost.count)
        if source == "bpf":  # a pidfd's word has neither code nor signal: it is told with its strike alone
            self._desk.tally.event(event)
            self._deaths.seen(event, self._desk.now.boot_ns)
            self._keep(event)
            self._died(self._unrecorded.seen(event))

    def tick(self, told_ns: int) -> None:
        """`told_ns`: the kernel's record up to then was seen, losses among it."""
        for death in self._deaths.tick(self._desk.now.boot_ns, told_ns):
            self._died(death)

    def _died(self, death: KernelEvent | None) -> None:
        if death is not None:
            self._desk.tally.death(death)
            self._keep(death)

    def _keep(self, event: KernelEvent) -> None:
        self._waiting.append(event)
        if len(self._waiting) > MOST_WAITING:
            given_up = len(self._waiting) - MOST_WAITING
            del self._waiting[:given_up]
            self._dropped += given_up
            self._desk.tally.lost_events("waiting", given_up)
            self._lose(given_up)

    def struck(self, strike: OpenStrike) -> None:
        """The word of a blow is here; the kernel's may have come before it."""
        early, strike.early = strike.early, []
        for event in early:
            self._fit(strike, event)

    def opened(self, strike: OpenStrike) -> None:
        strike.lost_at_start = self.lost

    def send(self) -> None:
        """With each tick that has a session to tell."""
        if self._dropped:
            lost = EventsLost(kind="waiting", count=self._dropped)
            self._waiting.append(
                KernelEvent(at_boot_ns=self._desk.now.boot_ns, host=self._desk.hello.host, lost=lost)
            )
            self._dropped = 0
        for begin in range(0, len(self._waiting), BATCH):
            batch = Batch(events=self._waiting[begin : begin + BATCH])
            self._desk.send(ConnectRequest(evidence=batch))
        self._waiting.clear()

    def _lose(self, count: int) -> None:
        self.lost += count
        for strike in self._strikes.open.values():
            strike.events_lost = self.lost - strike.lost_at_start

    def _signal(self, event: KernelEvent) -> None:
        """Of the agent itself alone: the same signal by somebody else is none of our blows."""
        signal = event.signal
        if not signal.HasField("sender") or (self._desk.pid and signal.sender.pid != self._desk.pid):
            return
        target = (signal.target.pid, signal.target.start_ticks)
        for strike in self._strikes.open.values():
            if target not in strike.keys:
                continue
            if strike.phase is Phase.STRIKING and target == key_of(strike.target):
                event.command_id = strike.command_id
                strike.early.append(event)
            else:
                self._fit(strike, event)

    def _fit(self, strike: OpenStrike, event: KernelEvent) -> None:
        target = (event.signal.target.pid, event.signal.target.start_ticks)
        for blow in strike.blows:
            for_it = strike.key_of_blow(blow) == target
            if for_it and blow.signal == event.signal.signal and not blow.seen_boot_ns:
                blow.seen_boot_ns = event.at_boot_ns
                blow.kernel_verdict = event.signal.verdict
                blow.sender_pid = event.signal.sender.pid
                event.command_id = strike.command_id
                if not self._ignored(strike, blow):
                    self._strikes.tell(strike)
                return

    def _ignored(self, strike: OpenStrike, blow: Blow) -> bool:
        """The kernel's verdict `ignored`: kill(2) said yes, and nothing will come of it."""
        to_come = strike.phase is not Phase.STANDING or strike.next_blow_ns
        if blow.kernel_verdict != "ignored" or to_come or strike.exit is not None:
            return False
        if strike.effect_open or strike.last_signal_is_final or blow.revert:
            return False
        strike.lives_on("the process ignores the signal, says the kernel")
        self._strikes.finish(strike)
        return True

    def _exit(self, event: KernelEvent, source: str) -> None:
        process = (event.exit.process.pid, event.exit.process.start_ticks)
        for strike in list(self._strikes.open.values()):
            if process not in strike.keys or strike.process.boot_id != self._desk.boot_id:
                continue
            if process != strike.key:  # a successor that a hold has struck, or is about to
                event.command_id = strike.command_id
                if process == key_of(strike.target):
                    self._holds.vacated(strike)
                continue
            if strike.struck or strike.unsaid or strike.phase is Phase.STRIKING:
                event.command_id = strike.command_id
            seen = Exit(at_boot_ns=event.at_boot_ns, source=source)
            if source == "bpf":
                seen.code, seen.signal = event.exit.code, event.exit.signal
                seen.core_dumped = event.exit.core_dumped
            self._recoveries.victim_gone(strike, seen)
            if strike.target is strike.process:
                self._holds.vacated(strike)
