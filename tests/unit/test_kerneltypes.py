"""Where the bcc programs' idea of the kernel's structs comes from: BTF first, else headers, else nothing."""

import struct
from pathlib import Path

import pytest

from killdeer_agent.kernel import kerneltypes
from killdeer_agent.kernel.kernelbtf import KernelBtf
from killdeer_agent.kernel.kerneltypes import kernel_types
from killdeer_agent.kernel.obstacle import CollectorUnavailable

RELEASE = "5.4.0-216-generic"
SCHED = "struct task_struct { struct pid *thread_pid; u64 start_time; u64 %s; };"


def headers(root: Path, *, start: str = "start_boottime", **texts: str) -> Path:
    """Those of RELEASE, where Ubuntu has them, with what is looked up in their text."""
    folder = root / "usr/src" / f"linux-headers-{RELEASE}"
    for name, text in {
        "linux/kconfig.h": "",
        "generated/autoconf.h": "",
        "linux/sched.h": SCHED % start,
        **{name.replace("__", "/") + ".h": text for name, text in texts.items()},
    }.items():
        file = folder / "include" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def declared(root: Path) -> str:
    with kernel_types(root, RELEASE) as types:
        return types.declarations


def test_without_btf_the_headers_of_this_kernel_are_taken(tmp_path: Path) -> None:
    folder = headers(tmp_path)
    with kernel_types(tmp_path, RELEASE) as types:
        assert (types.origin, types.folder, types.flags) == ("headers", folder, ())
        assert "#include <linux/sched.h>" in types.declarations
        assert "#define AT_upid_nr __builtin_offsetof(struct upid, nr)" in types.declarations


def test_headers_of_another_kernel_are_no_help(tmp_path: Path) -> None:
    headers(tmp_path)
    said = r"headers are not installed.*apt install linux-headers-5\.4\.0-99"
    with pytest.raises(CollectorUnavailable, match=said), kernel_types(tmp_path, "5.4.0-99-generic"):
        pass


def test_debians_headers_in_two_folders_are_both_looked_through(tmp_path: Path) -> None:
    build = tmp_path / "usr/src" / f"linux-headers-{RELEASE}"
    (build / "include/generated").mkdir(parents=True)
    (build / "Makefile").write_text("include /usr/src/linux-headers-5.4-common/Makefile\n")
    common = tmp_path / "usr/src/linux-headers-5.4-common"
    (common / "include/linux").mkdir(parents=True)
    (common / "include/linux/kconfig.h").write_text("")
    (common / "include/linux/sched.h").write_text(SCHED % "start_boottime")
    with kernel_types(tmp_path, RELEASE) as types:
        assert types.folder == common
        assert f"-I{build}/include" in types.flags


def test_the_shape_of_each_tracepoint_is_read_from_the_headers_text(tmp_path: Path) -> None:
    headers(
        tmp_path,
        trace__events__sched="TP_PROTO(struct task_struct *p, bool group_dead),",
        trace__events__oom="TRACE_EVENT(mark_victim,\n\tTP_PROTO(struct task_struct *task, uid_t uid),",
    )
    text = declared(tmp_path)
    assert "#define KD_GROUP_DEAD" in text
    assert "#define KD_MARK_VICTIM_TASK" in text


def test_older_shapes_are_told_apart(tmp_path: Path) -> None:
    headers(
        tmp_path,
        start="real_start_time",
        linux__kernfs="union kernfs_node_id {",
        linux__memcontrol="struct mem_cgroup { bool\toom_lock; };",
        trace__events__sched="DEFINE_EVENT(sched_process_template, sched_process_exit,",
        trace__events__oom="TRACE_EVENT(mark_victim,\n\tTP_PROTO(int pid),",
    )
    text = declared(tmp_path)
    assert "#define AT_task_struct_start __builtin_offsetof(struct task_struct, real_start_time)" in text
    assert "#define KD_ID_WITH_GENERATION" in text
    assert "#define KD_OOM_LOCK" in text
    assert "KD_GROUP_DEAD" not in text
    assert "KD_MARK_VICTIM_TASK" not in text


def test_a_kernel_that_is_too_old_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    headers(tmp_path)
    sched = tmp_path / "usr/src" / f"linux-headers-{RELEASE}" / "include/linux/sched.h"
    sched.write_text("struct task_struct { struct pid_link pids[3]; };")
    with pytest.raises(CollectorUnavailable, match=r"no task_struct\.thread_pid"), kernel_types(tmp_path, RELEASE):
        pass


class BtfMaker:
    """As much of BTF as a test needs; numbers of types are given out from 1 on."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1 if text else 0

    def add(self, kind: int, name: str, size: int, body: bytes = b"", members: int = 0) -> int:
        self.types += struct.pack("<III", self.name(name), kind << 24 | members, size) + body
        self.count += 1
        return self.count

    def struct(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        """Members: name, type, offset in bytes."""
        body = b"".join(struct.pack("<III", self.name(field), of, at * 8) for field, of, at in members)
        return self.add(4, name, size, body, len(members))

    def made(self) -> KernelBtf:
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return KernelBtf(head + self.types + self.strings)


@pytest.fixture
def btf() -> KernelBtf:
    made = BtfMaker()
    number = made.add(1, "int", 4, struct.pack("<I", 0))
    array = made.add(3, "", 0, struct.pack("<III", number, number, 6))
    inner = made.struct("inner", 24, ("first", number, 0), ("several", array, 4))
    alias = made.add(8, "inner_t", inner)
    nameless = made.struct("", 32, ("before", number, 0), ("nested", alias, 8))
    pointer = made.add(2, "", inner)
    made.add(6, "choice", 4, struct.pack("<IiIi", made.name("one"), 1, made.name("other"), -3), 2)
    made.struct("outer", 64, ("own", pointer, 0), ("", nameless, 16))
    return made.made()


def test_a_field_is_found_through_nested_and_anonymous_structs(btf: KernelBtf) -> None:
    assert btf.offset("outer.own") == 0
    assert btf.offset("outer.before") == 16
    assert btf.offset("outer.nested.several") == 16 + 8 + 4


def test_sizes_are_those_of_structs_arrays_and_pointers(btf: KernelBtf) -> None:
    assert (btf.size("outer"), btf.size("outer.nested"), btf.size("outer.nested.several")) == (64, 24, 24)
    assert btf.size("outer.own") == 8


def test_an_enums_value_is_found_by_name(btf: KernelBtf) -> None:
    assert (btf.enumerator("choice", "other"), btf.enumerator("choice", "none")) == (-3, None)
    assert btf.enumerator("no_such_enum", "one") is None


def test_what_is_not_there_is_named(btf: KernelBtf) -> None:
    assert not btf.has("outer.several")
    with pytest.raises(KeyError, match=r"outer\.nested\.third"):
        btf.offset("outer.nested.third")
    with pytest.raises(CollectorUnavailable, match=r"no task_struct\.group_leader"):
        kerneltypes.from_btf(btf)


def test_with_btf_no_headers_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    described = tmp_path / "sys/kernel/btf/vmlinux"
    described.parent.mkdir(parents=True)
    described.write_bytes(b"")
    monkeypatch.setattr(kerneltypes, "KernelBtf", lambda _data: None)
    monkeypatch.setattr(kerneltypes, "from_btf", lambda _types: "offsets")
    with kernel_types(tmp_path, "6.18.44-any") as types:
        assert (types.origin, types.declarations) == ("BTF", "offsets")
        assert "KERNEL_VERSION(6,18,44)" in (types.folder / "include/linux/version.h").read_text()
    assert not types.folder.exists()


def test_on_this_machine_every_field_is_found() -> None:
    described = Path("/sys/kernel/btf/vmlinux")
    if not described.exists():
        pytest.skip(f"needs {described}")
    assert "#define AT_task_struct_start " in kerneltypes.from_btf(KernelBtf(described.read_bytes()))
