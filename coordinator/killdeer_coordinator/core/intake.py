"""An experiment file as the core takes it in: the file's own models go no further than this module."""

from dataclasses import dataclass, field

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.probe_pb2 import Deed, Probe
from killdeer.v1.process_pb2 import Action, Selector
from killdeer_coordinator.core.books import RunLimits
from killdeer_coordinator.core.draw import Choosing
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.schedule import WaveSpec
from killdeer_experiment.expectations import Expectation
from killdeer_experiment.faults import FileFaults
from killdeer_experiment.file import Experiment, Limits, load
from killdeer_experiment.scalars import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One step of recovery.then: `kind` is resume, start_unit, deed or probe."""

    kind: str
    deed: Deed | None = None
    probe: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is measured around the strikes, and what is done besides them."""

    probes: tuple[Probe, ...] = ()
    preconditions: tuple[Expectation, ...] = ()
    steady_state: tuple[Expectation, ...] = ()
    abort_when: tuple[Expectation, ...] = ()
    baseline_ms: int = 0
    ready: Probe | None = None  # taken by the victims' agents
    remedies: tuple[Remedy, ...] = ()
    otherwise: tuple[Deed, ...] = ()  # when no remedy has helped
    at_start: tuple[Deed, ...] = ()  # on_start, then load.start
    on_abort: tuple[Deed, ...] = ()
    at_end: tuple[Deed, ...] = ()  # load.stop, then on_end


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
    outlook: Outlook = field(default_factory=Outlook)

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
        outlook=_outlook(experiment),
    )


def _outlook(experiment: Experiment) -> Outlook:
    probes = {probe.name: probe.to_wire() for probe in experiment.probes}
    recovery = experiment.recovery
    return Outlook(
        probes=tuple(probes.values()),
        preconditions=experiment.preconditions,
        steady_state=experiment.steady_state,
        abort_when=experiment.abort_when,
        baseline_ms=experiment.baseline_ms,
        ready=probes[recovery.ready] if recovery.ready else None,
        remedies=tuple(
            Remedy(kind=step.kind, deed=step.deed, probe=probes.get(step.probe)) for step in recovery.then
        ),
        otherwise=recovery.otherwise,
        at_start=(*experiment.on_start, *experiment.load_start),
        on_abort=experiment.on_abort,
        at_end=(*experiment.load_stop, *experiment.on_end),
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
            hold_ms=wave.hold_ms,
            about=wave.strikes is not None and wave.strikes.about,
            random_pauses=wave.pauses == "random",
            choosing=Choosing(by=wave.choose, weights=wave.weights),
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
