"""The keeper of a sandbox: runs the coordinator and the hosts in the background, restarts what dies."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from killdeer_cli.fleet.layout import Layout, start_ticks

BACK_S = 0.3
STOP_S = 40.0
LISTENS_WITHIN_S = 20.0


def host_command(layout: Layout, name: str) -> list[str]:
    """A host has pids, mounts and cgroup paths of its own: a login session here is none there. An ordinary user
    gets them inside a user namespace."""
    isolated = ["unshare", "--pid", "--mount", "--cgroup", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid():
        isolated.append("--map-root-user")
    return [*isolated, sys.executable, "-m", "killdeer_cli.fleet.host", str(layout.folder), name]


class Keeper:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        fleet = layout.read_fleet()
        self._agents_port = fleet.agents_port
        self._commands = {"coordinator": fleet.coordinator}
        self._commands |= {name: host_command(layout, name) for name in fleet.hosts}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        pid = os.getpid()
        self._layout.keeper_file.write_text(json.dumps({"pid": pid, "start_ticks": start_ticks(pid)}))
        try:
            self._start("coordinator")
            self._await_coordinator()
            while not self._stopping:
                for name in self._commands:
                    if name not in self._running or self._running[name].poll() is not None:
                        self._start(name)
                time.sleep(BACK_S)
        finally:
            self._end()
            self._layout.keeper_file.unlink(missing_ok=True)

    def _await_coordinator(self) -> None:
        """An agent that finds nobody backs off; better that none has to."""
        deadline = time.monotonic() + LISTENS_WITHIN_S
        while not self._stopping and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._agents_port), 1):
                return
            time.sleep(0.05)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _start(self, name: str) -> None:
        log = self._layout.logs / f"{name}.log"
        with log.open("ab") as out:
            self._running[name] = subprocess.Popen(
                self._commands[name], stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )

    def _end(self) -> None:
        """The hosts first, while the coordinator still hears that they reverted and left."""
        coordinator = self._running.pop("coordinator", None)
        for process in self._running.values():
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + STOP_S
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in self._running.values():
            process.kill()  # with --kill-child this ends the whole namespace
            process.wait()
        if coordinator is not None:
            coordinator.terminate()
            try:
                coordinator.wait(10)
            except subprocess.TimeoutExpired:
                coordinator.kill()
                coordinator.wait()


if __name__ == "__main__":
    Keeper(Layout(Path(sys.argv[1]))).run()
