"""What people ask the store about deaths: which, why, what happened around them, and how often."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from killdeer.v1 import process_pb2 as p
from killdeer.v1.operator_pb2 import Explanation
from killdeer_coordinator.core.books import PutStrike
from killdeer_coordinator.store import Store
from killdeer_coordinator.store.deaths import Wanted
from tests.support.deaths import AT_NS, SECOND_NS, SYSTEMD, death, exec_of, exit_of, oom, party, signal
from tests.support.rows import NOW_MS, SetClock, a_run_with, putting, strike

DAY_MS = 24 * 3_600_000


def pids(explanations: list[Explanation]) -> list[int]:
    return [one.death.process.pid for one in explanations]


# --- events that are asked for ------------------------------------------------------------------------------


def test_deaths_are_asked_for_by_unit_service_and_cause(store: Store) -> None:
    store.append_events("alpha", [exit_of(party(1), at_ns=AT_NS)])
    mine = store.append_events("alpha", [death(1)])
    other = store.append_events(
        "alpha", [death(2, cause=p.CAUSE_EXIT, unit="nginx.service", service="nginx.service")]
    )
    no_unit = store.append_events("beta", [death(3, cause=p.CAUSE_EXIT, unit="", service="/usr/bin/roulette")])
    for wanted, found in (
        (Wanted(unit="payment-worker@*.service"), mine),
        (Wanted(unit="payment-worker@"), mine),
        (Wanted(unit="*/roulette"), no_unit),
        (Wanted(unit="*"), [*mine, *other, *no_unit]),
        (Wanted(cause=p.CAUSE_EXIT), [*other, *no_unit]),
        (Wanted(cause=p.CAUSE_EXIT, host="beta"), no_unit),
        (Wanted(cause=p.CAUSE_EXIT, unit="payment*"), []),
        (Wanted(unit="PAYMENT*"), []),
    ):
        assert store.events(wanted=wanted) == found, wanted
    assert store.events(limit=1, wanted=Wanted(unit="*")) == no_unit, "the newest"
    assert store.events(0, 1, Wanted(unit="*")) == mine, "the next"


def test_events_since_a_time_are_those_that_came_in_then_and_later(store: Store, clock: SetClock) -> None:
    store.append_events("alpha", [death(1)])
    clock.now_ms += 1_000
    later = store.append_events("alpha", [exit_of(party(2), at_ns=AT_NS), death(2)])
    assert store.events(wanted=Wanted(since_ms=clock.now_ms)) == later
    assert store.events(wanted=Wanted(since_ms=clock.now_ms, cause=p.CAUSE_OOM_CGROUP)) == later[1:]
    assert store.events(wanted=Wanted(since_ms=clock.now_ms + 1)) == []


def test_what_comes_in_is_chosen_as_the_store_chooses(store: Store, clock: SetClock) -> None:
    store.decide(a_run_with(1))
    kept = [
        *store.append_events("alpha", [death(1), exit_of(party(1), at_ns=AT_NS), death(2, command_id="c1")]),
        *store.append_events("beta", [death(3, cause=p.CAUSE_EXIT, unit="", service="", process=party(3, "sh"))]),
    ]
    for one in kept[3:]:
        one.event.host = "beta"
    for wanted in (
        Wanted(),
        Wanted(host="beta"),
        Wanted(run="r1"),
        Wanted(unit="payment*"),
        Wanted(unit="sh"),
        Wanted(cause=p.CAUSE_EXIT),
        Wanted(since_ms=NOW_MS),
        Wanted(since_ms=NOW_MS + 1),
    ):
        numbers = [one.number for one in store.events(wanted=wanted)]
        assert numbers == [one.number for one in kept if wanted.fits(one)], wanted


def test_deaths_go_with_the_evidence_they_are_in(tmp_path: Path, clock: SetClock) -> None:
    file = tmp_path / "killdeer.db"
    store = Store.open(f"sqlite:///{file}", clock=clock)
    store.append_events("alpha", [death(1), death(2)])
    clock.now_ms += 31 * DAY_MS
    store.append_events("alpha", [death(3)])
    assert store.retain(30) == 2
    assert pids(store.explain("alpha", "*")) == [3]
    store.close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pid FROM deaths")).scalars().all() == [3]
    engine.dispose()


# --- which death is meant -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("4711", True),
        ("payment-worker", True),
        ("payment-worker@3.service", True),
        ("payment-worker@3", True),
        ("payment-worker@", True),
        ("payment-worker@*", True),
        ("pay*", True),
        ("worker", False),
        ("payment-worker@4.service", False),
        ("471", False),
        ("", False),
    ],
)
def test_a_death_is_meant_by_pid_name_unit_or_service(store: Store, said: str, meant: bool) -> None:
    store.append_events("alpha", [death()])
    assert pids(store.explain("alpha", said)) == ([4711] if meant else [])
    assert store.explain("beta", said) == [], "on its own host"


def test_a_name_that_the_kernel_has_cut_a_file_s_name_and_a_piece_of_a_container_are_meant(store: Store) -> None:
    store.append_events(
        "alpha", [death(1, process=party(1, "payment-process"), unit="", service="/opt/bin/payments")]
    )
    store.append_events(
        "alpha", [death(2, process=party(2, "app"), unit="", service="", container="3f9ac1d2e4b7aa")]
    )
    assert pids(store.explain("alpha", "payment-processor")) == [1]
    assert pids(store.explain("alpha", "payments")) == [1]
    assert pids(store.explain("alpha", "3f9ac1d2")) == [2]
    assert pids(store.explain("alpha", "3f9a")) == []


def test_a_process_outside_of_the_agent_s_namespace_is_meant_by_its_pid_on_the_host(store: Store) -> None:
    store.append_events(
        "alpha", [death(process=p.Party(host_pid=99, name="x")), death(process=party(5, host_pid=98))]
    )
    assert [one.death.process.host_pid for one in store.explain("alpha", "99")] == [99]
    assert store.explain("alpha", "98") == []


def test_the_newest_deaths_come_first_and_no_more_than_asked(store: Store) -> None:
    for pid in range(1, 6):
        store.append_events("alpha", [death(pid, at_ns=AT_NS + pid * SECOND_NS)])
    assert pids(store.explain("alpha", "pay*", 2)) == [5, 4]
    assert pids(store.explain("alpha", "4711")) == []


# --- the death ----------------------------------------------------------------------------------------------


def test_a_death_by_our_strike_names_its_run_who_started_it_and_the_successor_it_came_to(store: Store) -> None:
    store.decide(a_run_with(1))
    row = strike(1)
    row.view.successor.after_exit_ns, row.view.successor.identity.pid = 104_000_000, 4802
    store.decide(putting(PutStrike(row)))
    store.append_events("alpha", [death(cause=p.CAUSE_STRIKE, command_id="c1"), exec_of(party(9), at_ns=AT_NS + 1)])
    (one,) = store.explain("alpha", "4711")
    assert (one.run_id, one.started_by, one.experiment) == ("r1", "alice", "one")
    assert (one.successor.identity.pid, one.successor.after_exit_ns) == (4802, 104_000_000)


def test_a_host_cannot_borrow_another_s_strike(store: Store) -> None:
    store.decide(a_run_with(1))
    row = strike(1)
    row.view.successor.identity.pid = 4802
    store.decide(putting(PutStrike(row)))
    claimed = death(cause=p.CAUSE_STRIKE, command_id="c1")
    claimed.host = "beta"
    store.append_events("beta", [claimed])
    (one,) = store.explain("beta", "4711")
    assert not one.HasField("successor")
    assert (one.run_id, one.started_by) == ("", "")


def test_evidence_that_waited_for_a_coordinator_is_dated_by_the_host_s_own_clock(store: Store) -> None:
    """A whole batch comes in at once, minutes after the deaths in it."""
    store.append_events("alpha", [death(1), death(2, at_ns=AT_NS + 90 * SECOND_NS)])
    assert [one.at_unix_ms for one in store.explain("alpha", "*")] == [NOW_MS, NOW_MS - 90_000]
    store.append_events("alpha", [death(3, at_ns=0), death(4, at_ns=2**64 - 1)])
    assert store.explain("alpha", "3")[0].at_unix_ms == 0, "no clock runs for so long"


# --- around it ----------------------------------------------------------------------------------------------


def test_around_a_death_is_what_befell_its_service_oldest_first(store: Store) -> None:
    sibling = death(4700, at_ns=AT_NS - 2 * SECOND_NS)
    told = [
        sibling,
        signal(party(4700), 15, at_ns=AT_NS - 3 * SECOND_NS, sender=SYSTEMD),
        signal(party(4711), 9, at_ns=AT_NS - 5),
        oom(party(4711), at_ns=AT_NS - 10),
        exit_of(party(4711), at_ns=AT_NS),
        p.KernelEvent(at_boot_ns=AT_NS + 1, host="alpha", lost=p.EventsLost(kind="exec", count=2)),
        exec_of(party(4802, cgroup_id=78), at_ns=AT_NS + SECOND_NS // 10),
    ]
    strangers = [
        signal(party(4711), 15, at_ns=AT_NS - 11 * SECOND_NS),
        exec_of(party(4803), at_ns=AT_NS + 31 * SECOND_NS),
        signal(p.Party(pid=50, name="sh"), 9, at_ns=AT_NS, sender=party(4711)),
        exit_of(party(51, "nginx", cgroup_id=5), at_ns=AT_NS),
        exec_of(party(52, "nginx", cgroup_id=5), at_ns=AT_NS + 5),
        death(53, at_ns=AT_NS, unit="nginx.service", service="nginx.service"),
    ]
    store.append_events("alpha", [*strangers, *told, death()])
    store.append_events("beta", [signal(party(4711), 9, at_ns=AT_NS)])
    (one,) = store.explain("alpha", "4711")
    assert [near.event for near in one.around] == sorted(told, key=lambda event: event.at_boot_ns)


def test_without_a_unit_a_shared_cgroup_makes_nothing_akin(store: Store) -> None:
    store.append_events("alpha", [exit_of(party(51, "other"), at_ns=AT_NS), death(unit="", service="/bin/x")])
    (one,) = store.explain("alpha", "4711")
    assert not one.around


def test_of_very_much_around_it_the_nearest_is_told(store: Store) -> None:
    signals = [signal(party(), 10, at_ns=AT_NS - number) for number in range(1, 200)]
    store.append_events("alpha", [*signals, death()])
    (one,) = store.explain("alpha", "4711")
    assert [near.event.at_boot_ns for near in one.around] == [AT_NS - number for number in range(20, 0, -1)]


# --- what took over -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "source"),
    [
        (party(4802), "bpf"),
        (party(4802, "renamed"), "bpf"),
        (party(4802, cgroup_id=78), "bpf, by its name and parent"),
        (party(4802, "other", cgroup_id=78), ""),
        (party(4802, parent_pid=4800, cgroup_id=78), ""),
        (party(4711, host_pid=4711), ""),
    ],
)
def test_a_successor_shares_two_of_name_parent_and_cgroup(store: Store, process: p.Party, source: str) -> None:
    store.append_events("alpha", [death(), exec_of(process, at_ns=AT_NS + SECOND_NS)])
    (one,) = store.explain("alpha", "4711")
    assert one.HasField("successor") == bool(source)
    assert one.successor.source == source
    assert one.successor.after_exit_ns == (SECOND_NS if source else 0)


def test_what_was_there_before_the_death_is_no_successor(store: Store) -> None:
    later, latest = AT_NS + SECOND_NS, AT_NS + 2 * SECOND_NS
    store.append_events("alpha", [exec_of(party(4701), at_ns=AT_NS - 1), death()])
    store.append_events("alpha", [exec_of(party(4803), at_ns=latest), exec_of(party(4802), at_ns=later)])
    (one,) = store.explain("alpha", "4711")
    assert one.successor.identity.pid == 4802


# --- how often ----------------------------------------------------------------------------------------------


def test_deaths_are_counted_over_the_hour_up_to_each(store: Store, clock: SetClock) -> None:
    store.append_events("alpha", [death(1)])
    store.append_events("beta", [death(7)])
    clock.now_ms += 3_600_000
    store.append_events("alpha", [death(2)])
    clock.now_ms += 1
    store.append_events("alpha", [death(3)])
    assert [one.deaths_in_hour for one in store.explain("alpha", "pay*")] == [2, 2, 1]


def test_how_far_back_a_host_s_evidence_goes_is_known(store: Store, clock: SetClock) -> None:
    assert store.told_since_ms("alpha") == 0
    store.append_events("alpha", [exit_of(party(), at_ns=1)])
    clock.now_ms += 5
    store.append_events("alpha", [death()])
    store.append_events("beta", [death()])
    assert store.told_since_ms("alpha") == NOW_MS
    assert store.told_since_ms("beta") == NOW_MS + 5
