"""CAs, one or several: which of them signs, how it is named and pinned, and what it has issued."""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Every coordinator's certificate carries this name: clients ask for it, whatever address they dial.
COORDINATOR_NAME = "killdeer-coordinator"


class PkiError(ValueError):
    """A name, key or certificate that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def authority(bundle: bytes, key: bytes) -> Pair:
    """Of the CAs in a bundle, the one that this key belongs to. Raises PkiError."""
    signer = signing_key(key)
    for one in _certificates(bundle):
        if one.public_key() == signer.public_key():
            return Pair(certificate=one.public_bytes(serialization.Encoding.PEM), key=key)
    raise PkiError("cannot sign: the CA's key does not belong to its certificate")


def authorities(bundle: bytes) -> list[bytes]:
    """Each CA of a bundle, PEM."""
    return [one.public_bytes(serialization.Encoding.PEM) for one in _certificates(bundle)]


def authority_id(certificate: bytes) -> str:
    """How a CA is named in its certificates, and in the records: its key's identifier, hex."""
    return _subject_key(x509.load_pem_x509_certificate(certificate))


def issuer_id(certificate: bytes) -> str:
    """The `authority_id` of the CA that has issued it; empty where it does not say."""
    return issuer_of(x509.load_pem_x509_certificate(certificate))


def pin_of(certificate: bytes, bundle: bytes) -> str:
    """`sha256:HEX` of the public key (SubjectPublicKeyInfo, DER) of the CA in the bundle that has issued it.

    Raises PkiError where none has.
    """
    issued = x509.load_pem_x509_certificate(certificate)
    for one in _certificates(bundle):
        try:
            issued.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature):
            continue
        spki = one.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"sha256:{hashlib.sha256(spki).hexdigest()}"
    raise PkiError("cannot name its CA: the certificate was issued by none of the bundle")


def names_of(certificate: bytes) -> list[str]:
    """The DNS names and addresses of a coordinator's certificate, in its order, without the one they all have."""
    extensions = x509.load_pem_x509_certificate(certificate).extensions
    san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = [str(name.value) for name in san if isinstance(name, x509.DNSName | x509.IPAddress)]
    return [name for name in names if name != COORDINATOR_NAME]


def signing_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        read = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as cause:
        raise PkiError(f"cannot read the CA: {cause}") from cause
    if not isinstance(read, ec.EllipticCurvePrivateKey):
        raise PkiError("cannot sign: the CA's key is not one of an elliptic curve")
    return read


def _certificates(bundle: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(bundle)
    except ValueError as cause:
        raise PkiError(f"cannot read the CA: {cause}") from cause


def issuer_of(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (found or b"").hex()


def _subject_key(certificate: x509.Certificate) -> str:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
