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


def test_the_objects_were_built_from_these_sources(build: ModuleType) -> None:
    assert build.sources_hash() == layout.SOURCES, REMEDY


def test_the_layouts_were_read_with_these_objects(build: ModuleType) -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in build.OBJECTS} == layout.OBJECTS


def test_the_layouts_are_those_of_every_objects_btf(build: ModuleType) -> None:
    objects = {path: path.read_bytes() for path in build.OBJECTS}
    for elf in objects.values():
        assert build.render_layout(elf, objects, layout.SOURCES) == build.LAYOUT.read_text(), REMEDY


def test_building_again_gives_identical_bytes(build: ModuleType) -> None:
    found = build.toolchain()
    if found != build.PINNED:
        pytest.skip(f"needs {build.PINNED} to compare bytes, here is {found or 'no compiler'}")
    for path in build.OBJECTS:
        assert build.compile_object(path) == path.read_bytes(), REMEDY


def test_the_objects_name_no_path_of_the_machine_they_were_built_on(build: ModuleType) -> None:
    for path in build.OBJECTS:
        assert str(build.HERE).encode() not in path.read_bytes()
        assert b"/usr/" not in path.read_bytes()
