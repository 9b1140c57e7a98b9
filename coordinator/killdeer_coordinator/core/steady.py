"""What is measured around one run's strikes, and which sentences of its file hold.

Probes of hosts and of the kernel's events are answered here, from heartbeats and evidence; all others are taken
by the shell. The victims' readiness is for their agents (rule R30).
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from killdeer.v1.agent_pb2 import Heartbeat
from killdeer.v1.probe_pb2 import Baseline, Finding, Impact, Part, Probe, Reading, Standing, Unit
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.eventcount import EventCount
from killdeer_coordinator.core.impact import Absence, repetitions
from killdeer_coordinator.core.intake import Outlook
from killdeer_coordinator.core.judging import Judge
from killdeer_coordinator.core.measuring import EVERY_MS, Measuring, host_value, taken_here
from killdeer_coordinator.core.roster import NS_PER_MS, Link

# Three heartbeats of the longest interval: what a host said before is no reading any more.
SILENT_NS = 15_000_000_000


class Steady:
    """`hosts` gives the links of the target's hosts now; `services` the services its candidates were seen in."""

    def __init__(
        self,
        outlook: Outlook,
        errands: Errands,
        *,
        run_id: str,
        hosts: Callable[[], list[Link]],
        services: Callable[[], Collection[str]],
    ) -> None:
        self._errands = errands
        self._hosts = hosts
        self._known_hosts: set[str] = set()
        parts = (
            (Part.PART_PRECONDITION, outlook.preconditions),
            (Part.PART_STEADY_STATE, outlook.steady_state),
            (Part.PART_ABORT_WHEN, outlook.abort_when),
        )
        probes = _measured(outlook)
        units = {probe.name: probe.unit for probe in probes}
        units |= {
            one.probe: Unit.UNIT_FRACTION
            for _, sentences in parts
            for one in sentences
            if one.in_percent and not units[one.probe]
        }
        self._judges = {
            part: [Judge(one, part, units[one.probe]) for one in expectations] for part, expectations in parts
        }
        self._counts = {
            probe.name: EventCount(probe.events, services=services, hosts=hosts, run_id=run_id)
            for probe in probes
            if probe.HasField("events")
        }
        self._here = {probe.name: probe for probe in probes if taken_here(probe)}
        self._due_ns = dict.fromkeys(self._here, 0)
        self._measuring = Measuring(probes, self._ask)
        self._judged = {one.probe for one in outlook.steady_state}
        self.measures = bool(probes)

    def judges(self, part: Part) -> Sequence[Judge]:
        return self._judges[part]

    def saw(self, host: str, events: Iterable[KernelEvent]) -> None:
        """Evidence of any host; what is not of the target's is left out."""
        for event in events:
            for count in self._counts.values():
                count.saw(host, event, self._errands.now.mono_ns)

    def begin_counting(self) -> None:
        """The first strike: what came before it counts no more."""
        for count in self._counts.values():
            count.begin(self._errands.now.mono_ns)

    def begin_baseline(self) -> None:
        """What was measured before is not what is usual."""
        self._measuring.begin_baseline()
        for judge in self._judges[Part.PART_STEADY_STATE]:
            judge.relapsed = False

    def measure_anew(self) -> None:
        """What the steady state rests on, as soon as may be: see `measured_since`."""
        for probe in self._judged:
            if probe in self._due_ns:
                self._due_ns[probe] = 0
        self._measuring.hurry(self._judged)

    def measured_since(self, ns: int) -> bool:
        """Has each probe of the steady state been asked later than that (mono), and answered, or given up?"""
        return self._measuring.measured_since(self._judged, ns)

    def tick(self) -> None:
        now = self._errands.now
        for probe, due_ns in self._due_ns.items():
            if now.mono_ns >= due_ns:
                self._due_ns[probe] = now.mono_ns + (self._here[probe].every_ms or EVERY_MS) * NS_PER_MS
                self._take(self._here[probe])
        self._measuring.tick(now.mono_ns, now.unix_ms)

    def look(self, part: Part, *, struck: bool) -> Standing:
        """The worst of its sentences: one that is known not to hold, before one that is unknown. Of abort rules:
        met when one has come true."""
        now = self._errands.now
        stands = [
            judge.look(
                self._measuring.value(judge.expectation.probe, now.mono_ns),
                self._measuring.baseline(judge.expectation.probe),
                now.mono_ns,
                now.unix_ms,
                struck=struck,
            )
            for judge in self._judges[part]
        ]
        order = [Standing.STANDING_UNMET, Standing.STANDING_UNKNOWN, Standing.STANDING_MET]
        if part == Part.PART_ABORT_WHEN:
            order.reverse()
        return next((standing for standing in order if standing in stands), order[-1])

    @property
    def blind(self) -> bool:
        """Is there a sentence whose probe has no value yet?"""
        now_ns = self._errands.now.mono_ns
        probes = {judge.expectation.probe for judges in self._judges.values() for judge in judges}
        return not all(self._measuring.value(probe, now_ns).known for probe in probes)

    def close_baseline(self) -> None:
        self._measuring.close_baseline(self._errands.now.mono_ns)

    @property
    def relapsed(self) -> list[str]:
        """Sentences of the steady state that did not go on holding while nothing was hit."""
        return [one.expectation.sentence for one in self._judges[Part.PART_STEADY_STATE] if one.relapsed]

    def of_nothing(self) -> list[str]:
        """Sentences that ask for a factor of a baseline that is 0 or less, without a floor."""
        return [
            one.expectation.sentence
            for judges in self._judges.values()
            for one in judges
            if one.expectation.of_baseline and one.expectation.floor is None
            if (usual := self._measuring.baseline(one.expectation.probe)) is not None and usual <= 0
        ]

    @property
    def holds_now(self) -> bool:
        """Whether the steady state was met at the last look, without the grace of any `for`."""
        return all(judge.comparison == Standing.STANDING_MET for judge in self._judges[Part.PART_STEADY_STATE])

    def findings(self) -> list[Finding]:
        return [judge.finding() for judges in self._judges.values() for judge in judges]

    def baselines(self) -> Sequence[Baseline]:
        return self._measuring.baselines()

    def impacts(self, absences: Iterable[Absence]) -> Sequence[Impact]:
        """Of the strikes so far."""
        return self._measuring.impacts(repetitions(absences), self._errands.now.mono_ns)

    def fresh(self) -> tuple[Reading, ...]:
        """Readings since the last call, for the record."""
        return self._measuring.fresh()

    def latest(self) -> tuple[Reading, ...]:
        return self._measuring.latest()

    def _heartbeats(self, now_ns: int) -> dict[str, Heartbeat | None]:
        """Of every host of the target that was there since the run began; None: it is gone, or silent."""
        links = {link.host: link for link in self._hosts()}
        self._known_hosts.update(links)
        return {
            host: link.heartbeat if (link := links.get(host)) and now_ns - link.heard_ns < SILENT_NS else None
            for host in sorted(self._known_hosts)
        }

    def _ask(self, probe: Probe, turn: int) -> None:
        def measured(reading: Reading) -> None:
            self._measuring.measured(probe.name, turn, reading, self._errands.now.mono_ns)

        self._errands.measure(probe, measured)

    def _take(self, probe: Probe) -> None:
        now = self._errands.now
        if probe.HasField("events"):
            value = self._counts[probe.name].count(now.mono_ns, probe.over_ms)
        else:
            value = host_value(probe.host.metric, self._heartbeats(now.mono_ns))
        told = value.value if value.known else None
        self._measuring.taken(probe.name, told, value.detail, now.mono_ns, now.unix_ms, value.value)


def _measured(outlook: Outlook) -> list[Probe]:
    """All but one that is there for the agents alone: it may be out of a coordinator's reach."""
    used = {one.probe for one in (*outlook.preconditions, *outlook.steady_state, *outlook.abort_when)}
    ready = outlook.ready.name if outlook.ready is not None else ""
    return [probe for probe in outlook.probes if probe.name != ready or probe.name in used]
