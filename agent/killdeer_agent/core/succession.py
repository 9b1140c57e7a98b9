"""Who took over from the dead, how soon, and how often: restarts of a service, and loops of them. All bounded.

A program that starts is told of, a fork is not: a successor that was only forked is known once it has died itself.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import KernelEvent, Party, Restarts
from killdeer_agent.core.place import place_at, service_of
from killdeer_agent.core.signals import TERM
from killdeer_agent.core.strike import NS_PER_MS

Key = tuple[int, int]  # pid where it has one in the agent's namespace, else minus the host's; start_ticks
Trait = tuple[str, object, object]

NS_PER_TICK = 10 * NS_PER_MS
# What starts later than this after a death is a start of its own: a timer's next run, an operator's.
VACANT_NS = 30_000 * NS_PER_MS
# Ten minutes hold five restarts even where the pause between them grows to five minutes, as container runtimes
# let it; five starts are what systemd's own limit (StartLimitBurst=) lets pass before it gives up.
LOOP_NS = 600_000 * NS_PER_MS
LOOP_FAILURES = 5

# How a program says that it left for a SIGTERM, if not by 0.
ASKED_TO_END = 128 + TERM

MOST_VACANT = 4_096
MOST_LINES = 4_096
MOST_SERVICES = 1_024
MOST_RESTARTS = 250  # counted of one service within LOOP_NS


def key_of(party: Party) -> Key:
    return (party.pid or -party.host_pid, party.start_ticks)


@dataclass(frozen=True, slots=True)
class Restart:
    """`after_ns`: from the death to the start of the program that took over."""

    service: str
    after_ns: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Line:
    """Those who took over from one another. `failed_ns`: the last deaths among them that nobody asked for."""

    failed_ns: deque[int] = field(default_factory=lambda: deque(maxlen=2 * LOOP_FAILURES))


@dataclass(slots=True, kw_only=True)
class _Vacancy:
    service: str
    ended_ns: int
    line: _Line
    traits: tuple[Trait, ...]


class Succession:
    """Told of exits and execs in the order they come, each once."""

    def __init__(self) -> None:
        self._vacant: OrderedDict[Key, _Vacancy] = OrderedDict()  # the first that died first
        self._waiting: dict[Trait, dict[Key, None]] = {}  # whose places are vacant, by what a successor is known by
        self._lines: OrderedDict[Key, _Line] = OrderedDict()  # of successors, and of the dead
        self._restarts: OrderedDict[str, deque[int]] = OrderedDict()  # when, by service

    def died(self, event: KernelEvent) -> Restart | None:
        """A process is gone, its place vacant. The restart that its own start turns out to have been, or None."""
        process, ended_ns = event.exit.process, event.at_boot_ns
        began_ns = min(process.start_ticks * NS_PER_TICK, ended_ns)
        traits = tuple(_traits(process))
        restart = self._took_over(process, traits, began_ns, ended_ns)
        if not _leaves_a_place(event):
            return restart
        key, service = key_of(process), service_at(process)
        line = self._lines.get(key) or _Line()
        self._remember(key, line)
        if _failed(event):
            line.failed_ns.append(ended_ns)
        vacancy = _Vacancy(service=service, ended_ns=ended_ns, line=line, traits=traits)
        self._vacant[key] = vacancy
        for trait in vacancy.traits:
            self._waiting.setdefault(trait, {})[key] = None
        return restart

    def began(self, event: KernelEvent) -> Restart | None:
        """A program was started: the restart that this is, if it is one."""
        if not self._vacant:
            return None
        process = event.exec.process
        return self._took_over(process, _traits(process), event.at_boot_ns, event.at_boot_ns)

    def replaced(self, victim: Key, successor: Key, service: str, ended_ns: int, began_ns: int) -> Restart | None:
        """A count of the service has found who took over; None where the kernel had told so already."""
        if successor in self._lines or (victim in self._lines and victim not in self._vacant):
            return None
        vacancy = self._vacant.get(victim)
        if vacancy is not None:
            return self._fill(victim, vacancy, successor, began_ns)
        return self._restarted(service, began_ns, max(0, began_ns - ended_ns) if ended_ns else 0)

    def of(self, process: Party, at_ns: int) -> Restarts:
        """How often the process's service was restarted in the LOOP_NS before then; whether its line loops."""
        since_ns = at_ns - LOOP_NS
        when = [one for one in self._restarts.get(service_at(process), ()) if since_ns < one <= at_ns]
        line = self._lines.get(key_of(process)) or _Line()
        failures = sum(since_ns < one <= at_ns for one in line.failed_ns)
        within_ms = (at_ns - min(when)) // NS_PER_MS if when else 0
        return Restarts(count=len(when), within_ms=within_ms, loop=failures >= LOOP_FAILURES)

    def _took_over(self, process: Party, traits: Iterable[Trait], began_ns: int, now_ns: int) -> Restart | None:
        self._give_up(now_ns)
        key = key_of(process)
        if not self._vacant or key in self._lines:
            return None
        before_ns = (process.start_ticks + 1) * NS_PER_TICK  # its start is known to the tick alone
        for trait in traits:
            for dead in self._waiting.get(trait, ()):
                vacancy = self._vacant[dead]
                if vacancy.ended_ns < before_ns:
                    return self._fill(dead, vacancy, key, began_ns)
                break  # the others died later still
        return None

    def _fill(self, dead: Key, vacancy: _Vacancy, successor: Key, began_ns: int) -> Restart:
        self._drop(dead)
        self._remember(successor, vacancy.line)
        return self._restarted(vacancy.service, began_ns, max(0, began_ns - vacancy.ended_ns))

    def _restarted(self, service: str, at_ns: int, after_ns: int) -> Restart:
        when = self._restarts.setdefault(service, deque(maxlen=MOST_RESTARTS))
        when.append(at_ns)
        self._restarts.move_to_end(service)
        if len(self._restarts) > MOST_SERVICES:
            self._restarts.popitem(last=False)
        return Restart(service, after_ns)

    def _remember(self, key: Key, line: _Line) -> None:
        self._lines[key] = line
        self._lines.move_to_end(key)
        if len(self._lines) > MOST_LINES:
            self._lines.popitem(last=False)

    def _give_up(self, now_ns: int) -> None:
        while self._vacant:
            dead, vacancy = next(iter(self._vacant.items()))
            if len(self._vacant) < MOST_VACANT and now_ns - vacancy.ended_ns <= VACANT_NS:
                return
            self._drop(dead)

    def _drop(self, dead: Key) -> None:
        for trait in self._vacant.pop(dead).traits:
            waiting = self._waiting.get(trait, {})
            waiting.pop(dead, None)
            if not waiting:
                self._waiting.pop(trait, None)


def service_at(process: Party) -> str:
    place = place_at(process.cgroup)
    return service_of(place.unit, place.container, process.name)


def _traits(process: Party) -> Iterator[Trait]:
    """With one of these in common, a process may have taken the other's place. Neither program nor place is enough:
    a service has helpers, and commands of its own before its start and after its end."""
    for program in (process.name, process.executable):
        if program and process.parent_pid:
            yield ("program and parent", program, process.parent_pid)
        if program and process.cgroup.strip("/"):
            yield ("program and cgroup", program, process.cgroup)


def _is_main(process: Party) -> bool:
    """Started by the service manager itself, in a service."""
    return process.parent_pid == 1 and place_at(process.cgroup).unit.endswith(".service")


def _leaves_a_place(event: KernelEvent) -> bool:
    """A script's commands come and go, and each is done; nobody takes its place."""
    return bool(event.exit.signal or event.command_id) or _is_main(event.exit.process)


def _failed(event: KernelEvent) -> bool:
    """Nobody asked for this death: neither a strike nor a SIGTERM, and it had not finished."""
    exited = event.exit
    if event.command_id or exited.signal == TERM:
        return False
    return bool(exited.signal) or exited.code not in (0, ASKED_TO_END)
