"""The collector port, and the choice between its ways to what the kernel saw: BPF, or what can be had without."""

from functools import partial
from typing import Protocol

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer_agent.kernel.filter import Filter
from killdeer_agent.kernel.obstacle import CollectorUnavailable
from killdeer_agent.kernel.tracing import OnEvents, OnTold, TracingCollector

__all__ = ["Collector", "CollectorUnavailable", "OnEvents", "OnTold", "load_collector", "open_collector"]


class Collector(Protocol):
    """What the kernel saw, as events. Pids are those of the agent's pid namespace; `host` and `command_id` of
    the events are empty.
    """

    @property
    def level(self) -> EvidenceLevel:
        """How much of the kernel's record there is now."""

    @property
    def detail(self) -> str:
        """Where it comes from; or why there is not more, and what to do."""

    def start(self, on_events: OnEvents, on_told: OnTold | None = None) -> None:
        """From now on `on_events` is called, from a thread of the collector's or from `flush`, one at a time,
        with what came, oldest first; and `on_told`, from the thread and in the same order, several times a second
        with a CLOCK_BOOTTIME: all that happened before it has been handed over, losses among it. Neither may
        block or call the collector."""

    def watch(self, pid: int, start_ticks: int) -> None:
        """All that befalls this process is told: every signal by another process, its exit, its execs.

        OSError: the kernel's table is full (1,024 processes); the strike must not go on unwatched.
        """

    def unwatch(self, pid: int) -> None: ...

    def choose(self, told: Filter) -> None:
        """From now on by this filter; nothing that both let through is lost meanwhile. What is told of watched
        processes, and of deaths by signals, is the same under every filter.

        OSError: it cannot be put in force; the one before stays.
        """

    def flush(self) -> None:
        """When it returns, `on_events` has had all that happened before the call, losses among it. Takes some
        10 ms; only after `start`. Where the processor of one who records stands still for longer than 150 ms,
        what it records comes later."""

    def lost(self) -> dict[str, int]:
        """Events the kernel could not hand over since the start, by kind (evidence.LOST); none: empty."""

    def filtered(self) -> dict[str, int]:
        """Events that the kernel side passed over since the start, by kind (evidence.FILTERED); none: empty."""

    def close(self) -> None:
        """Detaches and frees all; the last call."""


def open_collector(choice: str = "auto", told: Filter | None = None) -> Collector:
    """The best this host has of what is configured (`auto`, `core`, `bcc` or `pidfd`)."""
    from killdeer_agent.kernel.unrecorded import PidfdCollector

    if choice == "pidfd":
        return PidfdCollector("configured: pidfd")
    try:
        return load_collector(choice, told)
    except CollectorUnavailable as unavailable:
        return PidfdCollector(str(unavailable))


def load_collector(choice: str, told: Filter | None = None) -> Collector:
    """Through BPF: `core`, `bcc`, or for `auto` the first of them that can be had. Raises CollectorUnavailable."""
    from killdeer_agent.kernel.core import CoreSource  # what is not used is not loaded

    if choice == "bcc":
        return _by_bcc(told)
    try:
        return TracingCollector(CoreSource, told)
    except CollectorUnavailable as unavailable:
        if choice == "core":
            raise
        core = unavailable
    try:
        return _by_bcc(told, core.cause)
    except CollectorUnavailable as bcc:
        if bcc.cause == core.cause:
            raise core from None
        cause, remedy = f"{core.cause}; with bcc: {bcc.cause}", f"{core.remedy}; or {bcc.remedy}"
        raise CollectorUnavailable(cause, remedy) from bcc


def _by_bcc(told: Filter | None, instead_of: str = "") -> Collector:
    from killdeer_agent.kernel.bcc import BccSource

    return TracingCollector(partial(BccSource, instead_of=instead_of), told)
