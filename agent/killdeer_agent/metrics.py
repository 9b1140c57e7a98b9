"""What a heartbeat says of the host: load, processor, memory, pressure, the journal's size and the room for it."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from killdeer.v1.agent_pb2 import Heartbeat
from killdeer_agent import journal

PRESSURE_FILE = "/proc/pressure/memory"


def host_metrics(state: Path) -> Heartbeat:
    """Processor use is since the last call. `memory_pressure` is -1 where the kernel keeps none. `state`: where the
    journal is; what cannot be measured there is 0."""
    metrics = Heartbeat(
        load_1m=psutil.getloadavg()[0],
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_percent=psutil.virtual_memory().percent,
        memory_pressure=_memory_pressure(),
    )
    with suppress(OSError):
        disk = os.statvfs(state)
        metrics.state_free_bytes = disk.f_bavail * disk.f_frsize
        metrics.journal_bytes = (state / journal.NAME).stat().st_size
    return metrics


def _memory_pressure() -> float:
    """PSI `some avg10` in percent (Documentation/accounting/psi.rst)."""
    try:
        with open(PRESSURE_FILE, encoding="ascii") as file:  # noqa: PTH123 - read once a second
            words = file.readline().split()
    except OSError:
        return -1.0
    return next((float(word[6:]) for word in words if word.startswith("avg10=")), -1.0)
