"""Why a process died, from what the kernel told; and where that is not enough, `unknown` (I8)."""

from typing import Any

import pytest

from killdeer.v1.process_pb2 import Cause, Death, EventsLost, ExitSeen, KernelEvent, OomSeen, Party, SignalSeen
from killdeer_agent.core.deaths import PATIENCE_NS, Deaths
from killdeer_agent.core.lives import MOST_GAPS, MOST_LIVES
from killdeer_agent.core.signals import name

MS = 1_000_000
BEGAN = 1_000 * MS
VICTIM = Party(
    pid=7, host_pid=1_007, tid=7, start_ticks=200, name="worker", cgroup="/system.slice/worker@3.service"
)
OTHER = Party(pid=8, host_pid=1_008, tid=8, start_ticks=150, name="bash", parent_pid=2)
INIT = Party(pid=1, host_pid=1, tid=1, start_ticks=1, name="systemd", cgroup="/init.scope")
AT, EXIT_AT = 30_000 * MS, 30_010 * MS


def sent(
    number: int, sender: Party | None = OTHER, *, at_ns: int = AT, command: str = "", **more: Any
) -> KernelEvent:
    fields: dict[str, Any] = {"signal": number, "verdict": "delivered", "group": True, "target": VICTIM}
    return KernelEvent(
        at_boot_ns=at_ns,
        command_id=command,
        signal=SignalSeen(**(fields | {"sender": sender} | more)),
    )


def forced(number: int, running: Party = VICTIM, *, code: int = 1, at_ns: int = AT, **more: Any) -> KernelEvent:
    """By the kernel itself."""
    return sent(number, None, at_ns=at_ns, running=running, code=code, **more)


def exited(
    number: int = 9, *, code: int = 0, at_ns: int = EXIT_AT, process: Party = VICTIM, command: str = ""
) -> KernelEvent:
    exit_seen = ExitSeen(process=process, signal=number, code=code, age_ms=1_010)
    return KernelEvent(at_boot_ns=at_ns, command_id=command, exit=exit_seen)


def marked(victim: Party = VICTIM, trigger: Party = OTHER, *, at_ns: int = AT + MS, **more: Any) -> KernelEvent:
    return KernelEvent(at_boot_ns=at_ns, oom=OomSeen(victim=victim, trigger=trigger, **more))


def lost(kind: str, *, at_ns: int, count: int = 3) -> KernelEvent:
    return KernelEvent(at_boot_ns=at_ns, lost=EventsLost(kind=kind, count=count))


def begun() -> Deaths:
    deaths = Deaths()
    deaths.tick(BEGAN, BEGAN)
    return deaths


def told(*events: KernelEvent, deaths: Deaths | None = None) -> Death:
    """Of the one death among the events, once the record is whole up to a second after."""
    deaths = deaths or begun()
    for event in events:
        deaths.seen(event, event.at_boot_ns)
    (death,) = deaths.tick(EXIT_AT + 1_000 * MS, EXIT_AT + 1_000 * MS)
    return death.death


# --- who ended it -----------------------------------------------------------------------------------------------


def test_a_signal_by_another_names_the_killer_and_its_evidence() -> None:
    death = told(sent(9, fatal=True), exited())
    assert (death.cause, death.killer, death.why) == (Cause.CAUSE_SIGNAL, OTHER, "SIGKILL of bash (pid 8)")
    assert [event.WhichOneof("kind") for event in death.evidence] == ["signal", "exit"]
    assert (death.unit, death.service, death.cgroup) == ("worker@3.service", "worker@", VICTIM.cgroup)
    assert death.age_ms == 1_010


def test_a_killer_outside_of_the_agents_namespace_is_named_by_its_host_pid() -> None:
    outside = Party(host_pid=55, tid=0, start_ticks=3, name="kubelet")
    assert told(sent(9, outside, fatal=True), exited()).why == "SIGKILL of kubelet (host pid 55)"


def test_a_signal_of_ours_is_the_strike_that_sent_it() -> None:
    event = sent(9, fatal=True)
    deaths = begun()
    deaths.seen(event, AT)
    event.command_id = "c1"  # the core fits it to its strike a moment later
    assert told(exited(), deaths=deaths).cause == Cause.CAUSE_STRIKE


def test_the_death_belongs_to_the_strike_whose_victim_it_was_whatever_the_cause() -> None:
    deaths = begun()
    for event in (sent(15, command="c1"), sent(9, at_ns=AT + MS, fatal=True), exited(command="c1")):
        deaths.seen(event, event.at_boot_ns)
    (event,) = deaths.tick(EXIT_AT + MS, EXIT_AT + MS)
    assert (event.command_id, event.death.cause) == ("c1", Cause.CAUSE_SIGNAL)


@pytest.mark.parametrize(
    "manager",
    [
        INIT,
        Party(pid=1, host_pid=900, start_ticks=5, name="systemd"),
        Party(
            pid=40, host_pid=40, name="systemd", cgroup="/user.slice/user-1000.slice/user@1000.service/init.scope"
        ),
    ],
)
def test_a_service_managers_signal_is_its_units_stop(manager: Party) -> None:
    assert told(sent(15, manager, fatal=True), exited(15)).cause == Cause.CAUSE_SUPERVISOR


def test_a_process_that_only_calls_itself_systemd_is_no_service_manager() -> None:
    fake = Party(pid=40, host_pid=40, start_ticks=4, name="systemd", cgroup="/user.slice/session-3.scope")
    assert told(sent(15, fake, fatal=True), exited(15)).cause == Cause.CAUSE_SIGNAL


def test_the_last_that_reached_it_is_the_one_it_died_of() -> None:
    death = told(sent(15, INIT), sent(15, OTHER, at_ns=AT + MS), exited(15))
    assert death.killer == OTHER


def test_events_that_come_in_another_order_than_they_happened_make_no_difference() -> None:
    death = told(sent(15, OTHER, at_ns=AT + MS), sent(15, INIT), exited(15))
    assert death.killer == OTHER


@pytest.mark.parametrize("verdict", ["ignored", "already_pending", "overflow", "unknown"])
def test_a_signal_that_did_not_reach_it_ended_nothing(verdict: str) -> None:
    death = told(sent(15, OTHER), sent(15, INIT, at_ns=AT + MS, verdict=verdict), exited(15))
    assert death.killer == OTHER


def test_a_signal_to_the_next_process_with_its_pid_is_not_the_first_ones() -> None:
    next_one = Party(pid=7, host_pid=1_007, start_ticks=240, name="worker")
    assert told(sent(15, target=next_one), exited(15)).cause == Cause.CAUSE_UNKNOWN


# --- the service manager: what it did before, and after what -----------------------------------------------------

BY_SYSTEMD = "of the service manager, systemd (pid 1)"


@pytest.mark.parametrize("verdict", ["delivered", "ignored"])
def test_a_kill_after_a_stop_that_was_not_heeded_says_how_long_after(verdict: str) -> None:
    asked = sent(15, INIT, at_ns=AT - 2_000 * MS, verdict=verdict)
    death = told(asked, sent(9, INIT, fatal=True), exited())
    assert (death.cause, death.why) == (Cause.CAUSE_SUPERVISOR, f"SIGKILL {BY_SYSTEMD}, 2.0 s after its SIGTERM")
    assert [event.WhichOneof("kind") for event in death.evidence] == ["signal", "signal", "exit"]


def test_a_kill_by_the_service_manager_after_anothers_term_is_not_said_to_follow_it() -> None:
    death = told(sent(15, OTHER, verdict="ignored"), sent(9, INIT, at_ns=AT + MS, fatal=True), exited())
    assert death.why == f"SIGKILL {BY_SYSTEMD}"


@pytest.mark.parametrize("number", [6, 9])
def test_an_abort_by_the_service_manager_is_what_a_watchdog_does(number: int) -> None:
    asked = sent(6, INIT, at_ns=AT - 2_000 * MS, verdict="ignored")
    death = told(*([asked] if number == 9 else []), sent(number, INIT, fatal=True), exited(number))
    assert death.why.endswith(", as when a watchdog hears nothing")


SIBLING = Party(pid=9, host_pid=1_009, start_ticks=201, name="main", cgroup=f"{VICTIM.cgroup}/inner")


def why_after(at_ns: int, sibling: Party = SIBLING, stopped: bool = False) -> str:
    """Of a stop of the victim, when another process died of a fault at that time, or of the stop."""
    number = 15 if stopped else 11
    fatal = sent(15, INIT) if stopped else forced(11)
    fatal.at_boot_ns, fatal.signal.fatal = at_ns, True
    for party in (fatal.signal.target, fatal.signal.running):
        if party == VICTIM:
            party.CopyFrom(sibling)
    deaths = begun()
    for event in (fatal, exited(number, at_ns=at_ns, process=sibling), sent(15, INIT, fatal=True), exited(15)):
        deaths.seen(event, event.at_boot_ns)
    found = {event.death.process.pid: event.death for event in deaths.tick(EXIT_AT + MS, EXIT_AT + MS)}
    assert found[SIBLING.pid].signal == number
    return found[VICTIM.pid].why


def test_a_stop_right_after_a_crash_in_the_same_unit_names_the_crash() -> None:
    crash = "3.0 ms after main (pid 9) of its unit had died: SIGSEGV: a memory fault of its own"
    assert why_after(AT - 3 * MS) == f"SIGTERM {BY_SYSTEMD}, {crash}"


@pytest.mark.parametrize("at_ns", [AT - 1_001 * MS, AT + MS])
def test_a_stop_long_after_a_crash_or_before_it_is_just_a_stop(at_ns: int) -> None:
    assert why_after(at_ns) == f"SIGTERM {BY_SYSTEMD}"


def test_the_members_of_a_unit_that_is_stopped_do_not_blame_each_other() -> None:
    assert why_after(AT - MS, stopped=True) == f"SIGTERM {BY_SYSTEMD}"


def test_a_crash_in_another_unit_is_not_blamed() -> None:
    other = Party(pid=9, host_pid=1_009, start_ticks=201, name="main", cgroup="/system.slice/other.service")
    assert why_after(AT - MS, other) == f"SIGTERM {BY_SYSTEMD}"


def test_a_stop_right_after_an_oom_kill_in_the_same_unit_names_its_victim() -> None:
    death = told(marked(SIBLING, at_ns=AT - 5 * MS), sent(15, INIT, fatal=True), exited(15))
    assert death.cause == Cause.CAUSE_SUPERVISOR
    assert death.why == f"SIGTERM {BY_SYSTEMD}, 5.0 ms after the OOM killer chose main (pid 9) of its unit"


# --- its own exit -----------------------------------------------------------------------------------------------


def test_an_exit_is_its_own() -> None:
    death = told(exited(0, code=7))
    assert (death.cause, death.why) == (Cause.CAUSE_EXIT, "exited with code 7")


def test_an_exit_in_answer_to_a_strike_is_that_strikes() -> None:
    death = told(sent(15, command="c1"), exited(0, command="c1"))
    assert death.cause == Cause.CAUSE_STRIKE
    assert death.why == "exited with code 0, 10.0 ms after SIGTERM of strike c1"


def test_an_exit_after_the_strike_was_over_is_its_own() -> None:
    assert told(sent(15, command="c1"), exited(0)).cause == Cause.CAUSE_EXIT


def test_an_exit_long_after_it_was_asked_to_end_is_its_own() -> None:
    assert told(sent(15, at_ns=AT - 11_000 * MS), exited(0)).cause == Cause.CAUSE_EXIT


def test_an_exit_after_two_had_asked_for_it_is_unknown() -> None:
    death = told(sent(15, command="c1"), sent(2, INIT), exited(0, command="c1"))
    assert death.cause == Cause.CAUSE_UNKNOWN


def test_a_signal_that_asks_for_no_end_is_no_cause_of_an_exit() -> None:
    assert told(sent(10), exited(0)).cause == Cause.CAUSE_EXIT


def test_the_same_signal_put_on_itself_again_is_the_first_senders() -> None:
    death = told(sent(15, INIT), sent(15, VICTIM, at_ns=AT + MS, fatal=True), exited(15))
    assert (death.cause, death.killer) == (Cause.CAUSE_SUPERVISOR, INIT)
    assert "it put SIGTERM on itself 1.0 ms later" in death.why


def test_an_abort_is_its_own_even_if_another_had_asked_for_an_end() -> None:
    assert told(sent(15, INIT), sent(6, VICTIM, code=-6, fatal=True), exited(6)).cause == Cause.CAUSE_ITSELF


# --- the kernel -------------------------------------------------------------------------------------------------


def test_a_sigkill_of_the_kernel_is_an_oom_kill_only_with_the_oom_killers_word() -> None:
    killed = forced(9, OTHER, code=128, fatal=True)
    limit = marked(memory_cgroup=True, limit_cgroup="/worker", limit_kb=1024)
    death = told(killed, limit, exited())
    assert (death.cause, death.limit_cgroup, death.limit_kb) == (Cause.CAUSE_OOM_CGROUP, "/worker", 1024)
    assert (death.killer, death.memory_group) == (OTHER, False)
    assert told(killed, marked(), exited()).cause == Cause.CAUSE_OOM_GLOBAL
    assert told(killed, exited()).cause == Cause.CAUSE_KERNEL


def test_all_of_a_cgroup_killed_at_once_is_said() -> None:
    death = told(forced(9, OTHER, fatal=True), marked(memory_cgroup=True, group=True), exited())
    assert death.memory_group
    assert "memory.oom.group" in death.why


def test_who_shares_the_memory_of_an_oom_victim_dies_of_the_same() -> None:
    other_victim = Party(pid=9, host_pid=1_009, start_ticks=100, name="parent")
    mark = marked(other_victim, OTHER, at_ns=AT - MS)
    death = told(mark, forced(9, OTHER, fatal=True), exited())
    assert (death.cause, "parent (pid 9), whose memory it shares" in death.why) == (Cause.CAUSE_OOM_GLOBAL, True)


def test_an_oom_mark_on_one_that_was_killed_already_is_not_its_cause() -> None:
    assert told(sent(9, fatal=True), marked(), exited()).cause == Cause.CAUSE_SIGNAL


def test_the_end_of_its_pid_namespace() -> None:
    first = Party(pid=60, host_pid=60, start_ticks=100, name="tini")
    death = told(forced(9, first, exiting=True, namespace_init=True, fatal=True), exited())
    assert (death.cause, death.killer) == (Cause.CAUSE_NAMESPACE, first)


@pytest.mark.parametrize("number", [4, 5, 7, 8, 11, 31])
def test_a_fault_is_one_that_the_kernel_forced_upon_whoever_ran(number: int) -> None:
    assert told(forced(number, fatal=True), exited(number)).cause == Cause.CAUSE_FAULT
    assert told(forced(number, OTHER, fatal=True), exited(number)).cause == Cause.CAUSE_KERNEL


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (forced(14, OTHER, code=128), "timer"),
        (forced(10, OTHER, code=-2), "timer"),
        (forced(24, code=128), "processor time"),
        (forced(1, OTHER, code=128), "terminal"),
        (sent(15, OTHER, internal=True, exiting=True), "end of its parent, bash"),
        (sent(13, VICTIM, internal=True, group=False), "nobody reads"),
        (sent(25, VICTIM, internal=True, group=False), "file size"),
    ],
)
def test_other_signals_of_the_kernel_say_what_for(event: KernelEvent, word: str) -> None:
    death = told(event, exited(event.signal.signal))
    assert death.cause == Cause.CAUSE_KERNEL
    assert word in death.why


def test_a_kill_of_a_whole_cgroup_is_its_writers() -> None:
    death = told(sent(9, internal=True, group=False, fatal=True), exited())
    assert (death.cause, death.killer) == (Cause.CAUSE_SIGNAL, OTHER)
    assert "through its cgroup" in death.why


def test_a_kill_without_any_signal_is_the_kernels_own() -> None:
    assert told(exited()).cause == Cause.CAUSE_KERNEL


# --- what is not known ------------------------------------------------------------------------------------------


def test_a_signal_that_another_may_have_followed_unseen_is_no_proof() -> None:
    gap = lost("signal", at_ns=EXIT_AT - MS)
    assert told(sent(15), gap, exited(15)).cause == Cause.CAUSE_UNKNOWN
    assert "3 events were lost" in told(sent(15), gap, exited(15)).why


def test_the_signal_that_the_kernel_ended_it_for_is_proof_whatever_was_lost() -> None:
    assert told(sent(15, fatal=True), lost("signal", at_ns=EXIT_AT - MS), exited(15)).cause == Cause.CAUSE_SIGNAL


def test_a_gap_that_ended_before_the_signal_bears_on_nothing() -> None:
    deaths = begun()
    deaths.seen(lost("signal", at_ns=AT - 500 * MS), AT)
    deaths.tick(AT - 400 * MS, AT - 400 * MS)
    assert told(sent(15), exited(15), deaths=deaths).cause == Cause.CAUSE_SIGNAL


def test_a_lost_word_of_the_oom_killer_makes_its_sigkill_unknown() -> None:
    events = (forced(9, OTHER, fatal=True), lost("oom", at_ns=EXIT_AT + MS, count=1), exited())
    assert told(*events).cause == Cause.CAUSE_UNKNOWN
    assert "1 event was lost" in told(*events).why


@pytest.mark.parametrize("kind", ["signal", "watched signal", "deadly signal"])
def test_a_death_without_its_signal_is_unknown_where_signals_were_lost(kind: str) -> None:
    assert told(lost(kind, at_ns=EXIT_AT), exited(15)).cause == Cause.CAUSE_UNKNOWN


def test_harmless_signals_that_were_lost_do_not_bear_on_a_sigkill() -> None:
    assert told(lost("signal", at_ns=EXIT_AT), exited(9)).cause == Cause.CAUSE_KERNEL
    assert told(lost("deadly signal", at_ns=EXIT_AT), exited(9)).cause == Cause.CAUSE_UNKNOWN


def test_what_befalls_a_strikes_victim_has_a_ring_of_its_own() -> None:
    events = (sent(15, command="c1"), exited(0, command="c1"))
    assert told(lost("signal", at_ns=EXIT_AT), *events).cause == Cause.CAUSE_STRIKE
    assert told(lost("watched signal", at_ns=EXIT_AT), *events).cause == Cause.CAUSE_UNKNOWN


def test_a_signal_put_on_itself_may_be_an_answer_to_a_lost_one() -> None:
    events = (lost("signal", at_ns=EXIT_AT), sent(15, VICTIM, fatal=True), exited(15))
    assert told(*events).cause == Cause.CAUSE_UNKNOWN


def test_a_process_older_than_the_record_may_have_been_signalled_before_it() -> None:
    old = Party(pid=7, host_pid=1_007, start_ticks=50, name="worker")
    death = told(exited(process=old))
    assert death.cause == Cause.CAUSE_UNKNOWN
    assert "before this agent began to watch" in death.why


def test_what_was_given_up_for_want_of_room_is_said() -> None:
    deaths = begun()
    deaths.seen(sent(15), AT)
    for pid in range(MOST_LIVES):
        deaths.seen(sent(15, target=Party(pid=pid, host_pid=pid, start_ticks=210)), AT)
    assert "forgotten" in told(exited(15), deaths=deaths).why


def test_many_gaps_are_remembered_coarsely_and_never_forgotten() -> None:
    deaths = begun()
    for count in range(2 * MOST_GAPS):
        deaths.seen(lost("signal", at_ns=AT + count), AT)
    assert told(exited(15), deaths=deaths).cause == Cause.CAUSE_UNKNOWN


# --- when it is told --------------------------------------------------------------------------------------------


def test_a_death_waits_until_all_that_happened_before_it_was_seen() -> None:
    deaths = begun()
    deaths.seen(exited(), EXIT_AT)
    assert deaths.tick(EXIT_AT + MS, EXIT_AT) == []
    assert len(deaths.tick(EXIT_AT + MS, EXIT_AT + 1)) == 1


def test_a_death_is_told_once() -> None:
    deaths = begun()
    deaths.seen(exited(), EXIT_AT)
    deaths.seen(exited(), EXIT_AT)
    assert len(deaths.tick(EXIT_AT + MS, EXIT_AT + MS)) == 1
    assert deaths.tick(EXIT_AT + 2 * MS, EXIT_AT + 2 * MS) == []


def test_a_record_that_falls_behind_makes_a_death_unknown_not_late_forever() -> None:
    deaths = begun()
    deaths.seen(exited(15), EXIT_AT)
    assert deaths.tick(EXIT_AT + PATIENCE_NS - 1, BEGAN) == []
    (event,) = deaths.tick(EXIT_AT + PATIENCE_NS, BEGAN)
    assert (event.death.cause, "behind" in event.death.why) == (Cause.CAUSE_UNKNOWN, True)


@pytest.mark.parametrize(("number", "text"), [(9, "SIGKILL"), (31, "SIGSYS"), (34, "signal 34"), (0, "signal 0")])
def test_signals_are_named(number: int, text: str) -> None:
    assert name(number) == text
