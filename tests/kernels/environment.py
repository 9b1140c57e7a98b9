"""/opt/killdeer of a guest: the virtual environment that its units call, filled from that of the tests."""

import compileall
import importlib.metadata
import py_compile
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Debian 12's.
PYTHON = (3, 11)
WHERE = Path("opt/killdeer")
SOURCES = ("proto", "agent", "coordinator")
TESTING = ("hypothesis", "pytest", "pytest-timeout")


def obstacle() -> str:
    """Why the guest cannot use what is installed here; empty: it can."""
    if sys.version_info[:2] != PYTHON:
        return f"needs Python {'.'.join(map(str, PYTHON))}, as the guests have: make clean setup PYTHON=python3.11"
    return ""


def lay_out(tree: Path, project: Path) -> None:
    """`tree`: the guest's root. `project`: where in it the project's sources are, to be compiled in place."""
    settings = tomllib.loads((tree / project / "pyproject.toml").read_text())["project"]
    site = tree / WHERE / "lib" / "python{}.{}".format(*PYTHON) / "site-packages"
    for name in closure(settings):
        for file in importlib.metadata.files(name) or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.exists():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, site / file)
    (site / "killdeer.pth").write_text("".join(f"/{project}/{name}\n" for name in SOURCES))
    # An emulated processor would compile for longer than it tests.
    compileall.compile_dir(
        tree / project, quiet=1, stripdir=tree, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    programs = tree / WHERE / "bin"
    programs.mkdir(parents=True)
    (tree / WHERE / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (programs / "python3").symlink_to("/usr/bin/python3")
    for name, entry in settings["scripts"].items():
        module, _, function = entry.partition(":")
        run = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (programs / name).write_text(f"#!/{WHERE}/bin/python3\n{run}")
        (programs / name).chmod(0o755)


def closure(settings: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """The distributions that the project and its tests need, with all that these need."""
    extras = settings["optional-dependencies"]
    wanted = [*settings["dependencies"], *TESTING]
    wanted += [one for extra, names in extras.items() if extra not in ("dev", "report") for one in names]
    waiting, seen = [Requirement(one) for one in wanted], set[tuple[str, str]]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            if not any(one == name for one, _ in seen):
                yield name
            seen.add((name, extra))
            for text in importlib.metadata.requires(name) or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
