"""Hosts join with a token that is good once, have their next certificate in time, and can be removed: real daemons,
real TLS."""

import datetime as dt
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.join_pb2 import IntroduceRequest, JoinRequest
from killdeer.v1.join_pb2_grpc import JoinServiceStub
from killdeer_agent.signing_request import make_here
from killdeer_coordinator import authorities, pki
from killdeer_coordinator.pki import Pair
from tests.support.coordinator import Coordinator, WireAgent, channel, environment, make_keys
from tests.support.fleet import PATIENCE_S, wait_until
from tests.support.operator import free_address

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with joinable(tmp_path_factory.mktemp("join")) as coordinator:
        yield coordinator


@contextmanager
def joinable(folder: Path, *hosts: str, life: str = "7d") -> Iterator[Coordinator]:
    coordinator = Coordinator(folder, *hosts, extra=f'listen_join = "{free_address()}"\ncertificates = "{life}"')
    text = coordinator.config.read_text()
    coordinator.config.write_text(text.replace("[halt]", f'ca_key = "{coordinator.keys}/ca.key"\n[halt]'))
    coordinator.start()
    try:
        yield coordinator
    finally:
        coordinator.stop()


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = f"import sys; from {name}.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def token(made: Coordinator, *options: str) -> list[str]:
    """The arguments that it prints for `killdeer-agent`."""
    said = tool("killdeer_coordinator", "token", "create", "--config", str(made.config), *options)
    assert said.returncode == 0, said.stderr
    line = next(line for line in said.stdout.splitlines() if "killdeer-agent join" in line)
    return shlex.split(line)[1:]


class Host:
    """A folder that stands for a host's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.config = folder / "agent.toml"
        self.state = folder / "state"
        self.guard = folder / "guard.d"
        self.guard.mkdir(mode=0o755)
        self.config.write_text(
            "# What people wrote stays.\n"
            'coordinators = ["coordinator.example.com:7442"]\n# host = "web-1.example.com"\n'
            f'state = "{self.state}"\nruntime = "{folder}/run"\nguard = "{self.guard}"\n'
            '[labels]\nenvironment = "development"\n'
        )

    def join(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        return tool("killdeer_agent", "--config", str(self.config), *arguments)

    @property
    def own(self) -> Path:
        return self.state / "tls" / "agent.pem"

    @property
    def pair(self) -> Pair:
        return Pair(certificate=self.own.read_bytes(), key=self.own.read_bytes())

    @property
    def serial(self) -> str:
        return f"{x509.load_pem_x509_certificate(self.own.read_bytes()).serial_number:x}"

    @contextmanager
    def running(self) -> Iterator["Path"]:
        """Its agent; the log."""
        log = self.folder / "agent.log"
        program = "import sys; from killdeer_agent.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--config", str(self.config), "run"]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()


def killdeer(made: Coordinator, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-c", "from killdeer_cli.main import main; main()", *arguments]
    done = subprocess.run(
        command, env=environment(made.context()), capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def hosts(made: Coordinator) -> dict[str, Any]:
    return {host["host"]: host for host in json.loads(killdeer(made, "hosts", "--json")).get("hosts", [])}


def lines(log: Path, event: str) -> list[dict[str, Any]]:
    read = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [line for line in read if line.get("event") == event]


def audited(made: Coordinator, what: str) -> list[dict[str, Any]]:
    """Oldest first."""
    entries = json.loads(killdeer(made, "audit", "--json"))["entries"]
    return sorted((entry for entry in entries if entry["what"] == what), key=lambda entry: int(entry["number"]))


def test_the_printed_command_joins_a_host_whose_agent_then_is_served(made: Coordinator, tmp_path: Path) -> None:
    host = Host(tmp_path / "h")
    said = host.join(token(made, "--host", "web-1"))
    assert said.returncode == 0, said.stderr
    assert "web-1 has joined" in said.stdout
    text = host.config.read_text()
    assert text.startswith("# What people wrote stays.\n")
    assert f'coordinators = ["{made.agents}"]' in text
    assert 'host = "web-1"' in text
    assert host.own.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.rglob("*.new"))
    with host.running():
        wait_until(lambda: hosts(made).get("web-1", {}).get("connected"), "the host is served")
    issued = x509.load_pem_x509_certificate(host.own.read_bytes())
    assert issued.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(days=7, minutes=1)
    assert [entry["subject"] for entry in audited(made, "certificate.issued")] == ["web-1"]


def test_the_store_holds_no_token(made: Coordinator, tmp_path: Path) -> None:
    secret = token(made)[3]
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    for file in made.state.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_a_token_is_good_once(made: Coordinator, tmp_path: Path) -> None:
    arguments = token(made)
    assert Host(tmp_path / "one").join([*arguments, "--host", "once-1"]).returncode == 0
    other = Host(tmp_path / "two")
    before = other.config.read_text()
    said = other.join([*arguments, "--host", "once-2"])
    assert said.returncode == 2
    assert "has been used, for once-1" in said.stderr
    assert "token create" in said.stderr
    assert not other.own.exists()
    assert other.config.read_text() == before


def test_of_two_who_come_at_once_with_one_token_one_joins(made: Coordinator) -> None:
    secret = token(made)[3]
    with stub(made) as one:
        calls = [
            one.Join.future(
                JoinRequest(token=secret, host=f"race-{n}", signing_request=make_here(f"race-{n}").request),
                timeout=PATIENCE_S,
            )
            for n in range(4)
        ]
        codes = [call.code() for call in calls]
    assert sorted(code.name for code in codes) == ["OK", *["UNAUTHENTICATED"] * 3]


def test_a_token_for_one_name_is_for_no_other(made: Coordinator, tmp_path: Path) -> None:
    arguments = token(made, "--host", "bound-1")
    host = Host(tmp_path / "h")
    said = host.join([*arguments[:-1], "bound-2"])
    assert said.returncode == 2
    assert "is for bound-1, not for bound-2" in said.stderr
    assert host.join(arguments).returncode == 0, "it was not used up"


def test_a_token_for_any_new_host_takes_no_name_that_is_there(made: Coordinator, tmp_path: Path) -> None:
    assert Host(tmp_path / "one").join(token(made, "--host", "taken-1")).returncode == 0
    said = Host(tmp_path / "two").join([*token(made), "--host", "taken-1"])
    assert said.returncode == 2
    assert "is the name of a host that has joined" in said.stderr
    assert Host(tmp_path / "three").join(token(made, "--host", "taken-1")).returncode == 0


def test_nothing_is_sent_to_a_coordinator_of_another_authority(made: Coordinator, tmp_path: Path) -> None:
    arguments = token(made)
    pin = arguments[5]
    arguments[5] = f"{pin[:-1]}{'0' if pin[-1] != '0' else '1'}"
    host = Host(tmp_path / "h")
    said = host.join([*arguments, "--host", "pin-1"])
    assert said.returncode == 2
    assert "nothing was sent" in said.stderr
    assert not host.own.exists()
    arguments[5] = pin
    assert host.join([*arguments, "--host", "pin-1"]).returncode == 0, "the token is as good as before"


def test_a_server_that_shows_the_fleets_authority_and_has_no_key_of_it_gets_no_token(
    made: Coordinator, tmp_path: Path
) -> None:
    """It may know the CA's certificate, which is no secret."""
    own = make_keys(tmp_path / "keys")
    arguments = token(made)
    with impostor(own.folder, shows=made.ca) as (address, heard):
        host = Host(tmp_path / "h")
        said = host.join([arguments[0], address, *arguments[2:], "--host", "spoof-1"])
    assert said.returncode == 2
    assert "the token was not sent" in said.stderr
    assert heard == []


@contextmanager
def impostor(keys: Path, shows: bytes) -> Iterator[tuple[str, list[bytes]]]:
    from concurrent import futures

    from killdeer.v1.join_pb2 import IntroduceResponse

    heard: list[bytes] = []

    def introduce(request: bytes, context: object) -> bytes:
        return IntroduceResponse(authorities=shows).SerializeToString()

    def join(request: bytes, context: object) -> bytes:
        heard.append(request)
        return b""

    address = free_address()
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Introduce": grpc.unary_unary_rpc_method_handler(introduce),
            "Join": grpc.unary_unary_rpc_method_handler(join),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("killdeer.v1.JoinService", methods),))
        pair = ((keys / "coordinator.key").read_bytes(), (keys / "coordinator.pem").read_bytes())
        server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        server.start()
        try:
            yield address, heard
        finally:
            server.stop(0).wait()


def test_a_folder_that_cannot_be_written_spends_no_token(made: Coordinator, tmp_path: Path) -> None:
    arguments = [*token(made), "--host", "full-1"]
    host = Host(tmp_path / "h")
    host.state.mkdir()
    (host.state / "tls").write_text("in the way")
    assert host.join(arguments).returncode == 2
    (host.state / "tls").unlink()
    assert host.join(arguments).returncode == 0


def test_wrong_tokens_of_one_address_are_slowed_down(tmp_path: Path) -> None:
    with joinable(tmp_path / "c") as made, stub(made) as asked:
        request = make_here("guess-1").request
        codes = []
        for number in range(7):
            call = asked.Join.future(
                JoinRequest(token=f"{number:064x}", host="guess-1", signing_request=request), timeout=PATIENCE_S
            )
            codes.append(call.code().name)
        assert codes == ["UNAUTHENTICATED"] * 5 + ["RESOURCE_EXHAUSTED"] * 2
        good = token(made)[3]
        call = asked.Join.future(JoinRequest(token=good, host="guess-1", signing_request=request))
        assert call.code().name == "RESOURCE_EXHAUSTED", "nor is a right one looked at by then"


@contextmanager
def stub(made: Coordinator) -> Iterator[JoinServiceStub]:
    text = made.config.read_text()
    found = re.search(r'listen_join = "([^"]+)"', text)
    assert found
    with channel(found[1], made.ca, None) as opened:
        yield JoinServiceStub(opened)


def test_whoever_has_no_certificate_can_join_and_nothing_else(made: Coordinator) -> None:
    with stub(made) as one:
        assert one.Introduce(IntroduceRequest(), timeout=PATIENCE_S).authorities == made.ca
    for address in (made.agents, made.operators):
        with channel(address, made.ca, None) as opened, pytest.raises(grpc.RpcError) as refused:
            JoinServiceStub(opened).Introduce(IntroduceRequest(), timeout=PATIENCE_S)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_without_listen_join_nobody_joins_and_no_token_is_made(tmp_path: Path) -> None:
    folder = Coordinator(tmp_path / "c")
    said = tool("killdeer_coordinator", "token", "create", "--config", str(folder.config))
    assert said.returncode == 2
    assert "listen_join" in said.stderr


def test_a_certificate_is_renewed_over_the_stream_and_the_next_stream_uses_it(tmp_path: Path) -> None:
    with joinable(tmp_path / "c", life="60s") as made:
        host = Host(tmp_path / "h")
        assert host.join(token(made, "--host", "web-1")).returncode == 0
        first = host.serial
        with host.running() as log:
            wait_until(lambda: hosts(made).get("web-1", {}).get("connected"), "the host is served")
            wait_until(lambda: lines(log, "certificate_renewed"), "it is renewed")
            assert host.serial != first
            assert not lines(log, "unlinked"), "the stream goes on"
            assert hosts(made)["web-1"]["connected"]
            assert host.own.stat().st_mode & 0o777 == 0o600
            made.stop()
            made.start()
            wait_until(lambda: hosts(made).get("web-1", {}).get("connected"), "it comes back")
            assert not hosts(made)["web-1"].get("quarantined")
        old, new = audited(made, "certificate.issued")[:2]
        assert (old["subject"], new["subject"]) == ("web-1", "web-1")
        assert first[:16] in new["why"]


def test_a_stream_has_certificates_of_its_own_host_alone(made: Coordinator, tmp_path: Path) -> None:
    host = Host(tmp_path / "h")
    assert host.join(token(made, "--host", "own-1")).returncode == 0
    with agent(made, host) as stream:
        stream.hello("own-1")
        assert stream.read("welcome")
        request = make_here("somebody-else").request
        stream.send(a.ConnectRequest(certificate_request=a.CertificateRequest(signing_request=request)))
        frame = stream.read("certificate_issued")
        assert frame is not None
        issued = frame.certificate_issued
        assert pki.peer_of(issued.certificate) == pki.AgentPeer("own-1")
        stream.send(a.ConnectRequest(certificate_request=a.CertificateRequest(signing_request=b"no request")))
        frame = stream.read("certificate_issued")
        assert frame is not None
        assert "cannot read the signing request" in frame.certificate_issued.problem
        stream.beat(1)
        assert stream.read("lease_renewal"), "the stream goes on"


@contextmanager
def agent(made: Coordinator, host: Host) -> Iterator[WireAgent]:
    with channel(made.agents, made.ca, host.pair) as opened:
        stream = WireAgent(opened)
        try:
            yield stream
        finally:
            stream.close()


def test_a_removed_host_is_turned_away_and_forgotten_and_can_join_anew(made: Coordinator, tmp_path: Path) -> None:
    host = Host(tmp_path / "h")
    assert host.join(token(made, "--host", "gone-1")).returncode == 0
    with agent(made, host) as stream:
        stream.hello("gone-1")
        assert stream.read("welcome")
        said = killdeer(made, "hosts", "remove", "gone-1", "--reason", "its disk was stolen")
        assert "gone-1 is removed" in said
        dismissed = stream.read("dismissal")
        assert dismissed is not None
        assert "its disk was stolen" in dismissed.dismissal.detail
    wait_until(lambda: "gone-1" not in hosts(made), "it is forgotten")
    turned_away(made, host, "was removed by all (its disk was stolen)")
    again = Host(tmp_path / "again")
    assert again.join([*token(made), "--host", "gone-1"]).returncode == 0, "its name is free"
    with agent(made, again) as stream:
        stream.hello("gone-1")
        assert stream.read("welcome")
    turned_away(made, host, "was removed")
    assert json.loads(killdeer(made, "audit", "--verify", "--json"))["verified"]


def turned_away(made: Coordinator, host: Host, why: str) -> None:
    with agent(made, host) as stream:
        stream.hello("gone-1")
        frame = stream.read("dismissal")
        assert frame is not None
        assert why in frame.dismissal.detail
        assert stream.read("welcome") is None


def test_a_removal_reaches_certificates_that_init_has_made(tmp_path: Path) -> None:
    with joinable(tmp_path / "c", "old-1") as made:
        pair = made.agent("old-1")
        for expected in ("welcome", "dismissal"):
            with channel(made.agents, made.ca, pair) as opened:
                stream = WireAgent(opened)
                stream.hello("old-1")
                frame = stream.read(expected)
                assert frame is not None
                if expected == "welcome":
                    killdeer(made, "hosts", "remove", "old-1", "--reason", "retired")
                    assert stream.read("dismissal")
                else:
                    assert "retired" in frame.dismissal.detail
                stream.close()


def test_another_ca_takes_the_place_of_the_first_while_the_host_stays(tmp_path: Path) -> None:
    with joinable(tmp_path / "c") as made:
        host, old = Host(tmp_path / "h"), made.ca
        assert host.join(token(made, "--host", "web-1")).returncode == 0
        with host.running() as log:
            wait_until(lambda: hosts(made).get("web-1", {}).get("connected"), "the host is served")
            assert "there is none" in ca(made, "drop-old", code=2)
            assert "when all have one" in ca(made, "rotate")
            assert "not over" in ca(made, "rotate", code=2)
            assert "host web-1" in ca(made, "drop-old", code=2), "its certificate is of the old one"
            made.stop()
            made.start()
            wait_until(lambda: lines(log, "certificate_renewed"), "it has one of the new CA")
            new = authorities.authority(made.ca, (made.keys / "ca.key").read_bytes()).certificate
            assert authorities.issuer_id(host.own.read_bytes()) == authorities.authority_id(new)
            assert "operator all, operator viewer" in ca(made, "drop-old", code=2)
            for name in ("all", "viewer"):
                for suffix in ("pem", "key"):
                    (made.keys / "operators" / f"{name}.{suffix}").unlink()
                role = "--role=viewer" if name == "viewer" else "--role=admin"
                said = tool("killdeer_coordinator", "operator", "create", name, role, "--dir", str(made.keys))
                assert said.returncode == 0, said.stderr
            ca(made, "drop-old")
            assert made.ca == new != old
            made.stop()
            made.start()
            wait_until(lambda: hosts(made).get("web-1", {}).get("connected"), "it is served with the new one alone")


def ca(made: Coordinator, what: str, *, code: int = 0) -> str:
    said = tool("killdeer_coordinator", "ca", what, "--config", str(made.config))
    assert said.returncode == code, said.stderr
    return said.stdout + said.stderr


def test_an_operator_is_created_with_the_roles_that_are_named_and_never_over_another(tmp_path: Path) -> None:
    made = Coordinator(tmp_path / "c")
    create = ("operator", "create", "eve", "--role", "viewer", "--role", "operator", "--dir", str(made.keys))
    assert tool("killdeer_coordinator", *create).returncode == 0
    peer = pki.peer_of((made.keys / "operators" / "eve.pem").read_bytes())
    assert peer == pki.OperatorPeer("eve", frozenset({"viewer", "operator"}))
    again = tool("killdeer_coordinator", *create)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_only_an_approver_removes_a_host(made: Coordinator) -> None:
    command = [sys.executable, "-c", "from killdeer_cli.main import main; main()"]
    done = subprocess.run(
        [*command, "hosts", "remove", "web-1", "--reason", "x"],
        env=os.environ | environment(made.context("viewer")),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "needs admin or approver" in done.stderr


def test_an_address_that_nobody_listens_on_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    host = Host(tmp_path / "h")
    said = host.join(["join", address, "--token", "0", "--ca-pin", f"sha256:{'0' * 64}"])
    assert said.returncode == 2
    assert f"cannot reach {address}: Connection refused" in said.stderr
