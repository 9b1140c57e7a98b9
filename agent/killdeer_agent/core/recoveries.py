"""The services of this host that wait to recover: when they are counted, and what a count means (rule R18)."""

from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Exit, StrikeState, Successor
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Process
from killdeer_agent.core.hold import LAST_NS
from killdeer_agent.core.readiness import Readiness
from killdeer_agent.core.recovery import Key, Recovery, Wait, key_of
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Census, Counted, Probe, Probed

# While a service has not recovered it is counted this often, and sooner when the kernel reports an exec.
CENSUS_EVERY_NS = 200 * NS_PER_MS
# After `recover_within` the outcome is `lost`; a late recovery still releases the permit.
CENSUS_LATE_NS = 2_000 * NS_PER_MS
# Never sooner: on a host that execs all the time nothing but counting would be done.
CENSUS_LEAST_NS = 50 * NS_PER_MS
# The unit of a process's start time (USER_HZ is 100 on every architecture that has pidfds).
NS_PER_TICK = 10 * NS_PER_MS


@dataclass(slots=True)
class _Service:
    recovery: Recovery = field(default_factory=Recovery)
    asked_ns: int = 0
    asked: bool = False  # a census is out
    outdated: bool = False  # since that was asked for, a strike came or its victim went


class Recoveries:
    def __init__(self, desk: Desk, strikes: Strikes) -> None:
        self._desk = desk
        self._strikes = strikes
        self._services: dict[str, _Service] = {}

    def expect(
        self, strike: OpenStrike, since_ns: int, *, here: bool = True, taken: frozenset[Key] = frozenset()
    ) -> None:
        """Before the service is counted for the first time: who comes after `since_ns` may be a successor."""
        wait = Wait(
            command_id=strike.command_id,
            victim=strike.key,
            here=here,
            taken=taken,
            since_ticks=max(0, since_ns) // NS_PER_TICK,
            stable_ns=strike.command.stable_for_ms * NS_PER_MS,
            readiness=Readiness(probe=strike.command.ready) if strike.command.HasField("ready") else None,
        )
        service = self._services.setdefault(strike.command.service, _Service())
        service.recovery.wait(wait)
        service.outdated = True

    def counted_before(self, strike: OpenStrike) -> None:
        """Who was there before the blow; the victim was."""
        wait = self._services[strike.command.service].recovery.of(strike.command_id)
        if wait is not None:
            wait.before = frozenset(key_of(member) for member in strike.members) | {strike.key}

    def victim_gone(self, strike: OpenStrike, seen: Exit) -> None:
        """The victim has exited: from now on its service is to recover. Twice told, once meant."""
        if not strike.exited(seen):
            return
        if strike.struck or strike.unsaid:
            at_ns = seen.at_boot_ns or self._desk.now.boot_ns
            self._strikes.keep("exit", strike, {"at": at_ns, "lost": strike.events_lost})
            self._strikes.tell(strike)
            self.wait_for(strike)

    def wait_for(self, strike: OpenStrike) -> None:
        if strike.hold is not None and not strike.hold.ended_ns:
            return  # what comes is to go again
        service = self._services.get(strike.command.service)
        wait = service.recovery.of(strike.command_id) if service is not None else None
        if service is not None and wait is not None and not wait.gone:
            wait.gone = service.outdated = True
            self._count(strike.command.service)

    def claimed(self, name: str, process: Key, but: str) -> bool:
        """Whether it is the successor of another strike's victim (rule R18)."""
        service = self._services.get(name)
        return service is not None and any(
            wait.command_id != but and wait.successor is not None and key_of(wait.successor) == process
            for wait in service.recovery.waits
        )

    def executed(self) -> None:
        """Some process has become another program: it may be the one that is waited for."""
        for name, service in self._services.items():
            if service.recovery.waiting and self._desk.now.boot_ns - service.asked_ns >= CENSUS_LEAST_NS:
                self._count(name)

    def counted(self, answer: Counted) -> None:
        service = self._services.get(answer.service)
        if service is None:
            return
        service.asked = False
        if service.outdated and service.recovery.waiting:
            self._count(answer.service)
            return
        if answer.problem:
            return  # nothing may be concluded; it is counted again
        self._forget_over(service.recovery)
        # Who is struck, or about to be, is as good as gone; what came of blows before a restart the count tells.
        holds = [s.hold for s in self._strikes.of_service(answer.service) if s.hold and not s.restored_ns]
        struck = {key for hold in holds for key in hold.struck}
        members = [member for member in answer.members if key_of(member) not in struck]
        found, recovered = service.recovery.counted(members, self._desk.now.boot_ns)
        for wait in found:
            if wait.successor is not None and wait.command_id in self._strikes.open:
                strike = self._strikes.open[wait.command_id]
                self._judge_hold(strike, wait, service.recovery, members)
                self._succeeded(strike, wait.successor)
        for wait in recovered:
            if wait.command_id in self._strikes.open:
                strike = self._strikes.open[wait.command_id]
                strike.recovered()
                self._claim(strike, wait)
                self._strikes.finish(strike)
        self._ask_whether_ready(service.recovery)

    def probed(self, answer: Probed) -> None:
        """The first that is met after the blow tells how long the service took."""
        strike = self._strikes.open.get(answer.command_id)
        readiness = self._readiness(strike) if strike is not None else None
        if strike is None or readiness is None:
            return
        now = self._desk.now.boot_ns
        met = readiness.answered(answer.turn, met=answer.met, detail=answer.detail, now_ns=now)
        begun = strike.first_blow_ns if strike.process.boot_id == self._desk.boot_id else 0
        if met and begun and not strike.ready_after_ns:
            strike.ready_after_ns = max(1, now - begun)
            self._strikes.keep("ready", strike, {"after": strike.ready_after_ns})
            self._strikes.tell(strike)

    def lacks(self, strike: OpenStrike) -> str:
        """What a service that has not recovered lacks, where its processes are all there; empty: not this."""
        readiness = self._readiness(strike)
        return readiness.lacks(ever=bool(strike.ready_after_ns)) if readiness is not None else ""

    def tick(self) -> None:
        now = self._desk.now.boot_ns
        for name, service in list(self._services.items()):
            self._forget_over(service.recovery)
            if service.recovery.waiting and now - service.asked_ns >= self._patience(service.recovery):
                self._count(name)
            self._ask_whether_ready(service.recovery)
            if not service.recovery.waits:
                del self._services[name]

    def _readiness(self, strike: OpenStrike) -> Readiness | None:
        service = self._services.get(strike.command.service)
        wait = service.recovery.of(strike.command_id) if service is not None else None
        return wait.readiness if wait is not None and not wait.recovered else None

    def _ask_whether_ready(self, recovery: Recovery) -> None:
        """One question at a time for each strike, and no more often than the service is counted."""
        now = self._desk.now.boot_ns
        for wait in recovery.waits:
            readiness = wait.readiness
            if readiness is None or not wait.gone or wait.recovered:
                continue
            late = self._strikes.open[wait.command_id].state == StrikeState.STRIKE_STATE_LOST
            if readiness.is_due(now, CENSUS_LATE_NS if late else 0):
                self._desk.emit(Probe(command_id=wait.command_id, turn=readiness.ask(now), probe=readiness.probe))

    def _count(self, name: str) -> None:
        service = self._services[name]
        if not service.asked:
            service.asked, service.asked_ns = True, self._desk.now.boot_ns
            service.outdated = False
            self._desk.emit(Census(service=name))

    def _claim(self, strike: OpenStrike, wait: Wait) -> None:
        """Written, so that no strike beside it takes the same successor after a restart (rule R18)."""
        if wait.successor is not None:
            body = {"service": strike.command.service, "boot": self._desk.boot_id}
            self._strikes.keep(
                "claimed", strike, {**body, "pid": wait.successor.pid, "ticks": wait.successor.start_ticks}
            )

    def _forget_over(self, recovery: Recovery) -> None:
        """Refused, or the victim lives on: nothing is to recover."""
        for wait in list(recovery.waits):
            strike = self._strikes.open.get(wait.command_id)
            if not wait.recovered and (strike is None or strike.phase is Phase.OVER):
                recovery.forget(wait.command_id)

    def _patience(self, recovery: Recovery) -> int:
        waiting = [wait.command_id for wait in recovery.waits if wait.gone and not wait.recovered]
        states = [self._strikes.open[command_id].state for command_id in waiting]
        late = all(state == StrikeState.STRIKE_STATE_LOST for state in states)
        return CENSUS_LATE_NS if late else CENSUS_EVERY_NS

    def _judge_hold(self, strike: OpenStrike, wait: Wait, recovery: Recovery, members: list[Process]) -> None:
        """A service that was whole before the end of the hold was not held down, whyever its successor was left
        alone (I8): it does not match, has not become another program, was another strike's for a while."""
        hold = strike.hold
        if hold is None or hold.cut_short:
            return
        last_ticks = (hold.until_ns - LAST_NS) // NS_PER_TICK
        if recovery.was_whole(wait, [one for one in members if one.start_ticks < last_ticks]):
            hold.cut_short = True
            strike.detail += "; not held all the time: its service was whole before the end"
            self._strikes.keep("held", strike, {"cut_short": True, "detail": strike.detail})

    def _succeeded(self, strike: OpenStrike, successor: Process) -> None:
        strike.successor = Successor(at_boot_ns=self._desk.now.boot_ns, source="scan")
        strike.successor.identity.host = strike.command.victim.host
        strike.successor.identity.boot_id = self._desk.boot_id
        strike.successor.identity.pid = successor.pid
        strike.successor.identity.start_ticks = successor.start_ticks
        # Its start time is the kernel's own, to a hundredth of a second; the census only came later.
        started = successor.start_ticks * NS_PER_TICK
        if strike.exit is not None and strike.exit.at_boot_ns:
            strike.successor.at_boot_ns = max(started, strike.exit.at_boot_ns)
            strike.successor.after_exit_ns = max(0, started - strike.exit.at_boot_ns)
        self._strikes.tell(strike)
