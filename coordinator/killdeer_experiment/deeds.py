"""Deeds: what is done for a run besides strikes, by a webhook or by a command that the coordinator knows."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, cast

from pydantic import Field, PlainValidator

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.commands import OptionalCommand
from killdeer_experiment.faults import Problem, each, nearest, read_all, unfit
from killdeer_experiment.parts import Length, Part
from killdeer_experiment.reading import reader
from killdeer_experiment.sources import Http, of_http

DEFAULT_WITHIN_MS = 10_000

_WANTED = "wants {webhook: URL} or {command: NAME}"
_KINDS = ("webhook", "command")


def _of_webhook(mapping: Mapping[str, object]) -> list[Problem]:
    problems = of_http(mapping)
    if "contains" in mapping:
        message = "a webhook is done by its status alone: 'contains' is for probes"
        problems.append(Problem(message=message, path=("contains",), of_key=True))
    return problems


_read_mapping = reader(Http, "wants a URL, or a mapping such as {url: URL}", short="url", between=_of_webhook)


def read_webhook(value: object) -> Http:
    """An HTTP request that is a POST unless the file says otherwise."""
    if isinstance(value, str):
        value = {"url": value}
    return _read_mapping({"method": "POST"} | value if isinstance(value, dict) else value)


class Deed(Part):
    """A webhook, or a command. It may be done twice: whoever is told is to take it as once."""

    webhook: Annotated[Http | None, PlainValidator(read_webhook, json_schema_input_type=str | Http)] = Field(
        default=None, description="a URL that gets a POST with the run's state, or a mapping that says more"
    )
    command: OptionalCommand = Field(
        default=None, description="a command by its name under [commands] in coordinator.toml, or [NAME, ARGUMENT…]"
    )
    within_ms: Length = Field(
        default=DEFAULT_WITHIN_MS, alias="within", description="not done by then has failed; 10s unless said"
    )

    def to_wire(self, name: str) -> wire.Deed:
        """`name` is where the file says it, such as load.start."""
        if self.command is not None:
            return wire.Deed(name=name, command=self.command.to_wire(), within_ms=self.within_ms)
        return wire.Deed(name=name, webhook=cast("Http", self.webhook).to_wire(), within_ms=self.within_ms)

    @property
    def written(self) -> dict[str, Any]:
        """As a file has it."""
        whole: dict[str, Any] = {"webhook": self.webhook.written(usual="POST")} if self.webhook else {}
        whole |= {"command": self.command.written} if self.command else {}
        return whole | {"within": format_duration(self.within_ms)}


def _between(mapping: Mapping[str, object]) -> list[Problem]:
    kinds = [key for key in mapping if key in _KINDS]
    if len(kinds) > 1:
        message = "one deed is one thing: for both write a list of two deeds"
        return [Problem(message=message, path=(kinds[1],), of_key=True)]
    if not kinds and not any(nearest(key, _KINDS) for key in mapping):
        return [Problem(message=f"{_WANTED}, found neither")]
    return []


read_deed: Callable[[object], Deed] = reader(Deed, _WANTED, between=_between)


def read_deeds(value: object) -> tuple[Deed, ...]:
    """One deed, or a list of them."""
    if value == []:
        raise unfit("wants at least one deed, found an empty list: leave the key out for none")
    return tuple(read_all(read_deed, each(value)))


def named(deeds: tuple[Deed, ...], name: str) -> tuple[wire.Deed, ...]:
    """For the wire, each called by where the file says it: `on_abort`, or `on_abort[1]` among several."""
    if len(deeds) == 1:
        return (deeds[0].to_wire(name),)
    return tuple(deed.to_wire(f"{name}[{index}]") for index, deed in enumerate(deeds))


def written(deeds: tuple[Deed, ...]) -> object:
    return deeds[0].written if len(deeds) == 1 else [deed.written for deed in deeds]


Deeds = Annotated[tuple[Deed, ...], PlainValidator(read_deeds, json_schema_input_type=Deed | list[Deed])]


class Load(Part):
    """Traffic of the experiment's own, while it runs. A failed start refuses the run; stop is always done."""

    start: Deeds = Field(description="what starts it, such as {webhook: http://127.0.0.1:9999/replay}")
    stop: Deeds = Field(description="what stops it, such as {webhook: http://127.0.0.1:9999/stop}")

    def written(self) -> dict[str, Any]:
        return {"start": written(self.start), "stop": written(self.stop)}


_read_load = reader(Load, "wants a mapping such as {start: {webhook: URL}, stop: {webhook: URL}}")
OptionalLoad = Annotated[Load | None, PlainValidator(_read_load, json_schema_input_type=Load)]
