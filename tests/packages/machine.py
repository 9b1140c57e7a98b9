"""A Debian 12 with systemd as pid 1, in a container (systemd-nspawn): a machine to install packages on.

Debian itself is kept in the user's cache folder, by the hash of its recipe; each machine is a copy of it.
"""

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support import debian
from tests.support.fleet import Said, wait_until

PACKAGES = ("systemd", "systemd-sysv", "dbus", "procps", "python3", "libbpf1")
TOOLS = ("systemd-nspawn", "debootstrap", "nsenter", "apt-get")
CGROUPS = Path("/sys/fs/cgroup")
# Against hanging only.
PATIENCE_S = 120.0


def obstacle() -> str:
    """Why there can be none here; empty: there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt install systemd-container debootstrap util-linux"
    return "" if os.geteuid() == 0 else "needs root: systemd-nspawn boots a machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    root: Path
    init: int
    """Its systemd, by our pid."""

    def ran(self, *command: str, code: int | None = 0, **environment: str) -> Said:
        """What a command on it said; its exit code is checked unless None is given."""
        within = ("nsenter", f"--target={self.init}", *NAMESPACES, "--", *command)
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            within,
            env=path | {"DEBIAN_FRONTEND": "noninteractive", "NO_COLOR": "1"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert code is None or said.code == code, (
            f"{command}: exit {said.code}\n{said.out}\n{said.err}\n{self.journal()}"
        )
        return said

    def shown(self, unit: str, name: str) -> str:
        return self.ran("systemctl", "show", "--value", f"--property={name}", unit).out.strip()

    def journal(self) -> str:
        command = ("journalctl", "--no-pager", "--lines=60", f"--root={self.root}")
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def files(self) -> dict[str, tuple[int, int, int]]:
        """Mode, uid and gid of each file that lasts, by its path; not what is mounted over it."""
        found = {}
        for folder, _, _ in os.walk(self.root):
            for entry in os.scandir(folder):
                it = entry.stat(follow_symlinks=False)
                found[str(Path(entry.path).relative_to(self.root))] = (it.st_mode, it.st_uid, it.st_gid)
        return found


NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup")


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """`folder`: where it may be. debian.CannotBuild where there is no Debian to be had."""
    root = folder / "root"
    shutil.unpack_archive(debian.tree("packages", PACKAGES), root, "tar", filter="fully_trusted")
    name = f"killdeer-{uuid.uuid4().hex[:8]}"
    alone = ("--private-network", "--register=no", "--keep-unit", "--console=pipe", "--quiet")
    # What the agent's unit asks for; a container has neither by itself.
    rights = ("--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf")
    command = ("systemd-nspawn", "--boot", f"--directory={root}", f"--machine={name}", *alone, *rights)
    with _cgroup(name) as within, (folder / "console").open("wb") as console:
        process = subprocess.Popen((*within, *command), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            yield _up(process, root, folder / "console")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                # Its systemd outlives it, and takes all of the container with it.
                for init in psutil.Process(process.pid).children():
                    init.kill()
                process.kill()
                process.wait()


def _up(process: "subprocess.Popen[bytes]", root: Path, console: Path) -> Machine:
    """Once its systemd has started all that it starts."""

    def init() -> int:
        assert process.poll() is None, f"the container ended\n{console.read_text(errors='replace')}"
        inner = [child for child in psutil.Process(process.pid).children() if child.name() == "systemd"]
        return inner[0].pid if inner else 0

    machine = Machine(root=root, init=wait_until(init, "the container has its pid 1", PATIENCE_S))
    settled = ("running", "degraded")
    wait_until(
        lambda: machine.ran("systemctl", "is-system-running", code=None).out.strip() in settled,
        "the container has booted",
        PATIENCE_S,
    )
    return machine


@contextmanager
def _cgroup(name: str) -> Iterator[tuple[str, ...]]:
    """What goes before a command, so that it runs in cgroups of its own, where no systemd makes them."""
    if Path("/run/systemd/system").exists():
        yield ()
        return
    tops = [top for top in (CGROUPS, CGROUPS / "systemd", CGROUPS / "unified") if (top / "cgroup.procs").exists()]
    mine = [top / name for top in tops]
    for one in mine:
        one.mkdir()
    enter = "".join(f"echo $$ >{one}/cgroup.procs; " for one in mine)
    try:
        yield ("sh", "-c", f'{enter}exec "$@"', "sh")
    finally:
        for one in mine:
            for inner, _, _ in os.walk(one, topdown=False):
                Path(inner).rmdir()
