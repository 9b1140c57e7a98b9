"""The ways to the kernel's record that this machine has, and collectors by each of them."""

from pathlib import Path

import pytest

from killdeer_agent.kernel.collector import Collector, CollectorUnavailable, load_collector
from killdeer_agent.kernel.filter import Filter
from tests.support.corpus.kinds import IN_GUEST

WAYS = ("core",) if IN_GUEST else ("core", "bcc")  # a guest has no compiler

FLOOD = 5_000
"""Signals that no ring or buffer has room for."""


def loaded(way: str, told: Filter | None = None) -> Collector:
    try:
        return load_collector(way, told)
    except CollectorUnavailable as unavailable:
        # Where bcc is installed, that it has something against the programs is a fault of theirs.
        if unavailable.cause.startswith(("bcc cannot compile", "bcc cannot load", "what bcc's programs tell")):
            raise
        pytest.skip(str(unavailable))


def held_open() -> list[str]:
    """The BPF programs, maps, links, perf buffers and the like that this process holds open."""
    return sorted(name for fd in Path("/proc/self/fd").iterdir() if (name := _end_of(fd)).startswith("anon_inode:"))


def _end_of(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the listing's own
        return ""
