"""What an agent makes of its own files and of what comes over its stream, when it joins and has joined."""

import datetime as dt
import tomllib
from pathlib import Path

import pytest

from killdeer.v1.agent_pb2 import CertificateIssued, ConnectRequest
from killdeer_agent.agentfile import AgentFile, AgentFileError, with_values
from killdeer_agent.config import Config
from killdeer_agent.identity import Identity, IdentityError, Owner, make_folder
from killdeer_agent.joining import Invitation, JoinError, pinned
from killdeer_agent.renewing import Renewal, due_s
from killdeer_agent.signing_request import SigningRequest, make_here
from killdeer_coordinator import authorities, pki
from killdeer_coordinator.pki import Pair

DAY_S = 86_400
PIN = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def ca() -> Pair:
    return pki.make_ca()


def issued(ca: Pair, made: SigningRequest, name: str = "web-1") -> bytes:
    return pki.sign_agent(ca, name, made.request, dt.timedelta(days=7)).certificate


def joined(ca: Pair, state: Path, name: str = "web-1") -> Identity:
    owner = Owner.of(state)
    make_folder(state, owner)
    identity, made = Identity.below(state), make_here(name)
    identity.put(name, key=made.key, certificate=issued(ca, made, name), authorities=ca.certificate, owner=owner)
    return identity


def content(identity: Identity) -> tuple[bytes, bytes]:
    return identity.own.read_bytes(), identity.authorities.read_bytes()


# --- files --------------------------------------------------------------------------------------------------


def test_key_and_certificate_are_one_file_for_the_agent_alone(ca: Pair, tmp_path: Path) -> None:
    identity = joined(ca, tmp_path / "state")
    for file in (identity.own, identity.authorities):
        assert file.stat().st_mode & 0o777 == 0o600
    assert identity.own.parent.stat().st_mode & 0o777 == 0o700
    begins, ends = identity.lifetime()
    assert 7 * DAY_S < ends - begins < 7 * DAY_S + 3_600


@pytest.mark.parametrize("wrong", ["host", "key", "authority", "certificate"])
def test_what_does_not_belong_together_changes_nothing(ca: Pair, tmp_path: Path, wrong: str) -> None:
    identity = joined(ca, tmp_path)
    before, made = content(identity), make_here("web-1")
    certificate = issued(ca, made, "web-2" if wrong == "host" else "web-1")
    with pytest.raises(IdentityError):
        identity.put(
            "web-1",
            key=make_here("web-1").key if wrong == "key" else made.key,
            certificate=b"" if wrong == "certificate" else certificate,
            authorities=pki.make_ca().certificate if wrong == "authority" else ca.certificate,
            owner=Owner.of(tmp_path),
        )
    assert content(identity) == before
    assert not list(tmp_path.rglob("*.new"))


def test_authorities_are_taken_only_if_the_own_certificate_is_of_one_of_them(ca: Pair, tmp_path: Path) -> None:
    identity, other = joined(ca, tmp_path), pki.make_ca()
    with pytest.raises(IdentityError, match="cannot trust"):
        identity.trust(other.certificate, Owner.of(tmp_path))
    identity.trust(ca.certificate + other.certificate, Owner.of(tmp_path))
    assert identity.authorities.read_bytes() == ca.certificate + other.certificate


# --- agent.toml ---------------------------------------------------------------------------------------------

EXAMPLE = """\
# Comments stay.
coordinators = ["coordinator.example.com:7442"]

# host = "web-1.example.com"

[labels]
host = "of a table, not ours"
"""


def test_a_program_changes_its_keys_and_nothing_else() -> None:
    text = with_values(EXAMPLE, {"coordinators": ["c:1"], "host": "web-1", "cert": "/x.pem"})
    assert tomllib.loads(text) == {
        "coordinators": ["c:1"],
        "host": "web-1",
        "cert": "/x.pem",
        "labels": {"host": "of a table, not ours"},
    }
    assert text.startswith(
        '# Comments stay.\ncoordinators = ["c:1"]\n\n# host = "web-1.example.com"\nhost = "web-1"\n'
    )
    assert with_values(text, {"host": "web-1"}) == text


def test_a_file_that_is_written_in_another_way_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('coordinators = [\n  "a:1",\n  "b:2",\n]\n')
    file = AgentFile.read(path)
    with pytest.raises(AgentFileError, match="written in another way"), file.edited({"coordinators": ["c:3"]}):
        pass
    assert path.read_text() == file.text
    assert list(tmp_path.iterdir()) == [path]


def test_coordinators_that_somebody_has_added_stay(tmp_path: Path) -> None:
    file = AgentFile(tmp_path / "agent.toml", "", {"coordinators": ["a:1", "b:2"]})
    assert file.coordinators_or(["b:2"]) == ["a:1", "b:2"]
    assert file.coordinators_or(["c:3"]) == ["c:3"]


def test_a_host_without_a_file_gets_one_that_an_agent_can_run_with(tmp_path: Path) -> None:
    from killdeer_agent.config import load_config

    file = AgentFile.read(tmp_path / "agent.toml")
    with file.edited({"coordinators": ["c:1"], "host": "web-1"}) as staged:
        assert not file.path.exists()
        staged.commit()
    assert file.path.stat().st_mode & 0o777 == 0o644
    config = load_config(file.path)
    assert (config.coordinators, config.host) == (("c:1",), "web-1")


# --- pins ---------------------------------------------------------------------------------------------------


def test_the_pin_names_the_one_authority_that_has_issued_the_coordinators_certificate(ca: Pair) -> None:
    served, other = pki.issue_coordinator(ca, ["127.0.0.1"]), pki.make_ca()
    bundle = other.certificate + ca.certificate
    pin = authorities.pin_of(served.certificate, bundle)
    assert pinned(bundle, pin) == ca.certificate
    assert pinned(other.certificate, pin) is None
    assert pinned(b"no certificate", pin) is None
    assert pinned(bundle, "sha256:") is None
    with pytest.raises(pki.PkiError, match="issued by none"):
        authorities.pin_of(served.certificate, other.certificate)


@pytest.mark.parametrize(
    ("address", "token", "pin"),
    [
        ("host", "t", PIN),
        ("host:0", "t", PIN),
        ("::1:7445", "t", PIN),
        ("host:7445", "", PIN),
        ("host:7445", "t", "x"),
    ],
)
def test_an_invitation_that_was_copied_wrongly_is_refused_before_anything_is_sent(
    address: str, token: str, pin: str
) -> None:
    with pytest.raises(JoinError, match="token create"):
        Invitation(address=address, token=token, pin=pin).check()


def test_an_address_of_ipv6_has_a_host_and_a_port() -> None:
    one = Invitation(address="[2001:db8::1]:7445", token="t", pin=PIN)
    one.check()
    assert (one.host, one.port) == ("2001:db8::1", 7445)


# --- renewal ------------------------------------------------------------------------------------------------


def test_a_certificate_is_due_when_a_third_of_its_life_is_left() -> None:
    assert due_s(0, 9 * DAY_S) == 6 * DAY_S


class Stream:
    """What a renewal has asked with; its clock is the test's."""

    def __init__(self, identity: Identity, state: Path, host: str = "web-1") -> None:
        self.asked: list[ConnectRequest] = []
        self.now_s = identity.lifetime()[0]
        config = Config(
            coordinators=("c:1",),
            host=host,
            ca=identity.authorities,
            cert=identity.own,
            key=identity.own,
            state=state,
        )
        self.renewal = Renewal(config, self.asked.append, lambda: self.now_s)

    async def tick(self) -> None:
        self.renewal.tick()
        if self.renewal._making is not None:
            await self.renewal._making


@pytest.fixture
def identity(ca: Pair, tmp_path: Path) -> Identity:
    return joined(ca, tmp_path)


def test_it_is_asked_for_in_time_and_the_answer_is_written(ca: Pair, identity: Identity, tmp_path: Path) -> None:
    import asyncio

    async def played() -> None:
        stream = Stream(identity, tmp_path)
        await stream.tick()
        assert not stream.asked, "it is young"
        stream.now_s = due_s(*identity.lifetime())
        await stream.tick()
        await stream.tick()
        (frame,) = stream.asked
        before = content(identity)
        request = frame.certificate_request.signing_request
        certificate = pki.sign_agent(ca, "web-1", request, dt.timedelta(days=14)).certificate
        stream.renewal.heard(CertificateIssued(certificate=certificate, authorities=ca.certificate))
        assert content(identity) != before
        assert identity.own.read_bytes().endswith(certificate)
        await stream.tick()
        assert len(stream.asked) == 1, "the new one is young"

    asyncio.run(played())


def test_an_answer_that_nobody_asked_for_or_for_another_host_is_not_taken(
    ca: Pair, identity: Identity, tmp_path: Path
) -> None:
    import asyncio

    async def played() -> None:
        stream, before = Stream(identity, tmp_path), content(identity)
        strange = issued(ca, make_here("web-1"))
        stream.renewal.heard(CertificateIssued(certificate=strange, authorities=ca.certificate))
        stream.now_s = due_s(*identity.lifetime())
        await stream.tick()
        request = stream.asked[0].certificate_request.signing_request
        wrong = pki.sign_agent(ca, "web-2", request, dt.timedelta(days=7)).certificate
        stream.renewal.heard(CertificateIssued(certificate=wrong, authorities=ca.certificate))
        stream.renewal.heard(CertificateIssued(problem="no"))
        assert content(identity) == before

    asyncio.run(played())


def test_without_an_answer_it_is_asked_again_and_not_at_once(identity: Identity, tmp_path: Path) -> None:
    import asyncio

    async def played() -> None:
        stream = Stream(identity, tmp_path)
        begins, ends = identity.lifetime()
        stream.now_s = due_s(begins, ends)
        for _ in range(3):
            await stream.tick()
        assert len(stream.asked) == 1
        stream.now_s += (ends - begins) / 50
        await stream.tick()
        assert len(stream.asked) == 2

    asyncio.run(played())


def test_news_of_another_authority_is_taken_and_answered_with_a_request(
    ca: Pair, identity: Identity, tmp_path: Path
) -> None:
    import asyncio

    async def played() -> None:
        stream, both = Stream(identity, tmp_path), ca.certificate + pki.make_ca().certificate
        stream.renewal.heard(CertificateIssued(authorities=both))
        assert identity.authorities.read_bytes() == both
        await stream.tick()
        assert len(stream.asked) == 1

    asyncio.run(played())


def test_a_host_with_the_files_of_init_asks_for_nothing(ca: Pair, tmp_path: Path) -> None:
    import asyncio

    pair = pki.issue_agent(ca, "web-1")
    for name, text in (("ca", ca.certificate), ("cert", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_bytes(text)

    async def played() -> None:
        asked: list[ConnectRequest] = []
        config = Config(
            coordinators=("c:1",),
            host="web-1",
            ca=tmp_path / "ca",
            cert=tmp_path / "cert",
            key=tmp_path / "key",
            state=tmp_path,
        )
        renewal = Renewal(config, asked.append, lambda: 4e9)
        renewal.tick()
        assert renewal._making is None
        renewal.heard(CertificateIssued(authorities=b"whatever"))
        assert (tmp_path / "ca").read_bytes() == ca.certificate

    asyncio.run(played())
