"""Daemons whose wall clock a test may step; on the PYTHONPATH of a sandbox.

The file that KILLDEER_TEST_CLOCK names says by how many seconds, for each kind of daemon:
`{"agent": -86400, "coordinator": 0}`. No other clock is touched, nor the machine's own.
"""

import json
import os
import time
from pathlib import Path

FILE = Path(os.environ.get("KILLDEER_TEST_CLOCK", ""))
COMMAND = Path("/proc/self/cmdline").read_bytes()
DAEMON = next((name for name in ("agent", "coordinator") if f"{name}.toml".encode() in COMMAND), "")
TRUE_NS, TRUE_CLOCK_NS = time.time_ns, time.clock_gettime_ns


def step_ns() -> int:
    steps: dict[str, int] = json.loads(FILE.read_text())
    return steps.get(DAEMON, 0) * 1_000_000_000


def time_ns() -> int:
    return TRUE_NS() + step_ns()


def clock_gettime_ns(clock: int) -> int:
    return TRUE_CLOCK_NS(clock) + (step_ns() if clock == time.CLOCK_REALTIME else 0)


if DAEMON and FILE.is_file():
    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    time.clock_gettime_ns = clock_gettime_ns
    time.clock_gettime = lambda clock: clock_gettime_ns(clock) / 1e9
