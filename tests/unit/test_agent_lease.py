"""The lease: a right in time, on the host's own clock (rules R7 and R8)."""

from killdeer_agent.core.facts import Now
from killdeer_agent.core.lease import Lease

SECOND = 1_000_000_000
HEARTBEAT = Now(100 * SECOND, 5_000 * SECOND)
LEASE = Lease().renewed(HEARTBEAT, lease_ms=15_000)


def later(boot_s: float, rtc_s: float | None) -> Now:
    rtc_ns = None if rtc_s is None else 5_000 * SECOND + int(rtc_s * SECOND)
    return Now(HEARTBEAT.boot_ns + int(boot_s * SECOND), rtc_ns)


def test_r7_it_counts_from_the_heartbeat_that_was_answered() -> None:
    assert LEASE.holds(later(14.9, 15))
    assert not LEASE.holds(later(15, 15))


def test_r7_an_older_answer_shortens_nothing() -> None:
    assert LEASE.renewed(Now(90 * SECOND, None), lease_ms=15_000) == LEASE


def test_r8_a_clock_chip_that_ran_three_seconds_ahead_ends_it() -> None:
    assert LEASE.holds(later(1, 3.9))
    assert not LEASE.holds(later(1, 4.1))


def test_r8_a_clock_chip_that_cannot_be_read_any_more_ends_it() -> None:
    assert not LEASE.holds(later(1, None))


def test_r8_without_a_clock_chip_the_lease_is_by_running_time_alone() -> None:
    lease = Lease().renewed(Now(HEARTBEAT.boot_ns), lease_ms=15_000)
    assert lease.holds(later(14, None))


def test_r8_after_a_freeze_the_next_answered_heartbeat_makes_it_good_again() -> None:
    thawed = Now(HEARTBEAT.boot_ns + SECOND, 5_020 * SECOND)
    assert LEASE.renewed(thawed, lease_ms=15_000).holds(Now(thawed.boot_ns + SECOND, thawed.rtc_ns))
