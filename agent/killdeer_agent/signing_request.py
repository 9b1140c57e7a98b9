"""A key of this host's own, and the request to have it certified. As a program, in a process of its own: what makes
keys is 10 MiB, and an agent needs it for a moment in days."""

import subprocess
import sys
from dataclasses import dataclass

# The label of neither is in the other.
_BETWEEN = b"-----BEGIN CERTIFICATE REQUEST-----"
_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """Both PEM. `key` stays on this host."""

    key: bytes
    request: bytes


class NoKey(Exception):
    """No key can be made; the message says why."""


def make(host: str) -> SigningRequest:
    """In a process beside this one. Raises NoKey."""
    command = [sys.executable, "-I", "-m", "killdeer_agent.signing_request", host]
    try:
        made = subprocess.run(command, capture_output=True, check=True, timeout=_WITHIN_S, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoKey(f"cannot make a key: {said[-1] if said else f'exit {error.returncode}'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKey(f"cannot make a key: {error}") from error
    key, between, rest = made.stdout.partition(_BETWEEN)
    return SigningRequest(key=key, request=between + rest)


def make_here(host: str) -> SigningRequest:
    """P-256, and a request (PKCS #10) that names the host; what counts of it is the key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return SigningRequest(
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        request=request.public_bytes(serialization.Encoding.PEM),
    )


if __name__ == "__main__":
    _made = make_here(sys.argv[1])
    sys.stdout.buffer.write(_made.key + _made.request)
