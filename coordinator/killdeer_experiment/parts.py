"""What the models of a file are made of: one base, and the kinds of value, each with its reader."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator

from killdeer_experiment.action import Action, read_action
from killdeer_experiment.hosts import Label, read_hosts
from killdeer_experiment.scalars import (
    Amount,
    read_amount,
    read_count,
    read_duration,
    read_environment,
    read_flag,
    read_length,
    read_line,
    read_notes,
    read_prose,
    read_seed,
)
from killdeer_experiment.selector import Term, read_selector


class Part(BaseModel):
    """A mapping of the file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# The readers stand outside of `| None`: a key that is there must have a value.
Line = Annotated[str, PlainValidator(read_line)]
Prose = Annotated[str, PlainValidator(read_prose)]
Environment = Annotated[str, PlainValidator(read_environment)]
Notes = Annotated[tuple[tuple[str, str], ...], PlainValidator(read_notes)]
Seed = Annotated[int | None, PlainValidator(read_seed)]
Flag = Annotated[bool, PlainValidator(read_flag)]
Count = Annotated[int, PlainValidator(read_count)]
OptionalCount = Annotated[int | None, PlainValidator(read_count)]
Share = Annotated[Amount | None, PlainValidator(read_amount)]
Duration = Annotated[int, PlainValidator(read_duration)]  # milliseconds
Length = Annotated[int, PlainValidator(read_length)]  # milliseconds, more than 0
OptionalAction = Annotated[Action | None, PlainValidator(read_action)]
Hosts = Annotated[tuple[Label, ...], PlainValidator(read_hosts)]
Processes = Annotated[tuple[Term, ...], PlainValidator(read_selector)]
