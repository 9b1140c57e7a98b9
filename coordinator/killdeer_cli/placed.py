"""A text put into a file: whole or not at all, and never over something else's file."""

import contextlib
import os
import re
from pathlib import Path

from killdeer_cli.exits import Refused

_HEAD = 4_096
"""Characters among which a file of ours has its stamp."""


def file_name(wanted: str) -> str:
    """A name for a file in the current folder, whatever the coordinator calls its runs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", wanted)


def place(text: str, path: Path, stamp: str) -> None:
    """Replaces only a file that has the same stamp. Raises Refused, and then nothing has changed."""
    try:
        if os.path.lexists(path) and not _ours(path, stamp):
            raise Refused(
                f"cannot write {path}: it is there, and is no {stamp}", "name another file with --output FILE"
            )
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("x", encoding="utf-8") as written:
                written.write(text)
            part.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}", "name another file with --output FILE") from error


def _ours(path: Path, stamp: str) -> bool:
    # A device or a link is nobody's report, and its place is not to be taken.
    if path.is_symlink() or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as found:
        return re.search(rf"{re.escape(stamp)}(?![\w-])", found.read(_HEAD)) is not None
