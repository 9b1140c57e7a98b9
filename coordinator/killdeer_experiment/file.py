"""An experiment file: its models, and `load`, the one way from a text to an Experiment."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment import deeds
from killdeer_experiment.action import Action
from killdeer_experiment.deeds import Deeds, OptionalLoad
from killdeer_experiment.expectations import SECTIONS, Expectations
from killdeer_experiment.faults import START, FileFaults, Path, Source, place_of, unfit
from killdeer_experiment.judging import contradictions
from killdeer_experiment.parts import (
    Environment,
    Length,
    Line,
    Notes,
    Number,
    OptionalAction,
    OptionalCount,
    Part,
    Prose,
    Seed,
    Share,
    kind,
)
from killdeer_experiment.placing import placed, problems_of
from killdeer_experiment.plain import found
from killdeer_experiment.probes import Count, Probe, Probes
from killdeer_experiment.recovery import Recovery
from killdeer_experiment.scalars import ENVIRONMENTS
from killdeer_experiment.target import Target
from killdeer_experiment.tree import LARGEST, read
from killdeer_experiment.waves import Wave
from killdeer_experiment.writing import to_yaml

FORMAT = 1
DEFAULT_BASELINE_MS = 10_000


def _read_format(value: object) -> int:
    if isinstance(value, bool) or value != FORMAT:
        raise unfit(f"wants {FORMAT}, the format of experiment files, found {found(value)}")
    return FORMAT


class Limits(Part):
    """The blast radius: how many victims may be in flight, which is until they have recovered.

    They can only narrow what the fleet allows. `in_flight` and `per_host` are 1 unless the file says more;
    the others set no limit unless it names them (None, and a cooldown of 0). `per_service` and
    `min_healthy` may be percentages of a service's processes.
    """

    in_flight: Number = Field(default=1, description="victims at any moment; 1 unless said")
    per_host: Number = Field(default=1, description="of these on any one host; 1 unless said")
    per_service: Share = Field(default=None, description="of these of any one service: a count or a percentage")
    min_healthy: Share = Field(
        default=None, description="processes of a service that are to stay: a count or a percentage"
    )
    per_minute: OptionalCount = Field(default=None, description="strikes in any minute")
    cooldown_ms: Length = Field(
        default=0, alias="cooldown", description="how long a service is left alone after a strike"
    )

    def written(self) -> dict[str, Any]:
        limits: dict[str, Any] = {"in_flight": self.in_flight, "per_host": self.per_host}
        shares = {"per_service": self.per_service, "min_healthy": self.min_healthy}
        limits |= {key: share.written for key, share in shares.items() if share is not None}
        if self.per_minute is not None:
            limits["per_minute"] = self.per_minute
        return limits | ({"cooldown": format_duration(self.cooldown_ms)} if self.cooldown_ms else {})


class Experiment(Part):
    """The whole file. Made by `load` alone, which also checks what keys say of each other."""

    killdeer: Annotated[int, kind(_read_format, Literal[1])] = Field(description=f"the file's format, {FORMAT}")
    name: Line = Field(description="what the experiment is called, such as payment-worker-survives-a-kill")
    owner: Line = Field(default="", description="who answers for it, such as payments@example.com")
    environment: Environment = Field(description=f"one of {', '.join(ENVIRONMENTS)}")
    hypothesis: Prose = Field(default="", description="what is expected to stay true while victims are struck")
    notes: Notes = Field(default=(), description="anything for the report, such as {ticket: CHG-1234}")
    seed: Seed = Field(
        default=None, description="what victims are drawn by; unless said, the coordinator draws one"
    )
    target: Target = Field(description="what may be hit, such as {process: {name: redis-server}}")
    own_probes: Probes = Field(default=(), alias="probes", description="what is measured, each probe by its name")
    preconditions: Expectations = Field(default=(), description="what must hold, or nothing is hit")
    own_baseline_ms: Length = Field(
        default=0, alias="baseline", description="how long is measured before anything is hit; 10s unless said"
    )
    steady_state: Expectations = Field(
        default=(), description="the hypothesis in sentences; what must hold before, during and after"
    )
    abort_when: Expectations = Field(default=(), description="the run is aborted as soon as one of these holds")
    limits: Limits = Field(default=Limits(), description="the blast radius: one victim at a time unless said")
    action: OptionalAction = Field(
        default=None, description="what is done to the victims of every wave that has none"
    )
    waves: tuple[Wave, ...] = Field(
        min_length=1, description="the steps, such as [{name: rehearsal, dry_run: true}, {name: one, strikes: 1}]"
    )
    load: OptionalLoad = Field(
        default=None, description="traffic to start before the baseline and to stop at the end"
    )
    start_deeds: Deeds = Field(default=(), alias="on_start", description="what is done before all else")
    abort_deeds: Deeds = Field(default=(), alias="on_abort", description="what is done when the run is aborted")
    end_deeds: Deeds = Field(default=(), alias="on_end", description="what is done at the end, whatever it was")
    recovery: Recovery = Field(default=Recovery(), description="what a victim's service must come back to")

    @property
    def probes(self) -> tuple[Probe | Count, ...]:
        """The file's, in its order, and those behind sentences such as `oom in target`."""
        sentences = (*self.preconditions, *self.steady_state, *self.abort_when)
        own = {probe.name for probe in self.own_probes}
        counted = dict.fromkeys(one.probe for one in sentences if one.probe not in own)
        return (*self.own_probes, *(Count(name=name) for name in counted))

    @property
    def baseline_ms(self) -> int:
        """How long is measured before anything is hit; 0 where nothing is judged by it."""
        judged = self.steady_state or self.abort_when
        return self.own_baseline_ms or (DEFAULT_BASELINE_MS if judged else 0)

    @property
    def load_start(self) -> tuple[wire.Deed, ...]:
        return deeds.named(self.load.start, "load.start") if self.load else ()

    @property
    def load_stop(self) -> tuple[wire.Deed, ...]:
        return deeds.named(self.load.stop, "load.stop") if self.load else ()

    @property
    def on_start(self) -> tuple[wire.Deed, ...]:
        return deeds.named(self.start_deeds, "on_start")

    @property
    def on_abort(self) -> tuple[wire.Deed, ...]:
        return deeds.named(self.abort_deeds, "on_abort")

    @property
    def on_end(self) -> tuple[wire.Deed, ...]:
        return deeds.named(self.end_deeds, "on_end")

    def action_of(self, wave: Wave) -> Action:
        """What the wave does to its victims: its own action, else the file's."""
        action = wave.own_action or self.action
        if action is None:  # `load` has refused such a file
            raise ValueError(f"cannot tell the action of wave {wave.name!r}: neither it nor the file has one")
        return action

    def canonical(self) -> str:
        """JSON that is the same for files that mean the same; without the seed, which a run may replace."""
        whole = self._written() | {"seed": None}
        process = {term.canonical() for term in self.target.process}
        hosts = {label.key: sorted(set(label.values)) for label in self.target.hosts}
        whole["target"] = {"hosts": hosts, "process": sorted(process)}
        for section in SECTIONS:
            if section in whole:
                whole[section] = sorted(one.canonical() for one in getattr(self, section))
        return json.dumps(whole, sort_keys=True, separators=(",", ":"))

    def to_source(self) -> str:
        """YAML that loads as an experiment of the same meaning."""
        return to_yaml({key: value for key, value in self._written().items() if value not in (None, "", {})})

    def _written(self) -> dict[str, Any]:
        whole: dict[str, Any] = {
            "killdeer": self.killdeer,
            "name": self.name,
            "owner": self.owner,
            "environment": self.environment,
            "hypothesis": self.hypothesis,
            "notes": dict(self.notes),
            "seed": self.seed,
            "target": self.target.written(),
            "limits": self.limits.written(),
            "waves": [wave.written(self.action_of(wave)) for wave in self.waves],
            "recovery": self.recovery.written(),
        }
        # A key that a file is without is in no text of it, so that files of before keep their plans.
        if self.own_probes:
            whole["probes"] = {probe.name: probe.written for probe in self.own_probes}
        if self.baseline_ms:
            whole["baseline"] = format_duration(self.baseline_ms)
        for section in SECTIONS:
            if sentences := getattr(self, section):
                whole[section] = [one.sentence for one in sentences]
        if self.load:
            whole["load"] = self.load.written()
        hooks = {"on_start": self.start_deeds, "on_abort": self.abort_deeds, "on_end": self.end_deeds}
        return whole | {key: deeds.written(done) for key, done in hooks.items() if done}


_PARTS: dict[Path, type[Part]] = {
    (): Experiment,
    ("target",): Target,
    ("limits",): Limits,
    ("waves",): Wave,
    ("recovery",): Recovery,
}


def load(text: str | bytes, file: str) -> Experiment:
    """The experiment that a file's text means. Raises FileFaults with all that is wrong with it.

    `file` is its name in messages.
    """
    text = _decoded(text, file)
    source = Source(file, text)
    tree = read(source, text)
    if tree.data is None and not tree.faults:
        raise FileFaults([source.fault(START, "the file is empty: an experiment begins with killdeer: 1")])
    version = tree.data.get("killdeer") if isinstance(tree.data, dict) else None
    if isinstance(version, int) and version > FORMAT:
        message = f"cannot read format {version}: this killdeer reads format {FORMAT}; upgrade killdeer"
        raise FileFaults([source.fault(tree.place(("killdeer",)), message)])
    problems = contradictions(tree.data)
    try:
        experiment = Experiment.model_validate(tree.data)
    except ValidationError as error:
        raise FileFaults(placed([*problems_of(error, _known), *problems], tree, source)) from error
    if problems or tree.faults:
        raise FileFaults(placed(problems, tree, source))
    return experiment


def _known(path: Path) -> Mapping[str, str]:
    fields = _PARTS[path[:1]].model_fields
    return {field.alias or name: field.description or "" for name, field in fields.items()}


def _decoded(text: str | bytes, file: str) -> str:
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(content) > LARGEST:
        message = f"cannot read {len(content)} bytes: an experiment file ends at {LARGEST // 1024} KiB"
        raise FileFaults([Source(file, "").fault(START, message)])
    try:
        return (text if isinstance(text, str) else content.decode("utf-8")).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        shown = content.decode("utf-8", "replace")
        place = place_of(shown, len(content[: error.start].decode("utf-8")))
        message = f"cannot read the byte 0x{content[error.start]:02x}: a file is UTF-8 text"
        raise FileFaults([Source(file, shown).fault(place, message)]) from error
