"""What the agent stands on, for `doctor`: the kernel and what it tells of itself, libbpf, and the time of day."""

import ctypes
import os
import platform
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from killdeer_agent.finding import Finding
from killdeer_agent.kernel import clock, libbpf, obstacle

SYS = Path("/sys")
# Which collectors rest on BTF and libbpf.
BY_LIBBPF: Final = ("auto", "core")
# adjtimex(2): what it returns while nobody keeps the clock right.
TIME_ERROR = 5
_TIMEX_BYTES = 512  # struct timex has 208
# The chip is in whole seconds, and time services set it every 11 minutes at most.
APART_S = 30
# A chip that is set to local time is apart by a whole number of these.
_ZONE_STEP_S, _WIDEST_ZONE_S = 900, 15 * 3_600


def kernel() -> Finding:
    """Striking rests on pidfd_open and pidfd_send_signal; asked of the kernel itself, on this very process."""
    release = f"Linux {platform.release()}, {platform.machine()}"
    try:
        descriptor = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        fact = f"{release}: it opens no process for signalling (pidfd): {error.strerror}"
        remedy = "boot Linux 5.3 or later; in a container, let pidfd_open and pidfd_send_signal pass its filter"
        return Finding(name="kernel", ok=False, needed=True, fact=fact, remedy=remedy)
    return Finding(name="kernel", ok=True, needed=True, fact=f"{release}, signals through pidfds")


def types(collector: str, sys_root: Path = SYS) -> Finding:
    """BTF: by it one BPF object fits every kernel."""
    file = sys_root / "kernel/btf/vmlinux"
    try:
        size = file.stat().st_size
        with file.open("rb"):
            fact = f"the kernel describes its types in {file} ({size // 1024:,} KiB)"
        return Finding(name="btf", ok=True, fact=fact)
    except OSError as error:
        fact = f"cannot read {file}: {error.strerror}"
    if collector not in BY_LIBBPF:
        return Finding(name="btf", ok=True, fact=f"{fact}; not needed, for the collector is {collector}")
    remedy = "boot a kernel with CONFIG_DEBUG_INFO_BTF, or install python3-bpfcc (see `evidence` below)"
    return Finding(name="btf", ok=False, fact=fact, remedy=remedy)


def library(collector: str) -> Finding:
    try:
        loaded = libbpf.load_library()
    except libbpf.LibbpfMissing as missing:
        if collector not in BY_LIBBPF:
            fact = f"{missing} cannot be loaded; not needed, for the collector is {collector}"
            return Finding(name="libbpf", ok=True, fact=fact)
        fact, remedy = f"neither {missing} can be loaded", obstacle.libbpf_missing().remedy
        return Finding(name="libbpf", ok=False, fact=fact.replace(" and ", " nor "), remedy=remedy)
    return Finding(name="libbpf", ok=True, fact=f"{loaded._name}, {_version(loaded)}")


def time_of_day(now_s: float | None = None, chip_s: float | None = None, kept_right: bool | None = None) -> Finding:
    """Nothing that is struck rests on it (rule R7); certificates, records and logs are dated by it. `kept_right`:
    None where the kernel does not say. By default all three are asked of this host."""
    if now_s is None:
        rtc_ns = clock.now().rtc_ns
        now_s, chip_s = time.time(), None if rtc_ns is None else rtc_ns / 1e9
        kept_right = synchronised()
    said = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    remedy = "run a time service: timedatectl set-ntp true (or chrony), then look at it with: timedatectl"
    if chip_s is not None and _apart(now_s - chip_s) > APART_S:
        apart = f"{abs(now_s - chip_s):,.0f} s {'behind' if now_s < chip_s else 'ahead of'} the clock chip"
        return Finding(name="time", ok=False, fact=f"{said}, {apart}: one of them is wrong", remedy=remedy)
    if kept_right is False:
        fact = f"{said}, and nothing keeps it right (the kernel calls it unsynchronised)"
        return Finding(name="time", ok=False, fact=fact, remedy=remedy)
    how = "kept by a time service" if kept_right else "the kernel does not say whether it is kept right"
    beside = "no clock chip to compare with" if chip_s is None else "the clock chip agrees"
    return Finding(name="time", ok=True, fact=f"{said}, {how}, {beside}")


def synchronised() -> bool | None:
    """As adjtimex(2) says, which changes nothing when it is asked for nothing; None: it may not be asked."""
    asked = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    return None if state < 0 else state != TIME_ERROR


def _apart(seconds: float) -> float:
    """Of a chip that may be set to local time."""
    if abs(seconds) <= _WIDEST_ZONE_S:
        seconds -= round(seconds / _ZONE_STEP_S) * _ZONE_STEP_S
    return abs(seconds)


def _version(loaded: ctypes.CDLL) -> str:
    try:
        loaded.libbpf_version_string.restype = ctypes.c_char_p
        return f"version {loaded.libbpf_version_string().decode().removeprefix('v')}"
    except AttributeError:  # before 0.6
        return "an old version"
