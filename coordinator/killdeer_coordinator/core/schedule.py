"""A wave as steps in time: how many are struck, and when."""

import math
from dataclasses import dataclass

from killdeer.v1.process_pb2 import Action
from killdeer_coordinator.core.draw import EVEN, Choosing, lot, share_of
from killdeer_coordinator.core.percentage import comes_to_nothing, share
from killdeer_coordinator.core.refusal import Refused

# A wave is laid out at once, in memory; more strikes than this are several experiments.
MOST_STRIKES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSpec:
    """A wave as the experiment asks for it. At most one of `count` and `percent` is set; neither: every candidate
    once. Times in ms."""

    name: str
    action: Action
    count: int | None = None
    percent: int | None = None  # of the candidates at the wave's start, 1 to 100
    over_ms: int = 0  # spreads the strikes, one by one, evenly; 0: all in one step
    every_ms: int = 0  # from the start of one repetition to the start of the next
    repeat: int = 1
    jitter_ms: int = 0  # each step is late by up to this
    dry_run: bool = False
    hold_ms: int = 0  # from the wave's last outcome to the gate
    about: bool = False  # `count` over `over_ms` is a rate: strikes come by themselves, about so many
    random_pauses: bool = False  # the strikes are anywhere within `over_ms`
    choosing: Choosing = EVEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Some strikes at one moment: draw(seed, wave_name, step, keys, strikes)."""

    wave_name: str
    wave_index: int
    repetition: int  # from 1
    step: int  # from 0, over all repetitions of the wave
    strikes: int
    at_ms: int  # from the wave's start
    action: Action
    dry_run: bool
    choosing: Choosing = EVEN


def strikes_of(spec: WaveSpec, candidates: int) -> int | Refused:
    """How many strikes one repetition of the wave has. No candidates, or a percentage that comes to nothing, is
    a named refusal. A count stands as it is: draws are without replacement within a step only."""
    if not candidates:
        return _refused(spec, "the selector matches nothing that may be hit", "see `killdeer plan` for who and why")
    if spec.percent is not None:
        return share(spec.percent, candidates) or _refused(
            spec, comes_to_nothing(spec.percent, candidates, "candidates")
        )
    if spec.count is not None:
        return spec.count or _refused(spec, "it asks for 0 strikes", "name a count of 1 or more")
    return candidates


def expand(spec: WaveSpec, *, wave_index: int, seed: int, candidates: int) -> tuple[Step, ...] | Refused:
    """The wave's steps in the order of their time, for so many candidates at its start.

    With `over`, n strikes are n steps at 0, over/n, 2 over/n …, or anywhere in it; without, one step of n. About n
    strikes come as a Poisson process of that rate. A step is late by its own share of the jitter. All chance comes
    from SHA-256(seed, wave, …) and so is the same in a replay.
    """
    strikes = strikes_of(spec, candidates)
    if isinstance(strikes, Refused):
        return strikes
    if strikes * spec.repeat > MOST_STRIKES:
        return _refused(spec, f"it comes to {strikes * spec.repeat} strikes, and a wave ends at {MOST_STRIKES}")
    moments = [
        (repetition, repetition * spec.every_ms + offset)
        for repetition in range(spec.repeat)
        for offset in _offsets(spec, seed, repetition, strikes)
    ]
    expanded = [
        Step(
            wave_name=spec.name,
            wave_index=wave_index,
            repetition=repetition + 1,
            step=number,
            strikes=1 if spec.over_ms else strikes,
            at_ms=at_ms + _late(spec, seed, number),
            action=spec.action,
            dry_run=spec.dry_run,
            choosing=spec.choosing,
        )
        for number, (repetition, at_ms) in enumerate(moments)
    ]
    return tuple(sorted(expanded, key=lambda step: (step.at_ms, step.step)))


def _offsets(spec: WaveSpec, seed: int, repetition: int, strikes: int) -> list[int]:
    """When each step of one repetition is, ms from its start."""
    if not spec.over_ms:
        return [0]
    if spec.about:
        return _arrivals(spec, seed, repetition, strikes)
    if spec.random_pauses:
        shares = [share_of(lot(seed, spec.name, repetition, place, "pause")) for place in range(strikes)]
        return sorted(int(share * spec.over_ms) for share in shares)
    return [place * spec.over_ms // strikes for place in range(strikes)]


def _arrivals(spec: WaveSpec, seed: int, repetition: int, strikes: int) -> list[int]:
    """Each pause is drawn without regard to those before it; at least one strike, and at most MOST_STRIKES."""
    mean_ms, at_ms, found = spec.over_ms / strikes, 0.0, []
    for place in range(MOST_STRIKES):
        at_ms -= math.log(share_of(lot(seed, spec.name, repetition, place, "pause"))) * mean_ms
        if at_ms >= spec.over_ms:
            break
        found.append(int(at_ms))
    return found or [0]


def _late(spec: WaveSpec, seed: int, step: int) -> int:
    """0 to jitter_ms, even."""
    return int.from_bytes(lot(seed, spec.name, step, "jitter")[:8], "big") % (spec.jitter_ms + 1)


def _refused(spec: WaveSpec, cause: str, remedy: str = "") -> Refused:
    return Refused(
        code="FAILED_PRECONDITION",
        message=f"cannot run the wave {spec.name!r}: {cause}",
        field="waves",
        remedy=remedy,
    )
