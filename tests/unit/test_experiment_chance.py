"""What a wave leaves to chance: how a file says it."""

import pytest

from killdeer_coordinator.core.intake import Intake, take_in
from killdeer_experiment.faults import FileFaults
from killdeer_experiment.file import load

FILE = """\
killdeer: 1
name: roulette
owner: payments@example.com
environment: staging
hypothesis: Nobody notices.
target: {{process: {{name: worker}}}}
action: kill
waves:
  - {{name: one, {wave}}}
"""


def taken(wave: str) -> Intake:
    intake = take_in(FILE.format(wave=wave), "f.yaml")
    assert isinstance(intake, Intake), intake
    return intake


def test_about_so_many_is_a_rate_over_its_time() -> None:
    spec = taken("strikes: about 10, over: 30m").waves[0]
    assert (spec.count, spec.about, spec.over_ms) == (10, True, 1_800_000)


def test_random_pauses_choices_and_weights_reach_the_draw() -> None:
    spec = taken("strikes: 3, over: 1m, pauses: random, choose: host, weights: {zone: {a: 3, b: 2}}").waves[0]
    assert spec.random_pauses
    assert spec.choosing.by == "host"
    assert spec.choosing.weight({"zone": "a"}) == 3
    assert spec.choosing.weight({"zone": "b"}) == 2
    assert spec.choosing.weight({}) == 1


def test_what_is_left_to_chance_is_part_of_what_a_plan_approves() -> None:
    plain = taken("strikes: 3, over: 1m").canonical
    others = [
        "strikes: about 3, over: 1m",
        "strikes: 3, over: 1m, pauses: random",
        "strikes: 3, over: 1m, choose: host",
        "strikes: 3, over: 1m, weights: {zone: {a: 3}}",
    ]
    assert len({plain, *(taken(other).canonical for other in others)}) == 5


@pytest.mark.parametrize(
    ("wave", "said"),
    [
        ("strikes: about 10", "9:26: strikes: about 10 needs the time"),
        ("strikes: about many, over: 1m", "9:26: 'strikes' wants a count after about"),
        ("strikes: 3, pauses: random", "9:37: pauses: random needs the time"),
        ("strikes: 3, over: 1m, pauses: randm", "did you mean 'random'?"),
        ("strikes: 3, choose: hosts", "did you mean 'host'?"),
        ("strikes: 3, weights: {zone: {a: 0}}", "wants a weight from 1"),
        ("strikes: 3, weights: {zone: 3}", "wants a weight for each value"),
        ("strikes: 3, weights: {}", "wants at least one label"),
    ],
)
def test_a_chance_that_cannot_be_meant_is_refused_at_its_place(wave: str, said: str) -> None:
    with pytest.raises(FileFaults) as faults:
        load(FILE.format(wave=wave), "f.yaml")
    assert said in str(faults.value)
