"""Named contexts: which coordinators to speak to, and as whom.

They live in `~/.config/killdeer/config.toml`, or in the file that KILLDEER_CONFIG names.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

SERVER_NAME = "killdeer-coordinator"


class ContextError(ValueError):
    """The configuration cannot be used; the message names the file, the cause and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Where a fleet is, and the operator's keys to it."""

    name: str
    coordinators: tuple[str, ...]
    """host:port of each coordinator's operator listener."""
    ca: Path
    """PEM file of the CA that signed the coordinators."""
    cert: Path
    """PEM file of the operator's certificate."""
    key: Path
    """PEM file of its key."""
    production: bool = False
    """Strikes are asked about, whatever the experiment's environment."""
    server_name: str = SERVER_NAME
    """The DNS name that the coordinators' certificates carry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contexts:
    """One configuration file, read."""

    path: Path
    current: str
    known: Mapping[str, Context]

    def choose(self, name: str = "") -> Context:
        """The named context, else the current one. Raises ContextError."""
        wanted = name or self.current
        if not wanted:
            raise ContextError(
                f"cannot choose a context: {self.path} names no current one; set it with: killdeer context use NAME"
            )
        if wanted not in self.known:
            raise ContextError(
                f"cannot find the context {wanted!r} in {self.path}: {_nearest(wanted, self.known, 'contexts')}"
            )
        return self.known[wanted]


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    if named := environment.get("KILLDEER_CONFIG"):
        return Path(named)
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "killdeer" / "config.toml"


def load_contexts(path: Path | None = None) -> Contexts:
    """Reads the file; relative paths in it are taken from its own folder. Raises ContextError."""
    path = path or config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ContextError(
            f"cannot find {path}: there is no context yet; make a fleet to try with `killdeer sandbox start`,"
            " or set KILLDEER_CONFIG"
        ) from None
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror}") from error
    return parse_contexts(text, path)


def parse_contexts(text: str, path: Path) -> Contexts:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContextError(f"cannot read {path}: {error}") from error
    _refuse_unknown(table, ("current", "context"), f"{path}")
    current, sections = table.get("current", ""), table.get("context", {})
    if not isinstance(current, str) or not isinstance(sections, dict):
        raise ContextError(f'cannot read {path}: write current = "NAME" and a [context.NAME] for each')
    return Contexts(
        path=path,
        current=current,
        known={name: _context(name, section, path) for name, section in sections.items()},
    )


def with_current(text: str, name: str) -> str:
    """The configuration's text with another current context; comments and order stay."""
    line = f"current = {json.dumps(name)}"
    head, mark, tail = _before_first_table(text)
    changed, count = re.subn(r"(?m)^[ \t]*current[ \t]*=.*$", lambda _: line, head, count=1)
    return (changed if count else f"{line}\n{head}") + mark + tail


def _before_first_table(text: str) -> tuple[str, str, str]:
    found = re.search(r"(?m)^[ \t]*\[", text)
    return (text, "", "") if found is None else (text[: found.start()], "", text[found.start() :])


def _context(name: str, section: object, path: Path) -> Context:
    where = f"{path}: [context.{name}]"
    if not isinstance(section, dict):
        raise ContextError(f"cannot read {where}: it is no table")
    settings = {field.name for field in fields(Context)} - {"name"}
    _refuse_unknown(section, sorted(settings), where)
    for required in ("coordinators", "ca", "cert", "key"):
        if required not in section:
            raise ContextError(f"cannot use {where}: {required!r} is missing")
    coordinators = section["coordinators"]
    if (
        not isinstance(coordinators, list)
        or not coordinators
        or not all(isinstance(one, str) and re.fullmatch(r".+:\d{1,5}", one) for one in coordinators)
    ):
        raise ContextError(f'cannot use {where}: coordinators is a list such as ["127.0.0.1:7443"]')
    for text_setting in ("ca", "cert", "key", "server_name"):
        if not isinstance(section.get(text_setting, ""), str):
            raise ContextError(f"cannot use {where}: {text_setting} is a text")
    production = section.get("production", False)
    if not isinstance(production, bool):
        raise ContextError(f"cannot use {where}: production is true or false")
    ca, cert, key = ((path.parent / Path(section[part]).expanduser()) for part in ("ca", "cert", "key"))
    return Context(
        name=name,
        coordinators=tuple(coordinators),
        ca=ca,
        cert=cert,
        key=key,
        production=production,
        server_name=section.get("server_name", SERVER_NAME),
    )


def _refuse_unknown(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ContextError(f"cannot use {where}: unknown key {key!r}; {_nearest(key, known, 'keys')}")


def _nearest(word: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known {what} are {', '.join(names) or 'none'}"
