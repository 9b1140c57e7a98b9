"""Which program a process ran, as a path. The kernel's record has the file alone (device and inode), since a path
cannot be had where it is made; a path is named only if it leads to that very file now.
"""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

from killdeer_agent.kernel import layout

MOST_KEPT: Final = 4_096
_MINOR_BITS: Final = 20  # of a device number inside the kernel (MINORBITS)

File = tuple[int, int]  # device, inode; as the kernel has them


class Executables:
    """Learns paths from execs and from processes that are still there. Whose executable may not be read (without
    CAP_SYS_PTRACE that is everybody else's) is known by its exec, or by what it calls itself.

    Not for several threads at once.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._paths: OrderedDict[File, str] = OrderedDict()
        self._silent: OrderedDict[tuple[int, int, File], None] = OrderedDict()  # who could not say
        self._sure: dict[File, str] = {}  # looked at since `begin`

    def begin(self) -> None:
        """A drain of the record begins: what was sure before is to be looked at again."""
        self._sure.clear()

    def executed(self, process: layout.Party, name: str) -> None:
        """The name that an exec was asked for: of a script it is not the program's."""
        file = _file_of(process)
        if file[1] and not self._sure.get(file) and name.startswith("/"):
            self._learn(file, name)

    def path_of(self, process: layout.Party) -> str:
        """Empty where it is not certain."""
        file = _file_of(process)
        if not file[1]:
            return ""
        if file not in self._sure:
            kept = self._paths.get(file, "")
            self._sure[file] = kept if kept and _is(kept, file) else ""
        return self._sure[file] or self._ask(process, file)

    def _ask(self, process: layout.Party, file: File) -> str:
        """Of the process itself. That it is another one by now would show: it would run another file."""
        asked = (process.host_pid, process.start_ns, file)
        if not process.pid or asked in self._silent:
            return ""
        folder = self._proc / str(process.pid)
        try:
            path = str((folder / "exe").readlink())
            if _is(folder / "exe", file):
                self._keep(file, path)
                return path
        except OSError:
            pass
        try:
            itself = (folder / "cmdline").read_bytes().partition(b"\0")[0]
        except OSError:
            itself = b""
        if itself.startswith(b"/") and self._learn(file, os.fsdecode(itself)):
            return self._sure[file]
        self._silent[asked] = None
        if len(self._silent) > MOST_KEPT:
            self._silent.popitem(last=False)
        return ""

    def _learn(self, file: File, name: str) -> bool:
        if not _is(name, file):
            return False
        self._keep(file, os.path.realpath(name))
        return True

    def _keep(self, file: File, path: str) -> None:
        self._sure[file] = self._paths[file] = path
        self._paths.move_to_end(file)
        if len(self._paths) > MOST_KEPT:
            self._paths.popitem(last=False)


def _file_of(process: layout.Party) -> File:
    return process.file_device, process.file


def _is(path: str | Path, file: File) -> bool:
    """Filesystems over others (overlay, btrfs) show another device than the kernel has, also one without major."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for each event
    except (OSError, ValueError):
        return False
    device, inode = file
    major, minor = device >> _MINOR_BITS, device & (1 << _MINOR_BITS) - 1
    there = os.major(found.st_dev), os.minor(found.st_dev)
    return found.st_ino == inode and (there == (major, minor) or (not major and not there[0]))
