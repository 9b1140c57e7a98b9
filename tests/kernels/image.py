"""What a guest boots from: Debian's own kernels, a small Debian as initramfs with the headers of its kernel, and
this project on top of it.

Kernels, headers and Debian are kept in the user's cache folder; the root archive's name holds the hash of its
recipe. Where they come from is what apt on this machine is set up for.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kernels import environment

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("qemu-system-x86_64", "debootstrap", "cpio", "apt-get", "dpkg-deb")

KERNELS = {
    "6.1": r"linux-image-6\.1\.0-\d+-cloud-amd64",
    "6.12": r"linux-image-6\.12\.\d+\+deb12-cloud-amd64",
}

SUITE = "bookworm"
PACKAGES = ("systemd", "dbus", "python3", "procps", "libbpf1", "python3-bpfcc")
HEADERS = ("include", "arch/x86/include", "Makefile")  # what bcc and the agent read of them
# Every byte is copied by an emulated processor at each boot. Devices come with devtmpfs.
NEEDLESS = (
    *("boot/*", "dev/*", "var/cache/*", "var/lib/apt", "var/lib/dpkg", "var/log/*", "usr/lib/udev/hwdb*"),
    *("usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl*", "usr/bin/perl*"),
    *(f"usr/share/{name}" for name in ("doc", "man", "locale", "info", "i18n", "perl*", "zoneinfo", "keyrings")),
)

PROJECT = Path("killdeer")
PARTS = (
    *("pyproject.toml", *environment.SOURCES, "deploy"),
    *("tests/conftest.py", "tests/support", "tests/kernel", "tests/kernels"),
)
TESTS = ("tests/kernel", "tests/kernels/inside")


class CannotBuild(Exception):
    """What a guest boots from cannot be had: cause and remedy."""


def obstacle() -> str:
    """Why there can be no guests on this machine at all; empty: there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if platform.machine() != "x86_64":
        return f"needs an x86-64 machine with Debian's packages, this is {platform.machine()}"
    if missing:
        return f"needs {', '.join(missing)}: apt install qemu-system-x86 debootstrap cpio"
    if os.geteuid() != 0 and not _root_archive().exists():
        return f"needs root the first time: debootstrap fills {_root_archive()}"
    return environment.obstacle()


def kernel(series: str) -> Path:
    """The newest kernel of this series that apt knows; without apt's word, the newest from the cache."""
    known = _run("apt-cache", "search", "--names-only", "^linux-image-.*cloud-amd64$").splitlines()
    names = [line.split()[0] for line in known] or [path.stem for path in _cache().glob("*.vmlinuz")]
    fitting = sorted((name for name in names if re.fullmatch(KERNELS[series], name)), key=_version)
    if not fitting:
        raise CannotBuild(
            f"cannot find a Linux {series}: apt knows no {KERNELS[series]}; "
            f"apt-get update, with {SUITE} and {SUITE}-security among its sources"
        )
    image = _cache() / f"{fitting[-1]}.vmlinuz"
    if not image.exists():
        with _unpacked(fitting[-1]) as tree:
            (found,) = tree.glob("boot/vmlinuz-*")
            found.replace(image)
    return image


def headers(kernel: Path) -> Path:
    """Of exactly this kernel, as an archive."""
    release = kernel.stem.removeprefix("linux-image-")
    archive = _cache() / f"linux-headers-{release}.cpio"
    if not archive.exists():
        names = [f"linux-headers-{one}" for one in (release, release.replace("-cloud-amd64", "-common"))]
        with _unpacked(*names) as tree, tempfile.TemporaryDirectory(dir=_cache()) as folder:
            # Debian's /lib is a link, over which no folder may be unpacked.
            _copy(tree / "lib" / "modules", Path(folder) / "usr" / "lib" / "modules")
            for part in (Path("usr", "src", name, part) for name in names for part in HEADERS):
                if (tree / part).exists():
                    _copy(tree / part, Path(folder) / part)
            _keep(_packed(Path(folder)), archive)
    return archive


def project(target: Path) -> None:
    """Writes the project, with its tests, as an archive."""
    with tempfile.TemporaryDirectory() as folder:
        _lay_out_project(Path(folder))
        target.write_bytes(_packed(Path(folder)))


def root() -> Path:
    archive = _root_archive()
    if not archive.exists():
        _build_root(archive)
    return archive


def _build_root(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        tree = Path(folder) / "root"
        packages = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", packages, SUITE, str(tree), _mirror())
        for pattern in NEEDLESS:
            for path in tree.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        _keep(_packed(tree), archive)


def _lay_out_project(tree: Path) -> None:
    """systemd as /init, the unit that runs the tests, the project, and the environment in which it runs."""
    _copy(Path(__file__).with_name("root"), tree)
    tree.chmod(0o755)
    (tree / "init").symlink_to("/lib/systemd/systemd")
    for name in PARTS:
        _copy(ROOT / name, tree / PROJECT / name)
    environment.lay_out(tree, PROJECT)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(
            source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    else:
        shutil.copy2(source, target)


@contextmanager
def _unpacked(*packages: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        download = ("apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root")
        _run(*download, *packages, cwd=Path(folder))
        for package in Path(folder).glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), f"{folder}/unpacked")
        yield Path(folder) / "unpacked"


def _keep(packed: bytes, archive: Path) -> None:
    """Whole or not at all: others may look for it."""
    with tempfile.NamedTemporaryFile(dir=archive.parent, delete=False) as file:
        file.write(packed)
    Path(file.name).replace(archive)


def _packed(tree: Path) -> bytes:
    names = subprocess.run(("find", ".", "-print0"), cwd=tree, check=True, stdout=subprocess.PIPE).stdout
    pack = ("cpio", "--create", "--format=newc", "--null", "--owner=+0:+0", "--quiet")
    return subprocess.run(pack, cwd=tree, check=True, input=names, stdout=subprocess.PIPE).stdout


def _root_archive() -> Path:
    recipe = repr((SUITE, PACKAGES, NEEDLESS)).encode()
    return _cache() / f"root-{hashlib.sha256(recipe).hexdigest()[:16]}.cpio"


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "killdeer" / "guests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mirror() -> str:
    chosen = ("Created-By: Packages", f"Codename: {SUITE}", "Component: main")
    addresses = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", *chosen).split()
    if not addresses:
        raise CannotBuild(
            f"cannot build Debian {SUITE}: apt on this machine has no source for it; run on Debian 12"
        )
    return addresses[0]


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _run(*command: str, cwd: Path | None = None) -> str:
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
        raise CannotBuild(f"cannot prepare a guest: {command[0]} ended with {done.returncode}\n{last}")
    return done.stdout
