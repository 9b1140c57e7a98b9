"""One sentence held against what is measured: `for`, unknown, baselines, findings (I8)."""

import math
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1 import probe_pb2 as wire
from killdeer_coordinator.core.judging import Judge
from killdeer_coordinator.core.measures import shown, shown_apart
from killdeer_coordinator.core.series import Value, known, unknown
from killdeer_experiment.expectations import Expectation

S = 1_000_000_000
UNIX_MS = 1_760_000_000_000
MET, UNMET, UNKNOWN = wire.STANDING_MET, wire.STANDING_UNMET, wire.STANDING_UNKNOWN
STEADY, ABORT = wire.PART_STEADY_STATE, wire.PART_ABORT_WHEN

# What a look finds: true, false, unknown. One a second.
FOUND = {"t": known(0.05), "f": known(0.0), "?": unknown("refused")}
looks = st.text("tf?", max_size=40)
lengths = st.integers(0, 6)


def errors(sign: str = ">", bound: float = 0.02, *, for_s: int = 0, of_baseline: bool = False) -> Expectation:
    return Expectation(
        sentence=f"errors {sign} …",
        probe="errors",
        comparison=sign,
        bound=bound,
        of_baseline=of_baseline,
        for_ms=for_s * 1_000,
    )


def judge(expectation: Expectation, part: wire.Part = STEADY) -> Judge:
    return Judge(expectation, part, wire.UNIT_FRACTION)


def abort(for_s: int = 0) -> Judge:
    return judge(errors(for_s=for_s), ABORT)


def steady(for_s: int = 0) -> Judge:
    """Met by the same readings as an abort rule."""
    return judge(errors(for_s=for_s))


def standings(one: Judge, found: Iterable[str], *, struck: bool = True) -> list[wire.Standing]:
    return [
        one.look(FOUND[what], None, second * S, UNIX_MS + second * 1_000, struck=struck)
        for second, what in enumerate(found)
    ]


def at_ms(second: int) -> int:
    return UNIX_MS + second * 1_000


# --- the comparison -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sign", "below", "at", "above"),
    [
        ("<", MET, UNMET, UNMET),
        ("<=", MET, MET, UNMET),
        (">", UNMET, UNMET, MET),
        (">=", UNMET, MET, MET),
        ("==", UNMET, MET, UNMET),
        ("!=", MET, UNMET, MET),
    ],
)
def test_each_comparison_means_what_it_says(
    sign: str, below: wire.Standing, at: wire.Standing, above: wire.Standing
) -> None:
    found = [judge(errors(sign, 2.0)).look(known(value), None, 0) for value in (1.0, 2.0, 3.0)]
    assert found == [below, at, above]


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("part", [wire.PART_PRECONDITION, STEADY, ABORT])
def test_what_is_no_number_is_never_met(sign: str, part: wire.Part) -> None:
    assert judge(errors(sign), part).look(known(math.nan), None, 0) == UNKNOWN
    assert judge(errors(sign), part).look(unknown("no answer"), None, 0) == UNKNOWN


@given(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_what_is_certain_of_an_unknown_value_is_true_of_every_number_from_there_on(
    sign: str, bound: int, least: int, more: int
) -> None:
    certain = judge(errors(sign, bound)).look(unknown("beta is not connected", least), None, 0)
    exact = judge(errors(sign, bound)).look(known(least + more), None, 0)
    assert certain in (UNKNOWN, exact)


def test_an_oom_kill_is_one_whatever_other_hosts_have_lost() -> None:
    rule = Judge(Expectation(sentence="oom in target", probe="oom in target", comparison=">", bound=0.0), ABORT)
    assert rule.look(unknown("beta has lost 3 events", 0.0), None, 0) == UNKNOWN
    assert rule.look(unknown("beta has lost 3 events", 1.0), None, S) == MET


def test_a_ratio_is_of_the_baseline_and_without_one_it_is_unknown() -> None:
    one = judge(errors("<", 2.0, of_baseline=True))
    assert one.look(known(0.3), None, 0) == UNKNOWN
    assert "of which there is none" in one.finding().detail
    assert one.look(known(0.3), 0.2, S) == MET
    assert one.look(known(0.5), 0.2, 2 * S) == UNMET


# --- for: abort rules ---------------------------------------------------------------------------------------


@given(looks)
def test_an_abort_rule_without_a_length_comes_true_at_once_and_stays_so(found: str) -> None:
    expected = [
        MET if "t" in found[: end + 1] else {"f": UNMET, "?": UNKNOWN}[what] for end, what in enumerate(found)
    ]
    assert standings(abort(), found) == expected


@given(st.text("tf", max_size=40), lengths)
def test_an_abort_rule_comes_true_once_it_was_true_for_its_length_on_end(found: str, for_s: int) -> None:
    """Looks are a second apart: D seconds on end are D + 1 true ones."""
    first = found.find("t" * (for_s + 1))
    came_true = [index for index, standing in enumerate(standings(abort(for_s), found)) if standing == MET]
    assert came_true == ([] if first < 0 else list(range(first + for_s, len(found))))


@given(looks, lengths)
def test_unknown_readings_neither_prove_an_abort_rule_nor_begin_it_anew(found: str, for_s: int) -> None:
    """It comes true with as much known time as without the unknown readings, and at a true one."""
    one = abort(for_s)
    for index, standing in enumerate(standings(one, found)):
        since = max(found.rfind("f", 0, index + 1), -1) + 1
        proven = found[since : index + 1]
        if standing == MET:
            assert found[: index + 1].count("t") > 0
            assert proven.count("t") >= for_s or MET in standings(abort(for_s), found[:index])
            break
        assert standing == (UNKNOWN if found[index] == "?" else UNMET)


def test_the_clock_of_an_abort_rule_stands_still_while_nothing_is_known() -> None:
    assert standings(abort(3), "tt???tt")[-2:] == [UNMET, MET]
    assert MET not in standings(abort(3), "tt" + "?" * 30)
    assert standings(abort(3), "ttfttt")[-1] == UNMET


# --- for: what has to hold ----------------------------------------------------------------------------------


@given(st.text("tf", max_size=40), lengths)
def test_what_has_held_may_fail_for_less_than_its_length(rest: str, for_s: int) -> None:
    found = "t" + rest
    for index, standing in enumerate(standings(steady(for_s), found)):
        failing = index - found.rfind("t", 0, index + 1)  # looks on end, the first begins the clock
        assert standing == (UNMET if failing and failing - 1 >= for_s else MET)


@given(st.text("f?", min_size=1, max_size=40), lengths)
def test_what_was_never_seen_to_hold_has_no_grace(found: str, for_s: int) -> None:
    assert standings(steady(for_s), found) == [{"f": UNMET, "?": UNKNOWN}[what] for what in found]


@given(looks, lengths)
def test_what_has_to_hold_is_met_only_with_a_true_reading_less_than_its_length_ago(found: str, for_s: int) -> None:
    for index, standing in enumerate(standings(steady(for_s), found)):
        last = found.rfind("t", 0, index + 1)
        assert (standing == MET) == (last == index or (last >= 0 and index - last - 1 < for_s))


@given(looks, lengths)
def test_what_is_unmet_was_known_to_fail_for_its_length(found: str, for_s: int) -> None:
    """A deviation is never concluded from what nobody knows."""
    for index, standing in enumerate(standings(steady(for_s), found)):
        if standing == UNMET:
            last = found.rfind("t", 0, index + 1)
            assert found[index] == "f"
            assert last < 0 or found[last + 1 : index].count("f") >= for_s


def test_a_gate_does_not_open_on_a_grace() -> None:
    one = steady(10)
    assert standings(one, "tf")[-1] == MET
    assert (one.standing, one.comparison) == (MET, UNMET)


# --- unknown for long ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("for_s", "most_s"), [(0, 30), (30, 30), (120, 120)])
def test_a_rule_of_which_nothing_is_known_for_long_is_blind(for_s: int, most_s: int) -> None:
    one = abort(for_s)
    standings(one, "?" * (most_s + 1))
    assert (one.unknown_for_ns, one.blind) == (most_s * S, False)
    one.look(FOUND["?"], None, (most_s + 1) * S)
    assert one.blind
    one.look(FOUND["f"], None, (most_s + 2) * S)
    assert (one.unknown_for_ns, one.blind) == (0, False)


def test_nothing_is_blind_before_it_was_looked_at() -> None:
    assert (abort().unknown_for_ns, abort().blind, abort().standing) == (0, False, wire.STANDING_UNSPECIFIED)


# --- findings -----------------------------------------------------------------------------------------------


def test_what_is_not_met_counts_from_when_victims_are_struck() -> None:
    one = steady()
    standings(one, "ffff", struck=False)
    assert (one.finding().unmet_unix_ms, one.finding().unmet_ms) == (0, 0)
    for second, what in ((4, "f"), (6, "f"), (7, "t"), (9, "f"), (10, "t")):
        one.look(FOUND[what], None, second * S, UNIX_MS + second * 1_000, struck=True)
    finding = one.finding()
    assert (finding.unmet_unix_ms, finding.unmet_ms, finding.standing) == (UNIX_MS + 4_000, 4_000, MET)
    assert (finding.part, finding.sentence) == (STEADY, "errors > …")


@given(looks, lengths)
def test_times_that_are_not_met_add_up_and_unknown_ones_are_none_of_them(found: str, for_s: int) -> None:
    one = steady(for_s)
    seen = standings(one, found)
    finding = one.finding()
    assert finding.unmet_ms == 1_000 * sum(standing == UNMET for standing in seen[:-1])
    first = seen.index(UNMET) if UNMET in seen else None
    assert finding.unmet_unix_ms == (0 if first is None else at_ms(first))


def test_an_abort_rule_tells_when_it_came_true_and_for_how_long_it_was() -> None:
    one = abort(2)
    standings(one, "tttttff")
    finding = one.finding()
    assert (finding.standing, finding.unmet_unix_ms, finding.unmet_ms) == (MET, at_ms(2), 3_000)
    assert finding.detail == "errors 5%, aborts when > 2% for 2s"


def test_the_finding_tells_the_worst_that_counted() -> None:
    one = judge(errors("<", 0.001))
    for second, value in enumerate((0.0004, 0.5, 0.023, 0.0004)):
        one.look(known(value), None, second * S, UNIX_MS, struck=second > 1)
    assert one.finding().detail == "errors 2.3%, wanted < 0.1%"
    one.look(unknown("refused"), None, 9 * S, UNIX_MS, struck=True)
    assert one.finding().detail == "errors 2.3%, wanted < 0.1%; now errors is unknown: refused, wanted < 0.1%"


@pytest.mark.parametrize(
    ("sign", "bound", "unit", "value", "detail"),
    [
        ("<", 0.001, wire.UNIT_FRACTION, known(0.023), "p 2.3%, wanted < 0.1%"),
        ("<", 0.3, wire.UNIT_SECONDS, known(0.31), "p 310 ms, wanted < 300 ms"),
        ("<=", 90.0, wire.UNIT_SECONDS, known(150.0), "p 2m30s, wanted <= 90 s"),
        (">", 0.0, wire.UNIT_UNSPECIFIED, known(1234.0, "beta"), "p 1234 (beta), wanted > 0"),
        (">=", 1.0, wire.UNIT_MET, known(0.0), "p not met, wanted met"),
        ("<", 1.0, wire.UNIT_MET, known(1.0), "p met, wanted not met"),
        ("==", 200.0, wire.UNIT_UNSPECIFIED, unknown("refused"), "p is unknown: refused, wanted == 200"),
        (">", 2.0, wire.UNIT_UNSPECIFIED, unknown("beta", 1.0), "p is unknown, at least 1: beta, wanted > 2"),
    ],
)
def test_a_finding_says_what_was_measured_against_what(
    sign: str, bound: float, unit: wire.Unit, value: Value, detail: str
) -> None:
    one = Judge(Expectation(sentence="…", probe="p", comparison=sign, bound=bound), STEADY, unit)
    one.look(value, None, 0)
    assert one.finding().detail == detail


def test_a_ratio_is_shown_with_what_it_comes_to() -> None:
    one = Judge(
        Expectation(sentence="…", probe="p95", comparison="<=", bound=1.3, of_baseline=True),
        STEADY,
        wire.UNIT_SECONDS,
    )
    one.look(known(0.31), 0.2, 0)
    assert one.finding().detail == "p95 310 ms, wanted <= 1.3x baseline (260 ms)"


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.sampled_from(wire.Unit.values()))
def test_numbers_that_differ_are_never_shown_alike(one: float, other: float, unit: wire.Unit) -> None:
    texts = shown_apart(one, other, unit)
    assert texts[0] != texts[1] or one == pytest.approx(other, rel=1e-12, abs=1e-300)


def test_numbers_are_shown_short() -> None:
    values: Sequence[tuple[float, wire.Unit, str]] = [
        (0.001004, wire.UNIT_FRACTION, "0.1%"),
        (12.5, wire.UNIT_FRACTION, "1250%"),
        (0.0004, wire.UNIT_SECONDS, "0.4 ms"),
        (math.inf, wire.UNIT_SECONDS, "inf"),
        (1234567.8, wire.UNIT_UNSPECIFIED, "1234568"),
        (0.5, wire.UNIT_MET, "0.5"),
    ]
    assert [shown(value, unit) for value, unit, _ in values] == [text for _, _, text in values]
    assert shown_apart(0.001004, 0.001, wire.UNIT_FRACTION) == ("0.1004%", "0.1%")
