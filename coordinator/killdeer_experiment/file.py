"""An experiment file: its models, and `load`, the one way from a text to an Experiment."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationError

from killdeer.durations import format_duration
from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.process_pb2 import Selector
from killdeer_experiment import selector
from killdeer_experiment.action import Action
from killdeer_experiment.faults import START, FileFaults, Path, Source, place_of, unfit
from killdeer_experiment.parts import (
    Count,
    Duration,
    Environment,
    Hosts,
    Length,
    Line,
    Notes,
    OptionalAction,
    OptionalCount,
    Part,
    Processes,
    Prose,
    Seed,
    Share,
)
from killdeer_experiment.placing import placed, problems_of
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import ENVIRONMENTS
from killdeer_experiment.tree import LARGEST, read
from killdeer_experiment.waves import Wave, contradictions
from killdeer_experiment.writing import to_yaml

FORMAT = 1
DEFAULT_WITHIN_MS = 120_000


def _read_format(value: object) -> int:
    if isinstance(value, bool) or value != FORMAT:
        raise unfit(f"wants {FORMAT}, the format of experiment files, found {found(value)}")
    return FORMAT


class Target(Part):
    """What may be hit: processes that match every term, on hosts that match every label.

    Without `hosts`: every host of the experiment's environment.
    """

    hosts: Hosts = ()
    process: Processes = Field(description="which processes, such as {unit: payment-worker@*.service}")

    def label_matches(self) -> list[LabelMatch]:
        return [label.to_wire() for label in self.hosts]

    def selector(self) -> Selector:
        return selector.to_wire(self.process)

    def written(self) -> dict[str, Any]:
        hosts = {label.key: selector.one_or_list(label.values) for label in self.hosts}
        return ({"hosts": hosts} if hosts else {}) | {"process": selector.written(self.process)}


class Limits(Part):
    """The blast radius: how many victims may be in flight, which is until they have recovered.

    They can only narrow what the fleet allows. `in_flight` and `per_host` are 1 unless the file says more;
    the others set no limit unless it names them (None, and a cooldown of 0). `per_service` and
    `min_healthy` may be percentages of a service's processes.
    """

    in_flight: Count = 1
    per_host: Count = 1
    per_service: Share = None
    min_healthy: Share = None
    per_minute: OptionalCount = None
    cooldown_ms: Length = Field(default=0, alias="cooldown")

    def written(self) -> dict[str, Any]:
        limits: dict[str, Any] = {"in_flight": self.in_flight, "per_host": self.per_host}
        shares = {"per_service": self.per_service, "min_healthy": self.min_healthy}
        limits |= {key: share.written for key, share in shares.items() if share is not None}
        if self.per_minute is not None:
            limits["per_minute"] = self.per_minute
        return limits | ({"cooldown": format_duration(self.cooldown_ms)} if self.cooldown_ms else {})


class Recovery(Part):
    """A victim has recovered when its host has as many ready processes of its service as before.

    `within` counts from the first blow; `stable_for` is how long it must stay so.
    """

    within_ms: Length = Field(default=DEFAULT_WITHIN_MS, alias="within")
    stable_for_ms: Duration = Field(default=0, alias="stable_for")

    def written(self) -> dict[str, Any]:
        stable = {"stable_for": format_duration(self.stable_for_ms)} if self.stable_for_ms else {}
        return {"within": format_duration(self.within_ms)} | stable


class Experiment(Part):
    """The whole file. Made by `load` alone, which also checks what keys say of each other."""

    killdeer: Annotated[int, PlainValidator(_read_format)] = Field(description=f"the file's format, {FORMAT}")
    name: Line = Field(description="what the experiment is called, such as payment-worker-survives-a-kill")
    owner: Line = ""
    environment: Environment = Field(description=f"one of {', '.join(ENVIRONMENTS)}")
    hypothesis: Prose = ""
    notes: Notes = ()
    seed: Seed = None
    target: Target = Field(description="what may be hit, such as {process: {name: redis-server}}")
    limits: Limits = Limits()
    action: OptionalAction = None
    waves: tuple[Wave, ...] = Field(
        min_length=1, description="the steps, such as [{name: rehearsal, dry_run: true}, {name: one, strikes: 1}]"
    )
    recovery: Recovery = Recovery()

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
        return json.dumps(whole, sort_keys=True, separators=(",", ":"))

    def to_source(self) -> str:
        """YAML that loads as an experiment of the same meaning."""
        return to_yaml({key: value for key, value in self._written().items() if value not in (None, "", {})})

    def _written(self) -> dict[str, Any]:
        return {
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
