"""The halt of one host, as a file: the agent looks for it at each last look (rule R14)."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def engage(state: Path, reason: str) -> str:
    """Latched, also over a reboot. The running agent stops within a tenth of a second and reverts."""
    state.mkdir(parents=True, exist_ok=True)
    file = state / "halt"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {reason}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return f"halted: {file} is there; nothing is struck on this host until 'killdeer-agent rearm'"


def release(files: Iterable[Path]) -> str:
    """Lifts this host's own halt. A halt of the fleet is another matter."""
    lifted = [file for file in files if file.exists() or file.is_symlink()]  # the agent looks with lstat
    for file in lifted:
        file.unlink()
    if not lifted:
        return "not halted here: there is no halt file (a halt of the fleet is lifted by 'killdeer rearm')"
    return f"rearmed: {', '.join(map(str, lifted))} removed"
