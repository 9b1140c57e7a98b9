"""An experiment file as the core takes it in: the file's own models go no further than this module."""

from dataclasses import dataclass

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.process_pb2 import Action, Selector
from killdeer_coordinator.core.books import RunLimits
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.schedule import WaveSpec
from killdeer_experiment.faults import FileFaults
from killdeer_experiment.file import Experiment, Limits, load
from killdeer_experiment.scalars import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One experiment, read and checked."""

    source: str
    file: str
    name: str
    owner: str
    environment: str
    hypothesis: str
    seed: int | None  # the file's own; None: not said
    hosts: tuple[LabelMatch, ...]  # none: every host
    selector: Selector
    waves: tuple[WaveSpec, ...]
    limits: RunLimits
    recover_within_ms: int
    stable_for_ms: int
    canonical: str  # the same for files that mean the same, without the seed

    @property
    def actions(self) -> tuple[Action, ...]:
        """The distinct actions of the waves, in order: each needs a scan of its own, for the guard's verdict."""
        found: dict[bytes, Action] = {}
        for wave in self.waves:
            found.setdefault(wave.action.SerializeToString(deterministic=True), wave.action)
        return tuple(found.values())


def take_in(source: str, file: str) -> Intake | Refused:
    """The file's text as an Intake, or INVALID_ARGUMENT that names every fault by file, line and column."""
    try:
        experiment = load(source, file)
    except FileFaults as faults:
        return Refused(
            code="INVALID_ARGUMENT",
            message=f"cannot read the experiment: {faults}",
            field="source",
            remedy="`killdeer validate FILE` checks a file without a coordinator",
        )
    return Intake(
        source=source,
        file=file,
        name=experiment.name,
        owner=experiment.owner,
        environment=experiment.environment,
        hypothesis=experiment.hypothesis,
        seed=experiment.seed,
        hosts=tuple(experiment.target.label_matches()),
        selector=experiment.target.selector(),
        waves=specs(experiment),
        limits=run_limits(experiment.limits),
        recover_within_ms=experiment.recovery.within_ms,
        stable_for_ms=experiment.recovery.stable_for_ms,
        canonical=experiment.canonical(),
    )


def specs(experiment: Experiment) -> tuple[WaveSpec, ...]:
    return tuple(
        WaveSpec(
            name=wave.name,
            action=experiment.action_of(wave).to_wire(),
            count=_count(wave.strikes),
            percent=_percent(wave.strikes),
            over_ms=wave.over_ms,
            every_ms=wave.every_ms,
            repeat=wave.repeat,
            jitter_ms=wave.jitter_ms,
            dry_run=wave.dry_run,
        )
        for wave in experiment.waves
    )


def run_limits(limits: Limits) -> RunLimits:
    return RunLimits(
        in_flight=limits.in_flight,
        per_host=limits.per_host,
        per_service=_count(limits.per_service),
        per_service_percent=_percent(limits.per_service),
        per_minute=limits.per_minute,
        min_healthy=_count(limits.min_healthy),
        min_healthy_percent=_percent(limits.min_healthy),
        cooldown_ms=limits.cooldown_ms,
    )


def _count(amount: Amount | None) -> int | None:
    return None if amount is None or amount.percent else amount.number


def _percent(amount: Amount | None) -> int | None:
    return amount.number if amount is not None and amount.percent else None
