"""Why could a coordinator not be reached? Nobody there, or keys that do not fit.

gRPC has one status for both, and for a client certificate that was turned away it says only `Socket
closed`: with TLS 1.3 the client has finished its handshake before the server looks at the certificate. So
where its text is no help, one handshake of our own asks again, with the standard library's ssl.
"""

import re
import socket
import ssl

from killdeer_client.contexts import Context
from killdeer_client.errors import CERTIFICATE, ClientError

_ASK_S = 2.0

_NOBODY = re.compile(
    r"Connection refused|No route to host|Network is unreachable|[Dd]omain name not found"
    r"|DNS resolution failed|Connection timed out|Endpoint closing"
)
_PLAIN = {"Endpoint closing": "no answer within 3 s", "Domain name not found": "no such name in DNS"}


def unreachable(context: Context, address: str, details: str) -> ClientError:
    """An UNAVAILABLE without rich details -> what it means; asks the address again where it must."""
    if found := _NOBODY.search(details):
        return _nobody(address, _PLAIN.get(found[0], found[0].lower()))
    try:
        keys = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        keys.load_verify_locations(cafile=context.ca)
        keys.load_cert_chain(context.cert, context.key)
    except (ssl.SSLError, OSError) as error:
        return _keys(
            f"cannot use the keys of the context {context.name!r}: {_reason(error)}",
            f"`cert` and `key` must belong together, and `ca` be a CA: {context.cert}, {context.key}, {context.ca}",
        )
    return _handshake(context, keys, address, details)


def _handshake(context: Context, keys: ssl.SSLContext, address: str, details: str) -> ClientError:
    keys.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ASK_S) as plain,
            keys.wrap_socket(plain, server_hostname=context.server_name) as secure,
        ):
            # A server speaks first in HTTP/2; what it thinks of our certificate comes before.
            answered = secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        return _keys(
            f"cannot trust the coordinator at {address}: {error.verify_message}",
            f"compare `ca` ({context.ca}) and `server_name` ({context.server_name}) of the context"
            f" {context.name!r} with the coordinator's certificate",
        )
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return _turned_away(context, address, _reason(error))
        return _keys(
            f"cannot speak TLS with {address}: {_reason(error)}",
            "is it a coordinator's operator listener? check `coordinators` of the context",
        )
    except OSError as error:
        return _nobody(address, error.strerror or str(error) or "no answer")
    if not answered:
        return _turned_away(context, address, "it closed the connection")
    return _nobody(address, details or "the connection broke")


def _turned_away(context: Context, address: str, reason: str) -> ClientError:
    return _keys(
        f"cannot log in to the coordinator at {address}: it does not accept the operator's certificate ({reason})",
        f"use a certificate that the coordinator's CA has signed and that has not expired: {context.cert}",
    )


def _nobody(address: str, cause: str) -> ClientError:
    return ClientError(
        "UNAVAILABLE",
        f"cannot reach the coordinator at {address}: {cause}",
        remedy="is it running? check `coordinators` of the context with: killdeer context",
    )


def _keys(message: str, remedy: str) -> ClientError:
    return ClientError("UNAVAILABLE", message, field=CERTIFICATE, remedy=remedy)


def _reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or str(error)).lower().replace("_", " ")
