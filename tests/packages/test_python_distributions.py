"""The wheel and the sdist, each with all it asks for, in a fresh virtual environment."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.debian import pins

ROOT = Path(__file__).parents[2]
EXTRAS = ("agent", "coordinator")
PATIENCE_S = 600

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind. The wheel is made of the sdist, as an index's user would have it made."""
    from hatchling.builders.sdist import SdistBuilder

    folder = tmp_path_factory.mktemp("dist")
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how, sdist], check=True, timeout=PATIENCE_S)
    (wheel,) = folder.glob("*.whl")
    return {"sdist": Path(sdist), "wheel": wheel}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pins of both daemons, without Killdeer; its Python."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=PATIENCE_S)
    wanted = folder / "requirements.txt"
    lock, pyproject = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
    (hatchling,) = re.findall(r"(?m)^hatchling==(\S+)", lock)
    wanted.write_text(pins.requirements(lock, pyproject, EXTRAS))
    pip = (folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", wanted], check=True, timeout=PATIENCE_S)
    subprocess.run([*pip, f"hatchling=={hatchling}"], check=True, timeout=PATIENCE_S)
    return folder / "bin/python"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_clean_install_asks_for_no_more_than_is_pinned_and_starts(
    kind: str, built: dict[str, Path], environment: Path, tmp_path: Path
) -> None:
    wanted = f"killdeer[{','.join(EXTRAS)}] @ {built[kind].as_uri()}"
    options = ("--quiet", "--no-index", "--no-build-isolation", "--force-reinstall", "--no-deps")
    subprocess.run([environment, "-m", "pip", "install", *options, wanted], check=True, timeout=PATIENCE_S)
    # Once more with its dependencies, and no index to have them from: they are all there.
    subprocess.run(
        [environment, "-m", "pip", "install", "--quiet", "--no-index", wanted.partition(" @")[0]], check=True
    )
    subprocess.run([environment, "-m", "pip", "check", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    for program in ("killdeer", "killdeer-agent", "killdeer-coordinator"):
        said = subprocess.run(
            [environment.with_name(program), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert said.stdout.lower().startswith("usage: ")
    carried = "import killdeer_agent.install as i; print([part.target for part in i.parts(i.Path('/x'))])"
    said = subprocess.run([environment, "-I", "-c", carried], capture_output=True, text=True, check=True)
    assert "etc/systemd/system/killdeer-agent.service" in said.stdout


def test_the_sdist_holds_what_building_and_packaging_need(built: dict[str, Path]) -> None:
    import tarfile

    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock", "agent/bpf/killdeer.bpf.c", "PKG-INFO"}
    needed |= {"deploy/debian/build.py", "deploy/systemd/killdeer-agent.service", "examples/roulette.yaml"}
    assert needed <= names
    assert not [name for name in names if name.startswith((".venv/", "build/", ".git/"))]
