"""The wheel holds what a host needs, and a clean install of it starts."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
    )
    (built,) = folder.glob("killdeer-*.whl")
    return built


def test_the_wheel_holds_what_is_read_at_run_time(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        "killdeer/v1/agent_pb2.py",
        "killdeer/py.typed",
        "killdeer_agent/kernel/killdeer.bpf.o",
        "killdeer_agent/kernel/killdeer.casts.bpf.o",
        "killdeer_agent/kernel/bcc_programs.c",
        "killdeer_cli/fleet/worker.py",
        "killdeer_cli/examples/roulette.yaml",
        "killdeer_report/page.html.j2",
    }
    assert needed <= names
    assert any(name.startswith("killdeer_coordinator/store/migrations/versions/") for name in names)


def test_the_wheel_holds_no_tests_and_no_top_level_strangers(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    ours = {
        "killdeer",
        "killdeer_agent",
        "killdeer_cli",
        "killdeer_client",
        "killdeer_coordinator",
        "killdeer_experiment",
        "killdeer_report",
    }
    assert {top for top in tops if not top.endswith(".dist-info")} == ours


def test_the_commands_start_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel],
        check=True,
    )
    for module in ("killdeer_cli.main", "killdeer_agent.cli", "killdeer_coordinator.cli"):
        begin = f"import sys; sys.path.insert(0, {str(target)!r}); sys.argv = ['x', '-h']"
        code = f"{begin}; import {module} as m; m.main()"
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert said.returncode == 0, said.stderr
        assert "usage" in said.stdout.lower()
