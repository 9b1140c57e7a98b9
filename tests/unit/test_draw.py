"""Roulette with a seed (rule R26)."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from killdeer_coordinator.core.draw import Choosing, Key, draw, lot

THIRTY = [Key(f"web-{i % 3}", "worker@.service", i // 3) for i in range(30)]
seeds = st.integers(0, 2**64 - 1)
keys = st.builds(Key, st.text(max_size=8), st.text(max_size=8), st.integers(0, 99))


def test_a_draw_is_the_same_for_ever() -> None:
    """A change of these would make every recorded seed pick other victims."""
    assert draw(20261120, "one", 0, THIRTY, 3) == [
        Key("web-1", "worker@.service", 6),
        Key("web-2", "worker@.service", 5),
        Key("web-0", "worker@.service", 9),
    ]


@given(seeds, st.lists(keys, unique=True, max_size=30), st.integers(0, 30), st.randoms())
def test_the_order_of_candidates_does_not_matter(seed: int, some: list[Key], n: int, mixer: object) -> None:
    mixed = list(some)
    mixer.shuffle(mixed)  # type: ignore[attr-defined]
    assert draw(seed, "w", 1, some, n) == draw(seed, "w", 1, [*mixed, *mixed], n)


@given(seeds, st.integers(0, 29), st.integers(1, 30))
def test_only_the_place_of_a_candidate_that_is_gone_changes(seed: int, gone: int, n: int) -> None:
    before = draw(seed, "w", 0, THIRTY, n)
    after = draw(seed, "w", 0, [key for key in THIRTY if key != THIRTY[gone]], n)
    assert set(before) - set(after) <= {THIRTY[gone]}
    assert [key for key in after if key in before] == [key for key in before if key != THIRTY[gone]]


def test_one_of_thirty_gone_keeps_at_least_97_percent_of_the_victims() -> None:
    kept = drawn = 0
    for seed in range(40):
        before = draw(seed, "w", 0, THIRTY, 10)
        for gone in THIRTY:
            after = draw(seed, "w", 0, [key for key in THIRTY if key != gone], 10)
            kept += len(set(before) & set(after))
            drawn += len([key for key in before if key != gone])
    assert kept >= 0.97 * drawn


def test_another_seed_wave_or_step_draws_others() -> None:
    first = draw(1, "w", 0, THIRTY, 10)
    assert draw(2, "w", 0, THIRTY, 10) != first
    assert draw(1, "v", 0, THIRTY, 10) != first
    assert draw(1, "w", 1, THIRTY, 10) != first


def test_every_candidate_has_its_chance() -> None:
    assert {draw(seed, "w", 0, THIRTY, 1)[0] for seed in range(300)} == set(THIRTY)


@given(seeds, st.lists(keys, unique=True, max_size=20), st.integers(0, 40))
def test_a_draw_is_without_replacement_and_never_more_than_there_are(seed: int, some: list[Key], n: int) -> None:
    drawn = draw(seed, "w", 0, some, n)
    assert len(drawn) == len(set(drawn)) == min(n, len(some))
    assert set(drawn) <= set(some)


parts = st.lists(st.one_of(st.text(max_size=6), st.integers(0, 999)), max_size=5)


@given(parts, parts)
def test_no_two_different_tuples_have_one_lot(one: list[str | int], other: list[str | int]) -> None:
    same = [type(part) for part in one] == [type(part) for part in other] and one == other
    assert (lot(*one) == lot(*other)) == same


def test_what_lies_on_either_side_of_a_border_matters() -> None:
    assert lot("ab", "c") != lot("a", "bc")
    assert lot("1") != lot(1)
    assert lot("a", "") != lot("a")


HOSTS_UNEVEN = [Key("a", "web@", place) for place in range(9)] + [Key("b", "web@", 0), Key("c", "web@", 0)]


def test_choosing_by_host_hits_every_host_once_before_any_twice() -> None:
    by_host = Choosing(by="host")
    for seed in range(50):
        assert {key.host for key in draw(seed, "one", 0, HOSTS_UNEVEN, 3, by_host)} == {"a", "b", "c"}


def test_choosing_by_host_gives_each_host_the_same_chance_whatever_it_runs() -> None:
    first = Counter(draw(seed, "one", 0, HOSTS_UNEVEN, 1, Choosing(by="host"))[0].host for seed in range(3_000))
    assert all(800 < first[host] < 1_200 for host in "abc")


def test_weights_are_chances_in_proportion() -> None:
    labels = {"a": {"zone": "x"}, "b": {"zone": "y"}, "c": {}}
    weighted = Choosing(by="host", weights=(("zone", (("x", 3), ("y", 2))),))
    first = Counter(
        draw(seed, "one", 0, HOSTS_UNEVEN, 1, weighted, lambda host: labels[host])[0].host for seed in range(6_000)
    )
    assert 2_700 < first["a"] < 3_300
    assert 1_700 < first["b"] < 2_300
    assert 800 < first["c"] < 1_200


def test_a_candidate_that_is_gone_changes_only_its_own_place_when_hosts_are_chosen() -> None:
    by_host = Choosing(by="host")
    before = draw(7, "one", 0, HOSTS_UNEVEN, 3, by_host)
    gone = before[1]
    after = draw(7, "one", 0, [key for key in HOSTS_UNEVEN if key != gone], 3, by_host)
    assert [key for key in before if key != gone] == [key for key in after if key in before]


def test_no_product_of_weights_is_too_heavy_to_draw_with() -> None:
    heavy = Choosing(weights=tuple((f"label-{number}", (("", 1_000),)) for number in range(200)))
    assert len(draw(7, "one", 0, THIRTY, 3, heavy)) == 3
