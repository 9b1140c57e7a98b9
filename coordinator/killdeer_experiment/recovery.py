"""Recovery: what a victim's service must come back to, what helps it, and who hears of it where nothing does."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.deeds import Deed, read_deed
from killdeer_experiment.faults import Problem, Unfit, nearest, read_all, read_at, unfit
from killdeer_experiment.parts import Duration, Length, Line, Part
from killdeer_experiment.plain import found
from killdeer_experiment.reading import reader
from killdeer_experiment.scalars import read_line

DEFAULT_WITHIN_MS = 120_000

_STEPS = ("resume", "start_unit")
_STEP_WANTED = "wants resume, start_unit, {probe: NAME}, {webhook: URL} or {command: NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryStep:
    """One thing that may help: `resume`, `start_unit`, a deed, or one more reading of a probe."""

    kind: str  # resume, start_unit, deed or probe
    probe: str = ""
    said: Deed | None = None
    name: str = ""  # where the file says it

    @property
    def deed(self) -> wire.Deed | None:
        return self.said.to_wire(self.name) if self.said else None

    @property
    def written(self) -> object:
        """As a file has it."""
        if self.probe:
            return {"probe": self.probe}
        return self.said.written if self.said else self.kind


def read_steps(value: object) -> tuple[RecoveryStep, ...]:
    """A list of steps, in the order they are tried. Raises Unfit."""
    if not isinstance(value, list):
        raise unfit(f"wants a list such as [resume, start_unit], found {found(value)}")
    if not value:
        raise unfit("wants at least one step, found an empty list: leave the key out for none")
    steps = [((index,), (index, item)) for index, item in enumerate(value)]
    return tuple(read_all(_read_step, steps))


def _read_step(item: Any) -> RecoveryStep:
    index, value = item
    if isinstance(value, dict) and set(value) == {"probe"}:
        return RecoveryStep(kind="probe", probe=read_at(("probe",), read_line, value["probe"]))
    if isinstance(value, dict):
        return RecoveryStep(kind="deed", said=read_deed(value), name=f"recovery.then[{index}]")
    if value in _STEPS:
        return RecoveryStep(kind=value)
    near = nearest(value, _STEPS) if isinstance(value, str) else ""
    hint = f": did you mean {near!r}?" if near else ""
    raise Unfit(Problem(message=f"{_STEP_WANTED}, found {found(value)}{hint}", nearest=near))


def _read_notified(value: object) -> Deed:
    """A NAME is a command of the coordinator's configuration; else a deed."""
    if isinstance(value, str):
        return read_deed({"command": value})
    return read_deed(value)


class Otherwise(Part):
    """What is done when nothing has helped."""

    notify: Annotated[Deed, PlainValidator(_read_notified, json_schema_input_type=str | Deed)] = Field(
        description="a name under [commands] in coordinator.toml, or {webhook: URL}"
    )

    @property
    def written(self) -> dict[str, Any]:
        return {"notify": self.notify.written}


_read_otherwise = reader(Otherwise, "wants a mapping such as {notify: oncall}")


class Recovery(Part):
    """A victim has recovered when its host has as many ready processes of its service as before.

    `within` counts from the first blow; `stable_for` is how long it must stay so. `ready` is a probe that the
    victim's host takes; while it is not met, nothing has recovered.
    """

    within_ms: Length = Field(
        default=DEFAULT_WITHIN_MS,
        alias="within",
        description="how long it may take, from the first blow; 2m unless said",
    )
    stable_for_ms: Duration = Field(
        default=0, alias="stable_for", description="how long it must stay so; no time unless said"
    )
    ready: Line = Field(
        default="", description="an http, tcp or grpc probe that the victim's host takes, and that must be met"
    )
    then: Annotated[
        tuple[RecoveryStep, ...],
        PlainValidator(read_steps, json_schema_input_type=list[Literal["resume", "start_unit"] | Deed]),
    ] = Field(default=(), description="what is tried, one after the other, when that time is over")
    last_resort: Annotated[Otherwise | None, PlainValidator(_read_otherwise, json_schema_input_type=Otherwise)] = (
        Field(default=None, alias="else", description="who is told when nothing has helped")
    )

    @property
    def otherwise(self) -> tuple[wire.Deed, ...]:
        return (self.last_resort.notify.to_wire("recovery.else.notify"),) if self.last_resort else ()

    def written(self) -> dict[str, Any]:
        """As a file has it."""
        whole: dict[str, Any] = {"within": format_duration(self.within_ms)}
        whole |= {"stable_for": format_duration(self.stable_for_ms)} if self.stable_for_ms else {}
        whole |= {"ready": self.ready} if self.ready else {}
        whole |= {"then": [step.written for step in self.then]} if self.then else {}
        return whole | ({"else": self.last_resort.written} if self.last_resort else {})
