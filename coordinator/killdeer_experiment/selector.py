"""Which processes, as a file says it: `{unit: worker@*.service, cmdline~: 'worker\\.py', not: {user: root}}`.

A field has a value or a list of values, any of which may match; `~` after the field makes them patterns
(RE2), as in the command line's `cmdline~=`; what stands under `not` must not match. All terms must hold.
A list of such mappings says what one mapping cannot, such as two terms of the same field.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from killdeer.durations import format_duration, parse_duration
from killdeer.terms import FIELDS, NAMES, TermError, checked_term
from killdeer.v1 import process_pb2 as wire
from killdeer_experiment.faults import Unfit, each, read_all, unfit, unknown_key
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import as_mapping, read_term_value

_CHOOSING = ("oldest", "newest")
_WANTED = "wants a mapping such as {unit: payment-worker@*.service}"


_VALUE: dict[str, object] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
_VALUES: dict[str, object] = {"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]}
_MATCHED = [field for field in FIELDS if field not in _CHOOSING]


def _terms_schema() -> dict[str, object]:
    terms = {
        field: _VALUES | {"description": f"{field} of the process: a glob, or a list of them"} for field in _MATCHED
    }
    for field in _MATCHED:
        if field not in ("min_age", "port"):
            terms[f"{field}~"] = _VALUES | {
                "description": f"{field} of the process: a pattern (RE2), or a list of them"
            }
    return {"type": "object", "properties": terms, "additionalProperties": False, "minProperties": 1}


def _selector_schema() -> dict[str, object]:
    inside = _terms_schema()
    number = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": True}]}
    chosen = {field: number | {"description": f"of what matches only so many, the {field}"} for field in _CHOOSING}
    negated = {"not": inside | {"description": "what must not match"}}
    mapping = inside | {"properties": {**cast("dict[str, object]", inside["properties"]), **chosen, **negated}}
    return {"anyOf": [mapping, {"type": "array", "items": mapping, "minItems": 1}]}


# For editors; the reader decides.
SELECTOR_SCHEMA = _selector_schema()


@dataclass(frozen=True, kw_only=True)
class Term:
    """One condition: any of the values matches the field or, negated, none does. Values were checked."""

    field: str
    pattern: bool = False
    negated: bool = False
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """As a file has it, without the `not`: `user`, `cmdline~`."""
        return f"{self.field}~" if self.pattern else self.field

    def canonical(self) -> tuple[str, bool, tuple[str, ...]]:
        """The same for terms that mean the same, however their values are ordered and written."""
        values = self.values
        if self.field == "min_age":
            values = tuple(format_duration(parse_duration(value)) for value in values)
        elif self.field in ("port", *_CHOOSING):
            values = tuple(str(int(value)) for value in values)
        return self.key, self.negated, tuple(sorted(set(values)))

    def to_wire(self) -> wire.Term:
        match = wire.MATCH_PATTERN if self.pattern else wire.MATCH_GLOB
        return checked_term(self.field, match, self.negated, list(self.values))


def read_selector(value: object) -> tuple[Term, ...]:
    """The terms a file's value means, in its order. Raises Unfit, with every problem in it."""
    terms = tuple(chain.from_iterable(read_all(_read_mapping, each(value))))
    if not terms:
        raise unfit(f"{_WANTED}, found no term: nothing is selected by nothing")
    return terms


def from_wire(selector: wire.Selector) -> tuple[Term, ...]:
    """The terms of a selector that was made of words, say. Its fields must be known here."""
    return tuple(
        Term(
            field=NAMES[term.field],
            pattern=term.match == wire.MATCH_PATTERN,
            negated=term.negated,
            values=tuple(term.values),
        )
        for term in selector.terms
    )


def to_wire(terms: Iterable[Term]) -> wire.Selector:
    return wire.Selector(terms=[term.to_wire() for term in terms])


def written(terms: Iterable[Term]) -> list[dict[str, object]] | dict[str, object]:
    """As a file has them: one mapping where that says it, else a list with a new one where a key would repeat."""
    parts: list[dict[str, object]] = [{}]
    for term in terms:
        key = "not" if term.negated else term.key
        if key in parts[-1]:
            parts.append({})
        value = one_or_list(term.values)
        parts[-1][key] = {term.key: value} if term.negated else value
    return parts[0] if len(parts) == 1 else parts


def one_or_list(values: tuple[object, ...]) -> object:
    return values[0] if len(values) == 1 else list(values)


def _read_mapping(value: object) -> list[Term]:
    keys = [((key,), (key, inner)) for key, inner in as_mapping(value, _WANTED).items()]
    return list(chain.from_iterable(read_all(_read_key, keys)))


def _read_key(item: Any) -> list[Term]:
    key, inner = item
    return _read_negated(inner) if key == "not" else [_read_term(key, inner, negated=False)]


def _read_negated(value: object) -> list[Term]:
    keys = [
        ((key,), (key, inner)) for key, inner in as_mapping(value, "wants a mapping such as {user: root}").items()
    ]
    if not keys:
        raise unfit("wants a mapping such as {user: root}, found an empty one")
    return read_all(_read_negated_key, keys)


def _read_negated_key(item: Any) -> Term:
    key, inner = item
    return _read_term(key, inner, negated=True)


def _read_term(key: str, value: object, negated: bool) -> Term:
    name, pattern = key.removesuffix("~"), key.endswith("~")
    if name not in FIELDS:
        raise Unfit(unknown_key(key, [*FIELDS] if negated else [*FIELDS, "not"]))
    if value == [] or (isinstance(value, list) and name in _CHOOSING):
        wanted = "one number" if name in _CHOOSING else "at least one value"
        raise unfit(f"wants {wanted}, found {'an empty list' if value == [] else found(value)}")
    values = read_all(lambda one: _read_value(name, pattern, negated, one), each(value))
    return Term(field=name, pattern=pattern, negated=negated, values=tuple(values))


def _read_value(name: str, pattern: bool, negated: bool, value: object) -> str:
    if name in _CHOOSING:
        text = "1" if value is True else read_term_value(value, "a number, or true for one")
    else:
        text = read_term_value(value)
    try:
        checked_term(name, wire.MATCH_PATTERN if pattern else wire.MATCH_GLOB, negated, [text])
    except TermError as error:
        raise unfit(str(error)) from error
    return text
