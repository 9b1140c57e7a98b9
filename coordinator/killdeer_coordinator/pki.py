"""Who is who: the fleet's CA, the certificates it issues, and the peer that a certificate names.

One CA signs all; what a certificate is good for is in it: the coordinator's can only serve, an agent's or an
operator's can only call, and the two of them differ in their URI name. EC P-256 throughout.
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from killdeer_coordinator.authorities import COORDINATOR_NAME as COORDINATOR_NAME
from killdeer_coordinator.authorities import Pair as Pair
from killdeer_coordinator.authorities import PkiError as PkiError
from killdeer_coordinator.authorities import authority, issuer_of, signing_key

ROLES = ("viewer", "operator", "approver", "admin")

CA_DAYS = 3650
# The longest that common TLS stacks accept of a server.
COORDINATOR_DAYS = 825
AGENT_DAYS = 825
OPERATOR_DAYS = 365
# Of what a host sends that asks for a certificate, no more is looked at.
REQUEST_MOST_BYTES = 16 * 1024
# Clocks of freshly installed hosts lag.
_BACKDATED = dt.timedelta(minutes=10)

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_OPERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
_AGENT_URI = "spiffe://killdeer/agent/"
_OPERATOR_URI = "spiffe://killdeer/operator/"


class PeerError(PkiError):
    """A peer whose certificate names neither an agent nor an operator."""


@dataclass(frozen=True, slots=True)
class AgentPeer:
    host: str
    serial: str = field(default="", compare=False)
    """Of the certificate, hex."""
    authority: str = field(default="", compare=False)
    """Of its issuer's key, as `authority_id` has it; empty: the certificate does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate for somebody else's key. `ends_ms` is Unix ms."""

    certificate: bytes
    serial: str
    ends_ms: int


@dataclass(frozen=True, slots=True)
class OperatorPeer:
    name: str
    roles: frozenset[str]


def check_name(name: str) -> None:
    """Raises PkiError for what cannot be a DNS name or address of a coordinator."""
    _dns_or_ip(name)


def check_host(host: str) -> None:
    """Raises PkiError for what cannot be the name of a host."""
    if not _HOST.fullmatch(host):
        raise PkiError(f"cannot name an agent {host!r}: give a host name of letters, digits, dots and hyphens")


def check_operator(name: str) -> None:
    """Raises PkiError for what cannot be the name of an operator."""
    if not _OPERATOR.fullmatch(name):
        raise PkiError(
            f"cannot name an operator {name!r}: give up to 64 letters, digits and . _ @ + -, "
            "a letter or digit first"
        )


def make_ca(now: dt.datetime | None = None, *, name: str = "Killdeer CA") -> Pair:
    """A CA that signs end certificates only, for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = (
        _builder(subject, subject, key.public_key(), _dates(CA_DAYS, now))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue_coordinator(ca: Pair, names: Iterable[str] = (), now: dt.datetime | None = None) -> Pair:
    """A server's certificate for `killdeer-coordinator` and the DNS names and IP addresses given."""
    san: list[x509.GeneralName] = [x509.DNSName(COORDINATOR_NAME)]
    for name in names:
        general = _dns_or_ip(name)
        if general not in san:
            san.append(general)
    return _issue(ca, _subject(COORDINATOR_NAME), san, ExtendedKeyUsageOID.SERVER_AUTH, COORDINATOR_DAYS, now)


def issue_agent(ca: Pair, host: str, now: dt.datetime | None = None) -> Pair:
    """An agent's certificate: its host is its name."""
    check_host(host)
    uri = x509.UniformResourceIdentifier(_AGENT_URI + host)
    return _issue(ca, _subject(host[:64]), [uri], ExtendedKeyUsageOID.CLIENT_AUTH, AGENT_DAYS, now)


def sign_agent(ca: Pair, host: str, request: bytes, life: dt.timedelta, now: dt.datetime | None = None) -> Issued:
    """A certificate for the key of a signing request (PKCS #10, PEM), which ends after `life`. Nothing else of the
    request counts."""
    check_host(host)
    now = now or dt.datetime.now(dt.UTC)
    # Short lives are not to be behind them at once.
    backdated = min(_BACKDATED, life / 20)
    certificate = _sign(
        ca,
        _key_of(request),
        _subject(host[:64]),
        [x509.UniformResourceIdentifier(_AGENT_URI + host)],
        ExtendedKeyUsageOID.CLIENT_AUTH,
        (now - backdated, now + life),
    )
    return Issued(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        serial=_serial(certificate),
        ends_ms=int(certificate.not_valid_after_utc.timestamp() * 1_000),
    )


def issue_operator(ca: Pair, name: str, roles: Collection[str], now: dt.datetime | None = None) -> Pair:
    """An operator's certificate; the roles are its OU attributes."""
    check_operator(name)
    if problem := _problem_of_roles(roles):
        raise PkiError(f"cannot issue a certificate for {name}: {problem}")
    uri = x509.UniformResourceIdentifier(_OPERATOR_URI + name)
    subject = _subject(name, [role for role in ROLES if role in roles])
    return _issue(ca, subject, [uri], ExtendedKeyUsageOID.CLIENT_AUTH, OPERATOR_DAYS, now)


def peer_of(pem: bytes) -> AgentPeer | OperatorPeer:
    """Whom a client certificate names. The TLS layer has already checked its chain and dates.

    Raises PeerError for all that is not exactly an agent's or an operator's.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        extensions = certificate.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        uses = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as cause:
        raise PeerError(f"cannot read the peer's certificate: {cause}") from cause
    if is_ca or uses != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        raise PeerError("cannot accept the peer's certificate: it is not one for a client")
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise PeerError("cannot accept the peer's certificate: it must carry one URI name and no other")
    uri = names[0].value
    host = uri.removeprefix(_AGENT_URI)
    if host != uri and _HOST.fullmatch(host):
        return AgentPeer(host, _serial(certificate), issuer_of(certificate))
    name = uri.removeprefix(_OPERATOR_URI)
    if name != uri and _OPERATOR.fullmatch(name):
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        roles = frozenset(str(unit.value) for unit in units)
        if problem := _problem_of_roles(roles):
            raise PeerError(f"cannot accept the certificate of operator {name}: {problem}")
        return OperatorPeer(name, roles)
    raise PeerError(f"cannot accept the peer's certificate: {uri!r} names neither an agent nor an operator")


def ends_on(certificate: bytes) -> dt.date:
    """The last day of a PEM certificate, UTC."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.date()


def _problem_of_roles(roles: Collection[str]) -> str:
    if not roles:
        return f"it has no role; the roles are {', '.join(ROLES)}"
    unknown = sorted(set(roles) - set(ROLES))
    return f"{', '.join(unknown)} is no role; the roles are {', '.join(ROLES)}" if unknown else ""


def _dns_or_ip(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST.fullmatch(name):
        raise PkiError(f"cannot name a coordinator {name!r}: give a DNS name or an IP address")
    return x509.DNSName(name)


def _subject(common_name: str, units: Iterable[str] = ()) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Killdeer"),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _dates(days: int, now: dt.datetime | None) -> tuple[dt.datetime, dt.datetime]:
    begins = (now or dt.datetime.now(dt.UTC)) - _BACKDATED
    return begins, begins + dt.timedelta(days=days)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    dates: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
    )


def _issue(
    ca: Pair,
    subject: x509.Name,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    days: int,
    now: dt.datetime | None,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    return _pair(_sign(ca, key.public_key(), subject, names, use, _dates(days, now)), key)


def _sign(
    ca: Pair,
    key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    dates: tuple[dt.datetime, dt.datetime],
) -> x509.Certificate:
    signer_key = signing_key(ca.key)
    signer = x509.load_pem_x509_certificate(authority(ca.certificate, ca.key).certificate)
    signed_by = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, signer.subject, key, dates)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signed_by), critical=False)
    )
    return builder.sign(signer_key, hashes.SHA256())


def _key_of(request: bytes) -> ec.EllipticCurvePublicKey:
    """Raises PkiError for all that is not a request signed with its own P-256 key."""
    if len(request) > REQUEST_MOST_BYTES:
        raise PkiError(f"cannot read the signing request: it has more than {REQUEST_MOST_BYTES} bytes")
    try:
        read = x509.load_pem_x509_csr(request)
        key, signed = read.public_key(), read.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise PkiError(f"cannot read the signing request: {cause}") from cause
    if not signed:
        raise PkiError("cannot take the signing request: its signature is not its key's own")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PkiError("cannot take the signing request: its key is not one of P-256")
    return key


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=_private(key),
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
