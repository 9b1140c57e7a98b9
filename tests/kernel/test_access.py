"""With which rights the kernel's record can be had, and what is said where it can't."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from killdeer_agent.kernel.collector import open_collector
from tests.support.collectors import loaded

NOBODY = 65534
OPENS = (
    "from killdeer_agent.kernel import core\n"
    "from killdeer_agent.kernel.collector import open_collector\n"
    "objects = core.objects\n"
    "core.objects = lambda types: objects(types)[:1]\n"  # what loads everywhere else shall not stand in for it
    "collector = open_collector()\n"
    "print(collector.level, collector.detail)\n"
    "collector.close()\n"
)
CORE = "2 raw tracepoints through libbpf\n"

HIDES_TRACEFS = "for f in tracing debug; do [ ! -d /sys/kernel/$f ] || mount -t tmpfs none /sys/kernel/$f; done"
SYS_READ_ONLY = "mount --rbind /sys /sys && mount -o remount,bind,ro /sys"
HIDES_BTF = "mount -t tmpfs none /sys/kernel/btf"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives rights away")


@pytest.fixture(scope="module", autouse=True)
def _here() -> None:
    """Skips where not even root has the record."""
    loaded("core").close()


def opened(*prefix: str) -> str:
    """What a collector says of itself in a process started through this command."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", OPENS], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def after(*mounts: str) -> tuple[str, ...]:
    """Runs the rest in a mount namespace that this was done in."""
    return ("unshare", "--mount", "sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh")


def as_nobody(*capabilities: str) -> tuple[str, ...]:
    granted = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return (
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--inh-caps={granted}", f"--ambient-caps={granted}"),
    )


@needs_root
def test_an_ordinary_user_with_cap_bpf_and_cap_perfmon_has_the_kernels_record() -> None:
    assert opened(*as_nobody("bpf", "perfmon")) == CORE


@needs_root
@pytest.mark.parametrize(
    "mounts",
    [(HIDES_TRACEFS,), (SYS_READ_ONLY,), (HIDES_TRACEFS, SYS_READ_ONLY)],
    ids=["tracefs hidden", "sys read-only", "both"],
)
def test_neither_tracefs_nor_a_writable_sys_is_needed(mounts: tuple[str, ...]) -> None:
    assert opened(*after(*mounts), *as_nobody("bpf", "perfmon")) == CORE


@needs_root
def test_what_these_mounts_are_for_they_do() -> None:
    listed = subprocess.check_output([*after(HIDES_TRACEFS), "ls", "/sys/kernel/tracing"], text=True)
    assert listed == ""
    assert os.access("/sys/kernel", os.W_OK)
    writable = subprocess.run([*after(SYS_READ_ONLY), "test", "-w", "/sys/kernel"], check=False)
    assert writable.returncode == 1


@needs_root
@pytest.mark.parametrize(
    ("held", "missing"),
    [((), "lacks CAP_BPF and CAP_PERFMON "), (("bpf",), "lacks CAP_PERFMON "), (("perfmon",), "lacks CAP_BPF ")],
)
@pytest.mark.parametrize("mounts", [(), (HIDES_TRACEFS, SYS_READ_ONLY)], ids=["as it is", "mounts hidden"])
def test_a_missing_capability_is_named_and_the_agent_runs_on(
    held: tuple[str, ...], missing: str, mounts: tuple[str, ...]
) -> None:
    said = opened(*(after(*mounts) if mounts else ()), *as_nobody(*held))
    assert said.startswith("1 cannot collect kernel evidence: ")
    assert missing in said
    assert "AmbientCapabilities=" in said


@needs_root
def test_without_types_it_is_bcc_for_that_reason_or_says_what_both_lack() -> None:
    said = opened(*after(HIDES_BTF))
    reason = "this kernel does not describe its types"
    assert (said.startswith("2 raw tracepoints through bcc, ") and f", for {reason}" in said) or (
        said.startswith(f"1 cannot collect kernel evidence: {reason}") and "; with bcc: " in said
    )


@needs_root
def test_a_user_namespace_is_named() -> None:
    assert "user namespace" in opened("unshare", "--user", "--map-root-user")


@needs_root
def test_without_the_record_the_kernels_log_is_read_by_whom_may_and_else_the_capability_named() -> None:
    assert opened(*as_nobody("syslog")).endswith("the OOM counters of their cgroups, the kernel's log\n")
    if Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "1":
        assert "not the kernel's log: the agent lacks CAP_SYSLOG (kernel.dmesg_restrict is 1)" in opened(
            *as_nobody()
        )


@needs_root
def test_a_unit_without_the_logs_device_says_how_to_give_it() -> None:
    hidden = "mount -t tmpfs none /dev"
    assert "there is no /dev/kmsg; the drop-in 30-kernel-log.conf gives it" in opened(
        *after(hidden), *as_nobody("syslog")
    )


def test_a_host_without_libbpf_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    monkeypatch.setattr("killdeer_agent.kernel.bccfind.MARKS", ("nowhere.py",))
    collector = open_collector()
    collector.close()
    assert collector.level == 1
    assert "apt install libbpf1" in collector.detail
