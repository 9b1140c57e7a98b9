"""A command that the coordinator runs: `NAME`, or `[NAME, ARGUMENT…]`; its configuration says what a name means."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.faults import Problem, Unfit, each, read_all, unfit
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import read_term_value

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_WANTED = "wants the name of a command under [commands] in coordinator.toml, or [NAME, ARGUMENT…]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    arguments: tuple[str, ...] = ()

    def to_wire(self) -> wire.CommandSource:
        return wire.CommandSource(command=self.name, arguments=self.arguments)

    @property
    def written(self) -> object:
        """As a file has it."""
        return [self.name, *self.arguments] if self.arguments else self.name


def read_command(value: object) -> Command:
    """Raises Unfit. No shell comes into it: each item of the list is one argument."""
    if not isinstance(value, str | list) or not value:
        raise unfit(f"{_WANTED}, found {'an empty list' if value == [] else found(value)}")
    words = read_all(read_term_value, each(value))
    if not _NAME.fullmatch(words[0]):
        path = (0,) if isinstance(value, list) else ()
        hint = ": write [NAME, ARGUMENT…]" if " " in words[0] else ""
        raise Unfit(Problem(message=f"{_WANTED}, found {found(words[0])}{hint}", path=path))
    return Command(name=words[0], arguments=tuple(words[1:]))


OptionalCommand = Annotated[
    Command | None,
    PlainValidator(
        read_command,
        json_schema_input_type=Annotated[
            str | list[str | int], Field(examples=["check-queue", ["check-queue", "payments"]])
        ],
    ),
]
