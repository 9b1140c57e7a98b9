"""What a guest boots from: Debian's own kernels, a small Debian as initramfs with the headers of its kernel, and
this project on top of it.

Kernels, headers and Debian are kept in the user's cache folder; the root archive's name holds the hash of its
recipe.
"""

import os
import platform
import shutil
import tempfile
from pathlib import Path

from tests.kernels import environment
from tests.support import debian

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("qemu-system-x86_64", "debootstrap", "cpio", "apt-get", "dpkg-deb")

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


def headers(kernel: Path) -> Path:
    """Of exactly this kernel, as an archive."""
    release = kernel.stem.removeprefix("linux-image-")
    archive = debian.cache("guests") / f"linux-headers-{release}.cpio"
    if not archive.exists():
        names = [f"linux-headers-{one}" for one in (release, release.replace("-cloud-amd64", "-common"))]
        with debian.unpacked(*names) as tree, tempfile.TemporaryDirectory(dir=debian.cache("guests")) as folder:
            # Debian's /lib is a link, over which no folder may be unpacked.
            _copy(tree / "lib" / "modules", Path(folder) / "usr" / "lib" / "modules")
            for part in (Path("usr", "src", name, part) for name in names for part in HEADERS):
                if (tree / part).exists():
                    _copy(tree / part, Path(folder) / part)
            debian.keep(debian.packed(Path(folder)), archive)
    return archive


def project(target: Path) -> None:
    """Writes the project, with its tests, as an archive."""
    with tempfile.TemporaryDirectory() as folder:
        _lay_out_project(Path(folder))
        target.write_bytes(debian.packed(Path(folder)))


def root() -> Path:
    archive = _root_archive()
    if not archive.exists():
        _build_root(archive)
    return archive


def _build_root(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=debian.cache("guests")) as folder:
        tree = Path(folder) / "root"
        debian.bootstrap(tree, PACKAGES, NEEDLESS)
        debian.keep(debian.packed(tree), archive)


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


def _root_archive() -> Path:
    return debian.cache("guests") / f"root-{debian.recipe(PACKAGES, NEEDLESS)}.cpio"
