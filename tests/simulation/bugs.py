"""The deliberate bugs by name. What the simulation does not find of them shows where it is blind."""

from contextlib import AbstractContextManager
from difflib import get_close_matches

from tests.simulation.bugs_agent import AGENT_BUGS
from tests.simulation.bugs_coordinator import COORDINATOR_BUGS
from tests.simulation.bugs_cut import Bug, Cut, CutError

__all__ = ["BUGS", "ELSEWHERE", "Bug", "Cut", "CutError", "planted"]

BUGS = {bug.name: bug for bug in (*AGENT_BUGS, *COORDINATOR_BUGS)}

ELSEWHERE = {
    "R2": ("tests/integration/test_fuse.py",),  # a timer of the kernel's, and no decision of a core
    "R6": ("tests/unit/test_selector.py", "tests/integration/test_scan.py"),  # chosen in the agent's scanner
    "R27": ("tests/unit/test_selector.py",),  # the time that a pattern takes
}
"""Rules that the simulation cannot hold, and the tests that do."""


def planted(name: str) -> AbstractContextManager[None]:
    """The bug of that name, in force within the context. Raises KeyError with the nearest names."""
    if name not in BUGS:
        near = get_close_matches(name, BUGS, n=3)
        raise KeyError(f"there is no bug {name!r}; near it are {', '.join(near) or 'none'}")
    return BUGS[name].apply()
