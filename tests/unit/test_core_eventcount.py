"""What the evidence of the target's hosts comes to: whose events count, and what can't be known (I8)."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1 import probe_pb2 as wire
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF, EVIDENCE_LEVEL_PIDFD, Hello
from killdeer_coordinator.core import eventcount
from killdeer_coordinator.core.eventcount import EventCount
from killdeer_coordinator.core.roster import Link
from killdeer_coordinator.core.series import known
from tests.support.deaths import AT_NS, SECOND_NS, SERVICE, UNIT, death, exec_of, oom, party

OOM, DEATH, RESTART = wire.EVENT_KIND_OOM, wire.EVENT_KIND_DEATH, wire.EVENT_KIND_RESTART
KINDS = (OOM, DEATH, RESTART)
S = SECOND_NS
RUN = "0a1b2c3d4e5f"
KILL = 9


def link(host: str = "alpha", **fields: object) -> Link:
    hello = Hello(host=host, evidence=EVIDENCE_LEVEL_BPF)
    made = Link(number=1, host=host, hello=hello, token="", served=True)
    for field, value in fields.items():
        setattr(made if hasattr(made, field) else hello, field, value)
    return made


class Counted:
    """A count since second 0 on `links`, of candidates in `services`."""

    def __init__(self, kind: wire.EventKind, unit: str = "", *, links: Iterable[Link] = ()) -> None:
        self.links = list(links) or [link()]
        self.services = {SERVICE}
        self.count = EventCount(
            wire.EventsSource(kind=kind, unit=unit),
            run_id=RUN,
            services=lambda: self.services,
            hosts=lambda: self.links,
        )
        self.count.begin(0)

    def saw(self, *events: p.KernelEvent, host: str = "alpha", at_s: int = 1) -> "Counted":
        for event in events:
            self.count.saw(host, event, at_s * S)
        return self

    def number(self, at_s: int = 9, over_s: int = 0) -> float:
        value = self.count.count(at_s * S, over_s * 1_000)
        assert value.known, value.detail
        return value.value

    def why(self) -> str:
        value = self.count.count(9 * S)
        assert not value.known
        return value.detail


def lost(kind: str, count: int = 3) -> p.KernelEvent:
    return p.KernelEvent(at_boot_ns=AT_NS, host="alpha", lost=p.EventsLost(kind=kind, count=count))


def by(cause: p.Cause, pid: int = 4711, **fields: Any) -> p.KernelEvent:
    return death(pid, cause=cause, **fields)


# --- what counts --------------------------------------------------------------------------------------------


def test_where_all_can_be_told_and_nothing_was_the_count_is_zero() -> None:
    for kind in KINDS:
        assert Counted(kind).count.count(S) == known(0.0)


def test_oom_kills_are_counted_by_their_deaths_each_once() -> None:
    one = Counted(OOM).saw(
        oom(party(1), at_ns=AT_NS),
        by(p.CAUSE_OOM_CGROUP, 1),
        by(p.CAUSE_OOM_GLOBAL, 2),
        by(p.CAUSE_SIGNAL, 3),
    )
    assert one.number() == 2


def test_the_oom_killers_choice_counts_where_the_cause_of_death_is_not_certain() -> None:
    assert Counted(OOM).saw(by(p.CAUSE_UNKNOWN, 1)).number() == 0
    assert Counted(OOM).saw(oom(party(1), at_ns=AT_NS), by(p.CAUSE_UNKNOWN, 1)).number() == 1


@pytest.mark.parametrize("cause", sorted(set(p.Cause.values()) - {p.CAUSE_STRIKE, p.CAUSE_UNKNOWN}))
def test_a_death_by_another_cause_counts_though_it_is_a_victims(cause: p.Cause) -> None:
    assert Counted(DEATH).saw(by(cause, command_id=f"{RUN}-1")).number() == 1


def test_deaths_by_this_runs_strikes_do_not_count_and_those_by_other_runs_do() -> None:
    one = Counted(DEATH).saw(
        by(p.CAUSE_STRIKE, 1, command_id=f"{RUN}-1"), by(p.CAUSE_UNKNOWN, 2, command_id=f"{RUN}-12")
    )
    assert one.number() == 0
    one.saw(by(p.CAUSE_STRIKE, 3, command_id=f"{RUN}9-1"), by(p.CAUSE_UNKNOWN, 4))
    assert one.number() == 2


def test_the_newest_is_named() -> None:
    one = Counted(OOM).saw(by(p.CAUSE_OOM_CGROUP, why="/x reached its limit"))
    assert one.count.count(9 * S).detail == "payment-worker 4711 on alpha: /x reached its limit"


def test_only_hosts_of_the_target_count() -> None:
    assert Counted(OOM).saw(by(p.CAUSE_OOM_CGROUP), lost("exit"), host="elsewhere").number() == 0


def test_only_services_in_which_candidates_were_seen_count() -> None:
    one = Counted(DEATH).saw(by(p.CAUSE_EXIT, service="other", unit="other.service"), by(p.CAUSE_EXIT, 5))
    assert one.number() == 1
    one.services.clear()
    assert one.number() == 0


@pytest.mark.parametrize("unit", [UNIT, "payment-*", SERVICE])
def test_a_unit_that_is_named_counts_whatever_the_candidates(unit: str) -> None:
    one = Counted(DEATH, unit).saw(by(p.CAUSE_EXIT), by(p.CAUSE_EXIT, 5, service="other", unit="other.service"))
    one.services.clear()
    assert one.number() == 1


def test_a_process_outside_of_units_is_known_by_its_program() -> None:
    process = party(1, name="python3", executable="/usr/bin/python3.11")
    loose = by(p.CAUSE_EXIT, process=process, unit="", service="python3", cgroup="")
    one = Counted(DEATH).saw(loose)
    for service, number in (("/usr/bin/python3.11", 1), ("python3", 1), ("/usr/bin/node", 0)):
        one.services = {service}
        assert one.number() == number


def test_a_program_in_a_unit_is_not_known_by_its_name() -> None:
    one = Counted(DEATH).saw(by(p.CAUSE_EXIT))
    one.services = {"payment-worker"}
    assert one.number() == 0


# --- since when ---------------------------------------------------------------------------------------------


def test_without_a_window_what_came_before_the_first_strike_does_not_count() -> None:
    links = [link()]
    count = EventCount(wire.EventsSource(kind=DEATH), run_id=RUN, services=lambda: {SERVICE}, hosts=lambda: links)
    count.saw("alpha", by(p.CAUSE_EXIT, 1), 1 * S)
    assert count.count(2 * S) == known(0.0)
    count.begin(3 * S)
    count.saw("alpha", by(p.CAUSE_EXIT, 2), 3 * S)
    count.begin(4 * S)
    assert count.count(5 * S).value == 1
    assert count.count(5 * S, 60_000).value == 2


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 30), st.integers(0, 30))
def test_a_window_counts_what_came_in_it(at: list[int], over_s: int, later: int) -> None:
    one, now = Counted(DEATH), 30 + later
    for pid, second in enumerate(sorted(at), 1):
        one.saw(by(p.CAUSE_EXIT, pid), at_s=second)
    assert one.number(now, over_s) == sum(second >= now - over_s for second in at)
    assert one.number(now) == len(at)


# --- what can't be known ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "what", ["exit", "watched exit", "waiting", "cgroup", "kernel log", "of a newer agent", ""]
)
def test_lost_events_make_the_count_unknown_until_the_run_ends(kind: wire.EventKind, what: str) -> None:
    one = Counted(kind).saw(lost(what))
    assert one.why().startswith("alpha has lost 3 events")
    value = one.saw(by(p.CAUSE_OOM_CGROUP)).count.count(10**6 * S, 1_000)
    assert not value.known


def test_what_was_counted_all_the_same_is_the_least_it_comes_to() -> None:
    value = Counted(OOM).saw(by(p.CAUSE_OOM_CGROUP), lost("oom")).count.count(9 * S)
    assert (value.known, value.value, value.detail) == (False, 1.0, "alpha has lost 3 events of kind 'oom'")


@pytest.mark.parametrize(("kind", "what"), [(OOM, "exec"), (DEATH, "signal"), (RESTART, "oom")])
def test_lost_events_that_cannot_have_been_counted_change_nothing(kind: wire.EventKind, what: str) -> None:
    assert Counted(kind).saw(lost(what)).number() == 0


def test_the_signals_that_tell_causes_are_none_of_the_harmless_losses() -> None:
    for kind in (OOM, DEATH):
        assert eventcount.HARMLESS[kind].isdisjoint({"deadly signal", "watched signal"})


def test_a_host_that_has_no_record_of_its_kernel_tells_nothing() -> None:
    blind = link("beta", evidence=EVIDENCE_LEVEL_PIDFD, evidence_detail="no BTF")
    assert Counted(OOM, links=[link(), blind]).why() == "beta has no record of its kernel: no BTF"


def test_a_host_of_another_coordinator_tells_nothing_here() -> None:
    assert "coordinator east" in Counted(OOM, links=[link(far="east")]).why()


def test_a_host_that_has_left_is_missed_until_it_is_back() -> None:
    one = Counted(OOM, links=[link(), link("beta")])
    assert one.number() == 0
    gone = one.links.pop()
    assert one.why() == "beta is not connected"
    one.links.append(gone)
    assert one.number() == 0


def test_several_that_tell_nothing_are_counted() -> None:
    links = [link(host, evidence=EVIDENCE_LEVEL_PIDFD) for host in ("beta", "alpha", "gamma")]
    assert Counted(OOM, links=links).why() == "alpha has no record of its kernel, and 2 more"


def test_more_than_can_be_counted_is_unknown_while_they_are_in_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventcount, "MOST_COUNTED", 3)
    one = Counted(DEATH)
    for second in range(5):
        one.saw(by(p.CAUSE_EXIT, second + 1), at_s=second)
    assert one.why() == "there were more than 3"
    assert one.number(4, over_s=2) == 3


# --- restarts -----------------------------------------------------------------------------------------------


def worker(pid: int) -> p.Party:
    return party(pid, cgroup=f"/system.slice/{UNIT}", start_ticks=AT_NS // 10_000_000 + pid)


def died(pid: int, at_s: float, *, by_signal: int = KILL) -> p.KernelEvent:
    return by(p.CAUSE_SIGNAL, process=worker(pid), at_ns=AT_NS + int(at_s * S), signal=by_signal)


def began(pid: int, at_s: float) -> p.KernelEvent:
    return exec_of(worker(pid), at_ns=AT_NS + int(at_s * S))


@given(st.permutations([0, 0, 0, 1, 1, 1]))
def test_a_place_that_is_taken_counts_once_however_late_deaths_are_told(order: list[int]) -> None:
    """Deaths come in their order, and execs in theirs."""
    told = [[died(1, 10), died(2, 20), died(3, 30)], [began(2, 10.1), began(3, 20.1), began(4, 30.1)]]
    assert Counted(RESTART).saw(*(told[which].pop(0) for which in order)).number() == 3


def test_a_restart_after_this_runs_own_strike_counts() -> None:
    strike = by(p.CAUSE_STRIKE, process=worker(1), at_ns=AT_NS + S, command_id=f"{RUN}-1")
    assert Counted(RESTART).saw(strike, began(2, 2)).number() == 1


def test_a_program_that_starts_another_is_one_successor() -> None:
    assert Counted(RESTART).saw(died(1, 10), began(2, 10.1), died(3, 10.05), began(2, 10.2)).number() == 1


def test_what_started_before_the_death_or_long_after_took_no_place() -> None:
    assert Counted(RESTART).saw(began(2, 9), died(1, 10), began(3, 41)).number() == 0


def test_another_program_took_no_place() -> None:
    helper = p.KernelEvent(at_boot_ns=AT_NS + 11 * S, host="alpha")
    helper.exec.process.CopyFrom(worker(2))
    helper.exec.process.name = "curl"
    assert Counted(RESTART).saw(died(1, 10), helper).number() == 0


def test_a_command_that_is_done_leaves_no_place() -> None:
    done = died(1, 10, by_signal=0)
    done.death.process.parent_pid = 300
    assert Counted(RESTART).saw(done, began(2, 11)).number() == 0


def test_a_victim_that_left_as_it_was_asked_to_leaves_a_place() -> None:
    asked = died(1, 10, by_signal=0)
    asked.death.process.parent_pid, asked.command_id = 300, f"{RUN}-1"
    assert Counted(RESTART).saw(asked, began(2, 11)).number() == 1


@pytest.mark.parametrize("later_s", [0.005, 1])
def test_a_successor_that_was_only_forked_is_known_once_it_has_died(later_s: float) -> None:
    """Its start is known to the hundredth of a second alone."""
    forked = worker(2)
    forked.start_ticks = (AT_NS + int((10.001 + later_s) * S)) // 10_000_000
    end = by(p.CAUSE_SIGNAL, process=forked, at_ns=AT_NS + 300 * S)
    assert Counted(RESTART).saw(died(1, 10.001)).saw(end).number() == 1


def test_a_sibling_that_dies_too_took_no_place() -> None:
    assert Counted(RESTART).saw(died(1, 10), died(2, 10.5)).number() == 0


def test_places_of_different_hosts_are_different_places() -> None:
    one = Counted(RESTART, links=[link(), link("beta")])
    one.saw(died(1, 10)).saw(began(2, 10.1), host="beta")
    assert one.number() == 0
