"""`killdeer-agent install` and `uninstall`: what is written where, what is refused, what is kept."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from killdeer_agent import install
from killdeer_agent.install import InstallError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: programs must be root's")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with systemd, and an agent's program."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "opt/killdeer/bin").mkdir(parents=True)
    (tmp_path / "opt/killdeer/bin/killdeer-agent").touch(mode=0o755)
    return tmp_path


@pytest.fixture
def programs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Folders of tests are themselves in /tmp.
    monkeypatch.setattr(install, "_HIDDEN", ("/home",))
    return root / "opt/killdeer/bin"


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def run(ran: list[str]) -> install.Run:
    def note(command: Sequence[str]) -> None:
        ran.append(" ".join(command))

    return note


def there(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_unit_is_for_the_program_that_installs_it(
    root: Path, programs: Path, run: install.Run, ran: list[str]
) -> None:
    said = install.install(root, programs, run)
    unit = (root / "etc/systemd/system/killdeer-agent.service").read_text()
    assert f"ExecStart={programs}/killdeer-agent run\n" in unit
    assert f"ExecStopPost={programs}/killdeer-agent revert\n" in unit
    assert "token create" in said
    assert "systemctl enable killdeer-agent.service" in ran
    assert not [command for command in ran if "start" in command], "not before there is a configuration"


def test_configuration_that_is_there_is_kept(root: Path, programs: Path, run: install.Run) -> None:
    install.install(root, programs, run)
    (root / "etc/killdeer/guard.d/host.toml").write_text("# mine\n")
    (root / "etc/killdeer/agent.toml").write_text("# mine\n")
    said = install.install(root, programs, run)
    assert (root / "etc/killdeer/guard.d/host.toml").read_text() == "# mine\n"
    assert (root / "etc/killdeer/agent.toml").read_text() == "# mine\n"
    assert "systemctl restart killdeer-agent" in said


def test_uninstall_stops_the_agent_first_and_keeps_configuration_and_journal(
    root: Path, programs: Path, run: install.Run, ran: list[str]
) -> None:
    before = there(root)
    install.install(root, programs, run)
    (root / "var/lib/killdeer").mkdir(parents=True)
    (root / "etc/killdeer/agent.toml").touch()
    ran.clear()
    install.uninstall(root, run, purge=False)
    assert ran[0] == "systemctl disable --now killdeer-agent.service"
    assert there(root) - before == {"etc/killdeer/agent.toml", "etc/killdeer/guard.d/host.toml"}
    assert (root / "var/lib/killdeer").exists()


def test_a_purge_leaves_nothing_at_all(root: Path, programs: Path, run: install.Run, ran: list[str]) -> None:
    before = there(root)
    install.install(root, programs, run)
    for name in ("var/lib/killdeer/journal", "etc/systemd/system/killdeer-agent.service.d/10-deep.conf"):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nkilldeer:x:995:995::/:/usr/sbin/nologin\n")
    install.uninstall(root, run, purge=True)
    assert there(root) - before == {"etc/passwd"}
    assert ran[-1] == "userdel killdeer"


def test_a_purge_leaves_a_coordinator_of_the_same_machine_alone(
    root: Path, programs: Path, run: install.Run
) -> None:
    install.install(root, programs, run)
    (root / "etc/killdeer/coordinator.toml").touch()
    (root / "etc/killdeer/ca.pem").touch()
    install.uninstall(root, run, purge=True)
    assert {path.name for path in (root / "etc/killdeer").iterdir()} == {"coordinator.toml", "ca.pem"}


def test_nothing_is_installed_from_where_the_service_cannot_see(root: Path, run: install.Run) -> None:
    with pytest.raises(InstallError, match="does not see it; put it into"):
        install.install(root, Path("/home/somebody/venv/bin"), run)


def test_nothing_is_installed_that_others_may_write(root: Path, programs: Path, run: install.Run) -> None:
    (programs / "killdeer-agent").chmod(0o777)
    with pytest.raises(InstallError, match="others than root may write"):
        install.install(root, programs, run)
    assert not (root / "etc").exists()


def test_nothing_is_installed_beside_a_package(root: Path, programs: Path, run: install.Run) -> None:
    (root / "lib/systemd/system").mkdir(parents=True)
    (root / "lib/systemd/system/killdeer-agent.service").touch()
    with pytest.raises(InstallError, match="a package has put"):
        install.install(root, programs, run)


def test_nothing_is_installed_where_systemd_does_not_run(root: Path, programs: Path, run: install.Run) -> None:
    (root / "run/systemd/system").rmdir()
    with pytest.raises(InstallError, match="systemd does not run here"):
        install.install(root, programs, run)
    assert not (root / "etc").exists()


def test_what_install_did_not_write_is_not_uninstalled(root: Path, run: install.Run, ran: list[str]) -> None:
    with pytest.raises(InstallError, match="install did not write it"):
        install.uninstall(root, run, purge=False)
    assert ran == []


def test_a_command_that_fails_is_named_with_what_it_said() -> None:
    with pytest.raises(InstallError, match=r"cannot finish: ls /nowhere ended with 2: .*/nowhere"):
        install._run(("ls", "/nowhere"))
    with pytest.raises(InstallError, match="it is missing"):
        install._run(("no-such-program",))
