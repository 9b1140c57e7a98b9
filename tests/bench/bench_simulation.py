"""Simulated histories a minute, on one processor.

The reference is the life that is simulated: a history is a minute of bad weather and some calm after it, counted as
one minute, however long the calm was. So the ratio is by how much one processor is faster than living through it.
"""

import time

from tests.simulation.history import run as history

HISTORIES = 40


def run() -> dict[str, object]:
    began = time.perf_counter()
    for seed in range(1, HISTORIES + 1):
        history(seed)
    a_minute = HISTORIES * 60 / (time.perf_counter() - began)
    return {
        "name": "simulated histories a minute, one processor (against living through them)",
        "ours": round(a_minute, 1),
        "reference": 1.0,
        "ratio": round(a_minute, 1),
        "to_hold": None,
    }
