"""What is in a package, as a tree of files below `stage`, but for its program (program.py)."""

import gzip
import hashlib
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from deploy.debian import manual

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "deploy/systemd"
# The unit as it stands in the repository is for a virtual environment here.
WRITTEN_FOR = "/opt/killdeer/bin/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    home: str
    """Below /opt/killdeer."""
    extras: tuple[str, ...]
    programs: tuple[str, ...]
    examples: tuple[str, ...]
    """Below deploy/systemd, to be read."""

    @property
    def prefix(self) -> str:
        return f"/opt/killdeer/{self.home}"


PACKAGES = (
    Package(
        name="killdeer-agent",
        home="agent",
        extras=("agent",),
        programs=("killdeer-agent",),
        examples=("agent.toml", "guard.d", "drop-ins", "killdeer.rules"),
    ),
    Package(
        name="killdeer-coordinator",
        home="coordinator",
        extras=("coordinator", "report"),
        programs=("killdeer-coordinator", "killdeer"),
        examples=("coordinator.toml",),
    ),
)


def lay_out(package: Package, stage: Path, version: str, date: str) -> None:
    """`date`: as a changelog has it. The program is there already: its licences are looked for."""
    name = package.name
    unit = (SYSTEMD / f"{name}.service").read_text().replace(WRITTEN_FOR, f"{package.prefix}/bin/")
    _write(stage / f"lib/systemd/system/{name}.service", unit)
    for kind in ("sysusers", "tmpfiles"):
        _copy(SYSTEMD / f"{name}.{kind}.conf", stage / f"usr/lib/{kind}.d/{name}.conf")
    _configuration(package, stage / "etc/killdeer")
    for program in package.programs:
        link = stage / "usr/bin" / program
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"{package.prefix}/bin/{program}")
        section = manual.PROGRAMS[program].section
        _compress(stage / f"usr/share/man/man{section}/{program}.{section}.gz", manual.man_page(program))
        for shell, text in manual.completions(program).items():
            _write(stage / "usr/share" / COMPLETION[shell].format(program), text)
    doc = stage / "usr/share/doc" / name
    for example in package.examples:
        _copy(SYSTEMD / example, doc / "examples" / example)
    _write(doc / "copyright", _copyright(stage / package.prefix.lstrip("/")))
    entry = f"{name} ({version}) unstable; urgency=medium\n\n  * As released.\n\n -- {MAINTAINER}  {date}\n"
    _compress(doc / "changelog.gz", entry)


COMPLETION = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/vendor-completions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
MAINTAINER = "Killdeer <killdeer@localhost>"


def control(package: Package, stage: Path, version: str) -> None:
    """DEBIAN/: after all else is there."""
    source = Path(__file__).with_name(package.name)
    folder = stage / "DEBIAN"
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    said = (source / "control").read_text()
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(stage)}\n" for path in files)
    filled = said.format(version=version, size=size, maintainer=MAINTAINER)
    conffiles = "".join(f"/{path.relative_to(stage)}\n" for path in files if path.is_relative_to(stage / "etc"))
    for name, text in {"control": filled, "md5sums": sums, "conffiles": conffiles}.items():
        _write(folder / name, text)
    for script in ("postinst", "prerm", "postrm"):
        _copy(source / script, folder / script)


def settle(stage: Path) -> None:
    """Modes as the archive has them, whatever the umask was."""
    stage.chmod(0o755)
    scripts = stage / "DEBIAN"
    for path in stage.rglob("*"):
        if path.is_symlink():
            continue
        runs = path.is_dir() or (path.parent == scripts and path.name in ("postinst", "prerm", "postrm"))
        runs |= bool(path.stat().st_mode & stat.S_IXUSR) and path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)


def _configuration(package: Package, folder: Path) -> None:
    """Conffiles. agent.toml is none: `join` or an operator writes it, and without it nothing starts."""
    if package.home == "agent":
        _write(folder / "guard.d/host.toml", closed((SYSTEMD / "guard.d/example.toml").read_text()))
    else:
        _copy(SYSTEMD / "coordinator.toml", folder / "coordinator.toml")


def closed(guard: str) -> str:
    """The example with every rule as a comment: it opens nothing."""
    return re.sub(r"(?m)^(?=[^#\n])", "# ", guard)


def _copyright(prefix: Path) -> str:
    """Of Killdeer, and of each distribution that the package carries, with where its licence is."""
    stanzas = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: killdeer",
        "Files: *\nCopyright: the authors of Killdeer\nLicense: Apache-2.0\n"
        " On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.",
    ]
    for folder, metadata in _carried(prefix):
        texts = sorted(
            path for path in folder.rglob("*") if re.match(r"(?i)(licen[cs]e|copying|notice)", path.name)
        )
        where = [f" The text is in {_installed(path, prefix)}" for path in texts if path.is_file()]
        stanza = [
            f"Files: {_installed(folder.parent, prefix)}/*",
            f"Copyright: the authors of {metadata['Name']} {metadata['Version']}",
            f"License: {_licence(metadata)}",
            *(where or [" It brings no text of its own."]),
        ]
        stanzas.append("\n".join(stanza))
    return "\n\n".join(stanzas) + "\n"


def _carried(prefix: Path) -> Iterator[tuple[Path, Message]]:
    for file in sorted(prefix.glob("lib/*/site-packages/*.dist-info/METADATA")):
        metadata = HeaderParser().parsestr(file.read_text(encoding="utf-8"))
        if metadata["Name"] != "killdeer":
            yield file.parent, metadata


def _licence(metadata: Message) -> str:
    """In one line: by its SPDX expression, else the first line of the old field, else the classifiers."""
    classifiers = [
        one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier", []) if one.startswith("License ::")
    ]
    old = str(metadata.get("License", "")).strip().splitlines()
    return str(
        metadata.get("License-Expression", "") or (old[0] if old else "") or ", ".join(classifiers) or "unknown"
    )


def _installed(path: Path, prefix: Path) -> str:
    return f"/opt/killdeer/{prefix.name}/{path.relative_to(prefix)}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _compress(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
