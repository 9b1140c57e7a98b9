"""JoinService: a certificate for a token; and certificates for agents that have joined, over their streams.

What is decided is in core/joining.py, in the store's transaction. A certificate leaves only once it is on record:
made before, and thrown away where the answer is no.
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import structlog

from killdeer.v1.agent_pb2 import CertificateIssued
from killdeer.v1.join_pb2 import IntroduceRequest, IntroduceResponse, JoinRequest, JoinResponse
from killdeer.v1.join_pb2_grpc import JoinServiceServicer
from killdeer_coordinator import authorities, pki
from killdeer_coordinator.core import joining
from killdeer_coordinator.core.books import CertificateRow, Decide
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.words import Refuse
from killdeer_coordinator.edges.operators import refuse
from killdeer_coordinator.pki import AgentPeer, Issued, Pair, PkiError
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import StoreError

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
TOKEN_MOST = 256


class Authority:
    """The CA that signs, and all that are trusted."""

    def __init__(self, ca: Path, key: Path, life_ms: int) -> None:
        """Raises OSError."""
        self.trusted = ca.read_bytes()
        try:
            self._pair: Pair = authorities.authority(self.trusted, key.read_bytes())
        except PermissionError as cause:
            raise OSError(
                f"cannot read {key}: {cause.strerror}; where hosts join, the coordinator needs it"
            ) from cause
        except PkiError as cause:
            raise OSError(f"cannot issue certificates with {ca} and {key}: {cause}") from cause
        self.id = authorities.authority_id(self._pair.certificate)
        self._life = dt.timedelta(milliseconds=life_ms)

    def sign(self, host: str, request: bytes) -> tuple[Issued, CertificateRow]:
        """The certificate, and what is to be recorded of it. Raises PkiError."""
        issued = pki.sign_agent(self._pair, host, request, self._life)
        row = CertificateRow(
            serial=issued.serial, host=host, issued_ms=0, ends_ms=issued.ends_ms, authority=self.id
        )
        return issued, row


class Joining(JoinServiceServicer):
    def __init__(
        self,
        store: AsyncStore,
        authority: Authority,
        *,
        coordinators: Sequence[str],
        agents_port: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._store = store
        self._authority = authority
        self._coordinators = coordinators
        self._agents_port = agents_port
        self._clock = clock
        self._guesses = joining.Guesses()

    async def Introduce(self, request: IntroduceRequest, context: Context) -> IntroduceResponse:
        return IntroduceResponse(authorities=self._authority.trusted)

    async def Join(self, request: JoinRequest, context: Context) -> JoinResponse:
        address = _address(context.peer())
        if wait_ns := self._guesses.wait_ns(address, self._clock()):
            message = f"cannot join: too many wrong tokens came from {address}"
            remedy = f"try again in {wait_ns / 1e9:.0f} s"
            await refuse(context, Refuse(ask=0, code="RESOURCE_EXHAUSTED", message=message, remedy=remedy))
        try:
            issued, row = self._authority.sign(request.host, request.signing_request)
        except PkiError as cause:
            await refuse(context, Refuse(ask=0, code="INVALID_ARGUMENT", message=f"cannot join: {cause}"))
        decide = joining.joined(joining.hash_of(request.token[:TOKEN_MOST]), row)
        answer = await _decided(self._store, decide)
        if isinstance(answer, Refused):
            if answer.code == "UNAUTHENTICATED":
                self._guesses.wrong(address, self._clock())
            log.warning("join_refused", host=request.host, address=address, why=answer.message)
            refused = Refuse(
                ask=0, code=answer.code, message=answer.message, field=answer.field, remedy=answer.remedy
            )
            await refuse(context, refused)
        log.info("host_certified", host=request.host, address=address, serial=issued.serial)
        return JoinResponse(
            certificate=issued.certificate,
            authorities=self._authority.trusted,
            coordinators=self._coordinators,
            agents_port=self._agents_port,
        )


class Renewals:
    """Certificates over agents' streams, each for the host of its stream alone."""

    def __init__(self, store: AsyncStore, authority: Authority) -> None:
        self._store = store
        self._authority = authority

    async def certify(self, peer: AgentPeer, request: bytes) -> CertificateIssued:
        try:
            issued, row = self._authority.sign(peer.host, request)
        except PkiError as cause:
            return CertificateIssued(problem=str(cause))
        answer = await _decided(self._store, joining.renewed(peer.serial, row))
        if isinstance(answer, Refused):
            log.warning("renewal_refused", host=peer.host, why=answer.message, remedy=answer.remedy)
            return CertificateIssued(problem=f"{answer.message}; {answer.remedy}")
        log.info("certificate_renewed", host=peer.host, serial=issued.serial, in_place_of=peer.serial)
        return CertificateIssued(certificate=issued.certificate, authorities=self._authority.trusted)

    def news(self, authority: str) -> CertificateIssued | None:
        """For an agent whose certificate another CA has issued than the one that signs now."""
        return None if authority == self._authority.id else CertificateIssued(authorities=self._authority.trusted)


async def _decided(store: AsyncStore, decide: Decide) -> object:
    """A store that fails certifies nobody."""
    try:
        return (await store.decide(decide)).answer
    except StoreError as error:
        message = f"cannot record the certificate: {error}"
        return Refused(code="UNAVAILABLE", message=message, remedy="try again when the store is back")


def _address(peer: str) -> str:
    """`ipv4:192.0.2.1:4242` -> `ipv4:192.0.2.1`: each try comes from another port."""
    return peer.rpartition(":")[0] or peer
