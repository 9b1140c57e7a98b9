"""Waves as steps in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.v1.process_pb2 import Action, Kill
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.schedule import MOST_STRIKES, Step, WaveSpec, expand

KILL = Action(kill=Kill(signal=9))

waves = st.builds(
    WaveSpec,
    name=st.text(min_size=1, max_size=5),
    action=st.just(KILL),
    count=st.integers(1, 40),
    over_ms=st.sampled_from([0, 1, 7, 1000, 600_000]),
    every_ms=st.sampled_from([1000, 600_000]),
    repeat=st.integers(1, 4),
    jitter_ms=st.sampled_from([0, 10, 10_000]),
    dry_run=st.booleans(),
)


def wave(**of: object) -> WaveSpec:
    return WaveSpec(**{"name": "w", "action": KILL, **of})  # type: ignore[arg-type]


def steps(spec: WaveSpec, candidates: int = 10, seed: int = 1) -> tuple[Step, ...]:
    expanded = expand(spec, wave_index=0, seed=seed, candidates=candidates)
    assert not isinstance(expanded, Refused), expanded.message
    return expanded


def refusal(spec: WaveSpec, candidates: int) -> Refused:
    expanded = expand(spec, wave_index=0, seed=1, candidates=candidates)
    assert isinstance(expanded, Refused)
    return expanded


def test_without_over_all_strikes_are_one_step() -> None:
    (step,) = steps(wave(count=3))
    assert (step.strikes, step.at_ms, step.step, step.repetition) == (3, 0, 0, 1)


def test_over_spreads_one_by_one_evenly() -> None:
    spread = steps(wave(count=4, over_ms=10_000))
    assert [(step.at_ms, step.strikes) for step in spread] == [(0, 1), (2500, 1), (5000, 1), (7500, 1)]


def test_repetitions_are_every_apart_and_each_draws_anew() -> None:
    repeated = steps(wave(count=2, repeat=3, every_ms=60_000))
    assert [(step.at_ms, step.repetition, step.step) for step in repeated] == [
        (0, 1, 0),
        (60_000, 2, 1),
        (120_000, 3, 2),
    ]


def test_a_rehearsal_without_a_count_is_every_candidate() -> None:
    (step,) = steps(wave(dry_run=True), candidates=7)
    assert (step.strikes, step.dry_run) == (7, True)


@given(waves, st.integers(1, 50), st.integers(0, 2**64 - 1))
def test_strikes_steps_and_times_are_as_asked(spec: WaveSpec, candidates: int, seed: int) -> None:
    expanded = steps(spec, candidates, seed)
    assert spec.count is not None
    assert sum(step.strikes for step in expanded) == spec.count * spec.repeat
    assert sorted(step.step for step in expanded) == list(range(len(expanded)))
    assert [step.at_ms for step in expanded] == sorted(step.at_ms for step in expanded)
    for step in expanded:
        planned = (step.repetition - 1) * spec.every_ms
        if spec.over_ms:
            planned += (step.step % spec.count) * spec.over_ms // spec.count
        assert planned <= step.at_ms <= planned + spec.jitter_ms
    assert expanded == steps(spec, candidates, seed)


def test_jitter_comes_from_the_seed() -> None:
    spec = wave(count=10, over_ms=60_000, jitter_ms=3_000)
    times = [step.at_ms for step in steps(spec, seed=1)]
    assert times == [step.at_ms for step in steps(spec, seed=1)]
    assert times != [step.at_ms for step in steps(spec, seed=2)]
    assert len({at % 6_000 for at in times}) > 1


@given(st.integers(1, 100), st.integers(1, 500))
def test_a_percentage_is_rounded_down_and_never_to_nothing(percent: int, candidates: int) -> None:
    expanded = expand(wave(percent=percent), wave_index=0, seed=1, candidates=candidates)
    if percent * candidates < 100:
        assert isinstance(expanded, Refused)
    else:
        assert not isinstance(expanded, Refused)
        assert 1 <= expanded[0].strikes <= percent * candidates / 100


def test_a_percentage_of_nothing_is_refused_with_the_arithmetic() -> None:
    said = refusal(wave(percent=5), 3)
    assert "5% of 3 candidates is 0.15, rounded down to 0: name a count, or a higher percentage" in said.message
    assert (said.code, said.field) == ("FAILED_PRECONDITION", "waves")


@pytest.mark.parametrize("spec", [wave(count=1), wave(percent=50), wave(dry_run=True)])
def test_a_wave_without_candidates_is_refused(spec: WaveSpec) -> None:
    assert "matches nothing" in refusal(spec, 0).message


def test_a_wave_of_too_many_strikes_is_refused_before_it_is_laid_out() -> None:
    said = refusal(wave(count=100_000, over_ms=1000, repeat=100_000, every_ms=1000), 5)
    assert str(MOST_STRIKES) in said.message


def test_about_so_many_come_at_a_rate_and_not_at_a_count() -> None:
    found = [len(steps(wave(count=10, over_ms=1_800_000, about=True), seed=seed)) for seed in range(400)]
    assert 9.4 < sum(found) / len(found) < 10.6
    assert len(set(found)) > 8, "a rate, not a count"
    assert all(found), "a wave never comes to nothing"


def test_random_pauses_keep_the_count_and_the_time() -> None:
    for seed in range(50):
        laid_out = steps(wave(count=10, over_ms=600_000, random_pauses=True), seed=seed)
        assert len(laid_out) == 10
        assert all(0 <= step.at_ms < 600_001 for step in laid_out)
        assert len({step.at_ms for step in laid_out}) > 5
    assert steps(wave(count=10, over_ms=600_000, random_pauses=True), seed=3) == steps(
        wave(count=10, over_ms=600_000, random_pauses=True), seed=3
    )
