"""The Debian 12 that packages are made for: this machine, if it is one, or a root of it in a folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE, VERSION = "bookworm", "12"
PYTHON = "3.11"
INTERPRETER = f"/usr/bin/python{PYTHON}"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("ca-certificates", "python3-venv")
# What pip needs to reach an index, where the machine has it.
BORROWED = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


class CannotBuild(Exception):
    """Cause and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Debian 12, and a folder of it to work in."""

    root: Path
    work: Path

    def run(self, *command: str | Path) -> None:
        """In it; paths below `work` are given as they are seen from outside."""
        within = [str(one).replace(str(self.work), "/" + str(self.work.relative_to(self.root))) for one in command]
        run(*(within if self.root == Path("/") else ("chroot", str(self.root), *within)))


@contextmanager
def debian() -> Iterator[Target]:
    """Raises CannotBuild."""
    with tempfile.TemporaryDirectory(prefix="killdeer-deb-") as folder:
        if is_debian(Path("/etc/os-release").read_text()):
            if not Path(INTERPRETER).exists():
                raise CannotBuild(f"cannot build: {INTERPRETER} is missing; apt install python3-venv")
            yield Target(root=Path("/"), work=Path(folder).resolve())
            return
        root = Path(folder).resolve() / "root"
        _bootstrap(root)
        (root / "work").mkdir()
        yield Target(root=root, work=root / "work")


def is_debian(os_release: str) -> bool:
    said = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return (said.get("ID"), said.get("VERSION_ID", "").strip('"')) == ("debian", VERSION)


def run(*command: str | Path) -> None:
    """Quietly; raises CannotBuild with the end of what it said."""
    done = subprocess.run(
        command, check=False, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise CannotBuild(f"cannot build: {command[0]} ended with {done.returncode}\n{last}")


def _bootstrap(root: Path) -> None:
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise CannotBuild(
            f"cannot build: this is no Debian {VERSION}; as root, with debootstrap, a root of it is made"
        )
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if not keyring.exists():
        raise CannotBuild(f"cannot build: {keyring} is missing; install debian-archive-keyring")
    include, known = f"--include={','.join(PACKAGES)}", f"--keyring={keyring}"
    mirror = os.environ.get("DEBIAN_MIRROR", MIRROR)
    run("debootstrap", "--variant=minbase", include, known, SUITE, root, mirror)
    for name in BORROWED:
        if (Path("/") / name).exists():
            shutil.copyfile(Path("/") / name, root / name)
