"""The series that a PromQL query reads, and the query that tells how old they are.

An instant query's own time is that of its evaluation, whatever it rests on; only `timestamp(SELECTOR)` and ranges
see when samples were taken. So the selectors are looked for, and asked about one by one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LABEL = "killdeer"
"""Of the answer's samples: `age N`, `in N` or `new N`, where N is the number of the selector."""

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:[a-z0-9]*))
      | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
# Followed by labels in parentheses, which are no series.
_LABELS_FOLLOW = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"}) | _LABELS_FOLLOW


@dataclass(frozen=True, slots=True)
class Selector:
    """`text` is as in the query: a name, labels, or both. `range` is what stands in its brackets, if it has any."""

    text: str
    range: str = ""


def selectors(query: str) -> list[Selector]:
    """Those that are read at the time of the query, each once. One with `offset` or `@` is old on purpose."""
    tokens = [match for match in _TOKEN.finditer(query) if match.lastgroup != "blank"]
    return list(dict.fromkeys(_found(query, tokens)))


def _found(query: str, tokens: Sequence[re.Match[str]]) -> Iterator[Selector]:
    at = 0
    while at < len(tokens):
        begun, word = at, tokens[at][0]
        at += 1
        if word.lower() in _LABELS_FOLLOW and _is(tokens, at, "("):
            at = _behind(tokens, at, "(", ")")
            continue
        if word == "[":  # of a subquery
            at = _behind(tokens, begun, "[", "]")
            continue
        if tokens[begun].lastgroup == "name":
            if word.lower() in _WORDS or _is(tokens, at, "(", "by", "without"):
                continue
            if _is(tokens, at, "{"):
                at = _behind(tokens, at, "{", "}")
        elif word == "{":
            at = _behind(tokens, begun, "{", "}")
        else:
            continue
        text = query[tokens[begun].start() : tokens[at - 1].end()]
        span = ""
        if _is(tokens, at, "["):
            end = _behind(tokens, at, "[", "]")
            # The steps of a subquery do not matter for how far back it looks.
            span = query[tokens[at].end() : tokens[end - 1].start()].partition(":")[0].strip()
            at = end
        if not _is(tokens, at, "offset", "@"):
            yield Selector(text, span)


def _is(tokens: Sequence[re.Match[str]], at: int, *words: str) -> bool:
    return at < len(tokens) and tokens[at].lastgroup in ("name", "sign") and tokens[at][0].lower() in words


def _behind(tokens: Sequence[re.Match[str]], at: int, opening: str, closing: str) -> int:
    """The place behind the bracket that closes the one at `at`; the end where none does."""
    depth = 0
    while at < len(tokens):
        depth += tokens[at][0] == opening
        depth -= tokens[at][0] == closing
        at += 1
        if not depth:
            break
    return at


def ages(read: Sequence[Selector], fresh_within_ms: int) -> str:
    """The query that tells of each selector whether anything of it is in the value, and whether that is fresh."""
    asked: list[str] = []
    for number, selector in enumerate(read):
        if selector.range:
            asked.append(_named(f"in {number}", f"count(count_over_time({selector.text}[{selector.range}]))"))
            asked.append(_named(f"new {number}", f"count(count_over_time({selector.text}[{fresh_within_ms}ms]))"))
        else:
            asked.append(_named(f"age {number}", f"time() - max(timestamp({selector.text}))"))
    return " or ".join(asked)


def _named(name: str, query: str) -> str:
    return f'label_replace({query}, "{LABEL}", "{name}", "", "")'


def stale(read: Sequence[Selector], fresh_within_ms: int, told: Mapping[str, float]) -> str:
    """Why the value is not fresh, by what `ages` told; empty: it is.

    The newest sample of a selector counts, for series end when their processes do. A selector without any adds
    nothing old to the value; a value that rests on no series at all is as old as one likes.
    """
    fresh_s = fresh_within_ms / 1_000
    rests_on_some = False
    for number, selector in enumerate(read):
        age = told.get(f"age {number}")
        rests_on_some |= age is not None or f"in {number}" in told
        if age is not None and age > fresh_s:
            return f"the newest sample of {selector.text} is {age:.1f}s old; fresh_within is {fresh_s:g}s"
        if f"in {number}" in told and f"new {number}" not in told:
            return f"{selector.text} has had no sample for {fresh_s:g}s, its fresh_within"
    if not rests_on_some:
        return (
            "nothing that is scraped now is in it, so it cannot be told how old it is; "
            "put a series into the query that is always there, or leave out fresh_within"
        )
    return ""
