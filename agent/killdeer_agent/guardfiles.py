"""Reads the guard: guard.d/*.toml and the `[X-Killdeer]` sections of units. Whole, or not at all (I10, R29)."""

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from killdeer.terms import CHOOSING, TermError, parse_selector
from killdeer.v1.process_pb2 import Field, Match, Selector, Term
from killdeer_agent.core.guard import ACTIONS, Guard, Rule
from killdeer_agent.core.selector import Matcher, SelectorError, compiled
from killdeer_agent.kernel.units import Setting, Units

_SECTION = "X-Killdeer"

_TABLES = ("allow", "deny", "rate", "redact")


class GuardProblem(Exception):
    """cannot use the guard: FILE:LINE: what is wrong, and what to do. Nothing is allowed until it is put right."""


@dataclass(slots=True)
class _Read:
    """What has been read so far."""

    allow: list[Rule] = field(default_factory=list)
    deny: list[Rule] = field(default_factory=list)
    rates: list[int] = field(default_factory=list)
    redactions: list[Any] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)


def load_guard(directory: Path, own: frozenset[int], unit_dirs: tuple[Path, ...], trusted_uid: int = 0) -> Guard:
    """The guard of this host. Never raises: what is wrong is its `problem`, and then it allows nothing.

    A directory that is not there is an empty guard. Files must belong to root or `trusted_uid` (the agent's own
    where the agent is not a system's), and nobody else may write to them.
    """
    trusted = frozenset({0, trusted_uid})
    read = _Read()
    unit_directory = str(unit_dirs[0]) if unit_dirs else Guard().unit_directory
    problem = ""
    try:
        for file in _guard_files(directory, trusted):
            _read_file(file, trusted, read)
        _read_consents(Units(unit_dirs), trusted, read)
    except GuardProblem as error:
        problem = f"cannot use the guard: {error}"
    except OSError as error:
        problem = f"cannot use the guard: cannot read {error.filename}: {error.strerror}"
    if problem:
        read = _Read(seen=[problem.encode()])
    return Guard(
        own=own,
        allow=tuple(read.allow),
        deny=tuple(read.deny),
        per_minute=min(read.rates, default=None),
        redactions=tuple(read.redactions),
        version=sha256(b"\0".join(read.seen)).hexdigest()[:16],
        problem=problem,
        directory=str(directory),
        unit_directory=unit_directory,
    )


def _guard_files(directory: Path, trusted: frozenset[int]) -> list[Path]:
    try:
        _check_owner(directory, directory.stat(), trusted)
        return sorted(file for file in directory.iterdir() if file.suffix == ".toml")
    except FileNotFoundError:
        return []


def _check_owner(file: Path, found: os.stat_result, trusted: frozenset[int]) -> None:
    if found.st_uid not in trusted:
        raise GuardProblem(f"{file}: it belongs to uid {found.st_uid}: chown it to root")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise GuardProblem(f"{file}: others may write to it: chmod go-w {file}")


def _read_file(file: Path, trusted: frozenset[int], read: _Read) -> None:
    with file.open("rb") as opened:
        _check_owner(file, os.fstat(opened.fileno()), trusted)
        raw = opened.read()
    read.seen += [file.name.encode(), raw]
    try:
        text = raw.decode()
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise GuardProblem(f"{file}: it is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise GuardProblem(f"{file}: {error}") from error
    _GuardFile(file, text).into(read, tables)


class _GuardFile:
    """One file's tables, checked; a problem names the file, and the line where it can be found."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()

    def into(self, read: _Read, tables: Mapping[str, Any]) -> None:
        self._known(tables, _TABLES, "table")
        for table in self._tables(tables, "allow"):
            self._known(table, ("process", "actions"), "key")
            actions = self._texts(table, "actions")
            for action in actions:
                if action not in ACTIONS:
                    raise self._problem(action, f"unknown action {action!r}{_nearest(action, ACTIONS)}")
            read.allow.append(self._rule(table, actions=frozenset(actions)))
        for table in self._tables(tables, "deny"):
            self._known(table, ("process",), "key")
            read.deny.append(self._rule(table, strict=True))
        if "rate" in tables:
            read.rates.append(self._per_minute(tables["rate"]))
        if "redact" in tables:
            read.redactions += self._redactions(tables["redact"])

    def _rule(
        self, table: Mapping[str, Any], *, strict: bool = False, actions: frozenset[str] = frozenset()
    ) -> Rule:
        texts = self._texts(table, "process")
        try:
            selector = parse_selector(texts)
            if any(term.field in CHOOSING for term in selector.terms):
                raise TermError("oldest and newest choose at the draw: a rule names what may be hit at any time")
            matcher = Matcher(selector, strict=strict)
        except (TermError, SelectorError) as error:
            raise self._problem(texts[0], str(error)) from error
        return Rule(matcher=matcher, source=str(self._file), actions=actions)

    def _per_minute(self, table: object) -> int:
        if not isinstance(table, dict):
            raise self._problem("rate", "rate must be a table: [rate]")
        self._known(table, ("per_minute",), "key")
        value = table.get("per_minute")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._problem("per_minute", "per_minute must be a whole number of 1 or more")
        return value

    def _redactions(self, table: object) -> list[Any]:
        if not isinstance(table, dict):
            raise self._problem("redact", "redact must be a table: [redact]")
        self._known(table, ("patterns",), "key")
        try:
            return [compiled(pattern) for pattern in self._texts(table, "patterns")]
        except SelectorError as error:
            raise self._problem("patterns", str(error)) from error

    def _tables(self, tables: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        found = tables.get(name, [])
        if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
            raise self._problem(name, f"{name} must be a list of tables: write [[{name}]]")
        return found

    def _texts(self, table: Mapping[str, Any], key: str) -> list[str]:
        found = table.get(key)
        if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
            raise self._problem(key, f'{key} must be a list of texts, and not empty: {key} = ["..."]')
        return found

    def _known(self, table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
        for key in table:
            if key not in known:
                raise self._problem(key, f"unknown {what} {key!r}{_nearest(key, known)}")

    def _problem(self, near: str, message: str) -> GuardProblem:
        """`near` is a word of the line at fault; the first line that holds it is named."""
        word = re.compile(rf"(?<![\w-]){re.escape(near)}(?![\w-])")
        line = next((f":{number}" for number, line in enumerate(self._lines, 1) if word.search(line)), "")
        return GuardProblem(f"{self._file}{line}: {message}")


def _read_consents(units: Units, trusted: frozenset[int], read: _Read) -> None:
    """Each unit with a section becomes an allow rule. A template's covers its instances but those that have a file
    or a drop-in of their own: they speak for themselves."""
    names = units.names()
    for name in names:
        settings = [one for one in units.settings(name) if one.section == _SECTION]
        for setting in settings:
            _check_owner(setting.file, setting.file.stat(), trusted)
        actions = _allowed(settings)
        if not actions:
            continue
        read.seen += [name.encode(), " ".join(sorted(actions)).encode()]
        template = name.removesuffix("@.service") if name.endswith("@.service") else None
        instances = [
            one for one in names if template is not None and one.startswith(f"{template}@") and one != name
        ]
        source = str(settings[-1].file)
        read.allow.append(Rule(matcher=_consent(name, template, instances), source=source, actions=actions))


def _allowed(settings: list[Setting]) -> frozenset[str]:
    """`Allow=` adds up over lines and drop-ins; an empty one takes back all before it, as in systemd's lists."""
    allowed: set[str] = set()
    for one in settings:
        place = f"{one.file}:{one.line}"
        if one.key != "Allow":
            raise GuardProblem(f"{place}: unknown key {one.key!r}{_nearest(one.key, ('Allow',))}")
        for action in one.value.split():
            if action not in ACTIONS:
                raise GuardProblem(f"{place}: unknown action {action!r}{_nearest(action, ACTIONS)}")
        allowed = allowed | set(one.value.split()) if one.value else set()
    return frozenset(allowed)


def _consent(name: str, template: str | None, instances: list[str]) -> Matcher:
    glob = name if template is None else f"{template}@*.service"
    terms = [Term(field=Field.FIELD_UNIT, match=Match.MATCH_GLOB, values=[glob])]
    if instances:
        terms.append(Term(field=Field.FIELD_UNIT, match=Match.MATCH_GLOB, negated=True, values=instances))
    return Matcher(Selector(terms=terms))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}"
