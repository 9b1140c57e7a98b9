"""Another Python than this machine's: that of the next Debian, with the libraries it needs, called through its own
loader. So it needs neither root nor an installation.
"""

import shutil
import sys
from pathlib import Path

from tests.support import debian

VERSION = (3, 13)
SUITE = "trixie"
PACKAGES = ("python3", "libstdc++6")
# The suite's keys come with Debian 12, so that apt believes no mirror.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = ("apt-get", "dpkg-deb")


def obstacle() -> str:
    """Why there can be none here; empty: there can."""
    if sys.version_info[:2] == VERSION:
        return f"needs another Python than {_said(VERSION)} to compare it to: make clean setup PYTHON=python3.11"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}: run on Debian 12"
    return "" if KEYRING.exists() else f"needs {KEYRING}: apt install debian-archive-keyring"


def interpreter() -> tuple[str, ...]:
    """What calls it, before its arguments; it looks into no site folders but its own. debian.CannotBuild: it cannot
    be had."""
    tree = debian.cache("python") / f"debian-{debian.recipe(SUITE, PACKAGES)}"
    if not tree.exists():
        with debian.making(tree) as made:
            _unpack(made)
    (loader,) = tree.glob("usr/lib*/ld-linux*.so.*")
    libraries = str(loader.resolve().parent)
    # The cache is of this machine's libraries.
    load = (str(loader), "--inhibit-cache", "--library-path", libraries)
    return (*load, str(tree / f"usr/bin/python{_said(VERSION)}"), "-s", "-B")


def site(requirements: str) -> Path:
    """A folder with the wheels for it, by lines of requirements.lock. debian.CannotBuild: they cannot be had."""
    folder = debian.cache("python") / f"site-{debian.recipe(VERSION, requirements)}"
    if not folder.exists():
        with debian.making(folder) as made:
            (wanted := made.with_name("requirements.txt")).write_text(requirements)
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            how = ("--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:")
            debian.said(*pip, *how, "--python-version", _said(VERSION), "--target", made, "-r", wanted)
    return folder


def _unpack(tree: Path) -> None:
    """With an apt that knows this suite alone, on which nothing is installed."""
    apt, archives = tree.with_name("apt"), tree.with_name("cache") / "archives"
    for folder in (apt / "lists", archives):
        folder.mkdir(parents=True)
    source = f"deb [target=Packages signed-by={KEYRING}] {debian.mirror()} {SUITE} main\n"
    (apt / "sources.list").write_text(source)
    (apt / "status").touch()
    settings = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": apt,
        "Dir::State::Status": apt / "status",
        "Dir::Cache": archives.parent,
        "APT::Default-Release": "",
        "APT::Sandbox::User": "root",  # others may not write here
        "APT::Update::Error-Mode": "any",
    }
    asked = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    debian.said("apt-get", *asked, "update")
    debian.said("apt-get", *asked, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
    for package in archives.glob("*.deb"):
        debian.said("dpkg-deb", "--extract", package, tree)


def _said(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
