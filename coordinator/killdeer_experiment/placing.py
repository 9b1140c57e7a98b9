"""What pydantic found wrong -> faults with places."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from killdeer_experiment.faults import Fault, Path, Problem, Source, Unfit, unknown_key
from killdeer_experiment.plain import found
from killdeer_experiment.tree import Tree

# Of the mapping at a path: its known keys, each with what it is for.
Known = Callable[[Path], Mapping[str, str]]


def problems_of(error: ValidationError, known: Known) -> list[Problem]:
    """Every problem in a validation error, with paths from the top of the file."""
    problems: list[Problem] = []
    missing: list[Path] = []
    for detail in error.errors(include_url=False):
        path: Path = detail["loc"]
        raised = detail.get("ctx", {}).get("error")
        if detail["type"] == "missing":
            missing.append(path)
        elif detail["type"] == "extra_forbidden":
            problems.append(unknown_key(str(path[-1]), [*known(path[:-1])], path))
        elif isinstance(raised, Unfit):
            problems += below(path, raised.problems)
        elif detail["type"] != "too_short" or not detail["input"]:  # pydantic counts only what was valid
            problems.append(Problem(message=_unfit(detail["type"], detail["input"], detail["msg"]), path=path))
    # A key that is missing because it was misspelt is one problem, not two.
    misspelt = {(*problem.path[:-1], problem.nearest) for problem in problems if problem.nearest}
    for path in missing:
        if path not in misspelt:
            key = str(path[-1])
            message = f"missing key {key!r}: {known(path[:-1])[key]}"
            problems.append(Problem(message=message, path=path[:-1], of_key=True))
    return problems


def below(path: Path, problems: Iterable[Problem]) -> list[Problem]:
    """The problems of a value, as problems of the file that has it at `path`."""
    return [replace(problem, path=(*path, *problem.path)) for problem in problems]


def placed(problems: Iterable[Problem], tree: Tree, source: Source) -> list[Fault]:
    """The tree's own faults, and the problems as faults; nothing more is said of a place already at fault."""
    at_fault = {(fault.line, fault.column) for fault in tree.faults}
    faults = list(tree.faults)
    for problem in problems:
        place = tree.place(problem.path, of_key=problem.of_key)
        if problem.offset is not None and problem.path in tree.styles:
            place = source.within(place, tree.styles[problem.path], problem.offset)
        if (place.line, place.column) not in at_fault:
            faults.append(source.fault(place, _named(problem), problem.nearest))
    return faults


def _named(problem: Problem) -> str:
    """The message; where it begins with "wants", with the name of what wants it."""
    if not problem.message.startswith("wants "):
        return problem.message
    key = next((part for part in reversed(problem.path) if isinstance(part, str)), None)
    if key is None:
        return f"an experiment {problem.message}"
    last = problem.path[-1]
    return f"{f'item {last + 1} of ' if isinstance(last, int) else ''}{key!r} {problem.message}"


def _unfit(kind: str, value: Any, otherwise: str) -> str:
    match kind:
        case "model_type":
            return f"wants a mapping, found {found(value)}"
        case "tuple_type":
            return f"wants a list, found {found(value)}"
        case "too_short":
            return "wants at least one, found an empty list"
        case _:
            return f"cannot be used: {otherwise}"
