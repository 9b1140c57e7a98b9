"""Invariant by invariant: how often the simulation looked, which deliberate bugs it caught, and how many tests with
real faults on real daemons there are beside it."""

import ast
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.simulation.bugs import BUGS
from tests.simulation.bugs_hunt import catalogue
from tests.simulation.told import Told

REAL_FAULTS = sorted((Path(__file__).parents[1] / "integration").glob("test_faults*.py"))

# Which rules hold an invariant; one may hold several.
RULES: dict[str, frozenset[int]] = {
    "I1": frozenset(range(1, 7)),
    "I2": frozenset({1, 4, 7, 23}),
    "I3": frozenset(range(16, 22)),
    "I4": frozenset(range(10, 15)),
    "I5": frozenset({2, 7, 8, 9}),
    "I6": frozenset({13, 15, 29}),
    "I7": frozenset({5, 29}),
    "I8": frozenset({28}),
    "I9": frozenset({17, 28}),
    "I10": frozenset({1, 9, 17, 20}),
}

HEAD = "| invariant | histories | blows | faults | violations | deliberate bugs caught | tests with real faults |"


def rows(histories: int, blows: int, faults: int, violations: "Counter[str]") -> list[str]:
    """Lines of a table; every history is looked at for every invariant after each step."""
    caught = Counter(BUGS[name].invariant for name in catalogue())
    real = _real()
    return [
        f"| {one} | {histories:,} | {blows:,} | {faults:,} | {violations[one]} | {caught[one]} | {real[one]} |"
        for one in RULES
    ]


def table(told: Iterable[Told]) -> str:
    told = list(told)
    violations = Counter(one.violations[0].invariant for one in told if one.violations)
    lines = rows(len(told), sum(one.strikes for one in told), sum(one.faults for one in told), violations)
    return "\n".join([HEAD, *lines])


def _real() -> "Counter[str]":
    """Tests by invariant: named after it, or after a rule that holds it; a test named after neither is for all."""
    found: Counter[str] = Counter()
    for file in REAL_FAULTS:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.update(_held_by(node.name))
    return found


def _held_by(test: str) -> list[str]:
    named = re.match(r"test_([ir])(\d+)_", test)
    if named is None:
        return list(RULES)
    if named[1] == "i":
        return [f"I{named[2]}"]
    return [invariant for invariant, rules in RULES.items() if int(named[2]) in rules]
