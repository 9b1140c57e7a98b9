"""/opt/killdeer/HOME of a package: a virtual environment of Debian's own Python, without pip, with all it needs."""

import shutil
import tomllib
import zipfile
from pathlib import Path

from deploy.debian import pins
from deploy.debian.layout import ROOT, Package
from deploy.debian.target import INTERPRETER, PYTHON, Target

PIP = "pip"
# Names of this machine's files, pip's notes for uninstalling, and other projects' tests: a tenth of it all.
NEEDLESS = ("bin", "*.dist-info/RECORD", "*.dist-info/direct_url.json", "*.dist-info/REQUESTED", "**/tests")


def pip(target: Target) -> None:
    """Debian's Python with its own pip, which makes the packages and is in none."""
    target.run(INTERPRETER, "-m", "venv", target.work / PIP)


def fill(package: Package, stage: Path, wheel: Path, target: Target) -> None:
    """`stage` is below `target.work`. Raises CannotBuild."""
    prefix = stage / package.prefix.lstrip("/")
    site = prefix / "lib" / f"python{PYTHON}" / "site-packages"
    site.mkdir(parents=True)
    wanted = target.work / f"{package.name}.txt"
    lock, pyproject = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
    wanted.write_text(pins.requirements(lock, pyproject, package.extras))
    exactly = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--root-user-action=ignore")
    python = target.work / PIP / "bin" / "python3"
    target.run(python, "-m", "pip", "install", "--quiet", *exactly, f"--target={site}", "-r", wanted)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for pattern in NEEDLESS:
        for path in sorted(site.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
    # Nobody may write there later, and sources that a package has put there do not change.
    fixed = ("-q", "--invalidation-mode=unchecked-hash", "-s", stage, "-p", "/")
    target.run(INTERPRETER, "-m", "compileall", *fixed, site)
    _programs(package, prefix)


def _programs(package: Package, prefix: Path) -> None:
    folder = prefix / "bin"
    folder.mkdir()
    (prefix / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
    )
    (folder / "python3").symlink_to(INTERPRETER)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name in package.programs:
        module, _, function = scripts[name].partition(":")
        # Isolated: root's environment has no say in what a daemon's program imports.
        start = f"#!{package.prefix}/bin/python3 -I\nimport sys\n"
        text = f"{start}\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
