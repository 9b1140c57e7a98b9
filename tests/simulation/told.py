"""What a history comes to, and how a rule is said to be broken."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """`invariant` is I1 to I10 or `liveness`, `rule` the rule of the safety rules that holds it, `what` one
    sentence; `at_ns` counts from the history's beginning."""

    invariant: str
    rule: str
    what: str
    at_ns: int

    def __str__(self) -> str:
        return f"{self.invariant} ({self.rule}) at {self.at_ns / 1e9:.3f}s: {self.what}"


class Broken(Exception):
    """Ends a history at once."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass(frozen=True, slots=True)
class Told:
    """One history. `reached` counts faults, states and refusals by name; `strikes` are blows that really fell."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    reached: Mapping[str, int]
    strikes: int
    faults: int
