"""Readings and what they come to: windows, rates, ages, turns, baselines, hosts (I8)."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1 import probe_pb2 as wire
from killdeer.v1.agent_pb2 import Heartbeat
from killdeer.v1.probe_pb2 import Probe, Reading
from killdeer_coordinator.core.measuring import Measuring, host_value
from killdeer_coordinator.core.series import MOST_READINGS, Series, increase, known, quantile

S = 1_000_000_000
UNIX_MS = 1_760_000_000_000
SUMMARIES = (wire.SUMMARY_P50, wire.SUMMARY_P95, wire.SUMMARY_P99, wire.SUMMARY_MAX, wire.SUMMARY_RATE)

numbers = st.floats(min_value=-1e9, max_value=1e9)
counts = st.integers(0, 1_000_000)
maybe = st.none() | numbers


def series(summary: wire.Summary = wire.SUMMARY_UNSPECIFIED, over_s: int = 0, fresh_s: int = 0) -> Series:
    return Series(Probe(name="p", summary=summary, over_ms=over_s * 1_000, fresh_within_ms=fresh_s * 1_000))


def filled(one: Series, values: Sequence[float | None]) -> Series:
    """A reading a second, from second 1 on."""
    for second, value in enumerate(values, 1):
        one.add(second * S, value, "" if value is not None else f"refused at {second}")
    return one


# --- one value ----------------------------------------------------------------------------------------------


def test_what_was_never_measured_is_unknown() -> None:
    for summary in (wire.SUMMARY_UNSPECIFIED, *SUMMARIES):
        assert not series(summary, over_s=30).now(S).known


def test_without_a_summary_the_newest_reading_is_the_value() -> None:
    one = filled(series(), [1.0, 2.0])
    one.add(3 * S, 7.0, "alpha")
    assert one.now(9 * S) == known(7.0, "alpha")


def test_a_probe_that_stops_answering_is_unknown_and_says_why() -> None:
    value = filled(series(), [1.0, 1.0, None]).now(4 * S)
    assert (value.known, value.detail) == (False, "refused at 3")
    assert math.isnan(value.value)


def test_a_reading_that_is_no_number_is_unknown() -> None:
    value = filled(series(), [math.nan]).now(S)
    assert (value.known, value.detail) == (False, "it is not a number")


def test_a_value_that_is_too_old_is_unknown_with_its_age() -> None:
    one = filled(series(fresh_s=60), [1.0])
    assert one.now(61 * S).known
    value = one.now(63 * S)
    assert (value.known, value.detail) == (False, "measured last 1m2s ago, and must be so within 1m")


def test_a_window_is_as_fresh_as_its_newest_known_reading() -> None:
    one = filled(series(wire.SUMMARY_MAX, over_s=30, fresh_s=5), [1.0, 1.0, None])
    assert one.now(7 * S).known
    assert not one.now(8 * S).known


# --- windows ------------------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=60), st.integers(1, 60))
def test_the_maximum_is_of_the_window_alone(values: list[float], over_s: int) -> None:
    now = len(values)
    assert filled(series(wire.SUMMARY_MAX, over_s), values).now(now * S) == known(max(values[-over_s:]))


@given(st.lists(numbers, min_size=2, max_size=60), st.sampled_from(SUMMARIES[:4]))
def test_a_summary_lies_within_its_readings_and_quantiles_are_in_order(
    values: list[float], summary: wire.Summary
) -> None:
    value = filled(series(summary, over_s=100), values).now(len(values) * S)
    assert value.known
    assert min(values) - 1e-6 <= value.value <= max(values) + 1e-6
    assert quantile(values, 0.5) <= quantile(values, 0.95) + 1e-6 <= quantile(values, 0.99) + 2e-6


def test_quantiles_lie_between_two_readings_in_proportion() -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert quantile([float(one) for one in range(101)], 0.95) == 95.0
    assert quantile([7.0], 0.99) == 7.0


@given(st.lists(maybe, min_size=1, max_size=40), st.sampled_from(SUMMARIES))
def test_a_window_is_unknown_exactly_if_most_of_it_is_or_too_little_is_known(
    values: list[float | None], summary: wire.Summary
) -> None:
    answers = sum(value is not None for value in values)
    least = 1 if summary == wire.SUMMARY_MAX else 2
    value = filled(series(summary, over_s=100), values).now(len(values) * S)
    assert value.known == (2 * answers >= len(values) and answers >= least)
    assert value.known or value.detail


def test_too_few_readings_say_so() -> None:
    assert filled(series(wire.SUMMARY_P95, 30), [1.0]).now(S).detail == "too few readings in 30s: 1"


def test_unknown_readings_say_how_many_and_why() -> None:
    value = filled(series(wire.SUMMARY_P95, 30), [1.0, None, None]).now(3 * S)
    assert value.detail == "2 of 3 readings in 30s are unknown: refused at 3"


def test_a_window_that_all_readings_have_left_is_unknown() -> None:
    value = filled(series(wire.SUMMARY_MAX, 30), [1.0]).now(31 * S)
    assert (value.known, value.detail) == (False, "not measured in the last 30s: the newest reading is 30s old")


def test_a_window_that_is_longer_than_its_memory_says_what_it_is_of() -> None:
    one = filled(series(wire.SUMMARY_MAX, over_s=2 * MOST_READINGS), [9.0] + [1.0] * MOST_READINGS)
    value = one.now((MOST_READINGS + 1) * S)
    assert (value.value, value.detail) == (1.0, "of the newest 10000 readings alone")


# --- rates --------------------------------------------------------------------------------------------------


@given(st.lists(counts, min_size=2, max_size=60), st.integers(1, 50))
def test_a_counter_that_begins_again_has_the_rate_of_one_that_does_not(steps: list[int], reset_after: int) -> None:
    """As long as nothing was counted between its last reading and its reset, which nobody can know."""
    whole = [float(sum(steps[: end + 1])) for end in range(len(steps))]
    at = min(reset_after, len(whole) - 1)
    reset = [*whole[:at], *(value - whole[at - 1] for value in whole[at:])]
    value = filled(series(wire.SUMMARY_RATE, 100), reset).now(len(reset) * S)
    expected = (whole[-1] - whole[0]) / (len(whole) - 1)
    if reset[at] < reset[at - 1]:  # else it has overtaken itself already, and looks as if it had not begun again
        assert value.value == pytest.approx(expected)
    else:
        assert 0 <= value.value <= expected + 1e-6


@given(st.lists(counts.map(float), min_size=2, max_size=60))
def test_a_rate_of_a_counter_is_never_negative(values: list[float]) -> None:
    assert increase(values) >= 0


def test_a_rate_is_of_the_time_between_first_and_last_known_reading() -> None:
    value = filled(series(wire.SUMMARY_RATE, 30), [None, 10.0, None, 20.0, 40.0]).now(9 * S)
    assert value == known(10.0)


def test_one_reading_has_no_rate() -> None:
    assert not filled(series(wire.SUMMARY_RATE, 30), [10.0]).now(S).known


def test_readings_of_one_moment_have_no_rate() -> None:
    one = series(wire.SUMMARY_RATE, 30)
    for value in (1.0, 5.0):
        one.add(S, value)
    assert not one.now(S).known


def test_infinite_readings_have_no_rate() -> None:
    assert not filled(series(wire.SUMMARY_RATE, 30), [math.inf, math.inf]).now(2 * S).known
    assert not filled(series(wire.SUMMARY_RATE, 30), [math.inf, -math.inf, math.inf]).now(3 * S).known


# --- turns --------------------------------------------------------------------------------------------------


class Asked:
    """A measuring of these probes, and who was asked."""

    def __init__(self, *probes: Probe) -> None:
        self.turns: list[tuple[str, int]] = []
        self.measuring = Measuring(probes, lambda probe, turn: self.turns.append((probe.name, turn)))

    def tick(self, now_ms: int) -> list[tuple[str, int]]:
        before = len(self.turns)
        self.measuring.tick(now_ms * 1_000_000, UNIX_MS + now_ms)
        return self.turns[before:]

    def answer(self, name: str, turn: int, value: float | None, now_ms: int) -> None:
        reading = Reading(probe=name, at_unix_ms=UNIX_MS + now_ms, value=value)
        self.measuring.measured(name, turn, reading, now_ms * 1_000_000)


def http(name: str = "healthy", **fields: int) -> Probe:
    return Probe(name=name, http=wire.HttpSource(url="http://x"), **{"within_ms": 500, "every_ms": 1_000} | fields)  # type: ignore[arg-type]


def cpu() -> Probe:
    return Probe(name="cpu", host=wire.HostSource(metric=wire.HOST_METRIC_CPU_PERCENT), every_ms=1_000)


def test_each_probe_is_asked_at_once_and_then_whenever_its_time_has_passed() -> None:
    asked = Asked(http("a", every_ms=1_000), http("b", every_ms=3_000))
    assert [name for name, _ in asked.tick(0)] == ["a", "b"]
    for name, turn in asked.turns:
        asked.answer(name, turn, 1.0, 10)
    assert asked.tick(999) == []
    assert [name for name, _ in asked.tick(1_000)] == ["a"]
    assert [name for name, _ in asked.tick(3_000)] == ["b"]


@given(st.lists(st.integers(1, 2_000), max_size=60), st.data())
def test_no_probe_is_asked_twice_at_once(steps: list[int], data: st.DataObject) -> None:
    asked, now_ms, waiting = Asked(http(), http("other")), 0, dict[str, tuple[int, int]]()
    for step in steps:
        now_ms += step
        for name, turn in asked.tick(now_ms):
            assert name not in waiting or now_ms - waiting[name][1] >= 2_500
            waiting[name] = (turn, now_ms)
        for name in list(waiting):
            if data.draw(st.booleans()):
                asked.answer(name, waiting.pop(name)[0], 1.0, now_ms)


def test_an_answer_that_never_comes_is_an_unknown_reading_and_the_probe_is_asked_again() -> None:
    asked = Asked(http())
    ((_, first),) = asked.tick(0)
    assert asked.tick(2_999) == []
    ((_, second),) = asked.tick(3_000)
    (reading,) = asked.measuring.fresh()
    assert (reading.HasField("value"), reading.detail) == (False, "no answer within 500ms")
    assert reading.at_unix_ms == UNIX_MS + 3_000
    asked.answer("healthy", first, 1.0, 3_100)
    assert not asked.measuring.value("healthy", 3_100_000_000).known
    asked.answer("healthy", second, 1.0, 3_200)
    assert asked.measuring.value("healthy", 3_200_000_000) == known(1.0)


def test_an_answer_counts_once() -> None:
    asked = Asked(http())
    ((name, turn),) = asked.tick(0)
    asked.answer(name, turn, 1.0, 10)
    asked.answer(name, turn, 0.0, 11)
    assert [reading.value for reading in asked.measuring.fresh()] == [1.0]


def test_what_the_core_answers_itself_is_never_asked_of_the_shell() -> None:
    asked = Asked(cpu(), Probe(name="oom", events=wire.EventsSource(kind=wire.EVENT_KIND_OOM)))
    assert asked.tick(0) == []
    asked.measuring.taken("cpu", 0.5, "alpha", 5, UNIX_MS)
    assert asked.measuring.value("cpu", 6) == known(0.5, "alpha")
    asked.measuring.taken("cpu", None, "beta has sent no heartbeat", 7, UNIX_MS, at_least=0.5)
    value = asked.measuring.value("cpu", 8)
    assert (value.known, value.value) == (False, 0.5)


def test_a_probe_that_nobody_has_named_is_unknown() -> None:
    assert not Asked().measuring.value("nothing", 0).known


def test_fresh_readings_are_given_once_and_the_latest_stay() -> None:
    asked = Asked(http(), cpu())
    ((name, turn),) = asked.tick(0)
    asked.answer(name, turn, 1.0, 10)
    asked.measuring.taken("cpu", 0.25, "", 20, UNIX_MS)
    asked.measuring.taken("cpu", 0.75, "", 30, UNIX_MS)
    assert [reading.value for reading in asked.measuring.fresh()] == [1.0, 0.25, 0.75]
    assert asked.measuring.fresh() == ()
    assert [(reading.probe, reading.value) for reading in asked.measuring.latest()] == [
        ("healthy", 1.0),
        ("cpu", 0.75),
    ]


# --- baselines ----------------------------------------------------------------------------------------------


def measured(values: Sequence[float | None]) -> Measuring:
    measuring = Measuring([cpu()], lambda probe, turn: None)
    for second, value in enumerate(values):
        measuring.taken("cpu", value, "", second * S, UNIX_MS)
    return measuring


def test_a_baseline_is_the_median_and_what_comes_later_does_not_change_it() -> None:
    measuring = measured([1.0, 9.0, 2.0, None])
    assert measuring.baseline("cpu") is None
    measuring.close_baseline(4 * S)
    for _ in range(9):
        measuring.taken("cpu", 100.0, "", 5 * S, UNIX_MS)
    measuring.close_baseline(6 * S)
    assert measuring.baseline("cpu") == 2.0
    (baseline,) = measuring.baselines()
    assert (baseline.probe, baseline.readings, baseline.lowest, baseline.highest) == ("cpu", 3, 1.0, 9.0)


@given(st.lists(maybe, max_size=20))
def test_there_is_a_baseline_exactly_if_three_are_known_and_no_more_are_unknown(values: list[float | None]) -> None:
    measuring = measured(values)
    measuring.close_baseline(len(values) * S)
    answers = sum(value is not None for value in values)
    assert (measuring.baseline("cpu") is not None) == (answers >= 3 and 2 * answers >= len(values))
    assert len(measuring.baselines()) == (measuring.baseline("cpu") is not None)


def test_what_is_infinite_is_no_baseline() -> None:
    measuring = measured([math.inf] * 5)
    measuring.close_baseline(5 * S)
    assert measuring.baseline("cpu") is None


def test_a_baseline_is_of_what_sentences_are_held_against() -> None:
    probe = http(summary=wire.SUMMARY_RATE, over_ms=60_000)
    measuring = Measuring([probe], lambda probe, turn: turns.append(turn))
    turns: list[int] = []
    for second in range(5):
        measuring.tick(second * S, UNIX_MS)
        reading = Reading(probe="healthy", at_unix_ms=UNIX_MS, value=100.0 * second)
        measuring.measured("healthy", turns[-1], reading, second * S)
    measuring.close_baseline(5 * S)
    assert measuring.baseline("healthy") == 100.0


# --- hosts --------------------------------------------------------------------------------------------------


def test_a_metric_of_hosts_is_that_of_the_highest_as_a_fraction() -> None:
    beats = {"alpha": Heartbeat(cpu_percent=20, load_1m=3.5), "beta": Heartbeat(cpu_percent=70, load_1m=0.5)}
    assert host_value(wire.HOST_METRIC_CPU_PERCENT, beats) == known(0.7, "beta")
    assert host_value(wire.HOST_METRIC_LOAD, beats) == known(3.5, "alpha")
    assert host_value(wire.HOST_METRIC_MEMORY_PRESSURE, beats) == known(0.0, "alpha")


def test_a_host_without_a_heartbeat_makes_the_metric_unknown_but_no_less_than_the_others() -> None:
    value = host_value(wire.HOST_METRIC_MEMORY_PERCENT, {"alpha": Heartbeat(memory_percent=95), "beta": None})
    assert (value.known, value.value, value.detail) == (False, 0.95, "beta has sent no heartbeat")


def test_a_kernel_without_memory_pressure_makes_it_unknown() -> None:
    beats = {"alpha": Heartbeat(memory_pressure=-1), "beta": Heartbeat(memory_pressure=-1)}
    value = host_value(wire.HOST_METRIC_MEMORY_PRESSURE, beats)
    assert (value.known, value.detail) == (
        False,
        "alpha has a kernel that keeps no memory pressure (PSI), and 1 more",
    )
    assert math.isnan(value.value)


def test_no_hosts_are_not_idle_hosts() -> None:
    assert not host_value(wire.HOST_METRIC_CPU_PERCENT, {}).known
    assert not host_value(wire.HOST_METRIC_UNSPECIFIED, {"alpha": Heartbeat()}).known


def test_a_long_window_is_not_summed_up_for_every_look() -> None:
    """Sorting thousands of readings for each sentence, ten times a second, would leave no time for heartbeats."""
    probe = Probe(name="p", summary=wire.SUMMARY_P99, over_ms=36_000_000, within_ms=1_000)
    measuring = Measuring([probe], lambda _probe, _turn: None)
    measuring.close_baseline(0)
    for second in range(1, 3_001):
        measuring.taken("p", float(second), "", second * S, UNIX_MS)
    found = measuring.value("p", 3_000 * S)
    measuring.taken("p", 1.0, "", 3_000 * S + S // 10, UNIX_MS)
    assert measuring.value("p", 3_000 * S + S // 10) is found
    assert measuring.value("p", 3_001 * S) is not found


def test_a_short_window_is_summed_up_with_each_reading() -> None:
    measuring = Measuring([Probe(name="p", summary=wire.SUMMARY_MAX, over_ms=60_000)], lambda _probe, _turn: None)
    measuring.taken("p", 1.0, "", S, UNIX_MS)
    assert measuring.value("p", S) == known(1.0)
    measuring.taken("p", 2.0, "", S, UNIX_MS)
    assert measuring.value("p", S) == known(2.0)
