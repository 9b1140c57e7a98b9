"""Each cause for having no kernel evidence is named, with its remedy."""

import errno
from pathlib import Path

import pytest

from killdeer_agent.kernel import obstacle


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path / "proc"


def test_a_kernel_without_btf_is_named(tmp_path: Path, proc: Path) -> None:
    found = obstacle.look(proc=proc, sys_root=tmp_path / "sys")
    assert found is not None
    assert "kernel/btf/vmlinux" in found.cause
    assert "CONFIG_DEBUG_INFO_BTF" in found.remedy


def test_a_refusal_under_lockdown_is_named(tmp_path: Path, proc: Path) -> None:
    security = tmp_path / "sys/kernel/security"
    security.mkdir(parents=True)
    (security / "lockdown").write_text("none integrity [confidentiality]\n")
    refused = PermissionError(errno.EPERM, "cannot load the BPF object: Operation not permitted")
    found = obstacle.explain(refused, proc=proc, sys_root=tmp_path / "sys")
    assert "locked down" in found.cause


def test_a_refusal_under_a_seccomp_filter_is_named(tmp_path: Path, proc: Path) -> None:
    (proc / "self/status").write_text("Name:\tpython\nSeccomp:\t2\n")
    refused = PermissionError(errno.EPERM, "cannot load the BPF object: Operation not permitted")
    found = obstacle.explain(refused, proc=proc, sys_root=tmp_path / "sys")
    assert "seccomp" in found.cause
    assert "SystemCallFilter=" in found.remedy


def test_any_other_refusal_keeps_what_was_tried_and_the_kernels_word(tmp_path: Path, proc: Path) -> None:
    refused = OSError(errno.ENOENT, "cannot attach the BPF program on_oom: No such file or directory")
    found = obstacle.explain(refused, proc=proc, sys_root=tmp_path / "sys")
    assert str(found).startswith("cannot collect kernel evidence: cannot attach the BPF program on_oom")
