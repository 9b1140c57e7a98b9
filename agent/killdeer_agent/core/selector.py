"""Does a process match? A selector compiled once, asked at the scan and at the last look (rules R1, R6, R25, R27).

What a process belongs to, its service, is worked out here too, and never from a selector (rule R19).
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import re2

from killdeer.durations import parse_duration
from killdeer.terms import CHOOSING, NAMES, checked_term
from killdeer.v1.process_pb2 import Field, Match, Reason, Selector, Term
from killdeer_agent.core.facts import FactMissing, Facts, Now

# No pattern sees more of a text than this (rule R27).
SUBJECT_BYTES = 4096

# No value is longer than this: a selector is compiled on the word of somebody far away.
VALUE_CHARS = 1024

# Cheapest fact first, as measured on /proc: cmdline 5 µs, stat (name, parent, min_age) 9, cgroup 9, status (user)
# 14; exe and port come last, as they need rights that an agent may not have.
_CHEAPEST_FIRST = (
    Field.FIELD_CMDLINE,
    Field.FIELD_NAME,
    Field.FIELD_MIN_AGE,
    Field.FIELD_PARENT,
    Field.FIELD_UNIT,
    Field.FIELD_CONTAINER,
    Field.FIELD_CGROUP,
    Field.FIELD_USER,
    Field.FIELD_EXE,
    Field.FIELD_PORT,
)


Item = TypeVar("Item")
Hide = Callable[[bytes], bytes]
Test = Callable[[Facts, Now, Hide], bool]
Search = Callable[[bytes], object]


class SelectorError(ValueError):
    """The selector cannot be evaluated by this agent; the message names the term and the cause."""


class Matcher:
    """A compiled selector. Unchanging; equal when the selectors are.

    `strict` is for rules that forbid: where a text is longer than what a pattern sees, "not found" is then no
    answer but a FactMissing.
    """

    __slots__ = ("_choosing", "_key", "_tests", "fields")

    def __init__(self, selector: Selector, *, strict: bool = False) -> None:
        """Raises SelectorError for an empty selector and for anything in it that this agent does not know."""
        terms = [_checked(term) for term in selector.terms]
        matching = [term for term in terms if term.field not in CHOOSING]
        if not matching:
            raise SelectorError("cannot select: name at least one term that matches, such as unit=worker.service")
        matching.sort(key=lambda term: _CHEAPEST_FIRST.index(term.field))
        self._tests = tuple(_test(term, strict) for term in matching)
        self._choosing = tuple((term.field, int(term.values[0])) for term in terms if term.field in CHOOSING)
        self._key = (selector.SerializeToString(deterministic=True), strict)
        self.fields: frozenset[int] = frozenset(term.field for term in terms)

    def matches(self, facts: Facts, now: Now, hide: Hide = bytes) -> bool:
        """Whether all terms but `oldest` and `newest` hold. `hide` is what patterns and globs see of a command
        line: who asks from elsewhere must not find out, term by term, what is not shown to them.

        A fact that cannot be had raises its FactMissing, unless another term says no without it.
        """
        missing: FactMissing | None = None
        for holds in self._tests:
            try:
                if not holds(facts, now, hide):
                    return False
            except FactMissing as error:
                if error.reason == Reason.REASON_GONE:
                    raise
                missing = missing or error
        if missing is not None:
            raise missing
        return True

    @property
    def chooses(self) -> bool:
        """Whether `oldest` or `newest` narrows down what matches."""
        return bool(self._choosing)

    def choose(self, found: Iterable[tuple[int, int, Item]]) -> list[Item]:
        """(started_boot_ns, pid, item) of all that match -> the items that `oldest` and `newest` leave, oldest
        first. Ties go by pid."""
        left = sorted(found, key=lambda one: one[:2])
        for field, count in self._choosing:
            left = left[:count] if field == Field.FIELD_OLDEST else left[-count:]
        return [item for _, _, item in left]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matcher) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def compiled(pattern: str) -> Any:
    """An RE2 pattern whose `.` matches a newline too, as an argument may hold one. Raises SelectorError."""
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        raise SelectorError(f"cannot read the pattern {pattern!r}: {error} (RE2 syntax)") from error


def subject(text: str) -> bytes:
    """What a pattern sees of a text."""
    return text.encode(errors="replace")[:SUBJECT_BYTES]


def _checked(term: Term) -> Term:
    name = NAMES.get(term.field)
    if name is None or term.match not in (Match.MATCH_GLOB, Match.MATCH_PATTERN):
        raise SelectorError(f"cannot select by field {term.field}, match {term.match}: this agent does not know it")
    if any(len(value) > VALUE_CHARS for value in term.values):
        raise SelectorError(f"cannot select by {name}: a value is longer than {VALUE_CHARS} characters")
    if not term.values:
        raise SelectorError(f"cannot select by {name}: it has no value")
    if term.field in CHOOSING and len(term.values) != 1:
        raise SelectorError(f"cannot select by {name}: it takes one number")
    try:
        return checked_term(name, term.match, term.negated, list(term.values))
    except ValueError as error:
        raise SelectorError(str(error)) from error


def _test(term: Term, strict: bool) -> Test:
    values = list(term.values)
    match term.field:
        case Field.FIELD_PORT:
            wanted = frozenset(int(value) for value in values)
            return lambda facts, now, hide: facts.ports.isdisjoint(wanted) == term.negated
        case Field.FIELD_MIN_AGE:
            least_ns = min(parse_duration(value) for value in values) * 1_000_000
            return lambda facts, now, hide: (now.boot_ns - facts.started_boot_ns < least_ns) == term.negated
        case Field.FIELD_PARENT if term.match == Match.MATCH_GLOB:
            return _parent_test(term)
        case _:
            return _text_test(term, strict)


def _parent_test(term: Term) -> Test:
    """A value of digits is a pid, any other a name."""
    pids = frozenset(int(value) for value in term.values if value.isdecimal())
    names = _searches(term, [value for value in term.values if not value.isdecimal()])

    def holds(facts: Facts, now: Now, hide: Hide) -> bool:
        found = facts.parent_pid in pids
        if not found and names:
            parent = subject(facts.parent_name)
            found = any(search(parent) for search in names)
        return found != term.negated

    return holds


def _text_test(term: Term, strict: bool) -> Test:
    texts = _TEXTS[term.field]
    searches = _searches(term, term.values)
    negated = term.negated
    undecided = strict or negated
    hidden = term.field == Field.FIELD_CMDLINE

    def holds(facts: Facts, now: Now, hide: Hide) -> bool:
        cut = False
        for text in texts(facts):
            seen = text.encode(errors="replace")
            if len(seen) > SUBJECT_BYTES:
                seen, cut = seen[:SUBJECT_BYTES], True
            if hidden:
                seen = hide(seen)
            for search in searches:
                if search(seen):
                    return not negated
        if cut and undecided:
            detail = f"its {NAMES[term.field]} is longer than the {SUBJECT_BYTES} bytes that a pattern sees"
            raise FactMissing(Reason.REASON_UNREADABLE, detail)
        return negated

    return holds


# The texts of a process that a term is about. Being in no unit or container is matched by no value, not even `*`.
_TEXTS: dict[int, Callable[[Facts], tuple[str, ...]]] = {
    Field.FIELD_CMDLINE: lambda facts: (facts.cmdline,),
    Field.FIELD_NAME: lambda facts: (facts.name,),
    Field.FIELD_PARENT: lambda facts: (facts.parent_name,),
    Field.FIELD_CGROUP: lambda facts: (facts.cgroup,),
    Field.FIELD_EXE: lambda facts: (facts.exe,),
    Field.FIELD_UNIT: lambda facts: (facts.unit,) if facts.unit else (),
    Field.FIELD_CONTAINER: lambda facts: (facts.container,) if facts.container else (),
    Field.FIELD_USER: lambda facts: (str(facts.uid), facts.user),
}


def _searches(term: Term, values: Iterable[str]) -> tuple[Search, ...]:
    if term.match == Match.MATCH_PATTERN:
        return tuple(compiled(value).search for value in values)
    if term.field == Field.FIELD_CONTAINER:
        # A container is named by the first digits of its id.
        values = [value if "*" in value else f"{value}*" for value in values]
    return tuple(compiled(_glob(value)).search for value in values)


@lru_cache(maxsize=256)  # guards, scans and strikes name the same units again and again
def _glob(glob: str) -> str:
    r"""A glob as an RE2 pattern of the whole text: `*`, `?`, `[abc]`, `[!a-z]`; an unclosed `[` is itself."""
    # fnmatch.translate writes atomic groups, which RE2 has not.
    pattern = ""
    for part in re.finditer(r"\[(!?)(\]?[^\]]*)\]|(.)", glob, re.DOTALL):
        negated, members, char = part.groups()
        if members:
            quoted = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
            pattern += f"[{'^' if negated else ''}{quoted}]"
        elif char is None:
            pattern += re2.escape(part[0])
        else:
            pattern += {"*": ".*", "?": "."}.get(char) or re2.escape(char)
    return rf"\A(?:{pattern})\z"
