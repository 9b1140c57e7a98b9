"""Sentences on probes: what each comes to, and what the experiment around them says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.expectations import Expectation, read_expectation
from killdeer_experiment.faults import Unfit
from killdeer_experiment.file import Experiment, load

PROBES = """\
killdeer: 1
name: x
environment: staging
target: {process: {name: redis-server}}
action: terminate
waves: [{name: one, strikes: 1}]
probes:
  healthy: {http: "http://127.0.0.1:8080/healthz"}
  errors: {prometheus: errors_total, server: "http://127.0.0.1:9090"}
  p95: {http: "http://127.0.0.1:8080/pay", take: latency, as: p95, over: 30s}
  cpu: {host: cpu_percent}
"""


def experiment(more: str) -> Experiment:
    made = load(PROBES + more, "x")
    again = load(made.to_source(), "written")
    assert again.canonical() == made.canonical()
    assert (again.preconditions, again.steady_state, again.abort_when) == (
        made.preconditions,
        made.steady_state,
        made.abort_when,
    )
    return made


@pytest.mark.parametrize(
    ("sentence", "probe", "comparison", "bound", "of_baseline", "for_ms"),
    [
        ("healthy", "healthy", ">=", 1.0, False, 0),
        ("not healthy", "healthy", "<", 1.0, False, 0),
        ("healthy for 10s", "healthy", ">=", 1.0, False, 10_000),
        ("errors < 0.1%", "errors", "<", 0.001, False, 0),
        ("errors<0.1%", "errors", "<", 0.001, False, 0),
        ("errors <= 3", "errors", "<=", 3.0, False, 0),
        ("errors == 0", "errors", "==", 0.0, False, 0),
        ("errors != -1.5e3", "errors", "!=", -1500.0, False, 0),
        ("errors > 2x baseline for 2m", "errors", ">", 2.0, True, 120_000),
        ("errors > 2 x baseline for 2 m", "errors", ">", 2.0, True, 120_000),
        ("p95 < 300ms", "p95", "<", 0.3, False, 0),
        ("p95 >= 0.3s", "p95", ">=", 0.3, False, 0),
        ("p95 < 300 ms", "p95", "<", 0.3, False, 0),
        ("p95 > 1.3x baseline for 30s", "p95", ">", 1.3, True, 30_000),
        ("cpu < 70%", "cpu", "<", 0.7, False, 0),
        ("cpu < 70 %", "cpu", "<", 0.7, False, 0),
        ("oom in target", "oom in target", ">", 0.0, False, 0),
        ("not oom in target", "oom in target", "<=", 0.0, False, 0),
        ("death in target for 1s", "death in target", ">", 0.0, False, 1_000),
        ("restart in target > 3", "restart in target", ">", 3.0, False, 0),
        ("  errors   >  5 ", "errors", ">", 5.0, False, 0),
    ],
)
def test_a_sentence_says_what_it_says(
    sentence: str, probe: str, comparison: str, bound: float, of_baseline: bool, for_ms: int
) -> None:
    (made,) = experiment(f"abort_when: ['{sentence}']\n").abort_when
    assert made.bound == pytest.approx(bound)
    assert replace(made, bound=bound) == Expectation(
        sentence=sentence.strip(),
        probe=probe,
        comparison=comparison,
        bound=bound,
        of_baseline=of_baseline,
        for_ms=for_ms,
        in_percent="%" in sentence,
    )


def test_a_factor_of_the_baseline_may_have_a_floor() -> None:
    (made,) = experiment("abort_when: [errors > 2x baseline at least 0.1% for 2m]\n").abort_when
    assert (made.of_baseline, made.bound, made.for_ms, made.in_percent) == (True, 2.0, 120_000, True)
    assert made.floor == pytest.approx(0.001)
    (made,) = experiment("steady_state: ['p95 < 1.3x baseline at least 50 ms']\n").steady_state
    assert made.bound == 1.3
    assert made.floor == pytest.approx(0.05)


def test_what_is_counted_in_the_target_is_a_probe_of_its_own() -> None:
    made = experiment("abort_when: [oom in target, restart in target > 3, oom in target for 5s]\n")
    *_own, oom, restart = [probe.to_wire() for probe in made.probes]
    assert (oom.name, oom.events, oom.unit) == (
        "oom in target",
        wire.EventsSource(kind=wire.EVENT_KIND_OOM),
        wire.UNIT_UNSPECIFIED,
    )
    assert (restart.name, restart.events.kind) == ("restart in target", wire.EVENT_KIND_RESTART)
    assert oom.within_ms and oom.every_ms
    assert len(made.probes) == 4 + 2


def test_what_is_counted_in_the_target_needs_no_probes() -> None:
    made = load(PROBES.partition("probes:")[0] + "abort_when: [death in target]\n", "x")
    assert [probe.to_wire().events.kind for probe in made.probes] == [wire.EVENT_KIND_DEATH]


@pytest.mark.parametrize(
    ("more", "baseline_ms"),
    [
        ("", 0),
        ("preconditions: [cpu < 70%]\n", 0),
        ("steady_state: [healthy]\n", 10_000),
        ("abort_when: [oom in target]\n", 10_000),
        ("abort_when: [errors > 2x baseline]\n", 10_000),
        ("steady_state: [healthy]\nbaseline: 1m\n", 60_000),
        ("baseline: 1m\n", 60_000),
    ],
)
def test_ten_seconds_are_measured_first_where_something_is_judged(more: str, baseline_ms: int) -> None:
    assert experiment(more).baseline_ms == baseline_ms


def test_sentences_that_mean_the_same_in_any_order_are_one_plan() -> None:
    one = experiment("steady_state: [healthy, errors < 0.1%, p95 < 300ms]\nbaseline: 10s\n")
    other = experiment("steady_state: ['p95  <  0.3s', errors < 0.001, healthy]\n")
    assert one.canonical() == other.canonical()


@pytest.mark.parametrize(
    "other",
    [
        "steady_state: [errors < 2]\n",
        "steady_state: [errors <= 1]\n",
        "steady_state: [errors < 1x baseline]\n",
        "steady_state: [errors < 1x baseline at least 1]\n",
        "steady_state: [errors < 1 for 1s]\n",
        "steady_state: [errors < 1, healthy]\n",
        "preconditions: [errors < 1]\nbaseline: 10s\n",
        "steady_state: [errors < 1]\nbaseline: 11s\n",
        "steady_state: [errors < 1]\nrecovery: {ready: healthy}\n",
        "steady_state: [errors < 1]\non_end: {command: x}\n",
    ],
)
def test_another_expectation_is_another_plan(other: str) -> None:
    assert experiment(other).canonical() != experiment("steady_state: [errors < 1]\n").canonical()


@given(st.text(max_size=40))
def test_any_text_is_a_sentence_or_unfit(text: str) -> None:
    unfit_or_read(text)


PIECES = [
    "errors",
    "<",
    ">=",
    "=",
    "0.1%",
    "2x",
    "baseline",
    "at",
    "least",
    "for",
    "2m",
    "300ms",
    "not",
    "in",
    "target",
    "oom",
    "1e99",
    "%",
    "!",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
def test_anything_made_of_the_words_of_sentences_is_a_sentence_or_unfit(text: str) -> None:
    unfit_or_read(text)


def unfit_or_read(text: str) -> None:
    try:
        made = read_expectation(text)
    except Unfit as fault:
        assert all((problem.offset or 0) <= len(text) for problem in fault.problems)
        return
    assert made.comparison in ("<", "<=", ">", ">=", "==", "!=")
    assert abs(made.bound) < float("inf")
