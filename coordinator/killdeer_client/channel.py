"""TLS channels to coordinators. There is no insecure mode."""

import grpc

from killdeer_client.contexts import Context, ContextError

CONNECT_MS = 3_000
"""Nobody there is known by then, handshake included."""
PING_EVERY_MS = 10_000
PING_ANSWER_MS = 5_000


def open_channel(context: Context, address: str) -> grpc.Channel:
    """Opens nothing yet: the first call connects. Raises ContextError for keys that cannot be read."""
    parts = {}
    for what in ("ca", "cert", "key"):
        path = getattr(context, what)
        try:
            parts[what] = path.read_bytes()
        except OSError as error:
            raise ContextError(
                f"cannot read `{what}` of the context {context.name!r}: {path}: {error.strerror}"
            ) from error
        if b"-----BEGIN " not in parts[what]:
            raise ContextError(f"cannot use `{what}` of the context {context.name!r}: {path} is no PEM file")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=parts["ca"], private_key=parts["key"], certificate_chain=parts["cert"]
    )
    return grpc.secure_channel(address, credentials, options=_options(context.server_name))


def _options(server_name: str) -> tuple[tuple[str, int | str], ...]:
    return (
        ("grpc.keepalive_time_ms", PING_EVERY_MS),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
        # Without this one the answer is waited for a minute, whatever keepalive_timeout_ms says (gRPC core
        # takes the longer of the two).
        ("grpc.http2.ping_timeout_ms", PING_ANSWER_MS),
        ("grpc.http2.max_pings_without_data", 0),
        # A connection attempt lasts as long as the least time between two; the default is 20 s.
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", CONNECT_MS),
        # A coordinator is dialled directly: a halt must not depend on a proxy somebody exported.
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        # The plan of a large fleet names each candidate.
        ("grpc.max_receive_message_length", 256 * 1024 * 1024),
        ("grpc.ssl_target_name_override", server_name),
    )
