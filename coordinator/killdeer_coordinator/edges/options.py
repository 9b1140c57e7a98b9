"""gRPC settings of both listeners. Each number has its reason; two of them are silent traps without it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc

FRAME_MOST_BYTES = 4 * 1024 * 1024

LISTENER_OPTIONS: tuple[tuple[str, int], ...] = (
    # A storm of new streams overflows the default queue of calls not yet accepted, and they are reset silently.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 50_000),
    # keepalive_timeout_ms alone has no effect below ping_timeout_ms, whose default is a minute.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", FRAME_MOST_BYTES),
    ("grpc.max_send_message_length", FRAME_MOST_BYTES),
    # Two coordinators must never share a port without knowing of each other.
    ("grpc.so_reuseport", 0),
)


def server_credentials(ca: Path, cert: Path, key: Path) -> grpc.ServerCredentials:
    """Mutual TLS: a peer without a certificate of this CA is not let in."""
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), cert.read_bytes())], root_certificates=ca.read_bytes(), require_client_auth=True
    )


def certificate(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The peer's certificate, PEM; empty when there is none, which no reader of it accepts."""
    return next(iter(auth_context.get("x509_pem_cert", ())), b"")
