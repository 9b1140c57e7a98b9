"""Impacts, repetition by repetition: which strikes are one, and what is measured of each."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1.probe_pb2 import Baseline
from killdeer_coordinator.core.impact import Absence, Values, impact, repetitions

BASELINE = Baseline(probe="p95", median=1.0, mean=1.5, readings=9)


def values(*points: tuple[int, float]) -> Values:
    made = Values()
    for at_ns, value in points:
        made.add(at_ns, value)
    return made


def test_a_strike_on_its_own_is_a_repetition() -> None:
    assert repetitions([Absence(30, 35), Absence(10, 20), Absence(20, 25)]) == [10, 20, 30]


def test_strikes_that_overlap_are_one() -> None:
    assert repetitions([Absence(10, 20), Absence(15, 40), Absence(30, 35), Absence(41, 42)]) == [10, 41]


def test_after_one_that_was_not_seen_to_come_back_none_is_on_its_own() -> None:
    assert repetitions([Absence(10, None), Absence(50, 60)]) == [10]


def test_nothing_struck_is_no_repetition() -> None:
    assert repetitions([]) == []


def test_the_impact_of_one_is_the_mean_in_its_time_less_that_of_the_baseline() -> None:
    taken = values((5, 100.0), (10, 2.0), (19, 4.0), (20, 5.5), (30, 9.0))
    found = impact(BASELINE, taken, [10, 20], 30)
    assert found is not None
    assert (found.probe, found.repetitions) == ("p95", 2)
    assert (found.mean, found.lowest, found.highest) == (2.75, 1.5, 4.0)
    assert found.deviation == pytest.approx(2.5 / math.sqrt(2))


def test_one_without_a_known_value_is_none() -> None:
    found = impact(BASELINE, values((25, 2.5)), [10, 20], 30)
    assert found is not None
    assert (found.repetitions, found.mean, found.deviation) == (1, 1.0, 0.0)
    assert impact(BASELINE, values(), [10, 20], 30) is None
    assert impact(BASELINE, values((25, 2.5)), [], 30) is None


def test_what_is_infinite_has_no_mean() -> None:
    found = impact(BASELINE, values((11, math.inf), (12, 2.5)), [10], 30)
    assert found is not None
    assert found.mean == 1.0


@given(st.lists(st.tuples(st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_repetitions_begin_with_strikes_and_in_time(strikes: list[tuple[int, int | None]]) -> None:
    absences = [Absence(begun, None if lasts is None else begun + lasts) for begun, lasts in strikes]
    begun = repetitions(absences)
    assert begun == sorted(begun)
    assert set(begun) <= {one.begun_ns for one in absences}
    assert bool(begun) == bool(absences)
