"""Roulette with a seed: which keys a step of a wave hits (rule R26).

A key never holds a pid, so the same seed over the same services picks the same victims, and a candidate that
is gone changes only its own place in the draw.
"""

import hashlib
import heapq
from collections.abc import Iterable
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


def draw(seed: int, wave: str, step: int, keys: Iterable[Key], n: int) -> list[Key]:
    """The `n` keys with the smallest SHA-256(seed, wave, step, key), smallest first; all of them where there are
    fewer. A key given twice counts once."""
    return heapq.nsmallest(n, set(keys), key=lambda key: lot(seed, wave, step, key.host, key.service, key.ordinal))
