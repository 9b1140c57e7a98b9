"""Operators hear in good time of every certificate that ends: hosts', the coordinator's, the CA's."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from killdeer_coordinator import endings, pki
from killdeer_coordinator.endings import DAY_S, Life

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
NOW_S = NOW.timestamp()


def life(days: float, left_days: float) -> Life:
    ends_s = NOW_S + left_days * DAY_S
    return Life(begins_s=ends_s - days * DAY_S, ends_s=ends_s)


@pytest.mark.parametrize(
    ("days", "left_days", "soon"),
    [(825, 31, False), (825, 29, True), (825, -1, True), (7, 2.4, False), (7, 1.5, False), (7, 1.3, True)],
)
def test_one_of_years_is_named_a_month_before_and_one_of_days_when_renewing_has_failed_for_a_while(
    days: float, left_days: float, soon: bool
) -> None:
    assert life(days, left_days).ends_soon(NOW_S) is soon


def test_hosts_are_named_the_first_to_end_first_and_so_many_at_most() -> None:
    assert endings.of_hosts({}, NOW_S) == ""
    assert endings.of_hosts({"web-1": life(825, 400)}, NOW_S) == ""
    lives = {f"web-{number}": life(825, 10 + number) for number in range(9)}
    lives |= {"db-1": life(7, 0.1), "old-1": life(825, -3), "new-1": life(825, 800)}
    said = endings.of_hosts(lives, NOW_S)
    assert (
        "old-1 has ended, db-1 in 2 hours, web-0 in 10 days, web-1 in 11 days, web-2 in 12 days and 6 more" in said
    )
    assert "new-1" not in said
    assert "join" in said


def test_the_dates_are_those_of_the_certificate() -> None:
    made = pki.issue_agent(pki.make_ca(now=NOW), "web-1", now=NOW)
    found = endings.life_of(made.certificate)
    assert found.ends_s - found.begins_s == pki.AGENT_DAYS * DAY_S
    assert found.begins_s <= NOW_S


def test_a_ca_that_ends_within_half_a_year_is_named_until_another_one_is_made() -> None:
    old = pki.make_ca(now=NOW).certificate
    end_s = endings.life_of(old).ends_s
    assert endings.of_authorities(old, end_s - 181 * DAY_S) == ""
    assert "ca rotate" in endings.of_authorities(old, end_s - 179 * DAY_S)
    new = pki.make_ca(now=NOW + dt.timedelta(days=3_000)).certificate
    assert endings.of_authorities(old + new, end_s - 179 * DAY_S) == ""


def test_the_coordinators_own_is_named_a_month_before() -> None:
    own = pki.issue_coordinator(pki.make_ca(now=NOW), now=NOW).certificate
    file, end_s = Path("/etc/killdeer/coordinator.pem"), NOW_S + pki.COORDINATOR_DAYS * DAY_S
    assert endings.of_coordinator(own, file, end_s - 31 * DAY_S) == ""
    assert str(file) in endings.of_coordinator(own, file, end_s - 29 * DAY_S)


@pytest.mark.parametrize("look", [endings.life_of, lambda text: endings.of_authorities(text, NOW_S)])
def test_what_is_no_certificate_is_a_value_error(look: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="PEM"):
        look(b"no certificate")
