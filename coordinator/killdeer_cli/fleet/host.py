"""The first process of a sandbox host: it runs the agent and the workers, and restarts what dies.

It lives in a pid namespace of its own and ends when its standard input does, and everything on the host with it.
"""

import contextlib
import ctypes
import heapq
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from killdeer_cli.fleet.layout import WORKER_DIR, HostPlan, Layout

MS_BIND, MS_RDONLY = 4096, 1
# A dead agent comes back as quickly as its unit would bring it back.
AGENT_BACK_S = 0.2
# A process that failed within this time of its start waits this long at least: no spinning.
QUICK_S = 0.5
STOP_AGENT_S = 30.0


class Host:
    def __init__(self, plan: HostPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._commands = [plan.agent, *plan.workers]
        self._running: dict[int, tuple[int, float]] = {}  # pid -> which command, when it was started
        self._due: list[tuple[float, int]] = [(0.0, which) for which in range(len(self._commands))]

    def run(self) -> None:
        """Until standard input ends; then the agent is stopped (it reverts) before the workers."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                self._start_due()
                ready = {key.fd for key, _ in selector.select(self._patience())}
                if 0 in ready and not os.read(0, 4096):
                    break
                if wake_read in ready:
                    os.read(wake_read, 4096)
                self._reap()
        self._stop_agent()

    def _start_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, which = heapq.heappop(self._due)
            agent = which == 0
            log = (self._folder / ("agent.log" if agent else "workers.log")).open("ab")
            with log:
                environment = os.environ if agent else self._plan.environment
                process = subprocess.Popen(
                    self._commands[which],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            process.returncode = 0  # reaped by _reap, with everything else that dies here
            self._running[process.pid] = (which, time.monotonic())

    def _patience(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._running:
                    which, started = self._running.pop(pid)
                    back = AGENT_BACK_S if which == 0 else self._plan.restart_after_ms / 1_000
                    if time.monotonic() - started < QUICK_S:
                        back = max(back, QUICK_S)
                    heapq.heappush(self._due, (time.monotonic() + back, which))

    def _stop_agent(self) -> None:
        for pid, (which, _) in self._running.items():
            if which == 0:
                os.kill(pid, signal.SIGTERM)
                deadline = time.monotonic() + STOP_AGENT_S
                with contextlib.suppress(ChildProcessError):
                    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                        time.sleep(0.01)


def mount_workers(directory: str) -> None:
    """The workers' interpreter, under the same path on every host of every sandbox."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(directory.encode(), WORKER_DIR.encode(), None, MS_BIND, None):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot mount the workers on {WORKER_DIR}: {os.strerror(error)}")


def main() -> None:
    layout, name = Layout(Path(sys.argv[1])), sys.argv[2]
    plan = layout.read_host(name)
    mount_workers(plan.worker_dir)
    Host(plan, layout.host(name)).run()


if __name__ == "__main__":
    main()
