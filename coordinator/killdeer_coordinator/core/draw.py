"""Roulette with a seed: which keys a step of a wave hits (rule R26).

A key never holds a pid, so the same seed over the same services picks the same victims, and a candidate that
is gone changes only its own place in the draw.
"""

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """`ordinal`: the place in its service on its host, by start time, ties by pid; from 0."""

    host: str
    service: str
    ordinal: int


def lot(*parts: str | int) -> bytes:
    """SHA-256 (32 bytes) of the parts in order, each with its kind and length before it: no two different
    tuples have one encoding."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = str(part).encode()
        digest.update(f"{'i' if isinstance(part, int) else 's'}{len(encoded)}:".encode() + encoded)
    return digest.digest()


# Heavier than that nobody is: a product of many weights may be a number that no float holds.
HEAVIEST = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How a step chooses. `by` process: each has the same chance; host or service: each of those has, and none is
    hit twice before all others were once. `weights`: label -> its value -> how many times the chance, on hosts with
    that label; a host without one has 1."""

    by: str = "process"
    weights: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()

    def weight(self, labels: Mapping[str, str]) -> int:
        product = math.prod(dict(values).get(labels.get(label, ""), 1) for label, values in self.weights)
        return min(product, HEAVIEST)


EVEN = Choosing()

Labels = Callable[[str], Mapping[str, str]]
"""Of a host, by its name."""


def draw(
    seed: int,
    wave: str,
    step: int,
    keys: Iterable[Key],
    n: int,
    choosing: Choosing = EVEN,
    labels: Labels = lambda host: {},
) -> list[Key]:
    """The `n` keys with the smallest SHA-256(seed, wave, step, key), smallest first; all of them where there are
    fewer. A key given twice counts once. See Choosing for other ways."""

    def own(key: Key) -> bytes:
        return lot(seed, wave, step, key.host, key.service, key.ordinal)

    if choosing == EVEN:
        return heapq.nsmallest(n, set(keys), key=own)
    if choosing.by == "process":
        return heapq.nsmallest(
            n, set(keys), key=lambda key: (_weighted(own(key), choosing.weight(labels(key.host))), key)
        )
    groups: dict[str, list[Key]] = defaultdict(list)
    for key in set(keys):
        groups[key.host if choosing.by == "host" else key.service].append(key)
    order = []
    for name, group in groups.items():
        for place, key in enumerate(sorted(group, key=own)):
            drawn = lot(seed, wave, step, choosing.by, name, place)
            order.append((place, _weighted(drawn, choosing.weight(labels(key.host))), key))
    return [key for _, _, key in heapq.nsmallest(n, order)]


def _weighted(drawn: bytes, weight: int) -> float:
    """The smallest of such numbers belongs to each with a chance in proportion to its weight: they are the first
    arrivals of as many Poisson processes."""
    return -math.log(share_of(drawn)) / weight


def share_of(drawn: bytes) -> float:
    """Even over 0 to 1, without 0."""
    return (int.from_bytes(drawn[:7], "big") + 1) / (1 << 56)
