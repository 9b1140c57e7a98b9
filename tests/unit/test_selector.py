"""What matches, what chooses, and what a process belongs to (rules R1, R6, R19, R25, R27)."""

import fnmatch
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.terms import parse_selector
from killdeer.v1.process_pb2 import Field, Match, Reason, Selector, Term
from killdeer_agent.core.facts import FactMissing, Now
from killdeer_agent.core.place import service_of
from killdeer_agent.core.selector import SUBJECT_BYTES, Matcher, SelectorError
from tests.support.facts import PlainFacts

SECOND = 1_000_000_000
NOW = Now(boot_ns=70 * SECOND)
CONTAINER = "4f1d" * 16


def matcher(*terms: str, strict: bool = False) -> Matcher:
    return Matcher(parse_selector(terms), strict=strict)


def matches(facts: PlainFacts, *terms: str) -> bool:
    return matcher(*terms).matches(facts, NOW)


@pytest.mark.parametrize(
    "term",
    [
        "unit=payment-worker@3.service",
        "unit=payment-worker@*.service",
        r"unit~=^payment-worker@[0-9]+\.service$",
        "name=worker",
        "name=w?rk[a-f]r",
        "cmdline=*--queue payments",
        "cmdline~=--queue",
        "cmdline~=queue.payments$",
        "user=payments",
        "user=990",
        "port=8080",
        "exe=/usr/bin/*",
        "cgroup=/system.slice/*",
        "container=4f1d4f1d",
        f"container={CONTAINER}",
        "container=*4f1d",
        "parent=1",
        "parent=system?",
        "parent~=^sys",
        "min_age=1m",
        "min_age=60s",
    ],
)
def test_each_field_matches_and_its_negation_does_not(term: str) -> None:
    facts = PlainFacts(container=CONTAINER)
    negated = term.replace("~=", "!~=", 1) if "~=" in term else term.replace("=", "!=", 1)

    assert matches(facts, term)
    assert not matches(facts, negated)


@pytest.mark.parametrize(
    "term",
    [
        "unit=payment-worker",
        "unit=Payment-worker@3.service",
        "name=work",
        "cmdline=--queue",
        "cmdline~=^queue",
        "user=99",
        "port=80",
        "exe=worker",
        "container=1d4f1d4f",
        "parent=11",
        "parent=system",
        "min_age=61s",
    ],
)
def test_each_field_can_fail_to_match_and_its_negation_holds(term: str) -> None:
    facts = PlainFacts(container=CONTAINER)
    negated = term.replace("~=", "!~=", 1) if "~=" in term else term.replace("=", "!=", 1)

    assert not matches(facts, term)
    assert matches(facts, negated)


def test_all_terms_must_hold() -> None:
    assert matches(PlainFacts(), "name=worker", "user!=root")
    assert not matches(PlainFacts(), "name=worker", "user!=payments")


def test_one_value_of_a_term_is_enough_and_negated_none_may_match() -> None:
    either = Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["redis", "work*"])
    neither = Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["redis", "work*"], negated=True)

    assert Matcher(Selector(terms=[either])).matches(PlainFacts(), NOW)
    assert not Matcher(Selector(terms=[neither])).matches(PlainFacts(), NOW)


@pytest.mark.parametrize("field", ["unit", "container"])
def test_a_process_in_no_unit_or_container_is_matched_by_no_value(field: str) -> None:
    outside = PlainFacts(unit="", container="")

    assert not matches(outside, f"{field}=*")
    assert matches(outside, f"{field}!=*")


def test_a_newline_in_an_argument_hides_nothing_from_a_pattern() -> None:
    assert matches(PlainFacts(cmdline="worker\n--production"), "cmdline~=worker.*--production")


def test_a_fact_that_cannot_be_had_is_no_answer() -> None:
    for term in ("exe=/usr/bin/worker", "exe!=/usr/bin/other"):
        with pytest.raises(FactMissing):
            matches(PlainFacts(missing={"exe": Reason.REASON_CANNOT_EVALUATE}), "name=worker", term)


def test_a_fact_that_cannot_be_had_does_not_matter_where_another_term_says_no() -> None:
    facts = PlainFacts(missing={"cmdline": Reason.REASON_UNREADABLE, "exe": Reason.REASON_CANNOT_EVALUATE})

    assert not matches(facts, "cmdline~=worker", "exe=/usr/bin/worker", "user=root")


def test_a_process_that_has_gone_is_gone_whatever_the_other_terms_say() -> None:
    facts = PlainFacts(missing={"cmdline": Reason.REASON_GONE})

    with pytest.raises(FactMissing) as caught:
        matches(facts, "cmdline~=worker", "user=root")

    assert caught.value.reason == Reason.REASON_GONE


def test_r27_no_pattern_sees_more_than_its_share() -> None:
    long = PlainFacts(cmdline="x" * SUBJECT_BYTES + "production")

    assert not matches(long, "cmdline~=production")
    assert matches(long, "cmdline~=x")


def test_r27_not_found_in_what_was_seen_is_no_answer_for_a_negation_or_a_rule_that_forbids() -> None:
    long = PlainFacts(cmdline="x" * SUBJECT_BYTES + "production")

    with pytest.raises(FactMissing) as caught:
        matches(long, "cmdline!~=production")
    assert caught.value.reason == Reason.REASON_UNREADABLE
    with pytest.raises(FactMissing):
        matcher("cmdline~=production", strict=True).matches(long, NOW)


def test_r27_a_pattern_that_holds_up_others_is_answered_in_linear_time() -> None:
    # With backtracking this takes longer than the universe is old.
    assert not matches(PlainFacts(cmdline="a" * 4000), "cmdline~=(a+)+(a+)+(a+)+$b")


@pytest.mark.parametrize(
    "selector",
    [
        Selector(),
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB)]),
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_UNSPECIFIED, values=["x"])]),
        Selector(terms=[Term(field=Field.FIELD_UNSPECIFIED, match=Match.MATCH_GLOB, values=["x"])]),
        Selector(terms=[Term(field=99, match=Match.MATCH_GLOB, values=["x"])]),  # type: ignore[arg-type]
        Selector(terms=[Term(field=Field.FIELD_NAME, match=9, values=["x"])]),  # type: ignore[arg-type]
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_PATTERN, values=["("])]),
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["[z-a]"])]),
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=[""])]),
        Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["[" * 5000])]),
        Selector(terms=[Term(field=Field.FIELD_PORT, match=Match.MATCH_GLOB, values=["http"])]),
        Selector(terms=[Term(field=Field.FIELD_OLDEST, match=Match.MATCH_GLOB, values=["1"])]),
        Selector(
            terms=[
                Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["x"]),
                Term(field=Field.FIELD_OLDEST, match=Match.MATCH_GLOB, values=["1", "2"]),
            ]
        ),
    ],
)
def test_r25_a_selector_that_this_agent_does_not_know_is_refused(selector: Selector) -> None:
    with pytest.raises(SelectorError, match="cannot"):
        Matcher(selector)


def test_r6_oldest_and_newest_are_not_asked_of_one_process() -> None:
    assert matches(PlainFacts(), "name=worker", "oldest")
    assert matches(PlainFacts(), "name=worker", "newest=3")


FOUND = [(30, 7, "c"), (10, 9, "a"), (30, 5, "b"), (40, 1, "d")]


@pytest.mark.parametrize(
    ("term", "left"),
    [
        ("oldest", ["a"]),
        ("oldest=2", ["a", "b"]),
        ("newest", ["d"]),
        ("newest=2", ["c", "d"]),
        ("newest=9", ["a", "b", "c", "d"]),
    ],
)
def test_r6_oldest_and_newest_choose_at_the_draw_ties_by_pid(term: str, left: list[str]) -> None:
    assert matcher("name=worker", term).choose(FOUND) == left


def test_matchers_are_equal_when_their_selectors_are() -> None:
    assert matcher("name=x") == matcher("name=x")
    assert len({matcher("name=x"), matcher("name=x"), matcher("name=y"), matcher("name=x", strict=True)}) == 3


def test_a_matcher_names_its_fields() -> None:
    assert matcher("name=x", "oldest").fields == {Field.FIELD_NAME, Field.FIELD_OLDEST}


@pytest.mark.parametrize(
    ("unit", "container", "exe_or_name", "service"),
    [
        ("worker@3.service", "", "/usr/bin/worker", "worker@"),
        ("worker@.service", "", "/usr/bin/worker", "worker@"),
        ("nginx.service", "", "/usr/sbin/nginx", "nginx.service"),
        ("session-3.scope", "", "/usr/bin/bash", "session-3.scope"),
        ("", CONTAINER, "/usr/sbin/nginx", "container:4f1d4f1d4f1d"),
        (f"docker-{CONTAINER}.scope", CONTAINER, "/usr/sbin/nginx", "container:4f1d4f1d4f1d"),
        ("nginx.service", CONTAINER, "/usr/sbin/nginx", "nginx.service"),
        ("", "", "/usr/sbin/nginx", "/usr/sbin/nginx"),
        ("", "", "nginx", "nginx"),
    ],
)
def test_r19_what_a_process_belongs_to(unit: str, container: str, exe_or_name: str, service: str) -> None:
    assert service_of(unit, container, exe_or_name) == service


GLOBS = st.text(alphabet="ab.*?[]!^-\\(é ", min_size=1, max_size=8).filter(lambda glob: glob.strip() == glob)
TEXTS = st.text(alphabet="ab.*?[]!^-\\(é ", max_size=8)


@given(glob=GLOBS, text=TEXTS)
def test_a_glob_means_what_it_means_everywhere(glob: str, text: str) -> None:
    try:
        found = matches(PlainFacts(name=text), f"name={glob}")
    except SelectorError:
        return  # a range that runs backwards, which fnmatch drops
    assert found == fnmatch.fnmatchcase(text, glob)


@given(text=st.text(alphabet=string.printable + "é\U0001f426", max_size=40), glob=GLOBS)
def test_a_term_and_its_negation_never_agree(text: str, glob: str) -> None:
    facts = PlainFacts(cmdline=text)
    try:
        assert matches(facts, f"cmdline={glob}") != matches(facts, f"cmdline!={glob}")
    except SelectorError:
        return
