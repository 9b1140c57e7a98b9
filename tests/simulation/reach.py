"""What the histories are expected to reach, and how often they did: a zero is seen, and fails a whole run."""

from collections import Counter
from collections.abc import Iterable

from tests.simulation.faults import FAULTS
from tests.simulation.plots import MOVES, PLOTS
from tests.simulation.services import ACTIONS
from tests.simulation.told import Told

TABLE_AT = 1_000  # with fewer histories something rare may well be missing

EXPECTED = (
    *(f"fault {fault.name}" for fault in FAULTS),
    *(f"blow 1 of {action}" for action in ACTIONS),
    *(f"plot {plot.name}" for plot in PLOTS),
    *(f"move {move}" for move in MOVES),
    *("blow 2 of terminate", "blow 4 or later of hold-down", "unit started by an agent"),
    *("several coordinators", "strike by letter", "run ended for another coordinator"),
)


def counts(told: Iterable[Told]) -> "Counter[str]":
    """Over all histories; what is expected is in it, if only as a zero."""
    total: Counter[str] = Counter(dict.fromkeys(EXPECTED, 0))
    for one in told:
        total.update(one.reached)
    return total


def unreached(told: Iterable[Told]) -> list[str]:
    return sorted(name for name, count in counts(told).items() if not count)


def table(told: Iterable[Told]) -> str:
    total = counts(told)
    width = max(map(len, total))
    return "\n".join(f"{name:<{width}} {total[name]:>8}" for name in sorted(total))
