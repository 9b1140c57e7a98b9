"""The emergency stop, told to every coordinator at once, with one id for all (rule R10)."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import HALT_STAGE_REVERTED, HALT_STAGE_STOPPED
from killdeer_client.client import Client, Coordinator
from killdeer_client.errors import ClientError

AGAIN_S = 1.0
"""Between two tries to tell one coordinator."""
SILENCE_S = 30.0
"""When no coordinator has been heard for this long, the halt is reported as it stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HaltProgress:
    """The halt as all coordinators together report it."""

    halt_id: str
    hosts: tuple[o.HaltHost, ...] = ()
    """By name; a host that several coordinators know is as the one that knows most has it."""
    unreached: dict[str, ClientError] = field(default_factory=dict)
    """Coordinators that have not been told, by address."""
    stored: bool = False
    elapsed_ms: int = 0
    complete: bool = False
    """Every host has acknowledged or its bound has passed, and every coordinator was told or tried."""

    @property
    def stopped(self) -> int:
        return sum(host.stage >= HALT_STAGE_STOPPED for host in self.hosts)

    @property
    def reverted(self) -> int:
        return sum(host.reverted for host in self.hosts)

    @property
    def settled(self) -> bool:
        """Nothing more is to be heard."""
        reverted = all(host.stage == HALT_STAGE_REVERTED or host.bound_passed for host in self.hosts)
        return self.stored and reverted

    @property
    def unanswered(self) -> tuple[o.HaltHost, ...]:
        return tuple(host for host in self.hosts if host.stage < HALT_STAGE_STOPPED)


def halt(
    client: Client,
    *,
    reason: str,
    halt_id: str,
    timeout_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[HaltProgress]:
    """Each change of the halt, until it is complete, or time or patience has run out. The last one says
    which. Once complete, its aftermath is waited for as long as the coordinators do: some seconds at most, until
    all is reverted and recorded. Raises ClientError when no coordinator could be reached at all.
    """
    teller = _Teller(client, o.HaltRequest(reason=reason, id=halt_id))
    teller.start()
    deadline = None if timeout_s is None else clock() + timeout_s
    heard = clock()
    try:
        while True:
            now = clock()
            wait_s = heard + SILENCE_S - now if deadline is None else min(deadline, heard + SILENCE_S) - now
            try:
                news = teller.take(wait_s)
            except Empty:
                return
            if teller.answers:
                heard = clock() if isinstance(news, o.HaltResponse) else heard
                progress = teller.progress()
                if news is not None:
                    yield progress
                if progress.complete and (progress.settled or teller.over):
                    return
            elif len(teller.failures) == len(client.coordinators):
                raise next(iter(teller.failures.values()))
    finally:
        teller.stop()


class _Teller:
    """A thread for each coordinator, and what they have brought."""

    def __init__(self, client: Client, request: o.HaltRequest) -> None:
        self.answers: dict[str, o.HaltResponse] = {}
        self.failures: dict[str, ClientError] = {}
        self._client = client
        self._request = request
        self._ended: set[str] = set()
        self._brought: SimpleQueue[tuple[str, o.HaltResponse | ClientError | None]] = SimpleQueue()
        self._enough = threading.Event()

    def start(self) -> None:
        for coordinator in self._client.coordinators:
            self._client.beside(partial(self._tell, coordinator))

    def stop(self) -> None:
        self._enough.set()

    def _tell(self, coordinator: Coordinator) -> None:
        while not self._enough.is_set():
            complete = False
            try:
                for response in coordinator.stream("Halt", self._request):
                    complete = response.complete
                    self._brought.put((coordinator.address, response))
                if complete:
                    self._brought.put((coordinator.address, None))
                    return
                error = ClientError("UNAVAILABLE", f"the stream from {coordinator.address} broke")
            except ClientError as failure:
                error = failure
            self._brought.put((coordinator.address, error))
            if error.refused:
                return
            self._enough.wait(AGAIN_S)

    def take(self, wait_s: float) -> o.HaltResponse | ClientError | None:
        """Waits for one piece of news; None: a coordinator has said its last word. Raises queue.Empty."""
        address, news = self._brought.get(timeout=max(wait_s, 0))
        if news is None:
            self._ended.add(address)
        elif isinstance(news, o.HaltResponse):
            self.answers[address] = news
            self.failures.pop(address, None)
        else:
            self.failures[address] = news
        return news

    @property
    def over(self) -> bool:
        """All who have answered have said their last word, or are gone."""
        return self.answers.keys() <= self._ended | self.failures.keys()

    def progress(self) -> HaltProgress:
        hosts: dict[str, o.HaltHost] = {}
        for answer in self.answers.values():
            for host in answer.hosts:
                hosts[host.host] = _known_more(hosts.get(host.host), host)
        told = {address for address, answer in self.answers.items() if answer.complete}
        tried = told | self.failures.keys()
        settled = all(host.stage >= HALT_STAGE_STOPPED or host.bound_passed for host in hosts.values())
        return HaltProgress(
            halt_id=self._request.id,
            hosts=tuple(hosts[name] for name in sorted(hosts)),
            unreached={a: error for a, error in self.failures.items() if a not in self.answers},
            stored=any(answer.stored for answer in self.answers.values()),
            elapsed_ms=max(answer.elapsed_ms for answer in self.answers.values()),
            complete=bool(told) and settled and len(tried) == len(self._client.coordinators),
        )


def _known_more(one: o.HaltHost | None, other: o.HaltHost) -> o.HaltHost:
    """Of two reports on one host, the one with the later stage; then the passed, then the nearer bound."""
    if one is None:
        return other

    def knowledge(host: o.HaltHost) -> tuple[int, bool, bool, int]:
        return host.stage, host.bound_passed, host.connected, -(host.stops_by_unix_ms or 1 << 62)

    return max(one, other, key=knowledge)
