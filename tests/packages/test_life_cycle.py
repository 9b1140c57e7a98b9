"""Both packages on a machine with systemd: installed, used, upgraded in mid-pause, removed, purged. One machine
lives through it all, in the order of this file; after each step is looked for what should not be there."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import machine as container
from tests.packages.conftest import NEXT
from tests.packages.machine import Machine
from tests.support import debian
from tests.support.fleet import wait_until

pytestmark = pytest.mark.timeout(900)

AGENT, COORDINATOR = "killdeer-agent.service", "killdeer-coordinator.service"
VICTIM = "victim@1.service"
HOST = "machine"
CONTEXT = """
current = "machine"
[context.machine]
coordinators = ["localhost:7443"]
ca = "/etc/killdeer/ca.pem"
cert = "/etc/killdeer/operators/ops.pem"
key = "/etc/killdeer/operators/ops.key"
"""
UNIT = """
[Service]
ExecStart=/bin/sleep infinity
Restart=always
[X-Killdeer]
Allow=kill terminate pause
"""
# The machine is thrown away: it need not outlive a power cut.
KEEPING = ("--force-confdef", "--force-confold", "--force-unsafe-io")
# systemd's own, which `killdeer-agent install` makes where they are missing; empty, they stay.
FOLDERS = {"etc/sysusers.d", "etc/tmpfiles.d"}
MINE = "# what may be hit here is decided by this host\n"
# What dpkg, systemd and the victim keep of their own.
THEIRS: tuple[str, ...] = (
    "var/lib/dpkg/",
    "var/log/",
    "var/lib/systemd/",
    "var/cache/",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
)
THEIRS += (
    "etc/gshadow",
    "etc/.pwd.lock",
    "etc/systemd/system/victim@.service",
    "root/",
    "tmp/",
    "run/",
    "var/tmp/",
)
THEIRS += ("etc/subuid", "etc/subgid", "etc/machine-id")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if reason := container.obstacle():
        pytest.skip(reason)
    try:
        with container.booted(tmp_path_factory.mktemp("machine")) as booted:
            yield booted
    except debian.CannotBuild as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """All files of the machine that no package of ours was on."""
    return lasting(machine)


def lasting(machine: Machine) -> set[str]:
    return {path for path in machine.files() if not path.startswith(THEIRS)}


def put(machine: Machine, package: Path) -> str:
    """Installs it, and keeps the configuration that is there; what was said."""
    there = machine.root / "root" / package.name
    there.write_bytes(package.read_bytes())
    said = machine.ran("dpkg", *KEEPING, "--install", f"/root/{package.name}")
    there.unlink()
    return said.out


def killdeer(machine: Machine, *arguments: str, code: int | None = 0) -> str:
    return machine.ran("killdeer", *arguments, code=code, KILLDEER_CONFIG="/root/context.toml").out


def leased(machine: Machine) -> bool:
    told = machine.ran("killdeer", "hosts", "--json", code=None, KILLDEER_CONFIG="/root/context.toml")
    return told.code == 0 and any(host.get("lease_left_ms") for host in json.loads(told.out)["hosts"])


def victim(machine: Machine) -> int:
    return int(machine.shown(VICTIM, "MainPID"))


def state(machine: Machine) -> str:
    """Of the victim's process."""
    return machine.ran("cat", f"/proc/{victim(machine)}/stat").out.rpartition(")")[2].split()[0]


def paused(machine: Machine) -> None:
    """A pause of the victim that outlives every test."""
    killdeer(machine, "strike", HOST, f"unit={VICTIM}", "--pause=20m", "--yes", "--detach")
    wait_until(lambda: state(machine) == "T", "the victim is paused", container.PATIENCE_S)


def ours(machine: Machine) -> list[str]:
    """Processes of Killdeer, whoever started them."""
    said = machine.ran("ps", "-e", "-o", "user=,args=").out.splitlines()
    return [line for line in said if "killdeer" in line]


def test_without_a_package_the_program_installs_itself_and_takes_all_of_it_back(
    machine: Machine, before: set[str], trees: dict[str, Path]
) -> None:
    there = machine.root / "opt/killdeer"
    shutil.copytree(trees["killdeer-agent"] / "opt/killdeer", there, symlinks=True)
    program = "/opt/killdeer/agent/bin/killdeer-agent"
    assert "token create" in machine.ran(program, "install").out
    assert machine.ran("systemctl", "is-enabled", AGENT).out.strip() == "enabled"
    assert f"path={program} " in machine.shown(AGENT, "ExecStart")
    assert machine.ran("systemctl", "start", AGENT).code == 0
    assert machine.shown(AGENT, "ConditionResult") == "no"
    machine.ran(program, "uninstall", "--purge")
    shutil.rmtree(there)
    assert sorted(lasting(machine) - before - FOLDERS) == []
    assert "killdeer" not in (machine.root / "etc/passwd").read_text()


def test_an_installed_agent_is_enabled_and_waits_for_a_configuration(
    machine: Machine, before: set[str], packages: dict[str, Path]
) -> None:
    said = put(machine, packages["killdeer-agent"])
    assert "/etc/killdeer/agent.toml" in said
    assert machine.ran("systemctl", "is-enabled", AGENT).out.strip() == "enabled"
    assert machine.shown(AGENT, "ActiveState") == "inactive"
    assert machine.shown(AGENT, "ConditionResult") == "no"
    assert machine.ran("systemctl", "is-system-running").out.strip() == "running"
    assert ours(machine) == []


def test_every_library_that_the_programs_load_is_there(machine: Machine, packages: dict[str, Path]) -> None:
    put(machine, packages["killdeer-coordinator"])
    find = "find /opt/killdeer -name '*.so*' -exec ldd {} + 2>/dev/null | grep 'not found' | sort -u"
    missing = machine.ran("sh", "-c", find).out
    # Within a wheel they are found through the one that loads them.
    assert [line for line in missing.splitlines() if "-" not in line.split()[0]] == []
    for program in ("killdeer", "killdeer-agent", "killdeer-coordinator"):
        assert machine.ran(program, "--help").out.lower().startswith("usage")
    loads = "import numpy, scipy.stats, matplotlib.figure, psycopg, cryptography, killdeer_report.page"
    machine.ran("/opt/killdeer/coordinator/bin/python3", "-I", "-c", loads)
    machine.ran("/opt/killdeer/agent/bin/python3", "-I", "-c", "import killdeer_agent.daemon, re2, grpc")


def test_what_is_installed_is_what_was_packed(machine: Machine) -> None:
    assert machine.ran("dpkg", "--verify", "killdeer-agent", "killdeer-coordinator").out == ""


def test_the_command_line_completes_its_verbs(machine: Machine) -> None:
    words = "source /usr/share/bash-completion/completions/{0}; COMP_WORDS=({1}); COMP_CWORD={2}; {3} {0}; "
    show = 'echo "${COMPREPLY[@]}"'
    for program, line, cursor, function, wanted in (
        ("killdeer", "killdeer hal", 1, "_killdeer_completion", "halt"),
        ("killdeer-agent", "killdeer-agent guard te", 2, "_killdeer_agent", "test"),
        ("killdeer-coordinator", "killdeer-coordinator ini", 1, "_killdeer_coordinator", "init"),
    ):
        said = machine.ran("bash", "-c", words.format(program, line, cursor, function) + show)
        assert said.out.split() == [wanted]


def test_a_fleet_of_one_runs_from_the_packages_and_pauses_a_victim(machine: Machine) -> None:
    assert machine.shown(COORDINATOR, "ActiveState") == "inactive"
    machine.ran("killdeer-coordinator", "init", "--operator=ops", f"--agent={HOST}")
    etc = machine.root / "etc/killdeer"
    for file in (etc / "agents" / HOST).iterdir():
        file.rename(etc / file.name)
    (etc / "agent.toml").write_text(
        f'coordinators = ["localhost:7442"]\nhost = "{HOST}"\n[labels]\nenvironment = "staging"\n'
    )
    (etc / "guard.d/host.toml").write_text(MINE)
    (machine.root / "root/context.toml").write_text(CONTEXT)
    (machine.root / "etc/systemd/system/victim@.service").write_text(UNIT)
    machine.ran("systemd-tmpfiles", "--create", "killdeer-agent.conf", "killdeer-coordinator.conf")
    machine.ran("systemctl", "daemon-reload")
    machine.ran("systemctl", "start", VICTIM, COORDINATOR, AGENT)
    wait_until(lambda: leased(machine), "the agent is connected", container.PATIENCE_S)
    assert ours(machine)
    paused(machine)


@pytest.mark.parametrize(("unit", "file"), [(AGENT, "agent.toml"), (COORDINATOR, "coordinator.toml")])
def test_systemctl_reload_fails_where_the_new_configuration_is_refused(
    machine: Machine, unit: str, file: str
) -> None:
    there, first = machine.root / "etc/killdeer" / file, machine.shown(unit, "MainPID")
    good = there.read_text()
    machine.ran("systemctl", "reload", unit)
    there.write_text(f"log_levl = 1\n{good}")
    assert machine.ran("systemctl", "reload", unit, code=None).code == 1
    assert "did you mean 'log_level'?" in machine.shown(unit, "StatusText")
    said = machine.ran("journalctl", "--unit", unit, "--output=cat").out
    assert f"\nthe reload of {unit.removesuffix('.service')} was refused: " in said
    there.write_text(good)
    machine.ran("systemctl", "reload", unit)
    assert (machine.shown(unit, "MainPID"), machine.shown(unit, "ActiveState")) == (first, "active")


def test_an_upgrade_in_mid_pause_resumes_the_victim_and_keeps_conffiles(machine: Machine, next_agent: Path) -> None:
    struck, first = victim(machine), machine.shown(AGENT, "MainPID")
    put(machine, next_agent)
    assert state(machine) != "T"
    assert victim(machine) == struck
    assert machine.shown(AGENT, "ActiveState") == "active"
    assert machine.shown(AGENT, "MainPID") != first
    assert machine.ran("killdeer-agent", "--version").out.strip() == NEXT
    assert (machine.root / "etc/killdeer/guard.d/host.toml").read_text() == MINE
    wait_until(lambda: leased(machine), "the agent is connected again", container.PATIENCE_S)


def test_the_record_has_the_strike_that_the_upgrade_ended(machine: Machine) -> None:
    runs = json.loads(killdeer(machine, "runs", "--json"))
    assert len(runs["runs"]) == 1
    assert "left" not in killdeer(machine, "status", code=None)


def test_an_agent_that_was_stopped_stays_so_over_an_upgrade(machine: Machine, next_agent: Path) -> None:
    machine.ran("systemctl", "stop", AGENT)
    put(machine, next_agent)
    assert machine.shown(AGENT, "ActiveState") == "inactive"
    machine.ran("systemctl", "start", AGENT)
    wait_until(lambda: leased(machine), "the agent is connected", container.PATIENCE_S)


def test_a_removal_leaves_nothing_running_and_nothing_paused(machine: Machine) -> None:
    paused(machine)
    struck = victim(machine)
    machine.ran("dpkg", "--remove", "killdeer-agent")
    assert (state(machine), victim(machine)) == ("S", struck)
    assert [line for line in ours(machine) if "killdeer-agent" in line or line.startswith("killdeer ")] == []
    assert not (machine.root / "opt/killdeer/agent").exists()
    assert (machine.root / "etc/killdeer/agent.toml").exists()
    assert machine.ran("killdeer-coordinator", "--help").out


def test_an_agent_comes_back_with_its_configuration_and_its_journal(
    machine: Machine, packages: dict[str, Path]
) -> None:
    put(machine, packages["killdeer-agent"])
    assert (machine.root / "etc/killdeer/guard.d/host.toml").read_text() == MINE
    wait_until(lambda: leased(machine), "the agent is connected", container.PATIENCE_S)


def test_a_purged_agent_leaves_the_coordinator_whole(machine: Machine) -> None:
    machine.ran("dpkg", "--purge", "killdeer-agent")
    etc = {path.name for path in (machine.root / "etc/killdeer").iterdir()}
    assert {"coordinator.toml", "coordinator.key", "ca.pem", "ca.key", "operators"} <= etc
    assert not {"agent.toml", "agent.pem", "agent.key", "guard.d"} & etc
    assert machine.shown(COORDINATOR, "ActiveState") == "active"
    assert json.loads(killdeer(machine, "runs", "--json"))["runs"]


def test_a_purge_of_both_leaves_nothing_at_all(machine: Machine, before: set[str]) -> None:
    machine.ran("dpkg", "--purge", "killdeer-coordinator")
    assert ours(machine) == []
    assert sorted(lasting(machine) - before - FOLDERS) == []
    for table in ("passwd", "group", "shadow", "gshadow"):
        assert "killdeer" not in (machine.root / "etc" / table).read_text()
    left = [
        path for path in machine.files() if "killdeer" in path and not path.startswith(("var/lib/dpkg/", "tmp/"))
    ]
    assert left == []
    assert "killdeer" not in machine.ran("ls", "/run", "/tmp", "/var/tmp").out
    assert "killdeer" not in machine.ran("dpkg-query", "--list").out
    assert machine.ran("systemctl", "list-units", "--all", "killdeer*", "--no-legend").out == ""
    assert machine.shown(VICTIM, "ActiveState") == "active"
    machine.ran("systemctl", "stop", VICTIM)
