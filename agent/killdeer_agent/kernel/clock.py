"""This host's clocks and boot id: the only place where the agent reads them (rules R7 and R8)."""

import os
import time
from pathlib import Path

from killdeer_agent.core.facts import Now

# The clock chip through sysfs: readable by every user, in whole seconds. A difference of two readings is thus
# off by less than one second, well inside the three that the lease tolerates.
RTC_FILE = "/sys/class/rtc/rtc0/since_epoch"


def now() -> Now:
    """Both clocks, CLOCK_BOOTTIME first: a host frozen between the two readings shows as one that stood still,
    never as one that ran on."""
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Now(boot_ns, _rtc_ns())


def boot_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds, without the cost of asking the clock chip."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def has_rtc() -> bool:
    """Whether this host has a clock chip that can be read now."""
    return _rtc_ns() is not None


def boot_id(proc_root: Path = Path("/proc")) -> str:
    """The id of this boot. OSError when the kernel does not tell it: then nothing may be struck."""
    return (proc_root / "sys/kernel/random/boot_id").read_text().strip()


def _rtc_ns(path: str = RTC_FILE) -> int | None:
    """Nanoseconds since the epoch as the clock chip has them; None where there is none, or it does not answer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(fd, 32)) * 1_000_000_000
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
