"""A deliberate bug: a few cuts in the source of real functions, made in place and undone at the end.

A cut names a function and replaces one fragment of its source. It is made in the function object itself, so it is
in force wherever that was imported to; a fragment that is not found exactly once is an error, never a bug less.
"""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType


class CutError(LookupError):
    """The cut cannot be made: the code has changed, so the bug is to be written anew."""


@dataclass(frozen=True, slots=True)
class Cut:
    """`where` is `module:qualified.name`; `old` stands in its source once, as indented in the function alone."""

    where: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """`rule` is what it breaks, `invariant` what the simulation must say when it finds it."""

    name: str
    rule: str
    invariant: str
    what: str
    cuts: tuple[Cut, ...]

    def codes(self) -> list[tuple[FunctionType, CodeType]]:
        """Each function that is cut, with its code as it is then. Raises CutError."""
        by_place: dict[str, list[Cut]] = {}
        for cut in self.cuts:
            by_place.setdefault(cut.where, []).append(cut)
        return [(function := _found(where), _recoded(function, cuts)) for where, cuts in by_place.items()]

    @contextmanager
    def apply(self) -> Iterator[None]:
        """The bug is in force within the context, for the whole of this process. Raises CutError."""
        cut = self.codes()
        whole = [(function, function.__code__) for function, _ in cut]
        try:
            for function, code in cut:
                function.__code__ = code
            yield
        finally:
            for function, code in whole:
                function.__code__ = code


def _found(where: str) -> FunctionType:
    module_name, _, path = where.partition(":")
    found: object = importlib.import_module(module_name)
    for name in path.split("."):
        found = vars(found).get(name)
        if isinstance(found, property):
            found = found.fget
        elif isinstance(found, classmethod | staticmethod):
            found = found.__func__
    if not isinstance(found, FunctionType):
        raise CutError(f"cannot cut {where}: there is no such function")
    return found


def _recoded(function: FunctionType, cuts: list[Cut]) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    for cut in cuts:
        if source.count(cut.old) != 1:
            raise CutError(
                f"cannot cut {cut.where}: it holds {cut.old!r} {source.count(cut.old)} times; write the bug anew"
            )
        source = source.replace(cut.old, cut.new)
    tree = ast.parse(source)
    defined = tree.body[0]
    assert isinstance(defined, ast.FunctionDef | ast.AsyncFunctionDef)
    defined.decorator_list = []  # they were applied already: what they made keeps this function
    code = function.__code__
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    whole = compile(tree, code.co_filename, "exec", dont_inherit=True)
    made = next(one for one in whole.co_consts if isinstance(one, CodeType) and one.co_name == function.__name__)
    if made.co_freevars != code.co_freevars:
        raise CutError(f"cannot cut {cuts[0].where}: it needs other variables of its surroundings")
    return made.replace(co_qualname=code.co_qualname)
