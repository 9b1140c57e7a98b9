"""The C that bcc compiles lays its records out as the agent reads them, and leaves none of their fields empty."""

import ctypes
import re
from pathlib import Path

import pytest

from killdeer_agent.kernel import bcctypes, layout
from killdeer_agent.kernel.bcc import TEXT
from killdeer_agent.kernel.tracing import PROGRAMS

C_TYPES = {"u64": ctypes.c_uint64, "s64": ctypes.c_int64, "u32": ctypes.c_uint32, "s32": ctypes.c_int32}
C_BYTES = ctypes.c_uint8
STRUCT = re.compile(r"struct (\w+) \{\n(.*?)\};", re.DOTALL)
MEMBER = re.compile(r"\t(?:struct )?(\w+) (\w+)(?:\[(\d+)\])?;")


@pytest.fixture
def structs() -> dict[str, type[ctypes.Structure]]:
    """The generated C as the machine's compiler would lay it out."""
    made: dict[str, type[ctypes.Structure]] = {}
    for name, body in STRUCT.findall(bcctypes.declarations()):
        fields = [
            (field, C_BYTES * int(count) if count else made.get(kind) or C_TYPES[kind])
            for kind, field, count in MEMBER.findall(body)
        ]
        made[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return made


@pytest.mark.parametrize("name", bcctypes.RECORDS)
def test_a_record_is_as_long_as_the_agent_takes_it_for(
    structs: dict[str, type[ctypes.Structure]], name: str
) -> None:
    assert ctypes.sizeof(structs[name]) == bcctypes.RECORDS[name][1].size


def test_a_field_is_where_the_agent_looks_for_it(structs: dict[str, type[ctypes.Structure]]) -> None:
    event = structs["kd_signal"]()
    event.at_boot_ns, event.kind, event.verdict, event.code = 1, layout.SIGNAL, 4, -6
    event.sender.pid, event.sender.uid = 7, 8
    event.target.start_ns, event.target.tid = 9, 10
    event.target.name[:5] = b"sleep"
    told = layout.decode_signal(bytes(event))
    assert (told.at_boot_ns, told.kind, told.verdict, told.code) == (1, layout.SIGNAL, 4, -6)
    assert (told.sender.pid, told.sender.uid, told.target.start_ns, told.target.tid) == (7, 8, 9, 10)
    assert told.target.name.rstrip(b"\0") == b"sleep"


def test_the_constants_are_those_of_the_layout() -> None:
    declared = dict(re.findall(r"#define KD_(\w+) (\d+)", bcctypes.declarations()))
    assert declared["EXIT"] == str(layout.EXIT)
    assert declared["LOST_WATCHED_EXIT"] == str(layout.LOST_WATCHED_EXIT)
    assert declared["NO_SENDER"] == str(layout.NO_SENDER)


def test_bccs_programs_fill_every_field_and_know_every_flag() -> None:
    assert bcctypes.untold(TEXT.read_text()) == []


def test_a_field_or_flag_that_they_do_not_know_is_named() -> None:
    text = TEXT.read_text()
    assert bcctypes.untold(text.replace("->verdict", "->signal")) == ["verdict"]
    assert bcctypes.untold(text.replace("KD_DOUBTFUL", "KD_WATCHED")) == ["doubtful"]


def test_the_programs_have_one_for_each_of_the_cores_tracepoints(pytestconfig: pytest.Config) -> None:
    core = (Path(pytestconfig.rootpath) / "agent/bpf/killdeer.bpf.c").read_text()
    assert set(PROGRAMS.values()) == set(re.findall(r'SEC\("(?:raw_tp|tp_btf)/(\w+)"\)', core))
