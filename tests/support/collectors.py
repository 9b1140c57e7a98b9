"""The ways to the kernel's record that this machine has, and collectors by each of them."""

from pathlib import Path
from unittest.mock import patch

import pytest

from killdeer_agent.kernel import core
from killdeer_agent.kernel.collector import Collector, CollectorUnavailable, load_collector
from killdeer_agent.kernel.filter import Filter
from tests.support.corpus.kinds import IN_GUEST

WITHOUT_CASTS = "core without casts"
"""As on kernels that have none: there it is what `core` loads."""

WAYS = ("core",) if IN_GUEST else ("core", WITHOUT_CASTS, "bcc")  # a guest has no compiler
_objects = core.objects

FLOOD = 5_000
"""Signals that no ring or buffer has room for."""


def loaded(way: str, told: Filter | None = None) -> Collector:
    try:
        if way == WITHOUT_CASTS:
            with patch.object(core, "objects", lambda types: _objects(types)[-1:]):
                return load_collector("core", told)
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
