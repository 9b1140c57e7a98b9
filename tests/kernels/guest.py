"""A virtual machine, emulated, that runs the kernel tests and turns itself off."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support import emulator

MACHINE = (*emulator.QEMU, *emulator.ALONE, "-no-reboot", "-smp", "2", "-m", "2048")
# Programs on ramfs count as file pages, as on a disk; on tmpfs, the default, they would count as shared memory.
COMMAND_LINE = (
    f"{emulator.WORDS} oops=panic panic=-1 rootfstype=ramfs "
    "systemd.unit=killdeer-tests.service systemd.show_status=0"
)
PATIENCE_S = 1_700.0  # against hanging only


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the guest said. Tests are named MODULE::TEST."""

    release: str
    exit_code: int
    seconds: float  # that pytest took, by the guest's clock
    passed: tuple[str, ...]
    others: tuple[str, ...]  # failed, in error or skipped


class Guest:
    """Runs from when it is made. Not waiting for it is fine, as long as it is closed."""

    def __init__(self, folder: Path, kernel: Path, *archives: Path) -> None:
        """`archives`: what the guest's root is made of, each over the one before."""
        self._initramfs = folder / "initramfs"
        with self._initramfs.open("wb") as whole:
            for archive in archives:
                whole.write(archive.read_bytes())
        self._console, self._results = folder / "console", folder / "results"
        ports = ("-serial", f"file:{self._console}", "-serial", f"file:{self._results}")
        boot = ("-kernel", str(kernel), "-initrd", str(self._initramfs), "-append", COMMAND_LINE)
        self._process = subprocess.Popen((*MACHINE, *ports, *boot), stdin=subprocess.DEVNULL)

    def report(self) -> Report:
        """Waits for its end. AssertionError, with the console, where it brought no report."""
        try:
            self._process.wait(PATIENCE_S)
            return read(self._results.read_text())
        except (subprocess.TimeoutExpired, OSError, ValueError, ElementTree.ParseError) as problem:
            raise AssertionError(f"the guest brought no report: {problem}\n{self.console()}") from problem

    def console(self) -> str:
        return self._console.read_text(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._initramfs.unlink()


def read(results: str) -> Report:
    """ValueError or ParseError where the guest stopped in the middle."""
    release, code, report = results.split("\n", 2)
    tests = list(ElementTree.fromstring(report).iter("testcase"))
    told = [(f"{test.get('classname')}::{test.get('name')}", _passed(test)) for test in tests]
    return Report(
        release=release.strip(),
        exit_code=int(code),
        seconds=sum(float(test.get("time", "0")) for test in tests),
        passed=tuple(name for name, passed in told if passed),
        others=tuple(name for name, passed in told if not passed),
    )


def _passed(test: ElementTree.Element) -> bool:
    return all(test.find(word) is None for word in ("failure", "error", "skipped"))
