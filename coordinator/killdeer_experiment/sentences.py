"""Sentences on probes, word by word: `errors < 0.1%`, `queue > 1.4x baseline for 1m`, `oom in target`.

    [not] PROBE [for LENGTH]
    PROBE COMPARISON BOUND [for LENGTH]
    [not] oom|death|restart in target [COMPARISON NUMBER] [for LENGTH]

A bound is a number, a percentage, a length of time or a factor of the baseline. A factor may have a floor: of
`2x baseline at least 0.1%` the larger counts. Without one, any factor of a baseline of 0 is 0.
"""

import re
from dataclasses import dataclass
from enum import Enum

from killdeer.durations import DurationError, parse_duration
from killdeer_experiment.faults import Problem, Unfit, nearest, short
from killdeer_experiment.probes import BUILT_IN

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

_MEANT = {"=": "==", "=<": "<=", "=>": ">=", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!="}
_WORD = re.compile(r"<=|>=|==|!=|=<|=>|<>|[<>=≤≥≠]|[^\s<>=≤≥≠!]+|!")
_NUMBER = re.compile(r"[-+]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,2})?")
_UNITS = ("ms", "s", "m", "h", "d", "%", "x")
_BOUNDS = "a number, a percentage such as 0.1%, a length such as 300ms, or a factor such as 2x baseline"


class Kind(Enum):
    """What a bound was written as."""

    NONE = "none"  # a bare name: is it met?
    NUMBER = "a number"
    PERCENT = "a percentage"
    LENGTH = "a length"
    FACTOR = "a factor of the baseline"


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    at: int  # characters into the sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence, with the words that are at fault where it does not fit its probe."""

    probe: Word  # of `oom in target` those three words
    counted: bool  # oom, death or restart in target
    negated: bool
    comparison: Word | None
    kind: Kind
    bound: float  # in seconds, of one, or plain
    bound_at: Word
    floor: "Floor | None"  # of a factor
    for_ms: int


@dataclass(frozen=True, slots=True)
class Floor:
    kind: Kind
    bound: float
    at: Word


def parse(text: str) -> Sentence:
    """Raises Unfit, with the word at fault."""
    return _Reading(text).sentence()


class _Reading:
    def __init__(self, text: str) -> None:
        self.words = [Word(word[0], word.start()) for word in _WORD.finditer(text)]
        self.end = Word("", len(text.rstrip()))
        self.next = 0

    def sentence(self) -> Sentence:
        negated = self._take_if("not") is not None
        probe, counted = self._probe()
        comparison = self._comparison()
        kind, bound, bound_at, floor = Kind.NONE, 0.0, probe, None
        if comparison:
            if negated:
                raise _at(comparison, "'not' is for a probe alone: turn the comparison around instead")
            kind, bound, bound_at = self._bound()
            floor = self._floor(kind)
        for_ms = self._for()
        if (word := self._peek()) is not self.end:
            raise _at(word, self._surplus(word, comparison))
        return Sentence(
            probe=probe,
            counted=counted,
            negated=negated,
            comparison=comparison,
            kind=kind,
            bound=bound,
            bound_at=bound_at,
            floor=floor,
            for_ms=for_ms,
        )

    def _peek(self) -> Word:
        return self.words[self.next] if self.next < len(self.words) else self.end

    def _take(self) -> Word:
        word = self._peek()
        self.next += 1
        return word

    def _take_if(self, text: str) -> Word | None:
        return self._take() if self._peek().text == text else None

    def _probe(self) -> tuple[Word, bool]:
        word = self._take()
        if not word.text or word.text in (*COMPARISONS, *_MEANT, "!", "for", "in"):
            raise _at(word, f"a sentence begins with a probe, such as errors < 0.1%; found {_shown(word)}")
        if not self._take_if("in"):
            return word, False
        place = self._take()
        if place.text != "target":
            near = nearest(place.text, ("target",))
            raise _unread(place, "'target' after 'in'", near)
        if word.text not in BUILT_IN:
            near = nearest(word.text, BUILT_IN)
            hint = f": did you mean {near!r}?" if near else ""
            raise _at(
                word, f"what is counted in the target is {', '.join(BUILT_IN)}, not {short(word.text)}{hint}", near
            )
        return Word(f"{word.text} in target", word.at), True

    def _comparison(self) -> Word | None:
        word = self._peek()
        if word.text in COMPARISONS:
            return self._take()
        if word.text in _MEANT:
            raise _at(word, f"cannot read {word.text!r}: write {_MEANT[word.text]}", _MEANT[word.text])
        return None

    def _bound(self) -> tuple[Kind, float, Word]:
        word = self._take()
        if word is self.end:
            raise _unread(word, _BOUNDS)
        text = word.text
        if _NUMBER.fullmatch(text) and self._peek().text in _UNITS:  # `300 ms`
            text += self._take().text
        if text == "baseline":
            raise _at(word, "how many times the baseline? Write a factor, such as 1.4x baseline")
        number, factor = _NUMBER.match(text), text.removesuffix("x")
        if number is None:
            raise _unread(word, _BOUNDS)
        if number.end() == len(text):
            if self._peek().text in ("baseline", "of"):
                raise _at(word, f"a baseline needs a factor before it: write {text}x baseline")
            return Kind.NUMBER, float(text), word
        if text.endswith("%") and number.end() == len(text) - 1:
            if self._peek().text in ("baseline", "of"):
                times = f"{float(text[:-1]) / 100:g}"
                raise _at(word, f"a baseline needs a factor before it: write {times}x baseline")
            return Kind.PERCENT, float(text[:-1]) / 100, word
        if factor != text and number.end() == len(factor):
            return self._factor(word, text)
        try:
            return Kind.LENGTH, parse_duration(text) / 1_000, word
        except DurationError as error:
            raise _at(word, f"cannot read {short(text)}: write {_BOUNDS}") from error

    def _factor(self, word: Word, text: str) -> tuple[Kind, float, Word]:
        """`1.4x baseline`, where `1.4x` is read already."""
        factor = float(text.removesuffix("x"))
        if factor <= 0:
            raise _at(word, "a factor of the baseline is more than 0")
        after = self._take()
        if after.text != "baseline":
            raise _unread(after, f"'baseline' after {text}", nearest(after.text, ("baseline",)))
        return Kind.FACTOR, factor, word

    def _floor(self, of: Kind) -> Floor | None:
        """`at least 0.1%`."""
        if (word := self._take_if("at")) is None:
            return None
        if of is not Kind.FACTOR:
            raise _at(word, "'at least' is for a factor of the baseline, such as 2x baseline at least 0.1%")
        least = self._take()
        if least.text != "least":
            raise _unread(least, "'least' after 'at'", nearest(least.text, ("least",)))
        kind, bound, at = self._bound()
        if kind is Kind.FACTOR:
            raise _at(at, "a floor is a bound of its own, such as at least 0.1%")
        return Floor(kind, bound, at)

    def _for(self) -> int:
        if not self._take_if("for"):
            return 0
        word = self._take()
        text = word.text
        if _NUMBER.fullmatch(text) and self._peek().text in _UNITS:
            text += self._take().text
        try:
            length = parse_duration(text)
        except DurationError as error:
            such = f"{text}s" if _NUMBER.fullmatch(text) else "2m"
            raise _unread(word, f"a length after 'for', such as {such}") from error
        if not length:
            raise _at(word, "a length after 'for' is more than 0: leave it out for at once")
        return length

    def _surplus(self, word: Word, comparison: Word | None) -> str:
        if word.text in ("and", "or"):
            return f"one sentence, one expectation: write what stands after {word.text!r} as another item"
        if comparison is None:
            return f"cannot read {_shown(word)}: write one of {' '.join(COMPARISONS)}, or end the sentence"
        return f"cannot read {_shown(word)}: write for LENGTH, such as for 2m, or end the sentence"


def _at(word: Word, message: str, near: str = "") -> Unfit:
    return Unfit(Problem(message=message, offset=word.at, nearest=near))


def _unread(word: Word, wanted: str, near: str = "") -> Unfit:
    said = f"cannot read {_shown(word)}" if word.text else "the sentence ends too early"
    return _at(word, f"{said}: write {wanted}", near)


def _shown(word: Word) -> str:
    return short(word.text) if word.text else "the end of the sentence"
