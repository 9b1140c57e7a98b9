"""A /proc in a folder: the real parser runs on it, and a test can say what no real process would do on demand."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What nobody but the owner learns from /proc/PID/stat.
HIDDEN_CODE, HIDDEN_STACK = 1, 0
KERNEL_THREAD = 0x0020_8040
USER_PROCESS = 0x0040_0000

_TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


@dataclass(frozen=True, slots=True)
class FakeProc:
    """`root` is the folder; give it as the proc root."""

    root: Path

    def __post_init__(self) -> None:
        kernel = self.root / "sys/kernel/random"
        kernel.mkdir(parents=True)
        (kernel / "boot_id").write_text("3a1d0a4e-8f0b-4c55-9d3c-0f6a3a1d0a4e\n")

    def add(
        self,
        pid: int,
        *argv: str,
        comm: str = "worker",
        state: str = "S",
        parent: int = 1,
        flags: int = USER_PROCESS,
        threads: int = 1,
        start_ticks: int = 1_000,
        start_code: int = 0x55_0000_1000,
        start_stack: int = 0x7F_FF00_0000,
        uid: int = 1000,
        code_kb: int = 20,
        cgroup: str = "0::/\n",
        exe: str | Path | None = None,
        ports: Mapping[int, str] | None = None,
    ) -> None:
        """Add a process, or put another in its place. `ports` maps a port to its table: tcp, tcp6, udp, udp6.

        Without `argv` it has none, as threads of the kernel have; without `exe` there is no link.
        """
        folder = self.root / str(pid)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        numbers = [0] * 50
        for field, value in {
            4: parent,
            9: flags,
            20: threads,
            22: start_ticks,
            26: start_code,
            28: start_stack,
        }.items():
            numbers[field - 3] = value
        rest = " ".join([state, *map(str, numbers[1:])])
        (folder / "stat").write_bytes(b"%d (%s) %s\n" % (pid, comm.encode(), rest.encode()))
        (folder / "status").write_text(
            f"Name:\t{comm!r}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmExe:\t{code_kb:8} kB\n"
        )
        (folder / "cmdline").write_bytes(b"".join(arg.encode() + b"\0" for arg in argv))
        (folder / "cgroup").write_text(cgroup)
        if exe is not None:
            (folder / "exe").symlink_to(exe)
        (folder / "fd").mkdir()
        (folder / "fd/0").symlink_to("/dev/null")
        (folder / "ns").mkdir()
        (folder / "ns/net").symlink_to(f"net:[{4_026_531_840 + pid}]")
        (folder / "net").mkdir()
        self._listen(folder, ports or {})

    def remove(self, pid: int) -> None:
        """It has exited and been reaped."""
        shutil.rmtree(self.root / str(pid))

    def entries(self) -> list[str]:
        return os.listdir(self.root)  # noqa: PTH208 - names are wanted

    def _listen(self, folder: Path, ports: Mapping[int, str]) -> None:
        lines: dict[str, list[str]] = {"tcp": [], "tcp6": [], "udp": []}
        for inode, (port, table) in enumerate(ports.items(), 9_000):
            (folder / f"fd/{inode}").symlink_to(f"socket:[{inode}]")
            lines.setdefault(table, []).append(_line(port, _TABLES[table], inode))
        # Somebody else's listener, and a connection: neither is a port of this process.
        lines["tcp"].append(_line(22, "0A", 1))
        lines["tcp"].append(_line(443, "01", 2))
        for table, found in lines.items():
            (folder / "net" / table).write_text("  sl  local_address rem_address   st\n" + "".join(found))


def _line(port: int, state: str, inode: int) -> str:
    return (
        f"   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000"
        f"  1000        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
    )
