"""Certificates: each is good for one thing, and a peer is only what its certificate says."""

import datetime as dt
import ipaddress
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from killdeer_coordinator import pki
from killdeer_coordinator.pki import AgentPeer, OperatorPeer, Pair, PeerError, PkiError

CA = pki.make_ca()
OTHER_CA = pki.make_ca()
COORDINATOR = pki.issue_coordinator(CA, ["fleet.example.com", "192.0.2.7", "::1", "killdeer-coordinator"])
AGENT = pki.issue_agent(CA, "db-1.example.com")
OPERATOR = pki.issue_operator(CA, "alice@example.com", ["viewer", "approver"])


def context(purpose: ssl.Purpose, own: Pair, trusted: Pair, folder: Path) -> ssl.SSLContext:
    """Both sides of this house: each shows a certificate and asks for one."""
    made = ssl.create_default_context(purpose, cadata=trusted.certificate.decode())
    made.verify_mode = ssl.CERT_REQUIRED
    (folder / "own.pem").write_bytes(own.certificate + own.key)
    made.load_cert_chain(folder / "own.pem")
    return made


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str = pki.COORDINATOR_NAME) -> ssl.SSLObject:
    """The server's end of a finished handshake; raises ssl.SSLError when either side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done = [False, False]
    for _ in range(10):
        for index, end in enumerate(ends):
            try:
                end.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done)
    ends[0].write(b"x")
    assert ends[1].read(1) == b"x"
    return ends[1]


@pytest.mark.parametrize("name", ["killdeer-coordinator", "fleet.example.com", "192.0.2.7", "::1"])
def test_agent_and_coordinator_know_each_other_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    client = context(ssl.Purpose.SERVER_AUTH, AGENT, CA, tmp_path)
    server = context(ssl.Purpose.CLIENT_AUTH, COORDINATOR, CA, tmp_path)
    shown = shake_hands(client, server, name).getpeercert(binary_form=True)
    assert shown is not None
    assert pki.peer_of(ssl.DER_cert_to_PEM_cert(shown).encode()) == AgentPeer("db-1.example.com")


@pytest.mark.parametrize(
    ("own", "trusts", "name"),
    [
        (pki.issue_agent(OTHER_CA, "db-1.example.com"), CA, pki.COORDINATOR_NAME),  # the server refuses
        (AGENT, OTHER_CA, pki.COORDINATOR_NAME),  # the client refuses
        (AGENT, CA, "evil.example.com"),  # the server is not who was asked for
        (COORDINATOR, CA, pki.COORDINATOR_NAME),  # a server's certificate calls nobody
        (pki.issue_agent(CA, "old", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), CA, pki.COORDINATOR_NAME),
        (pki.issue_agent(CA, "new", dt.datetime.now(dt.UTC) + dt.timedelta(days=1)), CA, pki.COORDINATOR_NAME),
    ],
    ids=["wrong CA at the server", "wrong CA at the client", "wrong name", "wrong use", "expired", "not yet"],
)
def test_a_wrong_certificate_is_refused(tmp_path: Path, own: Pair, trusts: Pair, name: str) -> None:
    client = context(ssl.Purpose.SERVER_AUTH, own, trusts, tmp_path)
    server = context(ssl.Purpose.CLIENT_AUTH, COORDINATOR, CA, tmp_path)
    with pytest.raises(ssl.SSLError):
        shake_hands(client, server, name)


def test_no_agent_and_no_operator_can_serve(tmp_path: Path) -> None:
    for own in (AGENT, OPERATOR):
        server = context(ssl.Purpose.CLIENT_AUTH, own, CA, tmp_path)
        client = context(ssl.Purpose.SERVER_AUTH, AGENT, CA, tmp_path)
        client.check_hostname = False
        with pytest.raises(ssl.SSLError):
            shake_hands(client, server)


def test_openssl_finds_nothing_wrong_and_refuses_another_ca(tmp_path: Path) -> None:
    for name, content in (("ca", CA), ("other", OTHER_CA), ("server", COORDINATOR), ("client", AGENT)):
        (tmp_path / name).write_bytes(content.certificate)
    verify = ("openssl", "verify", "-x509_strict", "-CAfile")

    def verified(ca: str, purpose: str, name: str) -> bool:
        command = [*verify, str(tmp_path / ca), "-purpose", purpose, str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verified("ca", "sslserver", "server")
    assert verified("ca", "sslclient", "client")
    assert not verified("ca", "sslclient", "server")
    assert not verified("ca", "sslserver", "client")
    assert not verified("other", "sslclient", "client")


def test_the_ca_signs_no_other_ca_and_the_rest_sign_nothing() -> None:
    for pair, is_ca in ((CA, True), (COORDINATOR, False), (AGENT, False), (OPERATOR, False)):
        extensions = x509.load_pem_x509_certificate(pair.certificate).extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value.ca is is_ca
        assert constraints.value.path_length == (0 if is_ca else None)
        assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is is_ca


def test_peers_are_read_from_their_certificates() -> None:
    assert pki.peer_of(AGENT.certificate) == AgentPeer("db-1.example.com")
    assert pki.peer_of(OPERATOR.certificate) == OperatorPeer("alice@example.com", frozenset({"viewer", "approver"}))


def signed(
    *names: x509.GeneralName,
    roles: tuple[str, ...] = (),
    use: x509.ObjectIdentifier | None = None,
    ca: bool = False,
) -> bytes:
    """A certificate that this house does not issue, by its own CA."""
    key = serialization.load_pem_private_key(CA.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role) for role in roles])
    begins = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use or ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


AGENT_A = uri("spiffe://killdeer/agent/a")
OPERATOR_A = uri("spiffe://killdeer/operator/a")


def test_what_is_signed_by_hand_in_the_same_way_is_accepted() -> None:
    assert pki.peer_of(signed(AGENT_A)) == AgentPeer("a")
    assert pki.peer_of(signed(OPERATOR_A, roles=("admin",))) == OperatorPeer("a", frozenset({"admin"}))


@pytest.mark.parametrize(
    ("pem", "cause"),
    [
        (b"", "cannot read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot read"),
        (CA.certificate, "cannot read"),
        (COORDINATOR.certificate, "not one for a client"),
        (signed(), "cannot read"),
        (signed(AGENT_A, ca=True), "not one for a client"),
        (signed(AGENT_A, use=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), "not one for a client"),
        (signed(AGENT_A, OPERATOR_A), "one URI name and no other"),
        (signed(x509.DNSName("a")), "one URI name and no other"),
        (signed(x509.IPAddress(ipaddress.ip_address("::1"))), "one URI name and no other"),
        (signed(uri("spiffe://killdeer/agent/")), "neither"),
        (signed(uri("spiffe://killdeer/agent/a/b")), "neither"),
        (signed(uri("spiffe://killdeer/agent/..")), "neither"),
        (signed(uri("spiffe://elsewhere/agent/a")), "neither"),
        (signed(uri("SPIFFE://killdeer/agent/a")), "neither"),
        (signed(uri("spiffe://killdeer/operator/a%2Fb"), roles=("admin",)), "neither"),
        (signed(OPERATOR_A), "no role"),
        (signed(OPERATOR_A, roles=("admin", "root")), "root is no role"),
    ],
)
def test_anything_else_is_no_peer(pem: bytes, cause: str) -> None:
    with pytest.raises(PeerError, match=cause):
        pki.peer_of(pem)


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a\n", "a b", ".", "..", "ä", "x" * 254])
def test_names_that_could_be_mistaken_are_not_issued(name: str) -> None:
    with pytest.raises(PkiError, match="cannot name an agent"):
        pki.issue_agent(CA, name)
    with pytest.raises(PkiError, match="cannot name an operator"):
        pki.issue_operator(CA, name, pki.ROLES)
    with pytest.raises(PkiError, match="cannot name a coordinator"):
        pki.issue_coordinator(CA, [name])


def test_a_long_host_name_is_issued_whole() -> None:
    host = ".".join(["a" * 60] * 4)
    assert pki.peer_of(pki.issue_agent(CA, host).certificate) == AgentPeer(host)


def test_no_operator_is_without_a_role_or_with_one_unheard_of() -> None:
    for roles in ((), ("viewer", "king")):
        with pytest.raises(PkiError, match="the roles are viewer, operator, approver, admin"):
            pki.issue_operator(CA, "alice", roles)


def test_a_ca_whose_key_is_anothers_signs_nothing() -> None:
    with pytest.raises(PkiError, match="does not belong"):
        pki.issue_agent(Pair(certificate=CA.certificate, key=OTHER_CA.key), "a")
    with pytest.raises(PkiError, match="cannot read the CA"):
        pki.issue_agent(Pair(certificate=b"", key=b""), "a")
