"""Readings and deeds of the coordinator's own edges, in a loop of their own."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges.deeds import Deeds
from killdeer_coordinator.edges.probes import Probes

# No rule is tested with it: a guard against hanging.
WITHIN_MS = 20_000


def take(
    probe: p.Probe, *, commands: Mapping[str, Sequence[str]] | None = None, secrets: Path | None = None
) -> p.Reading:
    return take_all([probe], commands=commands, secrets=secrets)[0]


def take_all(
    probes: Iterable[p.Probe],
    *,
    commands: Mapping[str, Sequence[str]] | None = None,
    secrets: Path | None = None,
) -> list[p.Reading]:
    """One after the other, by the same prober."""

    async def taking() -> list[p.Reading]:
        prober = Probes(commands or {}, secrets)
        try:
            return [await prober.take(probe) for probe in probes]
        finally:
            await prober.close()

    return asyncio.run(taking())


def perform(deed: p.Deed, state: str = "{}", *, commands: Mapping[str, Sequence[str]] | None = None) -> str:
    async def performing() -> str:
        deeds = Deeds(commands or {})
        try:
            return await deeds.perform(deed, state)
        finally:
            await deeds.close()

    return asyncio.run(performing())


def http(
    url: str, *, take: p.Take = p.TAKE_MET, path: str = "", within_ms: int = WITHIN_MS, **source: Any
) -> p.Probe:
    """`path`: of TAKE_JSON, with dots."""
    return p.Probe(
        name="web",
        http=p.HttpSource(url=url, **source),
        take=take,
        path=path.split(".") if path else [],
        within_ms=within_ms,
    )


def value(reading: p.Reading) -> float | None:
    """None: unknown, and then there is a reason."""
    if reading.HasField("value"):
        return reading.value
    assert reading.detail
    return None
