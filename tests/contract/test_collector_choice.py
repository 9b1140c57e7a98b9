"""Which way to the kernel's record is taken, and what is said of the others."""

import os
import re
import signal

import pytest

from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer_agent.kernel import kerneltypes
from killdeer_agent.kernel.bcc import TEXT
from killdeer_agent.kernel.collector import CollectorUnavailable, load_collector, open_collector
from killdeer_agent.kernel.kernelbtf import KernelBtf
from tests.support.collectors import FLOOD, held_open, loaded
from tests.support.kernel_record import KernelRecord, process, strike

# bcc brings a compiler, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(120, method="thread")


def test_what_bcc_can_be_told_during_one_drain_is_bounded() -> None:
    (bound,) = re.findall(r"#define KD_MOST_IN_A_DRAIN (\d+)", TEXT.read_text())
    collector = loaded("bcc")
    everywhere = os.sched_getaffinity(0)
    try:
        # Each processor has a buffer of its own, which holds more than that.
        os.sched_setaffinity(0, {min(everywhere)})
        with process("sleep", "300") as flooded:
            for _ in range(FLOOD):
                strike(flooded.pid, signal.SIGCONT)
            assert 0 < len(KernelRecord(collector).of(flooded.pid, "signal")) <= int(bound)
    finally:
        os.sched_setaffinity(0, everywhere)
        collector.close()


@pytest.mark.parametrize("field", ["task_struct_start", "signal_struct_group_exit_code", "linux_binprm_filename"])
def test_bcc_is_refused_where_its_idea_of_the_kernel_is_wrong(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("bcc").close()
    before = held_open()
    right = kerneltypes.from_btf

    def shifted(types: KernelBtf) -> str:
        return re.sub(rf"(?m)^(#define AT_{field}) (\d+)$", r"\1 (\2 + 16)", right(types))

    monkeypatch.setattr(kerneltypes, "from_btf", shifted)
    with pytest.raises(CollectorUnavailable, match=r"of a process is not so: .*; install the headers of exactly"):
        load_collector("bcc")
    assert held_open() == before


def test_without_libbpf_it_is_bcc_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("bcc").close()
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    collector = open_collector()
    collector.close()
    assert collector.level == EvidenceLevel.EVIDENCE_LEVEL_BPF
    assert "through bcc" in collector.detail
    assert collector.detail.endswith(", for libbpf is not installed")


def test_what_is_configured_is_not_replaced_by_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    monkeypatch.setattr("killdeer_agent.kernel.obstacle.look", lambda: None)
    assert open_collector("core").level == EvidenceLevel.EVIDENCE_LEVEL_PIDFD
    assert open_collector("pidfd").detail.startswith("configured: pidfd; instead: exits of victims, ")


def test_on_a_kernel_that_does_not_describe_its_types_it_is_bcc_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded("bcc").close()
    without = CollectorUnavailable("this kernel does not describe its types", "boot another")
    monkeypatch.setattr("killdeer_agent.kernel.obstacle.look", lambda: without)
    collector = open_collector()
    collector.close()
    assert collector.level == EvidenceLevel.EVIDENCE_LEVEL_BPF
    assert collector.detail.endswith(", for this kernel does not describe its types")
