"""What the packages are made of: pins out of the lock, man pages and completion out of the programs' own help."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy.debian import layout, manual, pins, target
from killdeer_agent.guardfiles import load_guard

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[project]
dependencies = ["grpcio>=1.2", "Ruamel.YAML>=0.18"]
[project.optional-dependencies]
agent = ["psutil>=7"]
report = ["scipy[fast]>=1"]
"""
LOCK = """\
grpcio==1.3 \\
    --hash=sha256:aa
    # via killdeer (pyproject.toml)
numpy==2.0 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via
    #   matplotlib
    #   scipy
psutil==7.1 \\
    --hash=sha256:dd
    # via killdeer (pyproject.toml)
ruamel-yaml==0.18 \\
    --hash=sha256:ee
    # via killdeer (pyproject.toml)
scipy==1.5 \\
    --hash=sha256:ff
    # via killdeer (pyproject.toml)
typing-extensions==4.1 \\
    --hash=sha256:00
    # via grpcio

# The following packages are considered to be unsafe in a requirements file:
pip==26.3 \\
    --hash=sha256:11
    # via pip-tools
"""


def named(requirements: str) -> list[str]:
    return re.findall(r"(?m)^([a-z-]+)==", requirements)


def test_a_package_carries_what_its_extras_ask_for_and_what_that_asks_for() -> None:
    agent = pins.requirements(LOCK, PYPROJECT, ("agent",))
    assert named(agent) == ["grpcio", "psutil", "ruamel-yaml", "typing-extensions"]
    report = pins.requirements(LOCK, PYPROJECT, ("report",))
    assert named(report) == ["grpcio", "numpy", "ruamel-yaml", "scipy", "typing-extensions"]


def test_every_pin_keeps_all_its_hashes_and_nothing_else() -> None:
    found = pins.requirements(LOCK, PYPROJECT, ("report",))
    assert "numpy==2.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n" in found
    assert "#" not in found


def test_something_asked_for_that_is_not_pinned_is_no_package() -> None:
    with pytest.raises(KeyError, match="psutil"):
        pins.requirements(LOCK.replace("psutil==7.1", "other==7.1"), PYPROJECT, ("agent",))


@pytest.mark.parametrize("package", layout.PACKAGES, ids=lambda package: str(package.name))
def test_the_projects_own_lock_has_all_that_a_package_needs(package: layout.Package) -> None:
    lock, pyproject = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
    found = set(named(pins.requirements(lock, pyproject, package.extras)))
    assert {"grpcio", "protobuf", "typing-extensions"} <= found
    assert not found & {"pytest", "mypy", "grpcio-tools", "pip", "setuptools"}
    assert ("scipy" in found) == (package.home == "coordinator")


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ('ID=debian\nVERSION_ID="13"\n', False),
        ('ID=ubuntu\nVERSION_ID="12"\nID_LIKE=debian\n', False),
        ("", False),
    ],
)
def test_packages_are_made_here_on_debian_12_alone(said: str, there: bool) -> None:
    assert target.is_debian(said) is there


@pytest.mark.parametrize("name", manual.PROGRAMS)
def test_a_man_page_has_every_verb_of_its_program(name: str) -> None:
    page = manual.man_page(name)
    helps = dict(manual.helps(name))
    assert len(helps) > 2
    assert all(text.lower().startswith("usage: ") for text in helps.values())
    for verbs in filter(None, helps):
        assert f".SS {manual._roff(' '.join((name, *verbs)))}\n" in page
    assert page.startswith(f".TH {name.upper()} {manual.PROGRAMS[name].section} ")


def test_a_line_of_help_is_never_taken_for_a_request_of_roff() -> None:
    assert manual._roff(".x\n'y\na-b\\c") == "\\&.x\n\\&'y\na\\-b\\ec"


@pytest.mark.parametrize(
    ("name", "line", "offered"),
    [
        ("killdeer-agent", ["gu"], ["guard"]),
        ("killdeer-agent", ["guard", ""], ["test", "-h", "--help"]),
        ("killdeer-agent", ["guard", "test", "--ac"], ["--action"]),
        ("killdeer-agent", ["--config", "x", "ha"], ["halt"]),
        ("killdeer-coordinator", ["ini"], ["init"]),
    ],
)
def test_bash_completes_verbs_and_options(name: str, line: list[str], offered: list[str]) -> None:
    function = "_" + name.replace("-", "_")
    words = " ".join(f"'{word}'" for word in [name, *line])
    script = f"{manual.completions(name)['bash']}\nCOMP_WORDS=({words}); COMP_CWORD={len(line)}; {function}\n"
    done = subprocess.run(
        ["bash", "-c", script + 'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


def test_the_guard_that_is_installed_opens_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "guard.d"
    folder.mkdir(mode=0o755)
    example = (ROOT / "deploy/systemd/guard.d/example.toml").read_text()
    (folder / "host.toml").write_text(layout.closed(example))
    guard = load_guard(folder, own=frozenset(), unit_dirs=(), trusted_uid=folder.stat().st_uid)
    assert (guard.problem, guard.allow, guard.deny) == ("", (), ())
