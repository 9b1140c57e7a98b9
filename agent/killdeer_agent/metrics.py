"""What a heartbeat says of the host: load, processor, memory, pressure."""

import psutil

from killdeer.v1.agent_pb2 import Heartbeat

PRESSURE_FILE = "/proc/pressure/memory"


def host_metrics() -> Heartbeat:
    """Processor use is since the last call. `memory_pressure` is -1 where the kernel keeps none."""
    return Heartbeat(
        load_1m=psutil.getloadavg()[0],
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_percent=psutil.virtual_memory().percent,
        memory_pressure=_memory_pressure(),
    )


def _memory_pressure() -> float:
    """PSI `some avg10` in percent (Documentation/accounting/psi.rst)."""
    try:
        with open(PRESSURE_FILE, encoding="ascii") as file:  # noqa: PTH123 - read once a second
            words = file.readline().split()
    except OSError:
        return -1.0
    return next((float(word[6:]) for word in words if word.startswith("avg10=")), -1.0)
