"""The wave under way: its steps to come, its victims, and how patient it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from killdeer_coordinator.core.flight import Flight, lasts_ms
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.roster import NS_PER_MS
from killdeer_coordinator.core.schedule import Step, WaveSpec

SPARE_MS = 60_000


@dataclass(slots=True, kw_only=True)
class Wave:
    spec: WaveSpec
    index: int
    begun_ns: int  # mono
    until_ns: int  # mono: victims without a permit by then expire
    steps: list[Step]  # to come, by time
    flights: list[Flight] = field(default_factory=list)
    again_ns: int = 0  # mono: no step is drawn before

    @property
    def queue(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.in_queue]

    def due(self, now_ns: int) -> Step | None:
        """The step whose time has come."""
        if not self.steps or now_ns < max(self.again_ns, self.begun_ns + self.steps[0].at_ms * NS_PER_MS):
            return None
        return self.steps[0]

    @property
    def over(self) -> bool:
        return not self.steps and all(flight.resolved for flight in self.flights)


def begin(spec: WaveSpec, index: int, steps: Sequence[Step], intake: Intake, now_ns: int) -> Wave:
    return Wave(
        spec=spec,
        index=index,
        begun_ns=now_ns,
        until_ns=now_ns + patience_ms(steps, intake) * NS_PER_MS,
        steps=list(steps),
    )


def patience_ms(steps: Sequence[Step], intake: Intake) -> int:
    """How long a wave waits for permits: until its last step, and then as long as all its victims take one after
    the other, each for as long as its action goes on, and using all the time it may recover in, its cooldown, and
    its place under the rate."""
    victims = sum(step.strikes for step in steps)
    each = intake.recover_within_ms + intake.stable_for_ms + intake.limits.cooldown_ms
    rate = 60_000 * victims // intake.limits.per_minute if intake.limits.per_minute else 0
    acting = sum(step.strikes * lasts_ms(step.action) for step in steps)
    return max((step.at_ms for step in steps), default=0) + acting + victims * each + rate + SPARE_MS
