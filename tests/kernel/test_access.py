"""With which rights the kernel's record can be had, and what is said where it can't."""

import os
import subprocess
import sys

import pytest

from killdeer_agent.kernel.collector import open_collector
from tests.support.kernel_record import KernelRecord

NOBODY = 65534
OPENS = (
    "from killdeer_agent.kernel.collector import open_collector\n"
    "collector = open_collector()\n"
    "print(collector.level, collector.detail)\n"
    "collector.close()\n"
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives rights away")


def opened(*prefix: str) -> str:
    """What a collector says of itself in a process started through this command."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", OPENS], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def as_nobody(*capabilities: str) -> str:
    granted = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return opened(
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--inh-caps={granted}", f"--ambient-caps={granted}"),
    )


@needs_root
def test_an_ordinary_user_with_cap_bpf_and_cap_perfmon_has_the_kernels_record(kernel: KernelRecord) -> None:
    assert as_nobody("bpf", "perfmon") == "2 raw tracepoints through libbpf\n"


@needs_root
@pytest.mark.parametrize(
    ("held", "missing"),
    [((), "lacks CAP_BPF and CAP_PERFMON "), (("bpf",), "lacks CAP_PERFMON "), (("perfmon",), "lacks CAP_BPF ")],
)
def test_a_missing_capability_is_named_and_the_agent_runs_on(held: tuple[str, ...], missing: str) -> None:
    said = as_nobody(*held)
    assert said.startswith("1 cannot collect kernel evidence: ")
    assert missing in said
    assert "AmbientCapabilities=" in said


@needs_root
def test_a_user_namespace_is_named() -> None:
    assert "user namespace" in opened("unshare", "--user", "--map-root-user")


def test_a_host_without_libbpf_is_told_how_to_get_it(kernel: KernelRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    monkeypatch.setattr("killdeer_agent.kernel.bccfind.MARKS", ("nowhere.py",))
    collector = open_collector()
    assert collector.level == 1
    assert "apt install libbpf1" in collector.detail


def test_the_collector_without_kernel_record_does_nothing_and_says_why() -> None:
    from killdeer_agent.kernel.collector import PidfdCollector

    collector = PidfdCollector("because")
    collector.start(lambda _events: pytest.fail("nobody has anything to tell"))
    collector.watch(1, 1)
    collector.unwatch(1)
    collector.flush()
    assert (collector.lost(), collector.detail) == ({}, "because")
    collector.close()
