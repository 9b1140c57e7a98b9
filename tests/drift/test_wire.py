"""The committed protobuf code is what the .proto files give, and the dependencies' floors are what it demands."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")


def test_regenerating_the_wire_changes_nothing(tmp_path: Path) -> None:
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    names = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("killdeer/v1/*.proto"))
    services = [name for name in names if "\nservice " in (PROTO / name).read_text()]
    messages = [*protoc, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *names]
    stubs = [*protoc, f"--grpc_python_out={tmp_path}", f"--plugin=protoc-gen-mypy_grpc={plugin}"]
    subprocess.run(messages, check=True)
    subprocess.run([*stubs, f"--mypy_grpc_out=quiet:{tmp_path}", *services], check=True)
    fresh = {path.name: path.read_bytes() for path in tmp_path.glob("killdeer/v1/*")}
    committed = {p.name: p.read_bytes() for p in PROTO.glob("killdeer/v1/*") if GENERATED.search(p.name)}
    assert sorted(fresh) == sorted(committed)
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run: make generate"


def test_nothing_makes_proto_itself_a_package() -> None:
    assert not (PROTO / "__init__.py").exists()


@pytest.mark.parametrize(
    ("package", "demanded_in", "pattern"),
    [
        ("grpcio", "agent_pb2_grpc.py", r"GRPC_GENERATED_VERSION = '([\d.]+)'"),
        ("protobuf", "agent_pb2.py", r"Protobuf Python Version: (\d+\.\d+)"),
    ],
)
def test_dependency_floors_are_what_the_generated_code_demands(
    package: str, demanded_in: str, pattern: str
) -> None:
    found = re.search(pattern, (PROTO / "killdeer/v1" / demanded_in).read_text())
    assert found is not None
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (floor,) = [line.split(">=")[1] for line in dependencies if line.split(">=")[0] == package]
    assert floor.startswith(found[1])


def test_services_and_enums_keep_to_the_wire_s_style() -> None:
    for path in PROTO.glob("killdeer/v1/*.proto"):
        text = path.read_text()
        assert re.search(r"^package killdeer\.v1;$", text, re.MULTILINE)
        for name, body in re.findall(r"^enum (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
            assert re.search(rf"{prefix}_UNSPECIFIED = 0;", body), f"{name} has no {prefix}_UNSPECIFIED"
