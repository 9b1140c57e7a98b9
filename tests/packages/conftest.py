"""What the packages hold, and the agent's next one, made once for all tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NEXT = "999.0"


@pytest.fixture(scope="session")
def trees(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each unpacked, with its DEBIAN folder, by name."""
    folder = tmp_path_factory.mktemp("trees")
    for name, package in packages.items():
        subprocess.run(["dpkg-deb", "--raw-extract", package, folder / name], check=True)
    return {name: folder / name for name in packages}


@pytest.fixture(scope="session")
def next_agent(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's package as it would be in a later version, which its program tells."""
    from deploy.debian.build import pack

    tree = tmp_path_factory.mktemp("next") / "tree"
    shutil.copytree(trees["killdeer-agent"], tree, symlinks=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {NEXT}", control.read_text()))
    (said,) = tree.glob("opt/killdeer/agent/lib/*/site-packages/killdeer/version.py")
    said.write_text(re.sub(r'VERSION = ".*"', f'VERSION = "{NEXT}"', said.read_text()))
    for compiled in said.parent.glob("__pycache__/version.*"):
        compiled.unlink()
    (sums := tree / "DEBIAN/md5sums").write_text(
        "".join(line for line in sums.read_text().splitlines(True) if "/killdeer/version.py" not in line)
    )
    # A default of a conffile changes with it.
    with (tree / "etc/killdeer/guard.d/host.toml").open("a") as file:
        file.write("# more\n")
    made = tree.with_name("killdeer-agent_next.deb")
    pack(tree, made)
    return made
