"""Selector terms as people write them: `unit=worker@*.service`, `cmdline~=worker\\.py`, `user!=root`.

The names of the fields are the wire's own enum, in lower case; this module is their one text form.
"""

import difflib
import re
from collections.abc import Iterable

import re2

from killdeer.durations import DurationError, parse_duration
from killdeer.v1.process_pb2 import Field, Match, Selector, Term

FIELDS: dict[str, int] = {
    name.removeprefix("FIELD_").lower(): Field.Value(name)
    for name in Field.keys()  # noqa: SIM118 - an enum wrapper, no dict
    if name != "FIELD_UNSPECIFIED"
}
NAMES = {number: name for name, number in FIELDS.items()}

# Terms that choose among what matches, rather than match (rule R6).
CHOOSING = frozenset({Field.FIELD_OLDEST, Field.FIELD_NEWEST})

_TERM = re.compile(r"(?P<field>[a-z_]+)(?P<match>!~=|~=|!=|=)(?P<value>.*)", re.DOTALL)
_MATCHES = {"=": (Match.MATCH_GLOB, False), "!=": (Match.MATCH_GLOB, True)}
_MATCHES |= {"~=": (Match.MATCH_PATTERN, False), "!~=": (Match.MATCH_PATTERN, True)}
_SIGNS = {meaning: sign for sign, meaning in _MATCHES.items()}

# Not str.isdigit(), which takes ² for a digit that int() refuses.
_NUMBER = re.compile(r"[0-9]{1,9}")

# RE2 would write to standard error what the exception says already.
_QUIET = re2.Options()
_QUIET.log_errors = False


class TermError(ValueError):
    """The term cannot be read; the message names it, the cause and the remedy."""


def parse_term(text: str) -> Term:
    """`user!=root` -> Term. `oldest` and `newest` alone mean one. Raises TermError."""
    bare = text.strip()
    if bare in ("oldest", "newest"):
        bare += "=1"
    found = _TERM.fullmatch(bare)
    if found is None:
        raise TermError(
            f"cannot read the term {text!r}: write KEY=VALUE, KEY!=VALUE, KEY~=PATTERN or KEY!~=PATTERN"
        )
    match, negated = _MATCHES[found["match"]]
    return checked_term(found["field"], match, negated, [found["value"]])


def checked_term(field: str, match: Match, negated: bool, values: list[str]) -> Term:
    """A Term from its parts, with every value checked for its field. Raises TermError."""
    number = FIELDS.get(field)
    if number is None:
        near = difflib.get_close_matches(field, FIELDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TermError(f"unknown selector key {field!r}: {hint}known are {', '.join(FIELDS)}")
    for value in values:
        _check_value(field, number, match, negated, value)
    return Term(field=Field.Name(number), match=match, negated=negated, values=values)


def format_term(term: Term) -> str:
    """The text that parse_term reads back; several values are joined by `|` for people to read."""
    name = NAMES.get(term.field, f"field {term.field}")
    return f"{name}{_SIGNS.get((term.match, term.negated), '?=')}{'|'.join(term.values)}"


def parse_selector(texts: Iterable[str]) -> Selector:
    """Words of a command line, or lines of a guard file -> Selector. An empty one is refused."""
    terms = [parse_term(text) for text in texts]
    if not terms:
        raise TermError("cannot select without a term: name at least one, such as unit=payment-worker.service")
    return Selector(terms=terms)


def format_selector(selector: Selector) -> str:
    return " ".join(format_term(term) for term in selector.terms)


def _check_value(field: str, number: int, match: Match, negated: bool, value: str) -> None:
    if not value:
        raise TermError(f"cannot select by {field}: the value is empty")
    if match == Match.MATCH_PATTERN:
        if number in CHOOSING or number in (Field.FIELD_MIN_AGE, Field.FIELD_PORT):
            raise TermError(f"cannot match {field} by a pattern: write {field}=VALUE")
        try:
            re2.compile(value, _QUIET)
        except (re2.error, UnicodeEncodeError) as error:
            cause = error.args[0].decode(errors="replace") if isinstance(error, re2.error) else error
            raise TermError(f"cannot read the pattern {value!r} of {field}: {cause} (RE2 syntax)") from error
    elif number in CHOOSING:
        if negated or not _NUMBER.fullmatch(value) or not int(value):
            raise TermError(f"cannot select by {field}={value}: write {field}, or {field}=N with N of 1 or more")
    elif number == Field.FIELD_MIN_AGE:
        try:
            parse_duration(value)
        except DurationError as error:
            raise TermError(str(error)) from error
    elif number == Field.FIELD_PORT and (not _NUMBER.fullmatch(value) or not 1 <= int(value) <= 65535):
        raise TermError(f"cannot select by port={value}: a port is a number from 1 to 65535")
    elif number == Field.FIELD_CONTAINER and len(value) < 8 and "*" not in value:
        raise TermError(f"cannot select by container={value}: give at least 8 digits of its id")
