"""A mapping inside a value: one model of its own, read as every other value is."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from killdeer_experiment.faults import Path, Problem, Unfit
from killdeer_experiment.parts import Part
from killdeer_experiment.placing import problems_of
from killdeer_experiment.scalars import as_mapping

P = TypeVar("P", bound=Part)


def _consistent(_mapping: Mapping[str, object]) -> list[Problem]:
    return []


def reader(
    model: type[P],
    wanted: str,
    *,
    short: str = "",
    between: Callable[[Mapping[str, object]], list[Problem]] = _consistent,
) -> Callable[[object], P]:
    """A reader of mappings as `model`, which raises Unfit with every problem in them.

    With `short`, a text stands for the mapping that has it under that key. `between` tells what is wrong
    between keys that are each right by themselves.
    """
    keys = {field.alias or name: field.description or "" for name, field in model.model_fields.items()}

    def known(_path: Path) -> Mapping[str, str]:
        return keys

    def read(value: object) -> P:
        mapping = as_mapping({short: value} if short and isinstance(value, str) else value, wanted)
        problems = between(mapping)
        try:
            part = model.model_validate(mapping)
        except ValidationError as error:
            raise Unfit(*problems_of(error, known), *problems) from error
        if problems:
            raise Unfit(*problems)
        return part

    return read
