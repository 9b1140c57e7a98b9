"""What a guest boots from: Debian's own kernels, a small Debian as initramfs, and this project on top of it.

Kernels and Debian are kept in the user's cache folder; the root archive's name holds the hash of its recipe. Where
they come from is what apt on this machine is set up for.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("qemu-system-x86_64", "debootstrap", "cpio", "apt-get", "dpkg-deb")

KERNELS = {
    "6.1": r"linux-image-6\.1\.0-\d+-cloud-amd64",
    "6.12": r"linux-image-6\.12\.\d+\+deb12-cloud-amd64",
}

SUITE = "bookworm"
PACKAGES = ("systemd", "dbus", "python3", "procps", "libbpf1")
# Every byte is copied by an emulated processor at each boot. Devices come with devtmpfs.
NEEDLESS = (
    *("boot/*", "dev/*", "var/cache/*", "var/lib/apt", "var/lib/dpkg", "var/log/*", "usr/lib/udev/hwdb*"),
    *("usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl*", "usr/bin/perl*"),
    *(f"usr/share/{name}" for name in ("doc", "man", "locale", "info", "i18n", "perl*", "zoneinfo", "keyrings")),
)

# Of the virtual environment: pure Python or of the stable ABI, so that any version's fit Debian's Python.
DISTRIBUTIONS = ("pytest", "pytest-timeout", "pluggy", "iniconfig", "packaging", "pygments", "protobuf")
PROJECT = ("pyproject.toml", "proto", "agent", "tests/conftest.py", "tests/support", "tests/kernel")


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
    return ""


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
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            _run("apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", fitting[-1], cwd=Path(folder))
            (package,) = Path(folder).glob("*.deb")
            _run("dpkg-deb", "--extract", str(package), f"{folder}/package")
            (found,) = Path(folder).glob("package/boot/vmlinuz-*")
            found.replace(image)
    return image


def initramfs(target: Path) -> None:
    """Writes Debian and, after it, the project with its kernel tests: the kernel unpacks one over the other."""
    archive = _root_archive()
    if not archive.exists():
        _build_root(archive)
    with target.open("wb") as whole, tempfile.TemporaryDirectory() as folder:
        whole.write(archive.read_bytes())
        _lay_out_project(Path(folder))
        whole.write(_packed(Path(folder)))


def _build_root(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        tree = Path(folder) / "root"
        packages = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", packages, SUITE, str(tree), _mirror())
        for pattern in NEEDLESS:
            for path in tree.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        packed = Path(folder) / archive.name
        packed.write_bytes(_packed(tree))
        packed.replace(archive)


def _lay_out_project(tree: Path) -> None:
    """/init, the project under /killdeer, and under /killdeer/site what the tests need of the environment."""
    tree.chmod(0o755)
    shutil.copy(Path(__file__).with_name("init.sh"), tree / "init")
    (tree / "init").chmod(0o755)
    for name in PROJECT:
        _copy(ROOT / name, tree / "killdeer" / name)
    for name in DISTRIBUTIONS:
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and Path(str(file.locate())).exists():
                _copy(Path(str(file.locate())), tree / "killdeer" / "site" / file)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


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
