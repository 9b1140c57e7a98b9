"""Selectors in files and in words: everything that can be said in words can be said in a file."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killdeer.terms import FIELDS, TermError, parse_selector
from killdeer.v1.process_pb2 import Selector
from killdeer_experiment import selector
from killdeer_experiment.action import Terminate
from killdeer_experiment.faults import FileFaults, Unfit
from killdeer_experiment.file import load
from killdeer_experiment.strike import one_strike
from killdeer_experiment.writing import to_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
free = st.sampled_from(sorted(set(FIELDS) - {"port", "min_age", "oldest", "newest", "container"}))
numbers = st.integers(1, 65535).map(str)
words = st.one_of(
    st.builds("{}{}{}".format, free, st.sampled_from(["=", "!="]), texts),
    st.builds("{}{}{}".format, free, st.sampled_from(["~=", "!~="]), st.sampled_from([r"worker\.py", "a|b", "^x"])),
    st.builds("port{}{}".format, st.sampled_from(["=", "!="]), numbers),
    st.builds("min_age={}".format, st.sampled_from(["1s", "1m30s", "500ms"])),
    st.builds("{}{}".format, st.sampled_from(["oldest", "newest"]), st.sampled_from(["", "=2"])),
    st.just("container=0123456789ab"),
)


def in_a_file(process: object) -> Selector:
    file = {
        "killdeer": 1,
        "name": "x",
        "environment": "staging",
        "target": {"process": process},
        "action": "kill",
        "waves": [{"name": "one", "strikes": 1}],
    }
    return load(to_yaml(file), "written.yaml").target.selector()


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=6))
def test_what_words_say_a_file_says_and_the_wire_carries_the_same(terms: list[str]) -> None:
    try:
        spoken = parse_selector(terms)
    except TermError:  # a value of blanks only
        return
    assert in_a_file(selector.written(selector.from_wire(spoken))) == spoken


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"unit": "payment-worker@*.service"}, ["unit=payment-worker@*.service"]),
        ({"port": 6379}, ["port=6379"]),
        ({"user": 1000}, ["user=1000"]),
        ({"cmdline~": r"worker\.py"}, [r"cmdline~=worker\.py"]),
        ({"name": "a", "not": {"user": "root"}}, ["name=a", "user!=root"]),
        ({"not": {"cmdline~": "canary"}}, ["cmdline!~=canary"]),
        ({"oldest": 2}, ["oldest=2"]),
        ({"newest": True}, ["newest"]),
        ([{"name": "a*"}, {"name": "*b"}], ["name=a*", "name=*b"]),
    ],
)
def test_a_file_and_words_that_say_the_same_are_one_selector(written: object, words: list[str]) -> None:
    assert in_a_file(written) == parse_selector(words)


@settings(deadline=None)
@given(texts)
def test_any_text_written_out_reads_back_as_it_was(text: str) -> None:
    if text.strip():
        assert in_a_file({"name": text}).terms[0].values[0] == text


@pytest.mark.parametrize(
    "process", ["name=a", [], [{}], {"not": {}}, {"not": {"not": {"user": "root"}}}, {"user": None}]
)
def test_what_selects_nothing_is_refused(process: Any) -> None:
    with pytest.raises(FileFaults):
        in_a_file(process)


def strike(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "host": "web-1.example.com",
        "environment": "staging",
        "terms": ["unit=worker@*.service", "user!=root", "user!=postgres", "newest"],
        "action": Terminate(grace_ms=1_500),
        "name": "strike by hand",
        "within_ms": 90_000,
    }
    return one_strike(**(arguments | changes))


def test_one_strike_is_a_file_of_one_wave_of_one_strike_on_one_host() -> None:
    experiment = load(strike(), "strike")
    assert [(label.key, label.values) for label in experiment.target.hosts] == [("host", ("web-1.example.com",))]
    assert experiment.target.selector() == parse_selector(
        ["unit=worker@*.service", "user!=root", "user!=postgres", "newest"]
    )
    (wave,) = experiment.waves
    assert str(wave.strikes) == "1" and not wave.dry_run
    assert experiment.action_of(wave) == Terminate(grace_ms=1_500)
    assert experiment.limits.in_flight == 1
    assert experiment.recovery.within_ms == 90_000


@pytest.mark.parametrize("changes", [{"host": "web-*"}, {"host": ""}, {"environment": ""}, {"name": "a\nb"}])
def test_one_strike_refuses_what_would_not_be_one(changes: dict[str, str]) -> None:
    with pytest.raises(Unfit):
        strike(**changes)


def test_one_strike_without_a_term_is_refused() -> None:
    with pytest.raises(TermError, match="without a term"):
        strike(terms=[])
