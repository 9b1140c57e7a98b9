"""The distribution's `bcc` module, from inside a virtual environment: that package alone, nothing else beside it.

It is not on PyPI. The project that has its name there is about other things, and is never imported.
"""

import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from killdeer_agent.kernel.obstacle import CollectorUnavailable

NAME: Final = "bcc"
MARKS: Final = ("__init__.py", "libbcc.py", "table.py")  # what the BPF Compiler Collection's package consists of
INSTALL: Final = "apt install python3-bpfcc (dnf install python3-bcc)"
WHERE: Final = (
    "usr/lib/python3/dist-packages",
    "usr/lib/python3.*/site-packages",
    "usr/lib/python3.*/dist-packages",
)


def find_bcc(root: Path = Path("/"), path: Sequence[str] | None = None) -> ModuleType:
    """`root`: where distributions install; `path`: where this environment would look, as sys.path.

    Raises CollectorUnavailable: it is not installed, cannot be loaded, or only another project of its name is.
    """
    loaded = sys.modules.get(NAME)
    if loaded is not None and _is_bcc(Path(loaded.__file__ or "").parent):
        return loaded
    for folder in _installed(root):
        if _is_bcc(folder):
            return _load(folder)
    impostor = _impostor(sys.path if path is None else path)
    if impostor:
        raise CollectorUnavailable(
            f"{impostor} is another project with the name of the BPF Compiler Collection, which is not on PyPI",
            f"pip uninstall {NAME}; {INSTALL}",
        )
    raise CollectorUnavailable("the BPF Compiler Collection for Python is not installed", INSTALL)


def _installed(root: Path) -> Iterator[Path]:
    for pattern in WHERE:
        yield from sorted(folder / NAME for folder in root.glob(pattern))


def _is_bcc(folder: Path) -> bool:
    return all((folder / name).is_file() for name in MARKS)


def _impostor(path: Sequence[str]) -> Path | None:
    """What `import bcc` would find here, looked for without importing it."""
    for entry in path:
        for found in (Path(entry, NAME), Path(entry, f"{NAME}.py")):
            if found.exists():
                return found
    return None


def _load(folder: Path) -> ModuleType:
    """Its own modules are found through the package, so that nothing is put on sys.path."""
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of(name)}
    sys.modules[NAME] = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a newer Python has something to say of its patterns
            spec.loader.exec_module(module)
    except Exception as problem:
        for name in [name for name in sys.modules if _is_of(name)]:
            del sys.modules[name]
        sys.modules.update(before)
        raise CollectorUnavailable(
            f"{folder} cannot be loaded: {problem}", f"reinstall it, with its libbcc: {INSTALL}"
        ) from problem
    return module


def _is_of(name: str) -> bool:
    return name == NAME or name.startswith(f"{NAME}.")
