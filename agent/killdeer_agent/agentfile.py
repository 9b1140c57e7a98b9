"""agent.toml, as a program changes it: a few keys, each in its own line, and nothing else of what people wrote."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from killdeer_agent.identity import Owner, Staged, staged

NEW = "# The agent's configuration, made when this host joined. Every key: the commented example, agent.toml.\n"
DEFAULT_STATE = Path("/var/lib/killdeer")
_MODE = 0o644

Value = str | list[str]


class AgentFileError(Exception):
    """The file cannot be read or changed; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class AgentFile:
    path: Path
    text: str
    table: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "AgentFile":
        """An empty one where there is none. Raises AgentFileError."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path, NEW, {})
        except (OSError, UnicodeDecodeError) as error:
            raise AgentFileError(f"cannot read {path}: {error}") from error
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise AgentFileError(f"cannot read {path}: {error}; mend it first") from error

    @property
    def host(self) -> str:
        """As it says; empty where it does not."""
        return str(self.table.get("host", ""))

    @property
    def state(self) -> Path:
        return Path(self.table.get("state", DEFAULT_STATE))

    def coordinators_or(self, told: Sequence[str]) -> Sequence[str]:
        """Those that it names, if they hold all that were told: somebody has added more."""
        named = self.table.get("coordinators")
        return named if isinstance(named, list) and set(told) <= set(named) else told

    @contextmanager
    def edited(self, values: Mapping[str, Value]) -> Iterator[Staged]:
        """With these values, beside the file until it is committed. Raises AgentFileError, OSError."""
        text = with_values(self.text, values)
        try:
            fits = tomllib.loads(text) == {**self.table, **values}
        except tomllib.TOMLDecodeError:
            fits = False
        if not fits:
            lines = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
            raise AgentFileError(f"cannot change {self.path}: it is written in another way; say there {lines}")
        mode, owner = _MODE, None
        if self.path.exists():
            stat = self.path.stat()
            mode, owner = stat.st_mode & 0o777, Owner(stat.st_uid, stat.st_gid)
        with staged(self.path, text.encode(), owner, mode) as one:
            yield one


def with_values(text: str, values: Mapping[str, Value]) -> str:
    """Each in the place of its line, or below its commented default, or before the first table."""
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if re.match(r"\s*\[", line)), len(lines))
    head, tail = lines[:end], lines[end:]
    for key, value in values.items():
        new = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        said = _line_of(head, rf"\s*{key}\s*=")
        hinted = _line_of(head, rf"\s*#\s*{key}\s*=")
        if said is not None:
            head[said] = new
        elif hinted is not None:
            head.insert(hinted + 1, new)
        else:
            while head and not head[-1].strip():
                head.pop()
            head += [new, ""] if tail else [new]
    return "\n".join([*head, *tail]) + "\n"


def _line_of(lines: Sequence[str], pattern: str) -> int | None:
    return next((at for at, line in enumerate(lines) if re.match(pattern, line)), None)
