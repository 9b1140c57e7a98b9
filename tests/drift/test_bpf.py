"""The committed BPF object, the layouts read from it and the C they come from belong together."""

import hashlib
import importlib
from types import ModuleType

import pytest

from killdeer_agent.kernel import layout

REMEDY = "run `make generate`"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> ModuleType:
    """agent/bpf/build.py, which stands outside of every package."""
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath / "agent" / "bpf"))
    return importlib.import_module("build")


def test_the_object_was_built_from_these_sources(build: ModuleType) -> None:
    assert build.sources_hash() == layout.SOURCES, REMEDY


def test_the_layouts_were_read_from_this_object(build: ModuleType) -> None:
    assert hashlib.sha256(build.OBJECT.read_bytes()).hexdigest() == layout.OBJECT, REMEDY


def test_the_layouts_are_those_of_the_objects_btf(build: ModuleType) -> None:
    rendered = build.render_layout(build.OBJECT.read_bytes(), layout.SOURCES)
    assert rendered == build.LAYOUT.read_text(), REMEDY


def test_building_again_gives_identical_bytes(build: ModuleType) -> None:
    found = build.toolchain()
    if found != build.PINNED:
        pytest.skip(f"needs {build.PINNED} to compare bytes, here is {found or 'no compiler'}")
    assert build.compile_object() == build.OBJECT.read_bytes(), REMEDY


def test_the_object_names_no_path_of_the_machine_it_was_built_on(build: ModuleType) -> None:
    assert str(build.HERE).encode() not in build.OBJECT.read_bytes()
    assert b"/usr/" not in build.OBJECT.read_bytes()
