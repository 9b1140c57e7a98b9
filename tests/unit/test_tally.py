"""What the agent counts: each thing once, under labels that cannot multiply."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.succession import LOOP_NS
from killdeer_agent.core.tally import MOST_FOLDED, MOST_UNITS, OTHER, Histogram, Tally, unit_of
from tests.support import host as h
from tests.support.deaths import AT_NS, SECOND_NS, SERVICE, UNIT, death, exec_of, exit_of, oom, party, signal

TERM, KILL = 15, 9


@pytest.fixture
def host() -> h.Host:
    return h.leased()


def tally_of(host: h.Host) -> Tally:
    return host.core.tally


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "unit"),
    [
        ("nginx.service", "nginx.service"),
        ("worker@", "worker@"),
        ("container:0123456789ab", "(container)"),
        ("session-12.scope", "(scope)"),
        ("run-u1234.service", "(transient)"),
        ("run-r0d2f6c5b9a6e4c2b8d3a.service", "(transient)"),
        ("run-p4711-i98.service", "(transient)"),
        ("runner.service", "runner.service"),
        ("run-backup.service", "run-backup.service"),
        ("bash", "(none)"),
        ("/usr/bin/sleep", "(none)"),
    ],
)
def test_only_services_of_the_service_manager_have_a_label_of_their_own(service: str, unit: str) -> None:
    assert unit_of(service) == unit


def test_units_beyond_the_cap_fold_into_one_and_the_folded_are_counted() -> None:
    tally = Tally()
    for number in range(MOST_UNITS + 7):
        for _ in range(2):
            tally.death(death(number + 1, unit=f"u{number}.service", service=f"u{number}.service"))
    assert len({unit for _, unit in tally.deaths}) == MOST_UNITS + 1
    assert tally.deaths["oom-cgroup", OTHER] == 14
    assert tally.deaths["oom-cgroup", "u0.service"] == 2
    assert len(tally.units.folded) == 7


def test_the_count_of_the_folded_has_a_bound_too() -> None:
    tally = Tally()
    for number in range(MOST_UNITS + MOST_FOLDED + 3):
        tally.units.label(f"u{number}.service")
    assert len(tally.units.folded) == MOST_FOLDED


def test_a_value_at_a_bound_is_within_it() -> None:
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 2, 99):
        histogram.add(value)
    assert (histogram.counts, histogram.total) == ([2, 2, 1], 104)


# --- the kernel's record ----------------------------------------------------------------------------------------


def test_events_are_counted_by_kind_and_losses_by_what_was_lost() -> None:
    tally = Tally()
    for event in (exit_of(party(), at_ns=AT_NS), oom(party(), at_ns=AT_NS), oom(party(), at_ns=AT_NS)):
        tally.event(event)
    tally.event(p.KernelEvent(lost=p.EventsLost(kind="exec", count=5)))
    assert tally.seen == {"exit": 1, "oom": 2}
    assert tally.lost == {"exec": 5}
    assert tally.oom_kills == {"cgroup": 2}


def test_a_restart_is_counted_with_the_time_it_took() -> None:
    tally = Tally()
    first = party(cgroup=f"/system.slice/{UNIT}")
    tally.event(exit_of(first, at_ns=AT_NS))
    second = party(4802, cgroup=first.cgroup, start_ticks=AT_NS // 10_000_000 + 30)
    tally.event(exec_of(second, at_ns=AT_NS + SECOND_NS * 3 // 10))
    assert tally.restarts == {SERVICE: 1}
    assert sum(tally.to_successor.counts) == 1
    assert tally.to_successor.total == pytest.approx(0.3)


def test_how_long_a_process_took_to_leave_for_somebody_elses_sigterm_is_counted() -> None:
    tally = Tally()
    asked = signal(party(), TERM, at_ns=AT_NS - 2 * SECOND_NS)
    again = signal(party(), TERM, at_ns=AT_NS - SECOND_NS)
    tally.death(death(cause=p.CAUSE_SUPERVISOR, evidence=[asked, again, exit_of(party(), at_ns=AT_NS)]))
    tally.death(death(cause=p.CAUSE_SIGNAL, evidence=[signal(party(), KILL, at_ns=AT_NS)]))
    assert sum(tally.to_exit.counts) == 1
    assert tally.to_exit.total == pytest.approx(2.0)


def test_a_loop_is_told_with_the_death_and_ends_ten_minutes_after_its_last() -> None:
    tally = Tally()
    at_ns = AT_NS
    told = []
    for life in range(6):
        living = party(4711 + life, cgroup=f"/system.slice/{UNIT}", start_ticks=at_ns // 10_000_000)
        tally.event(exec_of(living, at_ns=at_ns))
        at_ns += SECOND_NS
        tally.event(exit_of(living, at_ns=at_ns))
        died = death(at_ns=at_ns, process=living)
        tally.death(died)
        told.append((died.death.restarts.count, died.death.restarts.loop))
    assert told == [(0, False), (1, False), (2, False), (3, False), (4, True), (5, True)]
    assert list(tally.looping(at_ns + SECOND_NS)) == [(SERVICE, True)]
    assert list(tally.looping(at_ns + LOOP_NS + 1)) == [(SERVICE, False)]


# --- strikes ----------------------------------------------------------------------------------------------------


def test_a_strike_counts_once_by_its_action_and_last_word(host: h.Host) -> None:
    host.coordinator.order("c1", host.world.first)
    host.run(3 * h.SECOND)
    assert tally_of(host).strikes == {("kill", "recovered"): 1}
    assert tally_of(host).restarts.total() == 1
    assert tally_of(host).to_successor.total == pytest.approx(0.5)
    host.coordinator.link()  # all is said again on a new stream
    host.run(h.SECOND)
    assert tally_of(host).strikes == {("kill", "recovered"): 1}


def test_without_the_kernels_record_strikes_and_successors_are_counted_all_the_same(host: h.Host) -> None:
    host.bpf = False
    host.world.first.outlives_term_ns = h.SECOND
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(5 * h.SECOND)
    tally = tally_of(host)
    assert tally.strikes == {("terminate", "recovered"): 1}
    assert tally.restarts == {"worker@": 1}
    assert tally.to_successor.total == pytest.approx(0.5)
    assert tally.to_exit.total == pytest.approx(1.0)
    assert not tally.terms_ignored


def test_a_refusal_counts_as_such(host: h.Host) -> None:
    host.world.first.state = "T"
    host.coordinator.order("c1", host.world.first)
    host.run(h.SECOND)
    assert tally_of(host).strikes == {("kill", "refused"): 1}


def test_the_time_from_a_sigterm_of_ours_to_the_exit_counts_once(host: h.Host) -> None:
    host.world.first.outlives_term_ns = 1_500 * h.MS
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(5 * h.SECOND)
    tally = tally_of(host)
    assert (sum(tally.to_exit.counts), tally.terms_ignored) == (1, 0)
    assert tally.to_exit.total == pytest.approx(1.5)


@pytest.mark.parametrize("what", ["ignores", "outlives"])
def test_a_sigterm_that_needed_a_sigkill_counts_as_ignored(host: h.Host, what: str) -> None:
    victim = host.world.first
    if what == "ignores":
        victim.ignores = frozenset({TERM})
    else:
        victim.outlives_term_ns = 60 * h.SECOND
    host.coordinator.order("c1", victim, "terminate")
    host.run(8 * h.SECOND)
    tally = tally_of(host)
    assert (sum(tally.to_exit.counts), tally.terms_ignored) == (0, 1)
    assert tally.strikes == {("terminate", "recovered"): 1}


def test_a_restarted_agent_does_not_time_an_exit_that_was_timed_before(host: h.Host) -> None:
    host.world.restart_after_ns = -1
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(h.SECOND)
    assert sum(tally_of(host).to_exit.counts) == 1
    host.crash()
    host.start()
    host.coordinator.link()
    host.run(h.SECOND)
    assert sum(tally_of(host).to_exit.counts) == 0


# --- where it stands --------------------------------------------------------------------------------------------


def test_standing_says_whether_it_may_act_and_what_is_left(host: h.Host) -> None:
    assert host.core.standing.leased
    host.coordinator.say(halt=a.Halt(halt=h.HALT))
    host.halt_file = True
    host.give(w.LocalHalt(engaged=True))
    host.coordinator.unlink()
    host.run(20 * h.SECOND)
    standing = host.core.standing
    assert (standing.leased, standing.halted, standing.halted_locally) == (False, True, True)


def test_effects_that_could_not_be_reverted_stand_open(host: h.Host) -> None:
    host.revert_problem = "no"
    host.coordinator.order("c1", host.world.first, "pause")
    host.run(10 * h.SECOND)
    assert (host.core.standing.strikes_open, host.core.standing.reverts_left) == (1, 1)
