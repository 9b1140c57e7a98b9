"""gRPC settings of both listeners. Each number has its reason; two of them are silent traps without it."""

import datetime as dt
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc

from killdeer_coordinator.pki import ends_on

FRAME_MOST_BYTES = 4 * 1024 * 1024
# The plan of a large fleet names each candidate; operators' clients take as much.
ANSWER_MOST_BYTES = 256 * 1024 * 1024
PING_EVERY_MS, PING_ANSWER_MS = 10_000, 5_000
# A peer may ping twice as often as our own do.
PINGS_AT_MOST_EVERY_MS = PING_EVERY_MS // 2


def listener_options(
    *,
    answer_most_bytes: int = FRAME_MOST_BYTES,
    tls_frame_bytes: int = 1_024,
    ping_every_ms: int = PING_EVERY_MS,
    ping_answer_ms: int = PING_ANSWER_MS,
) -> tuple[tuple[str, int], ...]:
    return (
        # A storm of new streams overflows the default queue of calls not yet accepted, and they are reset silently.
        ("grpc.server.max_pending_requests", 50_000),
        ("grpc.server.max_pending_requests_hard_limit", 50_000),
        # keepalive_timeout_ms alone has no effect below ping_timeout_ms, whose default is a minute.
        ("grpc.keepalive_time_ms", ping_every_ms),
        ("grpc.keepalive_timeout_ms", ping_answer_ms),
        ("grpc.http2.ping_timeout_ms", ping_answer_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", min(PINGS_AT_MOST_EVERY_MS, ping_every_ms)),
        # Each connection has a buffer of this size from its first byte on; what agents are told is far shorter.
        ("grpc.tsi.max_frame_size", tls_frame_bytes),
        ("grpc.max_receive_message_length", FRAME_MOST_BYTES),
        ("grpc.max_send_message_length", answer_most_bytes),
        # Two coordinators must never share a port without knowing of each other.
        ("grpc.so_reuseport", 0),
    )


# Of whoever has no certificate yet.
JOIN_MOST_BYTES = 64 * 1024
JOIN_CALLS_MOST = 32
_JOIN = {
    "grpc.max_receive_message_length": JOIN_MOST_BYTES,
    "grpc.max_send_message_length": JOIN_MOST_BYTES,
    "grpc.server.max_pending_requests": JOIN_CALLS_MOST,
    "grpc.server.max_pending_requests_hard_limit": JOIN_CALLS_MOST,
}

AGENTS_OPTIONS = listener_options()
OPERATORS_OPTIONS = listener_options(answer_most_bytes=ANSWER_MOST_BYTES, tls_frame_bytes=16 * 1024)
JOIN_OPTIONS = (
    *((name, _JOIN.get(name, value)) for name, value in listener_options()),
    ("grpc.max_concurrent_streams", 4),
    # Nobody has business here for longer; whoever comes again dials again.
    ("grpc.max_connection_idle_ms", 5_000),
    ("grpc.max_connection_age_ms", 30_000),
    ("grpc.max_connection_age_grace_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", 5_000),
)


def server_credentials(ca: Path, cert: Path, key: Path) -> grpc.ServerCredentials:
    """Mutual TLS: a peer without a certificate of this CA is not let in. Raises OSError for files that are no
    keys: gRPC itself would listen with them and turn everybody away."""
    trusted, chain, private = _read(ca, cert, key)
    return grpc.ssl_server_credentials([(private, chain)], root_certificates=trusted, require_client_auth=True)


def join_credentials(ca: Path, cert: Path, key: Path) -> grpc.ServerCredentials:
    """The same, for those who have no certificate yet."""
    _, chain, private = _read(ca, cert, key)
    return grpc.ssl_server_credentials([(private, chain)])


def _read(ca: Path, cert: Path, key: Path) -> tuple[bytes, bytes, bytes]:
    trusted, chain, private = (file.read_bytes() for file in (ca, cert, key))
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
    except ssl.SSLError as cause:
        why = (cause.reason or str(cause)).lower().replace("_", " ")
        raise OSError(
            f"cannot serve with {cert}, {key} and {ca}: {why}; they must be PEM, the key the certificate's own"
        ) from cause
    return trusted, chain, private


def expired(cert: Path, today: dt.date) -> str:
    """Why nobody trusts who serves with this certificate, and what to do; empty where it has not ended before
    today, or its dates cannot be read."""
    try:
        ended = ends_on(cert.read_bytes())
    except ValueError:
        return ""
    if ended >= today:
        return ""
    return f"{cert} ended on {ended}: move it and its key away, run killdeer-coordinator init again, and restart"


def certificate(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The peer's certificate, PEM; empty when there is none, which no reader of it accepts."""
    return next(iter(auth_context.get("x509_pem_cert", ())), b"")
