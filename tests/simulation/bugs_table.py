"""Invariant and rule, the deliberate bugs that break them, and the tests beside the simulation that hold them."""

from collections import defaultdict

from tests.simulation.bugs import BUGS, ELSEWHERE
from tests.simulation.bugs_hunt import catalogue

# Which other tests hold a rule; the simulation's own are for all of them.
HELD_BY: dict[str, tuple[str, ...]] = {
    "R1": ("unit/test_agent_strikes.py", "contract/test_striker.py"),
    "R2": (),
    "R3": ("contract/test_striker.py",),
    "R4": ("unit/test_agent_strikes.py", "unit/test_agent_restarts.py"),
    "R5": ("unit/test_agent_refusals.py", "contract/test_striker.py"),
    "R6": (),
    "R7": ("unit/test_agent_lease.py", "unit/test_core_sessions.py"),
    "R8": ("unit/test_agent_lease.py",),
    "R9": ("unit/test_core_sessions.py", "unit/test_core_halting.py"),
    "R10": ("unit/test_agent_halts.py", "unit/test_core_halting.py"),
    "R11": ("unit/test_outbox.py", "unit/test_agent_reverting.py"),
    "R12": ("unit/test_agent_halts.py",),
    "R13": ("unit/test_agent_reverting.py", "unit/test_agent_bad_days.py"),
    "R14": ("unit/test_agent_halts.py", "contract/test_striker.py"),
    "R15": ("unit/test_agent_holds.py", "unit/test_agent_restarts.py"),
    "R16": ("unit/test_core_strikes.py", "unit/test_ledger.py"),
    "R17": ("contract/test_store.py", "unit/test_ledger_history.py"),
    "R18": ("unit/test_agent_recovery.py",),
    "R19": ("unit/test_ledger.py", "unit/test_ledger_history.py"),
    "R20": ("unit/test_ledger.py",),
    "R21": ("unit/test_ledger.py",),
    "R22": ("contract/test_store_faults.py", "unit/test_core_sessions.py"),
    "R23": ("unit/test_agent_sessions.py", "unit/test_core_sessions.py"),
    "R24": ("unit/test_core_runs.py", "unit/test_core_far_bounds.py"),
    "R25": ("unit/test_agent_refusals.py",),
    "R26": ("unit/test_plan.py", "unit/test_draw.py"),
    "R27": (),
    "R28": ("contract/test_store.py", "unit/test_core_halting.py"),
    "R29": ("unit/test_guard.py", "unit/test_agent_reverting.py"),
    "R30": ("unit/test_core_asks.py",),
}


def rows() -> list[str]:
    """The lines of the table in docs/safety.md, by invariant and rule: the bugs that are found."""
    by_place: dict[tuple[int, int], list[str]] = defaultdict(list)
    for bug in (BUGS[name] for name in catalogue()):
        by_place[int(bug.invariant[1:]), int(bug.rule[1:])].append(bug.name)
    return [
        f"| I{invariant} | R{rule} | {', '.join(sorted(names))} | {_tests(f'R{rule}')} |"
        for (invariant, rule), names in sorted(by_place.items())
    ]


def elsewhere() -> list[str]:
    return [f"| {rule} | {_listed(tests)} |" for rule, tests in ELSEWHERE.items()]


def _tests(rule: str) -> str:
    return _listed(tuple(f"tests/{name}" for name in HELD_BY[rule]))


def _listed(tests: tuple[str, ...]) -> str:
    return ", ".join(f"`{test}`" for test in tests)


if __name__ == "__main__":
    print("\n".join([*rows(), "", *elsewhere()]))
