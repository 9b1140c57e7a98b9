"""The experiment file that was named, read and checked here, before anybody is asked.

The checks come with pydantic, so they are imported when a file is read.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from killdeer_cli.exits import BadFile, Refused

if TYPE_CHECKING:
    from killdeer_experiment.file import Experiment


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error


def read_checked(path: Path) -> "tuple[str, Experiment]":
    """(text, what it means). Every fault in it is said with its place."""
    from killdeer_experiment.faults import FileFaults
    from killdeer_experiment.file import load

    text = read_text(path)
    try:
        return text, load(text, str(path))
    except FileFaults as faults:
        raise BadFile(str(faults)) from faults
