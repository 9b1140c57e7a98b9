"""Which programs took the places of dead ones, on one host: restarts of its services, as far as its evidence shows.

A program that starts is told of at once, its predecessor's death a while later; a fork is not told of at all, so a
successor that was only forked is known once it has died itself. All of it bounded.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from killdeer.v1.process_pb2 import Death, KernelEvent, Party

# The same length, and the same traits, by which an agent counts a service's restarts for its own metrics.
VACANT_NS = 30_000_000_000
# A place that was taken by a fork is known to be once the successor has died.
KEPT_NS = 600_000_000_000
NS_PER_TICK = 10_000_000

MOST = 4_096  # of vacancies, of starts, and of successors

Key = tuple[int, int]  # host pid, start_ticks
Trait = tuple[str, str | int]


@dataclass(frozen=True, slots=True)
class _Vacancy:
    key: Key
    ended_ns: int
    death: Death
    traits: frozenset[Trait]


@dataclass(frozen=True, slots=True)
class _Start:
    key: Key
    began_ns: int
    traits: frozenset[Trait]


class Restarts:
    """Told of deaths and execs in any order, each once."""

    def __init__(self) -> None:
        self._vacancies: deque[_Vacancy] = deque(maxlen=MOST)
        self._starts: deque[_Start] = deque(maxlen=MOST)
        self._successors: OrderedDict[Key, None] = OrderedDict()

    def saw(self, event: KernelEvent) -> Iterator[Death]:
        """The deaths whose places are known to be taken, now that this has come."""
        while self._vacancies and event.at_boot_ns - self._vacancies[0].ended_ns > KEPT_NS:
            self._vacancies.popleft()
        if event.HasField("exec"):
            process = event.exec.process
            yield from self._began(_Start(_key(process), event.at_boot_ns, frozenset(_traits(process))))
        elif event.HasField("death"):
            process, traits = event.death.process, frozenset(_traits(event.death.process))
            if _leaves_a_place(event):
                yield from self._died(_Vacancy(_key(process), event.at_boot_ns, event.death, traits))
            # To the tick's end: else it would seem to have begun before a death in the same tick.
            began_ns = min((process.start_ticks + 1) * NS_PER_TICK, event.at_boot_ns)
            yield from self._began(_Start(_key(process), began_ns, traits))

    def _died(self, vacancy: _Vacancy) -> Iterator[Death]:
        taking = [one for one in self._starts if self._takes(one, vacancy)]
        if taking:
            yield self._filled(vacancy, min(taking, key=lambda one: one.began_ns))
        else:
            self._vacancies.append(vacancy)

    def _began(self, start: _Start) -> Iterator[Death]:
        vacant = [one for one in self._vacancies if self._takes(start, one)]
        if vacant:
            vacancy = min(vacant, key=lambda one: one.ended_ns)
            self._vacancies.remove(vacancy)
            yield self._filled(vacancy, start)
        else:
            self._starts.append(start)

    def _takes(self, start: _Start, vacancy: _Vacancy) -> bool:
        late = start.began_ns - vacancy.ended_ns
        another = start.key != vacancy.key and start.key not in self._successors
        return another and 0 <= late <= VACANT_NS and not start.traits.isdisjoint(vacancy.traits)

    def _filled(self, vacancy: _Vacancy, start: _Start) -> Death:
        self._successors[start.key] = None
        if len(self._successors) > MOST:
            self._successors.popitem(last=False)
        return vacancy.death


def _key(process: Party) -> Key:
    return (process.host_pid, process.start_ticks)


def _traits(process: Party) -> Iterator[Trait]:
    """With one of these in common, a process may have taken the other's place: its program, in the same place."""
    for program in filter(None, {process.name, process.executable}):
        if process.parent_pid:
            yield (program, process.parent_pid)
        if cgroup := process.cgroup.strip("/"):
            yield (program, cgroup)


def _leaves_a_place(event: KernelEvent) -> bool:
    """A script's commands come and go, and each is done: nobody takes its place."""
    death = event.death
    main = death.process.parent_pid == 1 and death.unit.endswith(".service")
    return bool(death.signal or event.command_id) or main
