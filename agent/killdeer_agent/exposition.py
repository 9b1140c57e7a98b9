"""The agent's tally as Prometheus metrics: on a loopback listener, or in a file for node_exporter to pick up.

Imported only where metrics are configured: an agent without them pays nothing for the library.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer
from threading import Event, Thread

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector as Source

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.version import VERSION
from killdeer_agent.config import Loopback
from killdeer_agent.core.agent import Core
from killdeer_agent.core.tally import Histogram, Tally
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.collector import Collector

log = structlog.get_logger()

# How often the file is written, and what could not be served or written is tried again.
EVERY_S = 15.0
# Who asks and does not read is given up, since one is served at a time: a crowd takes no threads from the agent.
CLIENT_S = 5
# A scrape waits no longer for the loop.
GATHER_S = 5.0


@dataclass(frozen=True, slots=True)
class Exposition:
    core: Core
    collector: Collector

    def gather(self) -> list[Metric]:
        """All metrics as of now; in the loop's thread, like all that reads the core."""
        tally, filtered = self.core.tally, self.collector.filtered()
        return [*_standing(self.core, self.collector), *_deaths(tally), *_strikes(tally), *_events(tally, filtered)]


async def expose(exposition: Exposition, where: Loopback | Path) -> None:
    """Until cancelled. A port that is taken or a folder that is missing is logged, and tried again."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_InLoop(exposition, asyncio.get_running_loop()))
    if isinstance(where, Path):
        await _write_again_and_again(registry, where)
    else:
        await _listen(registry, where)


class _InLoop(Source):
    """Asked in another thread."""

    def __init__(self, exposition: Exposition, loop: asyncio.AbstractEventLoop) -> None:
        self._exposition = exposition
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        answer: Future[list[Metric]] = Future()
        self._loop.call_soon_threadsafe(self._gather, answer)
        return answer.result(GATHER_S)

    def _gather(self, answer: "Future[list[Metric]]") -> None:
        try:
            answer.set_result(self._exposition.gather())
        except Exception as error:
            answer.set_exception(error)


# --- ways out ---------------------------------------------------------------------------------------------


class _Server(TCPServer):
    allow_reuse_address = True
    timeout = 0.5  # how often the thread looks whether the agent has left

    def __init__(self, where: Loopback, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        handler = type("Handler", (MetricsHandler.factory(registry),), {"timeout": CLIENT_S})
        super().__init__((where.host, where.port), handler)

    def serve(self, left: Event) -> None:
        with self:
            while not left.is_set():
                self.handle_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has gone, or the agent is leaving; the next one is served all the same."""
        log.info("scrape_failed", exc_info=True)


async def _listen(registry: CollectorRegistry, where: Loopback) -> None:
    said = ""
    while True:
        try:
            server = _Server(where, registry)
            break
        except OSError as error:
            said = _complain(said, f"cannot serve metrics on {where}: {error.strerror}")
            await asyncio.sleep(EVERY_S)
    left = Event()
    # Waited for by nobody: a scrape under way must not hold up the agent's end.
    Thread(target=server.serve, args=(left,), name="metrics", daemon=True).start()
    log.info("metrics_served", address=str(where))
    try:
        await asyncio.Event().wait()
    finally:
        left.set()


async def _write_again_and_again(registry: CollectorRegistry, file: Path) -> None:
    said = ""
    while True:
        writing = asyncio.ensure_future(asyncio.to_thread(_write, registry, file))
        try:
            await asyncio.shield(writing)
            said = ""
            await asyncio.sleep(EVERY_S)
        except OSError as error:
            said = _complain(said, f"cannot write metrics to {file}: {error}")
            await asyncio.sleep(EVERY_S)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # or it would come back after it was taken away
            _take_away(file)
            raise


def _write(registry: CollectorRegistry, file: Path) -> None:
    """In one step, and readable by others: node_exporter is another user."""
    text = generate_latest(registry)
    new = file.with_name(f"{file.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, 0o644)
        opened.write(text)
    new.replace(file)


def _take_away(file: Path) -> None:
    """What stays would be read as if the agent still ran."""
    with contextlib.suppress(OSError):
        file.unlink()


def _complain(before: str, problem: str) -> str:
    if problem != before:
        log.error("no_metrics", problem=problem, remedy="see `metrics` in agent.toml; it is tried again")
    return problem


# --- what is told -----------------------------------------------------------------------------------------


def _standing(core: Core, collector: Collector) -> Iterator[Metric]:
    standing = core.standing
    level = EvidenceLevel.Name(collector.level).removeprefix("EVIDENCE_LEVEL_").lower()
    about = GaugeMetricFamily(
        "killdeer_agent_info",
        "The agent, and how much of the kernel's record it has.",
        labels=["version", "evidence"],
    )
    about.add_metric([VERSION, level], 1)
    yield about
    yield GaugeMetricFamily("killdeer_leased", "Whether the agent may act: its lease holds.", standing.leased)
    halted = GaugeMetricFamily(
        "killdeer_halted", "Whether a halt holds, of the fleet or of this host.", labels=["by"]
    )
    halted.add_metric(["fleet"], standing.halted)
    halted.add_metric(["host"], standing.halted_locally)
    yield halted
    yield GaugeMetricFamily("killdeer_strikes_open", "Strikes whose last word is not said.", standing.strikes_open)
    yield GaugeMetricFamily(
        "killdeer_reverts_left", "Effects that could not be reverted yet.", standing.reverts_left
    )


def _deaths(tally: Tally) -> Iterator[Metric]:
    yield _counter(
        "killdeer_deaths", "Processes that died, by cause and unit.", ("cause", "unit"), tally.deaths.items()
    )
    yield _counted("killdeer_oom_kills", "Processes the OOM killer took, by whose limit.", "scope", tally.oom_kills)
    yield _counted("killdeer_restarts", "Processes that took a dead one's place, by unit.", "unit", tally.restarts)
    loops = GaugeMetricFamily(
        "killdeer_restart_loop", "1 while a unit fails and is restarted again and again.", labels=["unit"]
    )
    for unit, looping in tally.looping(clock.boot_ns()):
        loops.add_metric([unit], looping)
    yield loops
    yield GaugeMetricFamily(
        "killdeer_units_folded", "Units counted as `other`, for want of names.", len(tally.units.folded)
    )
    yield _histogram("killdeer_death_to_successor_seconds", "From a death to its successor.", tally.to_successor)
    yield _histogram("killdeer_blow_to_ready_seconds", "From a first blow to `recovery.ready`.", tally.to_ready)
    yield _histogram("killdeer_term_to_exit_seconds", "From a SIGTERM to the exit it ended in.", tally.to_exit)


def _strikes(tally: Tally) -> Iterator[Metric]:
    yield _counter("killdeer_strikes", "Strikes that are over.", ("action", "outcome"), tally.strikes.items())
    yield CounterMetricFamily(
        "killdeer_terms_ignored", "Victims that a SIGTERM of a strike did not end.", tally.terms_ignored
    )


def _events(tally: Tally, filtered: dict[str, int]) -> Iterator[Metric]:
    yield _counted("killdeer_kernel_events_seen", "Events of the kernel's record.", "kind", tally.seen)
    said = "Events that the kernel side passed over, as of no interest here."
    yield _counted("killdeer_kernel_events_filtered", said, "kind", filtered)
    yield _counted("killdeer_kernel_events_lost", "Events that were lost.", "kind", tally.lost)


def _counted(name: str, said: str, label: str, counts: Mapping[str, int]) -> Metric:
    return _counter(name, said, (label,), (((value,), count) for value, count in counts.items()))


def _counter(
    name: str, said: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    family = CounterMetricFamily(name, said, labels=labels)
    for values, count in sorted(counts):
        family.add_metric(values, count)
    return family


def _histogram(name: str, said: str, counted: Histogram) -> Metric:
    buckets, so_far = [], 0
    for bound, count in zip((*counted.bounds, "+Inf"), counted.counts, strict=True):
        so_far += count
        buckets.append((str(bound), float(so_far)))
    return HistogramMetricFamily(name, said, buckets=buckets, sum_value=counted.total)
