"""A host: a virtual machine with a disk that outlives its power, a root shell, and a plug, a network cable and a
clock that a test may pull, cut and stop."""

import base64
import json
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from tests.support import emulator
from tests.support.fleet import Said, wait_until

# Four of them share the machine; against hanging only.
PATIENCE_S = 400.0
CABLE = "cable"


class Guest:
    """Off at first."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        disk: Path,
        boot: tuple[Path, Path],
        words: Sequence[str],
        devices: Sequence[str],
        memory_mb: int,
    ) -> None:
        """`boot`: kernel and initramfs. `words`: for its command line. `devices`: its network, for qemu; the card
        on the hosts' link has the id CABLE."""
        self.name = name
        self._folder = folder
        self._one_at_a_time = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._open: list[Any] = []  # connections to it
        overlay = folder / "disk"
        create = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay))
        subprocess.run(create, check=True)
        kernel, initramfs = boot
        line = f"{emulator.WORDS} panic=1 systemd.show_status=0 systemd.hostname={name} {' '.join(words)}"
        self._command = (
            *(*emulator.QEMU, *emulator.ALONE, "-no-reboot", "-smp", "1", "-m", str(memory_mb)),
            *("-kernel", str(kernel), "-initrd", str(initramfs), "-append", line),
            *("-drive", f"file={overlay},format=qcow2,if=virtio", *devices),
            *("-chardev", f"file,id=console,path={folder}/console,append=on", "-serial", "chardev:console"),
            *("-serial", f"unix:{folder}/shell,server=on,wait=off"),
            *("-qmp", f"unix:{folder}/monitor,server=on,wait=off"),
        )

    def plug_in(self) -> None:
        """Switches it on; it boots meanwhile."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        self._shell = self._connected("shell")
        self._monitor = self._connected("monitor")
        self._monitor.readline()
        self._order("qmp_capabilities")

    def booted(self) -> None:
        assert self._shell.readline().strip() == b"ready", self.console()

    def pull_plug(self) -> None:
        """The power is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        while self._open:
            self._open.pop().close()

    def freeze(self) -> None:
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """The network cable."""
        self._order("set_link", name=CABLE, up=False)

    def mend(self) -> None:
        self._order("set_link", name=CABLE, up=True)

    def ran(self, command: str, code: int | None = 0) -> Said:
        """What a shell command said; its exit code is checked unless None is given."""
        with self._one_at_a_time:
            self._shell.write(base64.b64encode(command.encode()) + b"\n")
            self._shell.flush()
            found, out, err = self._shell.readline().decode().rstrip("\n").split(" ")
        said = Said(int(found), base64.b64decode(out).decode(), base64.b64decode(err).decode())
        assert code is None or said.code == code, f"{self.name}: {command}: exit {found}\n{said.out}\n{said.err}"
        return said

    def shown(self, unit: str, name: str) -> str:
        return self.ran(f"systemctl show --value --property={name} {unit}").out.strip()

    def main_of(self, unit: str) -> int:
        return int(self.shown(unit, "MainPID"))

    def state_of(self, pid: int) -> str:
        """Of a process, as /proc has it; empty: it is gone."""
        return self.ran(f"cat /proc/{pid}/stat", code=None).out.rpartition(")")[2].strip()[:1]

    def journal(self, unit: str) -> str:
        """The last of what the unit, and systemd about it, said; or why that cannot be had."""
        try:
            return self.ran(f"journalctl --no-pager --lines=60 --output=short-monotonic --unit={unit}").out
        except (OSError, ValueError) as problem:
            return f"{self.name} does not answer: {problem}"

    def told(self, unit: str, event: str) -> list[dict[str, Any]]:
        """The unit's own log lines of this event."""
        said = self.ran(f'journalctl --no-pager --unit={unit} --output=cat --grep=\'"event": "{event}"\'', None)
        return [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]

    def console(self) -> str:
        return (self._folder / "console").read_text(errors="replace")

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} has no power"
        return self._process

    def _order(self, command: str, **arguments: Any) -> None:
        self._monitor.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._monitor.flush()
        while "return" not in (answer := json.loads(self._monitor.readline())):
            assert "event" in answer, answer

    def _connected(self, name: str) -> Any:
        """To its socket, as lines."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)

        def connected() -> bool:
            assert self._running.poll() is None, f"{self.name} has ended"
            return client.connect_ex(str(self._folder / name)) == 0

        wait_until(connected, f"{self.name} has its {name}", PATIENCE_S)
        with client:
            lines = client.makefile("rwb")
        self._open.append(lines)
        return lines
