"""Several real coordinators on one PostgreSQL, and real hosts, each connected to the coordinators it is told of."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from killdeer_cli.fleet.keeper import host_command
from killdeer_cli.fleet.layout import Layout
from killdeer_cli.fleet.making import Wish, free_ports, make
from tests.support.fleet import PATIENCE_S, Fleet, wait_until

LEASE_MS = 3_000


class Coordinators:
    """`hosts`: which coordinators each host dials, in turn; host numbers begin with one."""

    def __init__(self, folder: Path, url: str, names: Sequence[str], hosts: Mapping[int, Sequence[str]]) -> None:
        self.layout = Layout(folder)
        wish = Wish(
            agents=len(hosts), workers=3, allow=("name=sandbox-worker",), restart_after_ms=300, lease_ms=LEASE_MS
        )
        make(self.layout, wish)
        ports = free_ports(3 * len(names))
        self._agents: dict[str, str] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._hosts: dict[str, subprocess.Popen[bytes]] = {}
        for number, name in enumerate(names):
            own = [f"127.0.0.1:{port}" for port in ports[3 * number : 3 * number + 3]]
            self._agents[name] = own[0]
            self._write(name, url, own)
        for number, wanted in hosts.items():
            config = self.layout.host(f"sandbox-{number}") / "agent.toml"
            addresses = json.dumps([self._agents[name] for name in wanted])
            config.write_text(re.sub(r"(?m)^coordinators = .*$", f"coordinators = {addresses}", config.read_text()))
        self._dials = {number: wanted[0] for number, wanted in hosts.items()}

    def begin(self) -> None:
        for name in self._agents:
            self.start(name)
        for number in self._dials:
            self._start_host(f"sandbox-{number}")
        for name in self._agents:
            self._settled(name)

    def _settled(self, name: str) -> None:
        own = sum(dialled == name for dialled in self._dials.values())
        wait_until(lambda: self.leased(name) == own, f"{name} has {own} hosts")
        wait_until(lambda: self.reached(name) == len(self._dials), f"{name} reaches all")

    def at(self, name: str) -> Fleet:
        """As an operator of that coordinator."""
        fleet = Fleet(self.layout.folder)
        fleet.environment["KILLDEER_CONFIG"] = str(self.layout.folder / f"context-{name}.toml")
        return fleet

    def process(self, name: str) -> "subprocess.Popen[bytes]":
        return self._running[name]

    def said(self, name: str) -> str:
        return (self.layout.logs / f"{name}.log").read_text()

    def command(self, name: str) -> list[str]:
        return [*self.layout.read_fleet().coordinator[:-1], str(self.layout.folder / f"{name}.toml")]

    def fails(self, name: str) -> str:
        """What a start says that must not succeed."""
        done = subprocess.run(self.command(name), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 2, done.stdout
        return done.stderr

    def start(self, name: str) -> None:
        log = self.layout.logs / f"{name}.log"
        log.write_bytes(b"")
        with log.open("ab") as out:
            process = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._running[name] = process
        wait_until(lambda: process.poll() is not None or '"event": "started"' in self.said(name), f"{name} listens")
        assert process.poll() is None, self.said(name)

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        process = self._running.pop(name)
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def leased(self, name: str) -> int:
        """Hosts that have a lease from this coordinator itself."""
        return self.at(name).connected()

    def reached(self, name: str) -> int:
        """Hosts that it reaches, through others too."""
        hosts = self.at(name).killdeer("hosts", "--json", code=None)
        return 0 if hosts.code else sum(bool(host.get("connected")) for host in hosts.json["hosts"])

    def workers(self, host: int) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self._hosts[f"sandbox-{host}"].pid).children(recursive=True):
            try:
                if process.name() == "sandbox-worker" and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def stopped(self, host: int) -> list[psutil.Process]:
        return [worker for worker in self.workers(host) if worker.status() == psutil.STATUS_STOPPED]

    def end(self) -> None:
        for process in self._hosts.values():
            assert process.stdin is not None
            process.stdin.close()
        for process in self._hosts.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_host(self, name: str) -> None:
        with (self.layout.logs / f"{name}.log").open("ab") as out:
            self._hosts[name] = subprocess.Popen(
                host_command(self.layout, name),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _write(self, name: str, url: str, addresses: Sequence[str]) -> None:
        folder = self.layout.folder
        text = (folder / "coordinator.toml").read_text()
        for key, value in {
            "listen_agents": addresses[0],
            "listen_operators": addresses[1],
            "listen_halt": addresses[2],
            "state": str(folder / f"state-{name}"),
        }.items():
            text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {json.dumps(value)}", text)
        store = f'\n[store]\nurl = "{url}"\n'
        (folder / f"{name}.toml").write_text(f'name = "{name}"\n{text}{store}')
        context = (folder / "config.toml").read_text()
        context = re.sub(r"(?m)^coordinators = .*$", f"coordinators = {json.dumps([addresses[1]])}", context)
        (folder / f"context-{name}.toml").write_text(context)


@contextmanager
def coordinators(
    folder: Path, url: str, names: Sequence[str], hosts: Mapping[int, Sequence[str]]
) -> Iterator[Coordinators]:
    made = Coordinators(folder, url, names, hosts)
    try:
        made.begin()
        yield made
    finally:
        made.end()
