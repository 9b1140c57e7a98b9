"""What the models of a file are made of: one base, and the kinds of value, each with its reader."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from killdeer_experiment.action import ACTION_SCHEMA, Action, read_action
from killdeer_experiment.chance import (
    CHOICES,
    HEAVIEST,
    PAUSES,
    Weights,
    read_choice,
    read_pauses,
    read_strikes,
    read_weights,
)
from killdeer_experiment.hosts import Label, read_hosts
from killdeer_experiment.scalars import (
    ENVIRONMENTS,
    LONGEST_LINE,
    MOST,
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
from killdeer_experiment.selector import SELECTOR_SCHEMA, Term, read_selector


class Part(BaseModel):
    """A mapping of the file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def kind(read: Callable[[object], object], shown: Any) -> PlainValidator:
    """A kind of value: what reads it, and the type that the JSON Schema shows for it."""
    return PlainValidator(read, json_schema_input_type=shown)


# What the JSON Schema says; the readers say more, and better.
_Span = Annotated[
    str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$", examples=["500ms", "10s", "2m", "1h30m"])
]
_FromOne = Annotated[int, Field(ge=1, le=MOST)]
_Percentage = Annotated[str, Field(pattern=r"^[1-9][0-9]?%$|^100%$", examples=["50%"])]
_About = Annotated[str, Field(pattern=r"^about [0-9]+$", examples=["about 10"])]
_Weight = Annotated[int, Field(ge=1, le=HEAVIEST)]
_Word = Annotated[str, Field(min_length=1, max_length=LONGEST_LINE)]
_Values = str | int | list[str | int]

# The readers stand outside of `| None`: a key that is there must have a value.
Line = Annotated[str, kind(read_line, _Word)]
Prose = Annotated[str, kind(read_prose, str)]
Environment = Annotated[str, kind(read_environment, Literal[ENVIRONMENTS])]
Notes = Annotated[tuple[tuple[str, str], ...], kind(read_notes, dict[str, str])]
Seed = Annotated[int | None, kind(read_seed, Annotated[int, Field(ge=0, lt=2**64)])]
Flag = Annotated[bool, kind(read_flag, bool)]
Number = Annotated[int, kind(read_count, _FromOne)]
OptionalCount = Annotated[int | None, kind(read_count, _FromOne)]
Share = Annotated[Amount | None, kind(read_amount, _FromOne | _Percentage)]
Strikes = Annotated[Amount | None, kind(read_strikes, _FromOne | _Percentage | _About)]
Pauses = Annotated[str, kind(read_pauses, Literal[PAUSES])]
Choice = Annotated[str, kind(read_choice, Literal[CHOICES])]
Weighted = Annotated[Weights, kind(read_weights, dict[str, dict[str, _Weight]])]
Duration = Annotated[int, kind(read_duration, _Span)]  # milliseconds
Length = Annotated[int, kind(read_length, _Span)]  # milliseconds, more than 0
OptionalAction = Annotated[Action | None, kind(read_action, Annotated[object, WithJsonSchema(ACTION_SCHEMA)])]
Hosts = Annotated[tuple[Label, ...], kind(read_hosts, Annotated[dict[str, _Values], Field(min_length=1)])]
Processes = Annotated[tuple[Term, ...], kind(read_selector, Annotated[object, WithJsonSchema(SELECTOR_SCHEMA)])]
