"""`killdeer-coordinator init`: keys, configuration and the next steps; nothing is ever written over."""

import ssl
import tomllib
from pathlib import Path

import pytest

from killdeer_coordinator import config, pki
from killdeer_coordinator.cli import main
from killdeer_coordinator.keyring import KeyringError, write_new
from killdeer_coordinator.pki import AgentPeer, OperatorPeer


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def init(folder: Path, *more: str) -> int:
    return main(["init", "--dir", str(folder), *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "killdeer"


@pytest.mark.parametrize("wrong", [("--name", "bad name!"), ("--agent", "../x"), ("--operator", "../x")])
def test_a_wrong_name_leaves_nothing_behind(folder: Path, wrong: tuple[str, str]) -> None:
    assert init(folder, "--operator", "alice", *wrong) == 2
    assert not folder.exists()


def test_init_makes_a_fleet_that_can_be_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(folder, "--operator", "alice", "--name", "fleet.example.com") == 0
    assert set(contents(folder)) == {
        "ca.pem",
        "ca.key",
        "coordinator.pem",
        "coordinator.key",
        "operators/alice.pem",
        "operators/alice.key",
        "halt-token",
        "coordinator.toml",
    }
    read = config.load(folder / "coordinator.toml")
    assert read.state == folder / "state"
    for path in (read.ca, read.cert, read.key, read.halt_token):
        assert path.is_file()
    served = ssl.PEM_cert_to_DER_cert(read.cert.read_text())
    for name in (b"killdeer-coordinator", b"fleet.example.com", b"localhost"):
        assert name in served
    peer = pki.peer_of((folder / "operators/alice.pem").read_bytes())
    assert peer == OperatorPeer("alice", frozenset(pki.ROLES))
    assert "made" in capsys.readouterr().out


def test_secrets_are_readable_by_their_owner_alone(folder: Path) -> None:
    init(folder, "--agent", "db1")
    secret = {path for path in folder.rglob("*") if path.suffix == ".key" or path.name == "halt-token"}
    assert len(secret) == 5
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == (0o600 if path in secret else 0o644), path


def test_the_context_printed_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(folder)
    printed = capsys.readouterr().out
    block = printed[printed.index('current = "fleet"') : printed.index("The coordinator's certificate")]
    pasted = tomllib.loads(block)
    context = pasted["context"][pasted["current"]]
    assert set(context) == {"coordinators", "ca", "cert", "key"}
    assert context["coordinators"] == ["127.0.0.1:7443"]
    for name in ("ca", "cert", "key"):
        assert Path(context[name]).is_file()


def test_init_again_changes_nothing_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(folder, "--agent", "db1")
    before = contents(folder)
    capsys.readouterr()
    assert init(folder, "--agent", "db1", "--name", "late.example.com") == 0
    assert contents(folder) == before
    printed = capsys.readouterr().out
    assert "made" not in printed
    assert "its names stay" in printed


def test_an_operator_of_fewer_roles_and_an_agent_are_added_later(folder: Path) -> None:
    init(folder, "--operator", "alice")
    before = contents(folder)
    assert (
        init(folder, "--operator", "bob", "--role", "viewer", "--role", "approver", "--agent", "db1.example.com")
        == 0
    )
    after = contents(folder)
    assert before.items() <= after.items()
    assert pki.peer_of(after["operators/bob.pem"]) == OperatorPeer("bob", frozenset({"viewer", "approver"}))
    assert pki.peer_of(after["agents/db1.example.com/agent.pem"]) == AgentPeer("db1.example.com")
    assert after["agents/db1.example.com/ca.pem"] == after["ca.pem"]


def test_a_configuration_that_is_there_stays(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "coordinator.toml").write_text('listen_operators = "127.0.0.1:9"\n')
    assert init(folder) == 0
    assert config.load(folder / "coordinator.toml").listen_operators.port == 9


def test_half_a_pair_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(folder)
    (folder / "ca.key").unlink()
    before = contents(folder)
    assert init(folder, "--agent", "db1") == 2
    assert f"cannot find {folder / 'ca.key'}" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("more", [("--operator", "../ca"), ("--agent", ".."), ("--agent", "a/../../b")])
def test_a_name_that_is_a_path_is_refused(
    folder: Path, more: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    init(folder)
    before = contents(folder)
    assert init(folder, *more) == 2
    assert "cannot name an" in capsys.readouterr().err
    assert contents(folder) == before


def test_nothing_is_written_over_or_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(KeyringError, match="never written over"):
        write_new(tmp_path / "link", b"x", 0o600)
    assert not target.exists()


def test_a_folder_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert init(Path("/proc/nowhere")) == 2
    assert "cannot write /proc/nowhere/ca.key" in capsys.readouterr().err


def test_run_without_a_configuration_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert "killdeer-coordinator init" in capsys.readouterr().err
