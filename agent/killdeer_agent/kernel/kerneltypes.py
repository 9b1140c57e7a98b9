"""Where this kernel has the fields that the bcc programs read: from its BTF, or from its headers.

BTF is of the very kernel that runs. Headers are asked where there is none: then bcc's compiler works out the
offsets, and only what the preprocessor cannot be asked is looked up in their text.
"""

import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from killdeer_agent.kernel.kernelbtf import KernelBtf
from killdeer_agent.kernel.obstacle import CollectorUnavailable

FIELDS: Final = (
    *("task_struct.group_leader", "task_struct.real_parent", "task_struct.thread_pid", "task_struct.mm"),
    *("task_struct.signal", "task_struct.sighand", "task_struct.cgroups", "task_struct.real_cred"),
    *("task_struct.flags", "task_struct.exit_code", "task_struct.pid", "task_struct.tgid", "task_struct.comm"),
    *("task_struct.blocked", "task_struct.ptrace"),
    *("pid.level", "pid.numbers", "upid.nr", "upid.ns", "pid_namespace.ns.inum"),
    *("css_set.subsys", "css_set.dfl_cgrp", "cgroup.kn", "cgroup.root", "kernfs_node.id"),
    *("cgroup_subsys_state.cgroup", "cgroup_subsys_state.parent", "cgroup_root.hierarchy_id"),
    *("mm_struct.total_vm", "mm_struct.pgtables_bytes", "mm_struct.rss_stat", "sighand_struct.action"),
    *("signal_struct.live", "signal_struct.flags", "signal_struct.group_exit_code"),
    *("signal_struct.oom_score_adj", "signal_struct.oom_mm", "cred.uid", "linux_binprm.filename"),
    *("mm_struct.exe_file", "file.f_inode", "inode.i_ino", "inode.i_sb", "super_block.s_dev"),
)
MEMORY_FIELDS: Final = (
    "mem_cgroup.css",
    "mem_cgroup.memory.usage",
    "mem_cgroup.memory.max",
    "mem_cgroup.oom_group",
)
START, START_BEFORE_5_5 = "start_boottime", "real_start_time"
SIZES: Final = ("upid", "k_sigaction")
RSS_COUNTERS = 4  # NR_MM_COUNTERS
PER_CPU_COUNTER: Final = "percpu_counter"  # what each of them is from Linux 6.2 on

INCLUDES: Final = (
    *("linux/sched.h", "linux/sched/signal.h", "linux/mm_types.h", "linux/pid_namespace.h", "linux/cgroup-defs.h"),
    *("linux/kernfs.h", "linux/memcontrol.h", "linux/binfmts.h", "linux/cred.h", "linux/percpu_counter.h"),
    "linux/fs.h",
)

# What bcc's own headers ask of the kernel's; nothing of it differs between kernels.
STUBS: Final = {
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/version.h": "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
    "#define LINUX_VERSION_CODE KERNEL_VERSION({version})\n",
    "linux/types.h": "#pragma once\n#define NULL ((void *)0)\n"
    "#define __aligned_u64 __u64 __attribute__((aligned(8)))\n"
    + "".join(
        f"typedef {of} __{name}; typedef __{name} {name};\n"
        for sign, letter in (("unsigned ", "u"), ("signed ", "s"))
        for of, name in (
            (f"{sign}char", f"{letter}8"),
            (f"{sign}short", f"{letter}16"),
            (f"{sign}int", f"{letter}32"),
            (f"{sign}long long", f"{letter}64"),
        )
    )
    + "typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef __u16 __sum16;\n"
    "typedef __u32 __wsum; typedef unsigned long uintptr_t; typedef unsigned long size_t; typedef _Bool bool;\n"
    "#define true 1\n#define false 0\n",
    **dict.fromkeys(("linux/bpf_common.h", "linux/log2.h", "linux/sched.h", "asm/page.h", "linux/bpf.h"), ""),
    **{f"uapi/linux/{name}.h": "" for name in ("bpf", "if_packet", "if_ether", "ptrace")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTypes:
    """`folder`: what bcc's compiler is to take for the kernel's source; `declarations`: C before the programs."""

    origin: str
    folder: Path
    flags: tuple[str, ...]
    declarations: str


@contextmanager
def kernel_types(root: Path = Path("/"), release: str = "") -> Iterator[KernelTypes]:
    """Valid inside the `with` only. Raises CollectorUnavailable where this host has neither BTF nor headers."""
    release = release or os.uname().release
    described = root / "sys/kernel/btf/vmlinux"
    packed = root / "sys/kernel/kheaders.tar.xz"
    headers = _headers(root, release)
    with tempfile.TemporaryDirectory(prefix="killdeer-") as scratch:
        if described.exists():
            yield KernelTypes(
                origin="BTF",
                folder=_stub_source(Path(scratch), release),
                flags=(),
                declarations=from_btf(KernelBtf(described.read_bytes())),
            )
        elif headers:
            yield _from_headers(*headers)
        elif packed.exists():
            with tarfile.open(packed) as archive:
                archive.extractall(scratch, filter="data")
            yield _from_headers(Path(scratch), Path(scratch))
        else:
            raise CollectorUnavailable(
                f"this kernel does not describe its types (no {described}), and its headers are not installed",
                f"apt install linux-headers-{release} (dnf install kernel-devel-{release})",
            )


def from_btf(types: KernelBtf) -> str:
    """Raises CollectorUnavailable, which names it, for a field that this kernel does not have."""
    try:
        return "".join(f"#define {name} {value}\n" for name, value in _offsets(types))
    except KeyError as missing:
        raise _lacks(str(missing.args[0])) from missing


def from_headers(source: Path) -> str:
    """What the compiler shall work out itself, and what the text of the headers in `source` shows."""
    text = {name: _text(source / "include" / name) for name in ("linux/sched.h", "linux/kernfs.h")}
    if "thread_pid" not in text["linux/sched.h"]:
        raise _lacks("task_struct.thread_pid")
    start = START if START in text["linux/sched.h"] else START_BEFORE_5_5
    lines = [f"#include <{name}>" for name in INCLUDES]
    lines += [f"#define {_macro(field)} {_offsetof(field)}" for field in (*FIELDS, *MEMORY_FIELDS)]
    lines.append(f"#define AT_task_struct_start {_offsetof(f'task_struct.{start}')}")
    lines += [f"#define SIZE_{name} sizeof(struct {name})" for name in SIZES]
    lines += [
        f"#define KD_RSS_STRIDE (sizeof(((struct mm_struct *)0)->rss_stat) / {RSS_COUNTERS})",
        f"#define KD_RSS_COUNT_AT (KD_RSS_STRIDE == 8 ? 0 : {_offsetof(f'{PER_CPU_COUNTER}.count')})",
        "#ifdef CONFIG_MEMCG\n#define KD_MEMORY_SLOT memory_cgrp_id\n#endif",
    ]
    if "union kernfs_node_id" in text["linux/kernfs.h"]:
        lines.append("#define KD_ID_WITH_GENERATION")
    memory = _text(source / "include/linux/memcontrol.h")
    if re.search(r"\boom_lock;", memory):
        lock = "#define KD_OOM_LOCK\n#define AT_mem_cgroup_oom_lock " + _offsetof("mem_cgroup.oom_lock")
        lines.append(f"#ifdef CONFIG_MEMCG_V1\n{lock}\n#endif" if "CONFIG_MEMCG_V1" in memory else lock)
    if "group_dead" in _text(source / "include/trace/events/sched.h"):
        lines.append("#define KD_GROUP_DEAD")
    if re.search(
        r"TRACE_EVENT\(mark_victim,\s*TP_PROTO\(struct task_struct", _text(source / "include/trace/events/oom.h")
    ):
        lines.append("#define KD_MARK_VICTIM_TASK")
    return "\n".join([*lines, ""])


def _offsets(types: KernelBtf) -> Iterator[tuple[str, object]]:
    for field in FIELDS:
        yield _macro(field), types.offset(field)
    for name in (START, START_BEFORE_5_5):
        if types.has(f"task_struct.{name}"):
            yield "AT_task_struct_start", types.offset(f"task_struct.{name}")
            break
    else:
        raise KeyError(f"task_struct.{START}")
    for name in SIZES:
        yield f"SIZE_{name}", types.size(name)
    stride = types.size("mm_struct.rss_stat") // RSS_COUNTERS
    yield "KD_RSS_STRIDE", stride
    yield "KD_RSS_COUNT_AT", 0 if stride == 8 else types.offset(f"{PER_CPU_COUNTER}.count")
    slot = types.enumerator("cgroup_subsys_id", "memory_cgrp_id")
    if slot is not None:
        yield "KD_MEMORY_SLOT", slot
        for field in MEMORY_FIELDS:
            yield _macro(field), types.offset(field)
        if types.has("mem_cgroup.oom_lock"):
            yield "AT_mem_cgroup_oom_lock", types.offset("mem_cgroup.oom_lock")
            yield "KD_OOM_LOCK", 1
    if types.has("kernfs_node_id.id"):
        yield "KD_ID_WITH_GENERATION", 1
    if types.has("trace_event_raw_sched_process_exit.group_dead"):
        yield "KD_GROUP_DEAD", 1
    if types.has("trace_event_raw_mark_victim.oom_score_adj"):
        yield "KD_MARK_VICTIM_TASK", 1


def _headers(root: Path, release: str) -> tuple[Path, Path] | None:
    """The folders with the headers as written and as generated for this kernel; Debian has them apart. Beside
    /lib/modules also where distributions put them: a unit with ProtectKernelModules= cannot see that one."""
    modules = root / "lib/modules" / release
    for build in (
        modules / "build",
        root / "usr/src" / f"linux-headers-{release}",
        root / "usr/src/kernels" / release,
    ):
        if not _is_there(build / "include/generated"):
            continue
        named = re.search(r"^include (/\S+)/Makefile$", _text(build / "Makefile"), re.MULTILINE)
        behind = [modules / "source"] + ([root / named[1].lstrip("/")] if named else [])
        for source in (build, *behind):
            if _is_there(source / "include/linux/kconfig.h"):
                return source.resolve(), build.resolve()
    return None


def _is_there(path: Path) -> bool:
    """What ProtectKernelModules= hides may not even be asked for."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _from_headers(source: Path, build: Path) -> KernelTypes:
    arch = {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    generated = (f"arch/{arch}/include/generated/uapi", f"arch/{arch}/include/generated", "include/generated/uapi")
    return KernelTypes(
        origin="headers",
        folder=source,
        flags=tuple(f"-I{build / folder}" for folder in (*generated, "include")) if source != build else (),
        declarations=from_headers(source),
    )


def _stub_source(folder: Path, release: str) -> Path:
    version = ",".join([*re.findall(r"\d+", release), "0", "0"][:3])
    for name, text in STUBS.items():
        file = folder / "include" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{version}", version))
    return folder


def _lacks(field: str) -> CollectorUnavailable:
    return CollectorUnavailable(
        f"this kernel has no {field}, which the programs for bcc read",
        "run Linux 4.19 or later; where it is later, report this",
    )


def _macro(field: str) -> str:
    return "AT_" + field.replace(".", "_")


def _offsetof(field: str) -> str:
    struct, _, member = field.partition(".")
    return f"__builtin_offsetof(struct {struct}, {member})"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
