"""Which lines of requirements.lock a package needs: what the project asks for itself and by some extras, and all
that these ask for in turn, as pip-compile notes it (`# via`)."""

import re
import tomllib
from collections.abc import Collection, Iterator

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==")
_VIA = re.compile(r"^ +# +(?:via )?(?P<by>\S+)")


def requirements(lock: str, pyproject: str, extras: Collection[str]) -> str:
    """The lock, versions and hashes, of these extras alone. KeyError: an extra, or a pin of what is asked for."""
    project = tomllib.loads(pyproject)["project"]
    asked = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    pins = {name: (text, by) for name, text, by in _pins(lock)}
    wanted = {_name(re.split(r"[\[<>=!~; ]", one)[0]) for one in asked}
    while more := {name for name, (_, by) in pins.items() if by & wanted} - wanted:
        wanted |= more
    return "".join(pins[name][0] for name in sorted(wanted))  # KeyError: `make lock` is due


def _pins(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Name, text, and who asks for it."""
    for text in re.split(r"(?m)^(?=[A-Za-z0-9])", lock):
        if found := _PINNED.match(text):
            by = {_name(line["by"]) for line in map(_VIA.match, text.splitlines()) if line}
            lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            yield _name(found[1]), "\n".join(lines) + "\n", by


def _name(written: str) -> str:
    return re.sub(r"[-_.]+", "-", written).lower()
