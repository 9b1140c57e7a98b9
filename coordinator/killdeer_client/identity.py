"""Who the operator is by the context's own certificate, asked of no coordinator.

TLS is spoken in memory with a far side of our own, which looks at key, chain, dates and use as a coordinator does.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from killdeer.handshake import met
from killdeer_client.contexts import Context
from killdeer_client.errors import CERTIFICATE, ClientError

OPERATOR_URI = "spiffe://killdeer/operator/"
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_ANEW = "have one issued: killdeer-coordinator init --operator NAME --role ROLE, on the coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Times are seconds since the epoch."""

    name: str
    roles: tuple[str, ...]
    begins_s: float
    ends_s: float


def identity(context: Context) -> Identity:
    """Raises ClientError with what is wrong and what to do."""
    seen = _seen(context)
    uris = [value for kind, value in seen.get("subjectAltName", ()) if kind == "URI"]
    names = [uri.removeprefix(OPERATOR_URI) for uri in uris if uri.startswith(OPERATOR_URI)]
    if len(names) != 1:
        raise _problem(f"{context.cert}: it names no operator (a URI {OPERATOR_URI}NAME)", _ANEW)
    roles = [value for part in seen.get("subject", ()) for key, value in part if key == "organizationalUnitName"]
    return Identity(
        name=names[0],
        roles=tuple(roles),
        begins_s=ssl.cert_time_to_seconds(seen["notBefore"]),
        ends_s=ssl.cert_time_to_seconds(seen["notAfter"]),
    )


def _seen(context: Context) -> dict[str, Any]:
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.check_hostname, here.verify_mode = False, ssl.CERT_NONE
    there.verify_mode = ssl.CERT_REQUIRED
    try:
        for end in (here, there):
            end.load_cert_chain(context.cert, context.key)
    except (ssl.SSLError, OSError) as error:
        cause = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or str(error)
        message = f"cannot use {context.cert} with {context.key}: {cause.lower().replace('_', ' ')}"
        raise _problem(message, "both must be PEM, readable by you, and belong together") from error
    try:
        there.load_verify_locations(context.ca)
    except (ssl.SSLError, OSError) as error:
        message = f"cannot use {context.ca}: {error.strerror or error}"
        raise _problem(message, "take the fleet's ca.pem from the coordinator") from error
    try:
        return met(here, there)
    except ssl.SSLCertVerificationError as error:
        early = error.verify_code == _NOT_YET_VALID
        remedy = "set this machine's clock right: timedatectl set-ntp true" if early else _ANEW
        raise _problem(f"{context.cert}: {error.verify_message}", remedy) from error
    except ssl.SSLError as error:
        raise _problem(f"{context.cert}: {error.reason or error}", _ANEW) from error


def _problem(message: str, remedy: str) -> ClientError:
    return ClientError("UNAVAILABLE", message, field=CERTIFICATE, remedy=remedy)
