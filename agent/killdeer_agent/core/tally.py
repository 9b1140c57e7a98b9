"""What is counted while the agent runs: deaths, restarts, strikes and the kernel's events. From 0 at each start.

Labels come from closed lists, but for the unit: that is one of at most MOST_UNITS names, or `other`.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Cause, KernelEvent, StrikeState
from killdeer_agent.core import signals
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.succession import LOOP_NS, Restart, Succession

MOST_UNITS = 100
OTHER = "other"
# How many units are told apart among those folded into OTHER; of a longer list it is only said that it is longer.
MOST_FOLDED = 10_000
# systemd gives a service 90 s to end after SIGTERM, and an orchestrator half a minute.
TERM_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90)
SUCCESSOR_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_NS_PER_S = 1_000 * NS_PER_MS
# systemd-run's own names, each used once.
_TRANSIENT = re.compile(r"run-[a-z]?[0-9a-f-]+(?:-i[0-9]+)?\.service")


def unit_of(service: str) -> str:
    """A service of the service manager by its name, a template's instances together; all else by its kind, since
    whoever may start a process chooses its name, and containers and sessions never end to be new ones."""
    if service.startswith("container:"):
        return "(container)"
    if service.endswith(".scope"):
        return "(scope)"
    if _TRANSIENT.fullmatch(service):
        return "(transient)"
    return service if service.endswith((".service", "@")) else "(none)"


@dataclass(slots=True)
class Histogram:
    """`counts`: how many were at most each bound but more than the one before; the last: more than all."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class Units:
    """The first MOST_UNITS have a name of their own for as long as the agent runs."""

    named: set[str] = field(default_factory=set)
    folded: set[str] = field(default_factory=set)

    def label(self, service: str) -> str:
        unit = unit_of(service)
        if unit in self.named:
            return unit
        if len(self.named) < MOST_UNITS:
            self.named.add(unit)
            return unit
        if len(self.folded) < MOST_FOLDED:
            self.folded.add(unit)
        return OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where this agent stands now. `halted`: by a fleet halt; `halted_locally`: by the file on this host."""

    leased: bool
    halted: bool
    halted_locally: bool
    strikes_open: int
    reverts_left: int


class Tally:
    def __init__(self) -> None:
        self.units = Units()
        self.succession = Succession()
        self.deaths: Counter[tuple[str, str]] = Counter()  # (cause, unit)
        self.oom_kills: Counter[str] = Counter()  # cgroup | machine
        self.restarts: Counter[str] = Counter()  # unit
        self.loops: dict[str, int] = {}  # when a unit was last seen in a restart loop, CLOCK_BOOTTIME
        self.to_exit = Histogram(TERM_S)
        self.terms_ignored = 0
        self.to_successor = Histogram(SUCCESSOR_S)
        self.to_ready = Histogram(SUCCESSOR_S)
        self.seen: Counter[str] = Counter()  # signal | exit | exec | oom
        self.lost: Counter[str] = Counter()
        self.strikes: Counter[tuple[str, str]] = Counter()  # (action, outcome)

    # --- the kernel's record ------------------------------------------------------------------------------

    def event(self, event: KernelEvent) -> None:
        """Of the kernel's record, each once, after it was fitted to its strike."""
        kind = event.WhichOneof("kind") or ""
        if kind == "lost":
            self.lost_events(event.lost.kind, event.lost.count)
            return
        self.seen[kind] += 1
        if kind == "oom":
            self.oom_kills["cgroup" if event.oom.memory_cgroup else "machine"] += 1
        elif kind == "exit":
            self._restarted(self.succession.died(event))
        elif kind == "exec":
            self._restarted(self.succession.began(event))

    def lost_events(self, kind: str, count: int) -> None:
        self.lost[kind] += count

    def death(self, event: KernelEvent) -> None:
        """Told with its cause; learns here how often its service was restarted."""
        death = event.death
        unit = self.units.label(death.service)
        self.deaths[_name(Cause.Name(death.cause), "CAUSE_"), unit] += 1
        death.restarts.CopyFrom(self.succession.of(death.process, event.at_boot_ns))
        if death.restarts.loop:
            self.loops[unit] = event.at_boot_ns
        # Ours are counted by their strikes, which need no record for it.
        terms = [one for one in death.evidence if one.signal.signal == signals.TERM and not one.command_id]
        if terms:
            self.to_exit.add((event.at_boot_ns - min(one.at_boot_ns for one in terms)) / _NS_PER_S)

    def looping(self, now_ns: int) -> Iterable[tuple[str, bool]]:
        """Of each unit that was in a restart loop once, whether it still is."""
        return ((unit, now_ns - last_ns <= LOOP_NS) for unit, last_ns in self.loops.items())

    # --- strikes ------------------------------------------------------------------------------------------

    def strike(self, strike: OpenStrike) -> None:
        """Whenever there is news of it; each fact counts once."""
        if strike.struck and "term" not in strike.tallied:
            self._term(strike)
        if strike.successor is not None and "successor" not in strike.tallied:
            strike.tallied.add("successor")
            self._successor(strike)
        if strike.ready_after_ns and "ready" not in strike.tallied:
            strike.tallied.add("ready")
            self.to_ready.add(strike.ready_after_ns / _NS_PER_S)
        if strike.phase is Phase.OVER and "outcome" not in strike.tallied:
            strike.tallied.add("outcome")
            outcome = _name(StrikeState.Name(strike.state), "STRIKE_STATE_")
            self.strikes[strike.action.replace("_", "-") or "none", outcome] += 1

    def _term(self, strike: OpenStrike) -> None:
        """How long the victim took to leave for a SIGTERM of ours; or that it did not."""
        ours = [blow for blow in strike.blows if not blow.revert and not blow.pid]
        terms = [blow for blow in ours if blow.signal == signals.TERM]
        if not terms:
            return
        exited_ns = strike.exit.at_boot_ns if strike.exit is not None else 0
        killed = [blow for blow in ours if blow.signal == signals.KILL]
        if exited_ns and not any((blow.seen_boot_ns or blow.sent_boot_ns) <= exited_ns for blow in killed):
            fell_ns = terms[0].seen_boot_ns or terms[0].sent_boot_ns
            if not strike.restored_ns:  # an agent before this one has counted it
                self.to_exit.add(max(0, exited_ns - fell_ns) / _NS_PER_S)
        elif killed or (strike.phase is Phase.OVER and strike.exit is None):
            self.terms_ignored += 1
        else:
            return
        strike.tallied.add("term")

    def _successor(self, strike: OpenStrike) -> None:
        successor, ended_ns = strike.successor, strike.exit.at_boot_ns if strike.exit is not None else 0
        if successor is not None:
            key = (successor.identity.pid, successor.identity.start_ticks)
            service = strike.command.service
            self._restarted(
                self.succession.replaced(strike.key, key, service, ended_ns, successor.at_boot_ns),
                timed=bool(ended_ns),
            )

    def _restarted(self, restart: Restart | None, *, timed: bool = True) -> None:
        if restart is None:
            return
        self.restarts[self.units.label(restart.service)] += 1
        if timed:
            self.to_successor.add(restart.after_ns / _NS_PER_S)


def _name(value: str, prefix: str) -> str:
    return value.removeprefix(prefix).lower().replace("_", "-")
