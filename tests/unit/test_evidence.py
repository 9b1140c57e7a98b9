"""What the records of the BPF rings become on the wire."""

import pytest

from killdeer_agent.kernel import layout
from killdeer_agent.kernel.evidence import FILTERED, LOST, Units, doubtful_exit, losses, to_wire
from killdeer_agent.kernel.filter import VERDICTS

UNITS = Units(tick_ns=10_000_000, page_kb=4)
SENDER = (10_000_000, 7, 41, 0x800001, 4_026_531_836, 11, 11, 1, 1011, 0, b"sender")
TARGET = (2_019_999_999, 8, 42, 0x800001, 4_026_531_900, 12, 13, 11, 1012, 1000, b"target")


def signal_record(*, flags: int = 0, verdict: int = 0) -> bytes:
    return layout.SIGNAL_RECORD.pack(5_000, layout.SIGNAL, flags, *SENDER, *TARGET, 9, -6, verdict, 1)


def exit_record(*, flags: int = 0, status: int = 0) -> bytes:
    return layout.EXIT_RECORD.pack(3_020_000_000, layout.EXIT, flags, *TARGET, status)


def oom_record(*, flags: int = 0, anon: int = 0) -> bytes:
    numbers = (1_000, anon, 3, 4, 8_192, 77, 10_240, -500)
    return layout.OOM_RECORD.pack(5_000, layout.OOM, flags, *TARGET, *SENDER, *numbers)


def test_a_signal_keeps_both_ends_apart() -> None:
    event = to_wire(signal_record(), UNITS)
    assert event.at_boot_ns == 5_000
    assert (event.host, event.command_id) == ("", "")
    assert (event.signal.signal, event.signal.code, event.signal.group) == (9, -6, True)
    sender, target = event.signal.sender, event.signal.target
    assert (sender.pid, sender.host_pid, sender.name, sender.uid) == (11, 1011, "sender", 0)
    assert (target.pid, target.tid, target.parent_pid, target.cgroup_id) == (12, 13, 11, 8)


def test_a_start_is_cut_to_ticks_as_proc_does_it() -> None:
    assert to_wire(signal_record(), UNITS).signal.target.start_ticks == 201


def test_who_happened_to_run_is_no_sender() -> None:
    assert not to_wire(signal_record(flags=layout.NO_SENDER), UNITS).signal.HasField("sender")


@pytest.mark.parametrize(("number", "name"), [*enumerate(VERDICTS), (9, "unknown"), (-1, "unknown")])
def test_the_kernels_verdict_has_a_name(number: int, name: str) -> None:
    assert to_wire(signal_record(verdict=number), UNITS).signal.verdict == name


@pytest.mark.parametrize(
    ("status", "code", "signal", "core"),
    [(0x0700, 7, 0, False), (0x0009, 0, 9, False), (0x0086, 0, 6, True), (0xFF00, 255, 0, False)],
)
def test_a_status_is_code_signal_and_core(status: int, code: int, signal: int, core: bool) -> None:
    seen = to_wire(exit_record(status=status), UNITS).exit
    assert (seen.code, seen.signal, seen.core_dumped) == (code, signal, core)
    assert seen.age_ms == 1_000


def test_only_an_exit_in_doubt_is_named_for_comparison() -> None:
    assert doubtful_exit(exit_record(flags=layout.DOUBTFUL)) == (1012, 2_019_999_999)
    assert doubtful_exit(exit_record()) is None


def test_an_exec_names_the_program_even_if_it_is_no_text() -> None:
    record = layout.EXEC_RECORD.pack(5_000, layout.EXEC, 0, *TARGET, b"/srv/\xff\0left over")
    assert to_wire(record, UNITS).exec.file == "/srv/\ufffd"


def test_an_oom_kill_counts_in_kilobytes() -> None:
    oom = to_wire(oom_record(flags=layout.LIMIT_FOUND, anon=2), UNITS).oom
    assert (oom.total_vm_kb, oom.anon_rss_kb, oom.file_rss_kb, oom.shmem_rss_kb) == (4_000, 8, 12, 16)
    assert (oom.page_tables_kb, oom.oom_score_adj) == (8, -500)
    assert (oom.memory_cgroup, oom.limit_cgroup_id, oom.limit_kb) == (True, 77, 40_960)
    assert (oom.victim.pid, oom.trigger.pid) == (12, 11)


def test_without_a_cgroup_at_its_limit_none_is_claimed() -> None:
    assert not to_wire(oom_record(), UNITS).oom.memory_cgroup


def test_a_counter_below_zero_counts_as_nothing() -> None:
    assert to_wire(oom_record(anon=-3), UNITS).oom.anon_rss_kb == 0


def test_a_record_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 99"):
        to_wire(layout.HEAD.pack(1, 99, 0), UNITS)


def test_each_counter_that_has_grown_is_a_loss_by_what_it_grew() -> None:
    before = [0] * layout.LOST_SLOTS
    now = list(before)
    now[layout.LOST_EXEC], now[layout.LOST_OOM] = 3, 1
    events = losses(before, now, 42)
    assert {(event.at_boot_ns, event.lost.kind, event.lost.count) for event in events} == {
        (42, "exec", 3),
        (42, "oom", 1),
    }
    assert losses(now, now, 43) == []


def test_every_counter_of_the_kernel_side_has_a_name() -> None:
    first_of_many = ("LOST_RARE", "LOST_ENDS", "LOST_FILTERED", "LOST_SLOTS")
    slots = {
        value for name, value in vars(layout).items() if name.startswith("LOST_") and name not in first_of_many
    }
    assert set(LOST) | set(FILTERED) == slots
    assert not set(LOST) & set(FILTERED), "what is passed over is no loss"
