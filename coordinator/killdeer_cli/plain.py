"""Typer's options and arguments without pydantic.

Typer hands each value to pydantic, which takes longer to import than a halt takes to be told. Here what is a
text, or nothing, is taken as it is; the rest, and every error, is left to Typer.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption


class PlainOption(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:
        done, plain = _plain(self, ctx, value)
        return plain if done else super().process_value(ctx, value)


class PlainArgument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:
        done, plain = _plain(self, ctx, value)
        return plain if done else super().process_value(ctx, value)


class Verb(TyperCommand):
    """A command whose parameters are plain."""

    def get_params(self, ctx: Any) -> list[Any]:
        return made_plain(super().get_params(ctx))


def made_plain(parameters: Iterable[Any]) -> list[Any]:
    made = list(parameters)
    for parameter in made:
        # In place: Typer keeps these very objects, and has no setting for their class.
        if type(parameter) is TyperOption:
            parameter.__class__ = PlainOption
        elif type(parameter) is TyperArgument:
            parameter.__class__ = PlainArgument
    return made


def _plain(parameter: TyperOption | TyperArgument, ctx: Any, value: Any) -> tuple[bool, Any]:
    """(True, the value to use), or (False, None) where Typer has to look at it."""
    wanted = parameter.type_descriptor.annotation
    if value is None:
        if parameter.required:
            return False, None
        value = () if parameter.nargs == -1 or getattr(parameter, "multiple", False) else None
    elif wanted == list[str]:
        value = tuple(value)
    elif not (wanted is str and isinstance(value, str)):
        return False, None
    if parameter.required and value in (None, ()):
        return False, None
    return True, value if parameter.callback is None else parameter.callback(ctx, parameter, value)
