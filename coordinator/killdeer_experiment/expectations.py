"""Expectations: what sentences on probes mean, and whether they fit their probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.faults import Path, Problem, Unfit, nearest, read_all, short, unfit
from killdeer_experiment.plain import found
from killdeer_experiment.probes import Probe
from killdeer_experiment.scalars import read_line
from killdeer_experiment.sentences import Kind, Sentence, Word, parse

SECTIONS = ("preconditions", "steady_state", "abort_when")

_EXAMPLES = ["healthy", "errors < 0.1%", "p95 < 300ms", "queue > 1.4x baseline at least 20 for 1m", "oom in target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One sentence: a probe's reading, compared.

    `bound` is in the probe's unit (1 for met, seconds, of one, or plain) or, with `of_baseline`, a factor of
    the probe's baseline, and then `floor` or more. It must hold for `for_ms` without a break; 0: at once.
    """

    sentence: str  # as the file has it
    probe: str
    comparison: str  # <, <=, >, >=, == or !=
    bound: float
    of_baseline: bool = False
    for_ms: int = 0
    floor: float | None = None
    in_percent: bool = False  # how it is written: the source may not know what its number is

    def canonical(self) -> list[Any]:
        """The same for sentences that mean the same."""
        floor = [] if self.floor is None else [self.floor]
        return [self.probe, self.comparison, self.bound, self.of_baseline, self.for_ms, *floor]


def read_expectation(value: object) -> Expectation:
    """What one sentence means. Raises Unfit, with the word at fault."""
    if not isinstance(value, str):
        raise unfit(f"wants a sentence such as errors < 0.1%, found {found(value)}")
    text = read_line(value)
    sentence = parse(text)
    comparison, bound = (sentence.comparison.text, sentence.bound) if sentence.comparison else _bare(sentence)
    return Expectation(
        sentence=text.strip(),
        probe=sentence.probe.text,
        comparison=comparison,
        bound=bound,
        of_baseline=sentence.kind is Kind.FACTOR,
        for_ms=sentence.for_ms,
        floor=None if sentence.floor is None else sentence.floor.bound,
        in_percent=Kind.PERCENT in (sentence.kind, sentence.floor and sentence.floor.kind),
    )


def read_expectations(value: object) -> tuple[Expectation, ...]:
    if not isinstance(value, list):
        raise unfit(f"wants a list of sentences, such as [healthy, errors < 0.1%], found {found(value)}")
    if not value:
        raise unfit("wants at least one sentence, found an empty list: leave the key out for none")
    return tuple(read_all(read_expectation, [((index,), item) for index, item in enumerate(value)]))


def _bare(sentence: Sentence) -> tuple[str, float]:
    """`healthy`, `not healthy`, `oom in target`, `not oom in target`."""
    if sentence.counted:
        return ("<=", 0.0) if sentence.negated else (">", 0.0)
    return ("<", 1.0) if sentence.negated else (">=", 1.0)


def misfits(data: Mapping[str, Any], probes: Mapping[str, Probe | None]) -> list[Problem]:
    """Where the sentences of a file do not fit its probes; those that cannot be read are not looked at.

    `probes` are all that the file names, each with what could be read of it, or None.
    """
    problems: list[Problem] = []
    for section in SECTIONS:
        sentences = data.get(section)
        for index, text in enumerate(sentences if isinstance(sentences, list) else []):
            try:
                sentence = parse(read_line(text))
            except Unfit:
                continue
            problems += _misfit(section, sentence, probes, (section, index))
    return problems


def _misfit(section: str, sentence: Sentence, probes: Mapping[str, Probe | None], path: Path) -> list[Problem]:
    def at(word_at: int, message: str, near: str = "") -> list[Problem]:
        return [Problem(message=message, path=path, offset=word_at, nearest=near)]

    name = sentence.probe.text
    if sentence.kind is Kind.FACTOR and section == "preconditions":
        return at(sentence.bound_at.at, "a precondition has no baseline yet: compare with a bound of its own")
    if sentence.counted:
        if sentence.comparison is None and not sentence.negated and section != "abort_when":
            return at(sentence.probe.at, f"this would expect one: write not {name}")
        if sentence.kind not in (Kind.NONE, Kind.NUMBER):
            return at(sentence.bound_at.at, f"{name!r} is a count: compare it with a number, such as > 3")
        return []
    if name not in probes:
        near = nearest(name, probes)
        known = f"known here are {', '.join(probes)}" if probes else "the file has none, add it under probes"
        return at(
            sentence.probe.at, f"unknown probe {short(name)}: {f'did you mean {near!r}?' if near else known}", near
        )
    probe = probes[name]
    if probe is None:  # which is a fault of its own
        return []
    if probe.unit == wire.UNIT_MET:
        if sentence.kind is Kind.NONE:
            return []
        cause = "has no baseline" if sentence.kind is Kind.FACTOR else "is no number"
        word = sentence.comparison or sentence.probe
        return at(word.at, f"{name!r} is met or not, and {cause}: write {name}, or not {name}")
    if sentence.kind is Kind.NONE:
        return at(
            sentence.probe.at, f"{name!r} is {_IS[probe.unit]}: compare it, such as {name} < {_SUCH_AS[probe.unit]}"
        )
    if sentence.kind is Kind.FACTOR and probe.source == "events" and not probe.keys.over_ms:
        message = (
            f"{name!r} counts from the first strike on, and has no baseline: give it a window, such as over: 1m"
        )
        return at(sentence.probe.at, message)
    bounds: list[tuple[Word, Kind, float]] = [(sentence.bound_at, sentence.kind, sentence.bound)]
    if sentence.floor is not None:
        bounds.append((sentence.floor.at, sentence.floor.kind, sentence.floor.bound))
    return [
        problem
        for word, bound_kind, bound in bounds
        if (remedy := _remedy(probe.unit, bound_kind, bound))
        for problem in at(word.at, f"{name!r} is {_IS[probe.unit]}: {remedy}")
    ]


_IS = {
    wire.UNIT_SECONDS: "a length of time",
    wire.UNIT_FRACTION: "a percentage",
    wire.UNIT_UNSPECIFIED: "a plain number",
}
_SUCH_AS = {wire.UNIT_SECONDS: "300ms", wire.UNIT_FRACTION: "70%", wire.UNIT_UNSPECIFIED: "5"}


def _remedy(unit: wire.Unit, kind: Kind, bound: float) -> str:
    """What to write for a bound that is not of the unit; nothing where it is."""
    match unit, kind:
        case wire.UNIT_SECONDS, Kind.NUMBER if bound >= 10:
            return f"write {bound:g}ms or {bound / 1_000:g}s"
        case wire.UNIT_SECONDS, Kind.NUMBER:
            return f"write {bound:g}s or {bound * 1_000:g}ms"
        case wire.UNIT_SECONDS, Kind.PERCENT:
            return "write a length such as 300ms, or a factor such as 1.3x baseline"
        case wire.UNIT_FRACTION, Kind.NUMBER:
            return f"write {bound:g}%" if abs(bound) > 1 else f"write {bound * 100:g}%"
        case wire.UNIT_FRACTION, Kind.LENGTH:
            return "write a percentage such as 70%"
        case wire.UNIT_UNSPECIFIED, Kind.LENGTH:
            return f"write {bound:g} if it counts seconds, {bound * 1_000:g} if milliseconds"
        case _:
            return ""


Expectations = Annotated[
    tuple[Expectation, ...],
    PlainValidator(
        read_expectations,
        json_schema_input_type=Annotated[list[Annotated[str, Field(examples=_EXAMPLES)]], Field(min_length=1)],
    ),
]
