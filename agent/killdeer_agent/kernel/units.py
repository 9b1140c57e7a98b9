"""systemd's unit files, read as systemd reads them: which file wins, drop-ins, continued lines, lists that reset.

Only what the agent asks: who restarts a unit, and what its `[X-Killdeer]` section allows.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from killdeer.v1.process_pb2 import Action

# First wins.
UNIT_DIRS = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
)

# Dying of one of these is a clean exit to systemd (systemd.service(5), Restart=).
_CLEAN = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})

_AFTER_CLEAN = frozenset({"always", "on-success"})
_AFTER_UNCLEAN = frozenset({"always", "on-failure", "on-abnormal", "on-abort"})


class Setting(NamedTuple):
    """One `Key=Value` and where it stands; `line` from 1."""

    section: str
    key: str
    value: str
    file: Path
    line: int


class Units:
    """The unit files of this host. Each question reads them anew."""

    def __init__(self, directories: tuple[Path, ...] = UNIT_DIRS) -> None:
        self.directories = directories

    def names(self) -> list[str]:
        """Every service that has a file or a drop-in of its own: `nginx.service`, templates `worker@.service`,
        instances `worker@3.service`. OSError when a directory that is there cannot be read."""
        found = set()
        for directory in self._there():
            for entry in directory.iterdir():
                name = entry.name.removesuffix(".d")
                if name.endswith(".service") and not name.endswith("-.service"):
                    found.add(name)
        return sorted(found)

    def settings(self, unit: str) -> list[Setting]:
        """All that is set for the unit, the last word last. None for a unit that is masked or has no files.
        OSError when a file that is there cannot be read."""
        read: list[Setting] = []
        main = self._main_file(unit)
        if main is not None:
            if main.resolve() == Path("/dev/null"):
                return []
            read.extend(parse_unit(main))
        for drop_in in self._drop_ins(unit):
            read.extend(parse_unit(drop_in))
        return read

    def restarts(self, unit: str, action: Action) -> bool:
        """Whether systemd is known to start the unit again when the action ends its main process. An instance of a
        template follows its template. What cannot be read is not known."""
        try:
            found = [one.value for one in self.settings(unit) if (one.section, one.key) == ("Service", "Restart")]
        except OSError:
            return False
        policy = found[-1] if found else "no"
        clean = action.HasField("terminate") or (action.HasField("kill") and action.kill.signal in _CLEAN)
        return policy in (_AFTER_CLEAN if clean else _AFTER_UNCLEAN)

    def _there(self) -> Iterator[Path]:
        return (directory for directory in self.directories if directory.is_dir())

    def _main_file(self, unit: str) -> Path | None:
        """The instance's own file in any directory goes before its template's."""
        template, at, _ = unit.partition("@")
        for name in dict.fromkeys((unit, f"{template}@.service" if at else unit)):
            for directory in self.directories:
                if (directory / name).exists():
                    return directory / name
        return None

    def _drop_ins(self, unit: str) -> list[Path]:
        """By name; of two of the same name the one of the earlier folder (systemd.unit(5))."""
        own = [f"{name}.d" for name in _drop_in_names(unit)]
        folders = [directory / name for directory in self.directories for name in own]
        folders += [directory / "service.d" for directory in self.directories]
        chosen: dict[str, Path] = {}
        for folder in folders:
            if folder.is_dir():
                for file in folder.glob("*.conf"):
                    chosen.setdefault(file.name, file)
        return [chosen[name] for name in sorted(chosen)]


def _drop_in_names(unit: str) -> list[str]:
    """`a-b@3.service` -> itself, `a-b@.service`, `a-.service`."""
    stem = unit.removesuffix(".service")
    template, at, instance = stem.partition("@")
    names = [unit]
    if at and instance:
        names.append(f"{template}@.service")
    parts = template.split("-")
    names += [f"{'-'.join(parts[:count])}-.service" for count in range(len(parts) - 1, 0, -1)]
    return names


def parse_unit(file: Path) -> list[Setting]:
    """Sections, `Key=Value`, comments, lines continued by a backslash. What is none of these is passed over, as
    systemd does."""
    found = []
    section = ""
    pending, begun = "", 0
    for number, raw in enumerate(file.read_text(errors="replace").splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        pending, begun = (pending + line, begun) if pending else (line, number)
        if pending.endswith("\\"):
            pending = pending[:-1].rstrip() + " "
            continue
        if pending.startswith("[") and pending.endswith("]"):
            section = pending[1:-1]
        else:
            key, equals, value = pending.partition("=")
            if equals:
                found.append(Setting(section, key.strip(), value.strip(), file, begun))
        pending = ""
    return found
