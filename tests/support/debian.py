"""Debian 12 for machines that tests boot: its kernels, its packages, a tree of files. What was built is kept in the
user's cache folder; where it comes from is what apt on this machine is set up for."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

SUITE = "bookworm"
KERNELS = {
    "6.1": r"linux-image-6\.1\.0-\d+-cloud-amd64",
    "6.12": r"linux-image-6\.12\.\d+\+deb12-cloud-amd64",
}


class CannotBuild(Exception):
    """There can be no such machine here: cause and remedy."""


def cache(name: str) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "killdeer" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def recipe(*parts: object) -> str:
    """What a thing that is made of these parts may be called: made of others, it has another name."""
    return sha256(repr((SUITE, *parts)).encode()).hexdigest()[:16]


def bootstrap(tree: Path, packages: Sequence[str], needless: Sequence[str] = ()) -> None:
    """Fills `tree`, as root. `needless`: patterns of what is taken away again."""
    include = f"--include={','.join(packages)}"
    said("debootstrap", "--variant=minbase", include, SUITE, str(tree), mirror())
    for pattern in needless:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def tree(folder: str, packages: Sequence[str], needless: Sequence[str] = ()) -> Path:
    """A tree with these packages that no machine has booted yet, as an archive below the cache's `folder`."""
    archive = cache(folder) / f"debian-{recipe(packages, needless)}.tar"
    if not archive.exists():
        with making(archive) as packed:
            root = packed.with_name("root")
            bootstrap(root, packages, (*needless, "var/cache/apt/archives/*.deb"))
            # Each machine gets its own.
            (root / "etc/machine-id").write_text("")
            said("tar", "--create", f"--file={packed}", "--numeric-owner", f"--directory={root}", ".")
    return archive


def kernel(series: str) -> Path:
    """The newest kernel of this series that apt knows; without apt's word, the newest from the cache."""
    kept = cache("guests")
    known = said("apt-cache", "search", "--names-only", "^linux-image-.*cloud-amd64$").splitlines()
    names = [line.split()[0] for line in known] or [path.stem for path in kept.glob("*.vmlinuz")]
    fitting = sorted((name for name in names if re.fullmatch(KERNELS[series], name)), key=_version)
    if not fitting:
        raise CannotBuild(
            f"cannot find a Linux {series}: apt knows no {KERNELS[series]}; "
            f"apt-get update, with {SUITE} and {SUITE}-security among its sources"
        )
    image = kept / f"{fitting[-1]}.vmlinuz"
    if not image.exists():
        with unpacked(fitting[-1]) as files:
            (found,) = files.glob("boot/vmlinuz-*")
            found.replace(image)
    return image


@contextmanager
def unpacked(*packages: str) -> Iterator[Path]:
    """The files of these packages, without what these depend on."""
    with tempfile.TemporaryDirectory(dir=cache("guests")) as folder:
        download = ("apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root")
        said(*download, *packages, cwd=Path(folder))
        for package in Path(folder).glob("*.deb"):
            said("dpkg-deb", "--extract", str(package), f"{folder}/unpacked")
        yield Path(folder) / "unpacked"


def packed(files: Path) -> bytes:
    """As an archive that the kernel takes for an initramfs."""
    names = subprocess.run(("find", ".", "-print0"), cwd=files, check=True, stdout=subprocess.PIPE).stdout
    pack = ("cpio", "--create", "--format=newc", "--null", "--owner=+0:+0", "--quiet")
    return subprocess.run(pack, cwd=files, check=True, input=names, stdout=subprocess.PIPE).stdout


def keep(content: bytes, archive: Path) -> None:
    """Whole or not at all: others may look for it."""
    with making(archive) as made:
        made.write_bytes(content)


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Where to make a file or folder that then stands at `target`, whole or not at all. What else is put beside it
    goes."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        yield made
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first
                raise


def said(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command said. CannotBuild, with the last of it, where it failed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise CannotBuild(f"cannot prepare a machine: {command[0]} ended with {done.returncode}\n{last}")
    return done.stdout


def mirror() -> str:
    """Where apt on this machine has the main part of Debian 12 from."""
    chosen = ("Created-By: Packages", f"Codename: {SUITE}", "Component: main")
    addresses = said("apt-get", "indextargets", "--format", "$(REPO_URI)", *chosen).split()
    if not addresses:
        raise CannotBuild(
            f"cannot build Debian {SUITE}: apt on this machine has no source for it; run on Debian 12"
        )
    return addresses[0]


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
