"""`make deb`: both packages for Debian 12, into build/ (docs/decisions/0027-packages.md)."""

import argparse
import os
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

from deploy.debian import layout, program
from deploy.debian.layout import PACKAGES, ROOT
from deploy.debian.target import CannotBuild, Target, debian, run
from killdeer.version import VERSION

ARCHITECTURE = "amd64"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make deb", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="default: %(default)s")
    try:
        for made in build(parser.parse_args().out):
            print(made)
    except CannotBuild as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def build(out: Path) -> list[Path]:
    """The packages made. Raises CannotBuild."""
    machine = os.uname().machine
    if machine != "x86_64":
        raise CannotBuild(f"cannot build: packages are for {ARCHITECTURE}, and this machine is {machine}")
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = str(committed_at())
    out.mkdir(parents=True, exist_ok=True)
    with debian() as target:
        wheel = _wheel(target.work)
        program.pip(target)
        return [_made(package, wheel, target, out) for package in PACKAGES]


def committed_at() -> int:
    """When the sources are from, so that the same ones make the same package; now, where git does not say."""
    said = subprocess.run(
        ("git", "log", "-1", "--format=%ct"), cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    return int(os.environ.get("SOURCE_DATE_EPOCH") or said or time.time())


def pack(stage: Path, out: Path) -> None:
    """zstd: every dpkg since Debian 12 and Ubuntu 18.04 reads it, and an emulated machine unpacks it in seconds."""
    run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z12", "--build", stage, out)


def _wheel(folder: Path) -> Path:
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *how, ROOT)
    (made,) = folder.glob("killdeer-*.whl")
    return made


def _made(package: layout.Package, wheel: Path, target: Target, out: Path) -> Path:
    stage = target.work / package.name
    stage.mkdir()
    program.fill(package, stage, wheel, target)
    layout.lay_out(package, stage, VERSION, formatdate(committed_at()))
    layout.control(package, stage, VERSION)
    layout.settle(stage)
    made = out / f"{package.name}_{VERSION}_{ARCHITECTURE}.deb"
    pack(stage, made)
    return made


if __name__ == "__main__":
    sys.exit(main())
