"""What of the kernel's record is told of processes that nobody watches; the kernel side drops the rest.

It is never about processes of open strikes, which are watched, nor about deaths: a signal that ends a process and
every end by a signal are told whatever stands here (agent/bpf/killdeer.bpf.c).
"""

import signal
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

# TRACE_SIGNAL_* of the kernel's include/trace/events/signal.h, in their order.
VERDICTS: Final = ("delivered", "ignored", "already_pending", "overflow", "lost_info")

# What a cause of death may rest on even where a handler takes it (core/causes.py).
ALWAYS: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGSEGV, signal.SIGSYS}
)
REACHED: Final = frozenset({"delivered", "lost_info"})
# What else stops, continues or ends a process.
ALSO: Final = frozenset(
    {signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGXCPU, signal.SIGSTOP, signal.SIGCONT}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """`signals` and `verdicts`: told whoever they are for, beside ALWAYS and REACHED. `cgroups`: patterns for
    paths; of processes there and below all is told, as of watched ones, ordinary exits among it."""

    signals: frozenset[int] = ALSO
    verdicts: frozenset[str] = frozenset(VERDICTS) - REACHED
    cgroups: tuple[str, ...] = ()

    @property
    def signal_mask(self) -> int:
        """Bit n-1 for signal n."""
        return sum(1 << number - 1 for number in self.signals | ALWAYS)

    @property
    def verdict_mask(self) -> int:
        return sum(1 << VERDICTS.index(word) for word in self.verdicts | REACHED)

    def chooses(self, path: str) -> bool:
        """Whether a pattern matches this cgroup, or one above it."""
        return bool(path and self.cgroups) and _chosen(path, self.cgroups)


@lru_cache(maxsize=1024)
def _chosen(path: str, patterns: tuple[str, ...]) -> bool:
    parts = path.strip("/").split("/")
    above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatchcase(one, pattern) for one in above for pattern in patterns)
