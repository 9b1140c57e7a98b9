"""Deaths on a host without the kernel's record: never more is said than was seen (I8)."""

from killdeer.v1.process_pb2 import (
    Cause,
    Death,
    ExitSeen,
    KernelEvent,
    OomCounted,
    OomSeen,
    Party,
    SignalSeen,
)
from killdeer_agent.core import words as w
from killdeer_agent.core.unrecorded import Unrecorded
from tests.support import host as h
from tests.support.hostworld import party_of

VICTIM = Party(pid=7, host_pid=7, start_ticks=100, name="worker", cgroup="/system.slice/payment@3.service")
OTHER = Party(pid=8, host_pid=8, start_ticks=200, name="worker")
EXIT = KernelEvent(at_boot_ns=900, host="h", command_id="c1", exit=ExitSeen(process=VICTIM, age_ms=4, unread=True))


def told(*about: KernelEvent) -> Death:
    unrecorded = Unrecorded()
    for event in about:
        assert unrecorded.seen(event) is None
    death = unrecorded.seen(EXIT)
    assert death is not None
    assert (death.at_boot_ns, death.host, death.command_id) == (900, "h", "c1")
    assert list(death.death.evidence)[-1] == EXIT
    return death.death


def oom(**fields: object) -> KernelEvent:
    seen = OomSeen(victim=VICTIM)
    seen.MergeFrom(OomSeen(**fields))  # type: ignore[arg-type]
    return KernelEvent(at_boot_ns=800, oom=seen)


def counted(**fields: object) -> KernelEvent:
    return KernelEvent(oom_counted=OomCounted(process=VICTIM, cgroup="/app", **fields))  # type: ignore[arg-type]


def test_an_exit_alone_has_no_cause_and_its_place() -> None:
    death = told()
    assert death.cause == Cause.CAUSE_UNKNOWN
    assert (death.unit, death.service, death.age_ms) == ("payment@3.service", "payment@", 4)
    assert (death.code, death.signal) == (0, 0)


def test_an_oom_kill_that_the_log_names_is_the_cause_with_its_limit() -> None:
    death = told(counted(kills=1), oom(memory_cgroup=True, limit_cgroup="/app", limit_kb=1024, group=True))
    assert (death.cause, death.signal) == (Cause.CAUSE_OOM_CGROUP, 9)
    assert (death.limit_cgroup, death.limit_kb, death.memory_group) == ("/app", 1024, True)
    assert death.why == "/app reached its limit: the OOM killer chose it, says the kernel's log"
    assert len(death.evidence) == 3


def test_the_machines_oom_kill_is_told_apart() -> None:
    death = told(oom(), counted(kills=1))
    assert (death.cause, death.limit_cgroup) == (Cause.CAUSE_OOM_GLOBAL, "")
    assert death.why.startswith("the machine ran out of memory")


def test_counters_name_no_process_and_leave_the_cause_unknown() -> None:
    death = told(counted(kills=2, limit_cgroup="/app", limit_kb=1024))
    assert (death.cause, death.signal, death.limit_cgroup) == (Cause.CAUSE_UNKNOWN, 0, "")
    said = (
        "it exited while the OOM killer took 2 processes of /app, for the limit of /app (1024 kB): itself perhaps"
    )
    assert death.why.startswith(said)


def test_another_process_s_oom_kill_is_not_this_ones_cause() -> None:
    assert told(KernelEvent(oom=OomSeen(victim=OTHER, memory_cgroup=True))).cause == Cause.CAUSE_UNKNOWN


def test_a_fault_that_the_log_names_is_the_cause() -> None:
    death = told(KernelEvent(signal=SignalSeen(target=VICTIM, signal=11)))
    assert (death.cause, death.signal) == (Cause.CAUSE_FAULT, 11)


def test_what_the_kernels_record_tells_is_left_to_it() -> None:
    unrecorded = Unrecorded()
    assert unrecorded.seen(KernelEvent(signal=SignalSeen(target=VICTIM, signal=9, verdict="delivered"))) is None
    assert unrecorded.seen(KernelEvent(exit=ExitSeen(process=VICTIM, signal=9))) is None
    death = unrecorded.seen(EXIT)
    assert death is not None
    assert death.death.cause == Cause.CAUSE_UNKNOWN


def test_a_strike_on_such_a_host_has_an_exit_without_code_and_its_death_is_told_once() -> None:
    host = h.leased()
    victim = host.world.first
    victim.ignores = frozenset({15})
    host.coordinator.order("c1", victim, "terminate")
    host.until(lambda: host.coordinator.updates["c1"].blows)
    party = party_of(victim)
    unread = KernelEvent(at_boot_ns=host.world.now.boot_ns, exit=ExitSeen(process=party, unread=True))
    host.give(w.Seen(unread))
    told = host.coordinator.updates["c1"].exit
    assert (told.source, told.code, told.signal) == ("pidfd", 0, 0)
    host.run(3 * h.SECOND)
    events = [event for frame in host.sent for event in frame.evidence.events]
    (death,) = [event for event in events if event.HasField("death")]
    assert (death.command_id, death.death.cause) == ("c1", Cause.CAUSE_UNKNOWN)
