"""What is wrong with a file, and where: file, line, column, the line itself, and the nearest valid key."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")

# A key of the file, or an index into a list, from the top down: ("waves", 0, "strikes").
Path = tuple[str | int, ...]

_SHOWN = 50  # faults printed; a file with more has one cause
_WIDEST = 100  # characters of a line that are shown
_ESCAPED = {"x": 4, "u": 6, "U": 10}  # characters of an escape in double quotes; of all others 2
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Line and column, both from 1; a column counts characters."""

    line: int
    column: int


START = Place(line=1, column=1)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with the value at `path`, before its place in the file is known.

    The path is relative to the value that was read. With `of_key` the key is at fault, not its value; with
    an `offset` it is what stands that many characters into the text of the value.
    A message that begins with "wants" gets the name of the key put in front.
    """

    message: str
    path: Path = ()
    of_key: bool = False
    nearest: str = ""
    offset: int | None = None


class Unfit(ValueError):
    """A value is not what its key wants; holds every Problem found in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


def unfit(message: str) -> Unfit:
    return Unfit(Problem(message=message))


def read_at(path: Path, read: Callable[[object], T], value: object) -> T:
    """What `read` makes of the value; the problems it raises get `path` in front of theirs."""
    try:
        return read(value)
    except Unfit as fault:
        raise Unfit(*(replace(problem, path=(*path, *problem.path)) for problem in fault.problems)) from fault


def read_all(read: Callable[[object], T], values: Iterable[tuple[Path, object]]) -> list[T]:
    """What `read` makes of each value; raises Unfit with the problems of them all."""
    results: list[T] = []
    problems: list[Problem] = []
    for path, value in values:
        try:
            results.append(read_at(path, read, value))
        except Unfit as fault:
            problems += fault.problems
    if problems:
        raise Unfit(*problems)
    return results


def each(value: object) -> list[tuple[Path, object]]:
    """One value, or those of a list, with their paths."""
    return [((index,), item) for index, item in enumerate(value)] if isinstance(value, list) else [((), value)]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a file."""

    file: str
    line: int
    column: int
    message: str
    excerpt: str
    nearest: str = ""

    def render(self) -> str:
        """`bad.yaml:2:1: …`, then the line, then a caret under the column."""
        head = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if not self.excerpt.strip():
            return head
        at = self.column - 1
        begin = max(0, at - _WIDEST // 2) if len(self.excerpt) > _WIDEST else 0
        shown = self.excerpt[begin : begin + _WIDEST].rstrip()
        return f"{head}\n    {shown}\n    {' ' * (at - begin)}^"


class FileFaults(ValueError):
    """A file cannot be used as an experiment; `faults` holds every reason, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        super().__init__(self.faults)

    def __str__(self) -> str:
        lines = [fault.render() for fault in self.faults[:_SHOWN]]
        if len(self.faults) > _SHOWN:
            lines.append(f"and {len(self.faults) - _SHOWN} more")
        return "\n".join(lines)


class Source:
    """The text of one file, for faults to show lines of."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines = _LINE_ENDS.split(text)

    def fault(self, place: Place, message: str, nearest: str = "") -> Fault:
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        return Fault(
            file=self.file,
            line=place.line,
            column=place.column,
            message=message,
            excerpt="".join(_printable(character) for character in line),
            nearest=nearest,
        )

    def within(self, place: Place, style: str, offset: int) -> Place:
        """Where in its line the character at `offset` of a text stands, which begins at `place`.

        `style` is the quote around the text, or empty. The text is on one line.
        """
        line, at = self.lines[place.line - 1], place.column - 1 + len(style)
        for _ in range(offset):
            if style == "'" and line.startswith("''", at):
                at += 2
            elif style == '"' and line.startswith("\\", at):
                at += _ESCAPED.get(line[at + 1 : at + 2], 2)
            else:
                at += 1
        return Place(line=place.line, column=at + 1)


def place_of(text: str, position: int) -> Place:
    """The place of the character at `position`, from 0."""
    ends = [end.end() for end in _LINE_ENDS.finditer(text, 0, position)]
    return Place(line=len(ends) + 1, column=position - (ends[-1] if ends else 0) + 1)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7) if len(word) <= 64 else []
    return close[0] if close else ""


def unknown_key(key: str, known: Sequence[str], path: Path = ()) -> Problem:
    """The problem of a key that is none of `known`; `path` ends in it."""
    near = nearest(key, known)
    hint = f"did you mean {near!r}?" if near else f"known here are {', '.join(known)}"
    return Problem(message=f"unknown key {short(key)}: {hint}", path=path, of_key=True, nearest=near)


def short(text: str) -> str:
    """Text for a message: quoted, and cut where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _printable(character: str) -> str:
    if character == "\t":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
