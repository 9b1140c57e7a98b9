"""The next certificate of a host that has joined, over its live stream, when a third of the last one's life is
left.

The stream goes on with what it was opened with; the next one reads the files anew. A host whose certificate came
from `init` has none to renew: key and certificate are two files there, which last for years.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from killdeer.v1.agent_pb2 import CertificateIssued, CertificateRequest, ConnectRequest
from killdeer_agent.config import Config
from killdeer_agent.identity import Identity, IdentityError, Owner
from killdeer_agent.signing_request import NoKey, SigningRequest, make

log = structlog.get_logger()

# Where there is no answer, or a no: asked again after this part of the life, and never more often than that.
AGAIN_PART, AGAIN_LEAST_S = 50, 5.0
JOIN_AGAIN = "before it ends, join again: killdeer-coordinator token create --host, on the coordinator's machine"


def due_s(begins: float, ends: float) -> float:
    """When a certificate is to be renewed: a third of its life before its end. Seconds since the epoch."""
    return ends - (ends - begins) / 3


class Renewal:
    """`ask` puts a frame on the stream, if there is one; `now` is in seconds since the epoch."""

    def __init__(
        self, config: Config, ask: Callable[[ConnectRequest], None], now: Callable[[], float] = time.time
    ) -> None:
        self._host, self._state = config.host, config.state
        self._ask, self._now = ask, now
        self._identity: Identity | None = None
        if config.cert == config.key:
            self._identity = Identity(own=config.cert, authorities=config.ca)
        self._begins = self._ends = 0.0
        self._next_s: float | None = None  # not read yet
        self._made: SigningRequest | None = None  # asked with, and not answered
        self._making: asyncio.Future[None] | None = None

    def tick(self) -> None:
        """About once a second, in the loop's thread."""
        if self._identity is None or self._making is not None:
            return
        if self._next_s is None:
            self._read(self._identity)
        if self._next_s is not None and self._now() >= self._next_s:
            self._next_s = self._now() + max(AGAIN_LEAST_S, (self._ends - self._begins) / AGAIN_PART)
            self._making = asyncio.ensure_future(self._make())
            self._making.add_done_callback(self._ready)

    def heard(self, issued: CertificateIssued) -> None:
        if self._identity is None:
            if issued.authorities and not issued.certificate:
                log.warning(
                    "certificate_of_another_authority", remedy="join, or take what `init --agent` makes anew"
                )
            return
        try:
            self._take(self._identity, issued)
        except (IdentityError, OSError) as error:
            log.error("certificate_not_taken", problem=str(error), remedy=JOIN_AGAIN)

    def close(self) -> None:
        if self._making is not None:
            self._making.cancel()

    def _read(self, identity: Identity) -> None:
        try:
            self._begins, self._ends = identity.lifetime()
        except (IdentityError, OSError) as error:
            self._begins, self._ends = self._now(), self._now()
            self._next_s = float("inf")
            log.error("certificate_unreadable", problem=str(error), remedy="killdeer-agent doctor says more")
        else:
            self._next_s = due_s(self._begins, self._ends)

    async def _make(self) -> None:
        made = await asyncio.to_thread(make, self._host)
        self._made = made
        self._ask(ConnectRequest(certificate_request=CertificateRequest(signing_request=made.request)))

    def _ready(self, making: "asyncio.Future[None]") -> None:
        self._making = None
        if not making.cancelled() and (error := making.exception()) is not None:
            if not isinstance(error, NoKey):
                raise error
            log.error("certificate_not_renewed", problem=str(error), remedy=JOIN_AGAIN)

    def _take(self, identity: Identity, issued: CertificateIssued) -> None:
        made, owner = self._made, Owner.of(self._state)
        if issued.problem:
            self._made = None
            log.warning("certificate_not_renewed", problem=issued.problem, remedy=JOIN_AGAIN)
        elif not issued.certificate:
            identity.trust(issued.authorities, owner)
            self._next_s = 0.0
            log.info("authorities_changed", remedy="none: a certificate of the new one is asked for")
        elif made is not None:
            self._made = None
            identity.put(
                self._host,
                key=made.key,
                certificate=issued.certificate,
                authorities=issued.authorities,
                owner=owner,
            )
            self._read(identity)
            log.info("certificate_renewed", ends_unix=int(self._ends))
