"""YAML text -> plain values, and the place of every one of them.

ruamel.yaml's YAML 1.2 parser does the reading, one event at a time. Its events carry line and column, and
taking them (instead of the finished mapping) lets all duplicate keys be reported together, and stops a
hostile file at the first event too many.

What an experiment has no use for is refused by name: anchors, aliases, merge keys, tags, several documents,
and numbers that people and programs read differently (012, 1_000, 0x1F).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    StreamEndEvent,
)

from killdeer_experiment.faults import START, Fault, FileFaults, Path, Place, Source, place_of, short
from killdeer_experiment.plain import Odd, Value, resolve

LARGEST = 256 * 1024  # bytes
_DEEPEST = 12
_MOST_VALUES = 5_000

_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_NO_TOKEN = re.compile(r"found character ('.+?'|\".+?\") that cannot start any token")


@dataclass(kw_only=True)
class Tree:
    """A file's values and where they are; `faults` are those of its form.

    `styles` has the quote around each text that is on one line, or nothing where it goes without.
    """

    data: Value = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    styles: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Path, *, of_key: bool = False) -> Place:
        """Where the value (or the key) at `path` is, or else the nearest thing above it."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values and path not in self.keys:
            path = path[:-1]
        return self.values.get(path) or self.keys.get(path, START)


def read(source: Source, text: str) -> Tree:
    """The values of a YAML text. Raises FileFaults where it cannot be parsed to its end."""
    unreadable = _UNREADABLE.search(text)
    if unreadable:
        code = f"U+{ord(unreadable[0]):04X}"
        message = f"cannot read the character {code}: a file is text, without control characters"
        raise FileFaults([source.fault(place_of(text, unreadable.start()), message)])
    return _Reading(source).read(text)


class _Reading:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.tree = Tree()
        self.count = 0

    def read(self, text: str) -> Tree:
        parser = YAML(typ="safe", pure=True)
        self.last = START
        try:
            self.events: Iterator[Event] = iter(parser.parse(text))
            self._document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(line=mark.line + 1, column=mark.column + 1) if mark else self.last
            raise FileFaults([*self.tree.faults, self.source.fault(place, _explained(error))]) from error
        except FileFaults:
            raise
        except Exception as error:
            # The parser lets slip other errors on hostile input (an escape past the last character, say).
            message = f"cannot read the YAML from here on: {error}"
            raise FileFaults([*self.tree.faults, self.source.fault(self.last, message)]) from error
        return self.tree

    def _next(self) -> Event:
        event = next(self.events)
        self.last = _start(event)
        return event

    def _document(self) -> None:
        documents = 0
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._fault(event, "a second document: an experiment is one document, without a second ---")
                if event.version not in (None, (1, 2)):
                    self._fault(event, "cannot read this version of YAML: experiments are YAML 1.2")
            elif isinstance(event, NodeEvent):
                value = self._value(event, (), documents == 1)
                if documents == 1:
                    self.tree.data = value

    def _value(self, event: Event, path: Path, kept: bool) -> Value:
        """The value that begins with `event`; its place is noted where it is `kept`."""
        self.count += 1
        if self.count > _MOST_VALUES:
            self._stop(event, f"more than {_MOST_VALUES} values: an experiment is smaller")
        absent = isinstance(event, ScalarEvent) and not event.value and not event.style
        if kept and not (absent and path in self.tree.keys):  # what is not there is shown by its key
            self.tree.values[path] = _start(event)
        strange = self._strange(event)
        value: Value = None
        if isinstance(event, CollectionStartEvent):
            if len(path) >= _DEEPEST:
                self._stop(event, f"nested deeper than {_DEEPEST}: an experiment is flatter")
            value = self._mapping(path, kept) if isinstance(event, MappingStartEvent) else self._list(path, kept)
        elif isinstance(event, ScalarEvent):
            value = event.value if event.style else resolve(event.value)
            if kept and event.start_mark.line == event.end_mark.line and event.style in (None, "", "'", '"'):
                self.tree.styles[path] = event.style or ""
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                self._fault(event, "cannot read this text: half a surrogate pair is no character")
                strange = True
        return Odd(kind="value", written="") if strange else value

    def _list(self, path: Path, kept: bool) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := self._next(), CollectionEndEvent):
            items.append(self._value(event, (*path, len(items)), kept))
        return items

    def _mapping(self, path: Path, kept: bool) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while not isinstance(event := self._next(), CollectionEndEvent):
            key = self._key(event, path)
            fresh = kept and key is not None and key not in found
            if key is not None and key in found:
                first = self.tree.keys.get((*path, key))
                said = f": it is on line {first.line} already" if first else ""
                self._fault(event, f"duplicate key {short(key)}{said}")
            inner = (*path, key or "")
            if fresh:
                self.tree.keys[inner] = _start(event)
            value = self._value(self._next(), inner, fresh)
            if key is not None and key not in found:
                found[key] = value
        return found

    def _key(self, event: Event, path: Path) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._value(event, (*path, ""), kept=False)
            if not isinstance(event, AliasEvent):
                self._fault(event, "a key is a word, not a list or a mapping (text with braces needs quotes)")
            return None
        if self._strange(event):
            return None
        if event.value == "<<" and not event.style:
            self._fault(event, "merge keys (<<) are not read: write the values out")
            return None
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            self._fault(event, "cannot read this key: half a surrogate pair is no character")
            return None
        return str(event.value)

    def _strange(self, event: Event) -> bool:
        if isinstance(event, AliasEvent):
            self._fault(event, f"aliases (*{event.anchor}) are not read: write the value out; text needs quotes")
        elif isinstance(event, NodeEvent) and event.anchor is not None:
            self._fault(event, f"anchors (&{event.anchor}) are not read: write the value out where it is used")
        elif tag := getattr(event, "tag", None):
            self._fault(event, f"tags ({tag}) are not read: write text in quotes instead")
        else:
            return False
        return True

    def _fault(self, event: Event, message: str) -> None:
        self.tree.faults.append(self.source.fault(_start(event), message))

    def _stop(self, event: Event, message: str) -> None:
        raise FileFaults([*self.tree.faults, self.source.fault(_start(event), message)])


def _start(event: Event) -> Place:
    mark = event.start_mark
    return Place(line=mark.line + 1, column=mark.column + 1) if mark else START


def _explained(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "it ends too early")
    if "'\\t'" in problem:
        return "a tab: YAML is indented with spaces"
    refused = _NO_TOKEN.search(problem)
    if refused:
        return f"cannot read the YAML: text that begins with {refused[1]} needs quotes"
    if "alias" in str(error.context):
        return "cannot read the YAML: text that begins with * needs quotes"
    context = f" {error.context}," if error.context and error.problem else ""
    return f"cannot read the YAML:{context} {problem}"
