"""`make bench`: every benchmark, as a table for people and as JSON for machines.

A figure is a ratio against a reference in the same run: these machines are shared, absolute times say little.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import Console
from rich.table import Table

from tests.bench import (
    bench_choose,
    bench_collector,
    bench_halt,
    bench_permits,
    bench_rest,
    bench_simulation,
    bench_strike,
)

RESULT_FILE = Path("build/bench.json")


def main() -> None:
    rows: list[dict[str, Any]] = []
    benches: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("choosing among 2,000 processes", bench_choose.run),
        ("striking", bench_strike.run),
        ("at rest", bench_rest.run),
        ("the kernel's record", bench_collector.run),
        ("halting a fleet", bench_halt.run),
        ("granting permits", bench_permits.run),
        ("simulating", bench_simulation.run),
    )
    console = Console(stderr=True)
    for name, run in benches:
        console.print(f"measuring: {name} …")
        found = run()
        rows += found if isinstance(found, list) else [found]
    RESULT_FILE.parent.mkdir(exist_ok=True)
    RESULT_FILE.write_text(json.dumps(rows, indent=1) + "\n")
    Console().print(_table(rows))
    console.print(f"as JSON: {RESULT_FILE}")


def _table(rows: Iterable[dict[str, Any]]) -> Table:
    table = Table("what", "ours", "reference", "ratio", "to hold")
    for row in rows:
        ours, reference = (row.get(key, row.get(f"{key}_ms", "")) for key in ("ours", "reference"))
        to_hold = row["to_hold"]
        table.add_row(row["name"], f"{ours:.2f}", f"{reference:.2f}", f"{row['ratio']:.2f}", _bound(to_hold))
    return table


def _bound(to_hold: object) -> str:
    if to_hold is None:
        return "-"
    return str(to_hold) if isinstance(to_hold, str) else f"at most {to_hold}"


if __name__ == "__main__":
    main()
