"""The distribution's bcc is found from inside a virtual environment; what has its name on PyPI is never used."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from killdeer_agent.kernel import bccfind
from killdeer_agent.kernel.obstacle import CollectorUnavailable


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh interpreter, and as before afterwards."""
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bcc", None)  # so that it is taken out again, whatever the test puts there
    monkeypatch.delitem(sys.modules, "bcc")


def installed(root: Path, place: str = "usr/lib/python3/dist-packages", text: str = "") -> Path:
    """The distribution's package, as far as it is looked at."""
    package = root / place / "bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text or "from .libbcc import lib\nfrom . import table\n")
    (package / "libbcc.py").write_text("lib = 'the library'\n")
    (package / "table.py").write_text("")
    return package


def impostor(folder: Path) -> Path:
    package = folder / "bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the other project was imported')\n")
    (package / "lattice.py").write_text("")
    return package


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/python3/dist-packages",
        "usr/lib/python3.9/site-packages",
        "usr/lib/python3.12/dist-packages",
    ],
)
def test_it_is_found_where_distributions_put_it(tmp_path: Path, place: str) -> None:
    installed(tmp_path, place)
    module = bccfind.find_bcc(tmp_path, path=[])
    assert module.libbcc.lib == "the library"


def test_nothing_else_of_the_distribution_comes_with_it(tmp_path: Path) -> None:
    package = installed(tmp_path)
    (package.parent / "yaml_of_the_distribution.py").write_text("")
    before = list(sys.path)
    bccfind.find_bcc(tmp_path, path=[])
    assert sys.path == before
    assert not [entry for entry in sys.path if entry.startswith(str(tmp_path))]


def test_what_python_thinks_of_its_text_is_no_obstacle(tmp_path: Path) -> None:
    installed(tmp_path, text="from . import libbcc\nPATTERN = '\\.'\n")
    assert bccfind.find_bcc(tmp_path, path=[]).PATTERN == "\\."


def test_it_is_loaded_once(tmp_path: Path) -> None:
    installed(tmp_path)
    assert bccfind.find_bcc(tmp_path, path=[]) is bccfind.find_bcc(tmp_path, path=[])


def test_the_pypi_project_of_that_name_is_refused_and_not_imported(tmp_path: Path) -> None:
    other = impostor(tmp_path / "site-packages")
    with pytest.raises(CollectorUnavailable) as refused:
        bccfind.find_bcc(tmp_path, path=[str(other.parent)])
    assert str(other) in refused.value.cause
    assert "another project" in refused.value.cause
    assert "pip uninstall bcc" in refused.value.remedy
    assert "apt install python3-bpfcc" in refused.value.remedy
    assert "bcc" not in sys.modules


def test_the_pypi_project_where_a_distribution_would_put_it_is_refused_too(tmp_path: Path) -> None:
    impostor(tmp_path / "usr/lib/python3/dist-packages")
    with pytest.raises(CollectorUnavailable, match="not installed"):
        bccfind.find_bcc(tmp_path, path=[])


def test_beside_the_pypi_project_the_distributions_is_used(tmp_path: Path) -> None:
    other = impostor(tmp_path / "site-packages")
    installed(tmp_path)
    module = bccfind.find_bcc(tmp_path, path=[str(other.parent)])
    assert module.libbcc.lib == "the library"


def test_the_pypi_project_already_imported_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = impostor(tmp_path / "site-packages")
    stranger = type(sys)("bcc")
    stranger.__file__ = str(other / "__init__.py")
    monkeypatch.setitem(sys.modules, "bcc", stranger)
    with pytest.raises(CollectorUnavailable, match="another project"):
        bccfind.find_bcc(tmp_path, path=[str(other.parent)])


def test_where_it_is_missing_it_is_said_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(
        CollectorUnavailable, match=r"not installed; apt install python3-bpfcc \(dnf install python3-bcc"
    ):
        bccfind.find_bcc(tmp_path, path=[])


def test_one_that_cannot_be_loaded_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    installed(tmp_path, text="from . import table\nraise OSError('libbcc.so.0: cannot open shared object file')\n")
    with pytest.raises(CollectorUnavailable, match=r"cannot be loaded: libbcc\.so\.0.*reinstall"):
        bccfind.find_bcc(tmp_path, path=[])
    assert not [name for name in sys.modules if name.split(".")[0] == "bcc"]


def test_it_is_no_dependency_of_the_project(pytestconfig: pytest.Config) -> None:
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    assert "bcc" not in {re.split(r"[^\w.-]", one)[0].lower() for one in wanted}
    locks = [*pytestconfig.rootpath.glob("*.lock"), *pytestconfig.rootpath.glob("requirements*.txt")]
    assert not [lock for lock in locks if re.search(r"^bcc\b", lock.read_text(), re.MULTILINE)]
