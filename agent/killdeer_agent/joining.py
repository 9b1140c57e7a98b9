"""`killdeer-agent join`: a key of this host's own, and a certificate for it, for a token that is good once.

What is sent before the coordinator is known to be the fleet's says nothing: a handshake, and a question without
content. Known is whoever serves with a certificate of the authority whose key has the pin. Then the token goes out.
"""

import hashlib
import hmac
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from killdeer.v1.join_pb2 import IntroduceRequest, JoinRequest, JoinResponse
from killdeer.v1.join_pb2_grpc import JoinServiceStub
from killdeer_agent.agentfile import AgentFile, AgentFileError, Value
from killdeer_agent.identity import Identity, IdentityError, Owner, make_folder, staged
from killdeer_agent.signing_request import make_here

WITHIN_S = 15.0
MOST_BYTES = 64 * 1024
_PIN = re.compile(r"sha256:([0-9a-f]{64})")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:\s]+)):(\d{1,5})")


class JoinError(Exception):
    """This host has not joined, and nothing of it has changed; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What `killdeer-coordinator token create` printed."""

    address: str
    token: str
    pin: str

    @property
    def host(self) -> str:
        """Of the address, without brackets."""
        found = _ADDRESS.fullmatch(self.address)
        return (found[1] or found[2]) if found else ""

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def check(self) -> None:
        """Raises JoinError."""
        if not _ADDRESS.fullmatch(self.address) or not 0 < self.port < 65_536:
            raise JoinError(f"cannot join {self.address!r}: give HOST:PORT, as `token create` printed it")
        if not _PIN.fullmatch(self.pin):
            raise JoinError(f"cannot join with the pin {self.pin!r}: give sha256:HEX, as `token create` printed it")
        if not self.token:
            raise JoinError("cannot join without a token: give --token, as `token create` printed it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    host: str
    files: tuple[Path, ...]
    coordinators: tuple[str, ...]
    ends_s: float


def join(invitation: Invitation, file: AgentFile, host: str, server_name: str) -> Joined:
    """All of it, or nothing. Raises JoinError."""
    invitation.check()
    owner = Owner.of(file.state)
    identity = Identity.below(file.state)
    try:
        make_folder(file.state, owner)
        with ExitStack() as stack:
            # Whatever cannot be written is known before the token is spent.
            for place in (identity.own, identity.authorities, file.path):
                with staged(place, b"", owner):
                    pass
            request = make_here(host)
            response = _ask(invitation, server_name, host, request.request)
            coordinators = tuple(response.coordinators) or (_beside(invitation, response.agents_port),)
            values: dict[str, Value] = {
                "coordinators": list(file.coordinators_or(coordinators)),
                "host": host,
                "ca": str(identity.authorities),
                "cert": str(identity.own),
                "key": str(identity.own),
            }
            settings = stack.enter_context(file.edited(values))
            identity.put(
                host,
                key=request.key,
                certificate=response.certificate,
                authorities=response.authorities,
                owner=owner,
            )
            settings.commit()
        ends_s = identity.lifetime()[1]
    except (IdentityError, AgentFileError) as error:
        raise JoinError(f"cannot join: {error}") from error
    except OSError as error:
        raise JoinError(f"cannot write {error.filename}: {error.strerror}; run it as root") from error
    files = (identity.own, identity.authorities, file.path)
    return Joined(host=host, files=files, coordinators=coordinators, ends_s=ends_s)


def _ask(invitation: Invitation, server_name: str, host: str, request: bytes) -> JoinResponse:
    served = _served(invitation)
    try:
        # Taken for its own authority, what is served proves nothing yet; it is asked whose it is.
        with _stub(invitation, served, server_name) as stub:
            told = stub.Introduce(IntroduceRequest(), timeout=WITHIN_S).authorities
        trusted = pinned(told, invitation.pin)
        if trusted is None:
            raise JoinError(
                f"cannot trust {invitation.address}: no authority of its has the pin {invitation.pin}; nothing was "
                "sent. Is it the coordinator that made the token? If somebody stands between, tell your operators"
            )
        with _stub(invitation, trusted, server_name) as stub:
            response: JoinResponse = stub.Join(
                JoinRequest(token=invitation.token, host=host, signing_request=request), timeout=WITHIN_S
            )
    except grpc.RpcError as error:
        raise JoinError(_said(invitation, error)) from error
    if pinned(response.authorities, invitation.pin) is None:
        raise JoinError(f"cannot trust what {invitation.address} answers: the authority with the pin is not in it")
    return response


def pinned(authorities: bytes, pin: str) -> bytes | None:
    """The authority whose public key (SubjectPublicKeyInfo, DER) has that pin, PEM; None: there is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found = _PIN.fullmatch(pin)
    if found is None:
        return None
    try:
        certificates = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        return None
    for one in certificates:
        spki = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if hmac.compare_digest(hashlib.sha256(spki).hexdigest(), found[1]):
            return one.public_bytes(Encoding.PEM)
    return None


def _served(invitation: Invitation) -> bytes:
    """The certificate that is served there, PEM, whoever's it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((invitation.host, invitation.port), timeout=WITHIN_S) as plain,
            context.wrap_socket(plain) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except OSError as error:
        raise JoinError(
            f"cannot reach {invitation.address}: {error.strerror or error}; check the address, that listen_join is "
            "set on the coordinator, and what stands between"
        ) from error
    if not der:
        raise JoinError(f"cannot trust {invitation.address}: it serves without a certificate")
    return ssl.DER_cert_to_PEM_cert(der).encode()


@contextmanager
def _stub(invitation: Invitation, trusted: bytes, server_name: str) -> Iterator[JoinServiceStub]:
    options = (
        ("grpc.ssl_target_name_override", server_name),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.enable_retries", 0),
    )
    credentials = grpc.ssl_channel_credentials(trusted)
    with grpc.secure_channel(invitation.address, credentials, options) as channel:
        yield JoinServiceStub(channel)


def _said(invitation: Invitation, error: grpc.RpcError) -> str:
    """The coordinator's own words, and its advice; or that it could not be spoken to."""
    from google.rpc.error_details_pb2 import ErrorInfo
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    if status is None:
        code, details = error.code(), error.details()
        if code == grpc.StatusCode.UNAVAILABLE:
            return f"cannot trust or reach {invitation.address}: {details}; the token was not sent"
        return f"cannot join {invitation.address}: {details or code.name}"
    info = ErrorInfo()
    remedies = [info.metadata["remedy"] for detail in status.details if detail.Unpack(info)]
    return "; ".join([status.message, *filter(None, remedies)])


def _beside(invitation: Invitation, port: int) -> str:
    """The agents' listener of the host that was dialled."""
    return f"[{invitation.host}]:{port}" if ":" in invitation.host else f"{invitation.host}:{port}"
