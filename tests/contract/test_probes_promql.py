"""Which series a PromQL query reads, and what their ages say of its value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer_coordinator.edges.promql import Selector, ages, selectors, stale


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("up", ["up"]),
        ("1", []),
        ("vector(0)", []),
        ("time() - 5m", []),
        ("sum(rate(errors_total[1m]))", ["errors_total[1m]"]),
        ('sum by (job) (rate(http_requests_total{code=~"5..", path!="a)b"}[5m]))', [
            'http_requests_total{code=~"5..", path!="a)b"}[5m]'
        ]),
        ("sum(up) by (job, instance)", ["up"]),
        ("SUM BY (job) (up)", ["up"]),
        ("sum without (job) (up) / on (zone) group_left (rack) node:load", ["up", "node:load"]),
        ("a / ignoring(x) b", ["a", "b"]),
        ('{__name__="up"}', ['{__name__="up"}']),
        ('{"my.metric", job="x"}[1m]', ['{"my.metric", job="x"}[1m]']),
        ("a and b or c unless d", ["a", "b", "c", "d"]),
        ("a > bool 5", ["a"]),
        ("a offset 5m", []),
        ("a[5m] offset -5m + b", ["b"]),
        ("a @ start() + b @ 1609746000", []),
        ("max_over_time(a[1h:1m])", ["a[1h]"]),
        ("max_over_time(rate(a[1m])[1h:])", ["a[1m]"]),
        ("a + a + a", ["a"]),
        ("a # b\n+ c", ["a", "c"]),
        ('label_replace(a, "x", "$1", "b", "(c)")', ["a"]),
        ("histogram_quantile(0.95, sum by (le) (rate(b_bucket[5m])))", ["b_bucket[5m]"]),
        ("topk(5, a)", ["a"]),
        ("-a ^ 2e3 + 0x1F * .5e-3 - Inf + NaN", ["a"]),
        ("1h30m * a", ["a"]),
        ("a atan2 b", ["a", "b"]),
        ('count_values("version", build)', ["build"]),
        ("absent(a)", ["a"]),
        ("a{", ["a{"]),
    ],
)  # fmt: skip
def test_the_series_of_a_query_are_found(query: str, found: list[str]) -> None:
    said = [f"{one.text}[{one.range}]" if one.range else one.text for one in selectors(query)]
    assert said == found


@given(st.text(max_size=60) | st.text(alphabet="ab{}[]()\"'`\\@ #\n1.:,=", max_size=60))
def test_no_text_breaks_the_search(query: str) -> None:
    ages(selectors(query), 1_000)


INSTANT, RANGE = Selector("a"), Selector("b", "5m")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"age 0": 1.0, "in 1": 3, "new 1": 1}, ""),
        ({"age 0": -1.0}, ""),
        ({"in 1": 3, "new 1": 3}, ""),
        ({"age 0": 2.5, "in 1": 3, "new 1": 1}, "the newest sample of a is 2.5s old; fresh_within is 2s"),
        ({"age 0": 1.0, "in 1": 3}, "b has had no sample for 2s, its fresh_within"),
        ({}, "nothing that is scraped now is in it"),
    ],
)
def test_the_newest_sample_of_each_selector_must_be_fresh(told: dict[str, float], said: str) -> None:
    problem = stale([INSTANT, RANGE], 2_000, told)
    assert problem.startswith(said)
    assert bool(problem) == bool(said)


def test_a_query_without_series_is_never_fresh() -> None:
    assert stale([], 1_000, {})
