"""The readings that are the driving coordinator's to take (rule R30). Whatever goes wrong, there is one."""

import asyncio
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges import commands as command_probe
from killdeer_coordinator.edges.answers import Taken, Unknown
from killdeer_coordinator.edges.aside import Aside, Names
from killdeer_coordinator.edges.commands import Commands
from killdeer_coordinator.edges.http_probe import Http, HttpProbe
from killdeer_coordinator.edges.prometheus import PrometheusProbe
from killdeer_coordinator.edges.reach_probe import GrpcProbe, TcpProbe
from killdeer_coordinator.edges.secrets import Secrets

log = structlog.get_logger()

MOST_AT_ONCE = 64
# Of a probe that says none. The file always does.
WITHIN_MS = 5_000

_MET = frozenset({p.TAKE_UNSPECIFIED, p.TAKE_MET})
_TAKES: dict[str, frozenset[int]] = {
    "http": _MET | {p.TAKE_STATUS, p.TAKE_LATENCY, p.TAKE_JSON, p.TAKE_NUMBER},
    "tcp": _MET | {p.TAKE_LATENCY},
    "grpc": _MET | {p.TAKE_LATENCY},
    "prometheus": frozenset({p.TAKE_UNSPECIFIED, p.TAKE_NUMBER}),
    "command": _MET | {p.TAKE_STATUS, p.TAKE_JSON, p.TAKE_NUMBER},
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Probes:
    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        secrets: Path | None = None,
        *,
        most_at_once: int = MOST_AT_ONCE,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """`commands`: of coordinator.toml. `secrets`: the one folder that headers are read from."""
        aside = Aside()
        names = Names(aside)
        headers = Secrets(aside, secrets)
        self._http = Http(aside, names)
        self._over_http = HttpProbe(self._http, headers)
        self._prometheus = PrometheusProbe(self._http, headers)
        self._tcp = TcpProbe(names)
        self._grpc = GrpcProbe(aside)
        self._commands = Commands(commands)
        self._most_at_once = most_at_once
        self._places = asyncio.Semaphore(most_at_once)
        self._clock = clock

    async def take(self, probe: p.Probe) -> p.Reading:
        """Within twice its time at most: once to wait for a place, once for the answer."""
        try:
            taken = await self._within(probe, (probe.within_ms or WITHIN_MS) / 1_000)
        except Unknown as unknown:
            return p.Reading(probe=probe.name, at_unix_ms=self._clock(), detail=str(unknown))
        except Exception as error:
            # The file came from outside: nothing in it may end a coordinator that has hosts to halt. The error's
            # own words may hold what was sent.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "probe_failed", probe=probe.name, why=type(error).__name__, at=f"{where.filename}:{where.lineno}"
            )
            detail = f"it cannot be taken: {type(error).__name__}; the coordinator's log says where"
            return p.Reading(probe=probe.name, at_unix_ms=self._clock(), detail=detail)
        return p.Reading(probe=probe.name, at_unix_ms=self._clock(), value=taken.value, detail=taken.detail)

    async def close(self) -> None:
        await self._http.close()

    async def _within(self, probe: p.Probe, within_s: float) -> Taken:
        within = format_duration(within_s * 1_000)
        try:
            async with asyncio.timeout(within_s):
                await self._places.acquire()
        except TimeoutError:
            raise Unknown(
                f"{self._most_at_once} other probes were under way, and none ended within {within}; take "
                "probes less often, or give them a shorter `within`"
            ) from None
        try:
            async with asyncio.timeout(within_s):
                return await self._take(probe)
        except TimeoutError:
            raise Unknown(f"no answer within {within}") from None
        finally:
            self._places.release()

    async def _take(self, probe: p.Probe) -> Taken:
        kind = probe.WhichOneof("source") or "nothing"
        if kind not in _TAKES:
            raise Unknown(f"a probe of {kind} is not taken by the coordinator's probes")
        if probe.take not in _TAKES[kind]:
            raise Unknown(f"a {kind} probe gives no {p.Take.Name(probe.take).removeprefix('TAKE_').lower()}")
        match kind:
            case "http":
                return await self._over_http.take(probe.http, probe.take, probe.path)
            case "tcp":
                return await self._tcp.take(probe.tcp, probe.take)
            case "grpc":
                return await self._grpc.take(probe.grpc, probe.take)
            case "prometheus":
                return await self._prometheus.take(
                    probe.prometheus, within_ms=probe.within_ms or WITHIN_MS, fresh_within_ms=probe.fresh_within_ms
                )
            case _:
                return await command_probe.take(self._commands, probe.command, probe.take, probe.path)
