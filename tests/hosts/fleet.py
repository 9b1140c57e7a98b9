"""A coordinator and three hosts, booted together, and an operator outside them.

The coordinator's machine is the hub of a link on which the hosts are; 192.0.2.0/24 is known there and nowhere
else. Nothing of it reaches a network: the link is unix sockets, and of the coordinator's machine one port is
forwarded from this machine's loopback, for the operator.
"""

import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from killdeer.v1 import operator_pb2 as o
from killdeer_client.client import Client
from killdeer_client.contexts import load_contexts
from killdeer_client.errors import ClientError
from tests.hosts import image
from tests.hosts.guest import CABLE, PATIENCE_S, Guest
from tests.support.fleet import Fleet as Operator
from tests.support.fleet import wait_until

AGENT, COORDINATOR = "killdeer-agent.service", "killdeer-coordinator.service"
# Each host by its name, with what it is there for.
SERVICES = {"web": "nginx.service", "cache": "redis-server.service", "database": "postgresql@15-main.service"}
HUB = "192.0.2.1"
ADDRESSES = {"web": "192.0.2.11", "cache": "192.0.2.12", "database": "192.0.2.13"}
LEASE_S = 30.0
CERTIFICATES = "8m"  # so that hosts renew theirs while they are tested
# As docs/operating.md has it, and what this fleet is not to share with a default.
SET_UP = f"""
set -e
cd /etc/killdeer
killdeer-coordinator init --name coordinator --operator ops
install -m 640 -g killdeer-coordinator ca.key joining.key
sed -i 's/^# listen_join/listen_join/; s/^ca_key = .*/ca_key = "joining.key"/' coordinator.toml
sed -i 's/^lease = .*/lease = "{LEASE_S:g}s"/' coordinator.toml
sed -i 's/^certificates = .*/certificates = "{CERTIFICATES}"/' coordinator.toml
sed -i 's/^listen_operators = .*/listen_operators = "0.0.0.0:7443"/' coordinator.toml
systemd-tmpfiles --create killdeer-coordinator.conf
systemctl enable --now {COORDINATOR}
"""
LABELS = """
[labels]
environment = "staging"
role = "{}"
"""
CONTEXT = """
current = "hosts"
[context.hosts]
coordinators = ["127.0.0.1:{port}"]
ca = "ca.pem"
cert = "ops.pem"
key = "ops.key"
"""


class Fleet:
    def __init__(self, folder: Path, coordinator: Guest, hosts: dict[str, Guest]) -> None:
        self.coordinator = coordinator
        self.hosts = hosts
        self.operator = Operator(folder)
        self.client = Client(load_contexts(folder / "config.toml").choose())

    def begin(self, experiment: str) -> str:
        """A run of it, that goes on by itself."""
        return self.client.run(experiment, "test", key=str(uuid.uuid4())).run_id

    def ended(self, run: str) -> o.RunView:
        self.until(lambda: self.client.get_run(run).state == o.RUN_STATE_ENDED, f"the run {run} is over")
        return self.client.get_run(run)

    def free(self) -> None:
        """Until no strike holds a permit."""
        self.until(lambda: not self.client.list_permits().permits, "all permits are released")

    def seen(self, host: str) -> o.HostView:
        """As the coordinator sees it; an empty view where it does not know it, or doesn't answer."""
        try:
            found = [one for one in self.client.list_hosts().hosts if one.host == host]
        except ClientError:
            return o.HostView()
        return found[0] if found else o.HostView()

    def leased(self, *hosts: str) -> None:
        """Until these, or all, may act."""
        for host in hosts or self.hosts:
            self.until(partial(self._has_lease, host), f"{host} has its lease")

    def _has_lease(self, host: str) -> bool:
        return bool(self.seen(host).lease_left_ms)

    def until(self, true: Callable[[], object], what: str) -> None:
        wait_until(true, what, PATIENCE_S)


@contextmanager
def powered(folder: Path, packages: dict[str, Path], port: int) -> Iterator[tuple[Guest, ...]]:
    """The coordinator's machine and the hosts, booting. `port`: of this machine's loopback, for the operator.
    debian.CannotBuild where there is nothing to boot."""
    kernel = image.kernel()
    boot = (kernel, image.initramfs(kernel))
    disk = image.disk(folder, packages.values())

    def guest(name: str, address: str, memory_mb: int, devices: tuple[str, ...], *words: str) -> Guest:
        (folder / name).mkdir()
        words = (f"address={address}", "systemd.wants=root-shell.service", *words)
        return Guest(
            folder / name, name=name, disk=disk, boot=boot, words=words, devices=devices, memory_mb=memory_mb
        )

    guests = (
        guest("coordinator", HUB, 1024, hub(folder, port), "outside=10.0.2.15"),
        *(
            guest(name, ADDRESSES[name], 768, spoke(folder, name), f"systemd.wants={service}")
            for name, service in SERVICES.items()
        ),
    )
    try:
        for one in guests:
            one.plug_in()
        yield guests
    finally:
        for one in guests:
            one.pull_plug()
        shutil.rmtree(folder)


@contextmanager
def joined(folder: Path, port: int, coordinator: Guest, *hosts: Guest) -> Iterator[Fleet]:
    """Set up, and leased."""
    coordinator.booted()
    coordinator.ran(SET_UP)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(join, coordinator), hosts))
    for name in ("ca.pem", "operators/ops.pem", "operators/ops.key"):
        (folder / Path(name).name).write_text(coordinator.ran(f"cat /etc/killdeer/{name}").out)
    (folder / "config.toml").write_text(CONTEXT.format(port=port))
    fleet = Fleet(folder, coordinator, {host.name: host for host in hosts})
    with fleet.client:
        fleet.leased()
        yield fleet


def join(coordinator: Guest, host: Guest) -> None:
    """With what the coordinator prints for this host."""
    said = coordinator.ran(f"killdeer-coordinator token create --host {host.name}").out
    (command,) = (line.strip() for line in said.splitlines() if "killdeer-agent join" in line)
    host.booted()
    host.ran(command)
    host.ran(f"cat >>/etc/killdeer/agent.toml <<'END'{LABELS.format(host.name)}END")
    host.ran(f"systemctl enable --now {AGENT}")


def hub(folder: Path, port: int) -> tuple[str, ...]:
    """The coordinator's cards: on the link of all, and where the operator dials."""
    ends = [
        *(
            ("-netdev", f"stream,id={name},server=on,addr.type=unix,addr.path={folder}/{name}/link")
            for name in SERVICES
        ),
        *(("-netdev", f"hubport,hubid=0,id={name}-end,netdev={name}") for name in SERVICES),
    ]
    forward = f"hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:7443"
    return (
        *(word for end in ends for word in end),
        *("-netdev", "hubport,hubid=0,id=link", "-device", card("link", "52:54:00:00:00:01")),
        *("-netdev", f"user,id=outside,restrict=on,ipv6=off,{forward}"),
        *("-device", "virtio-net-pci,netdev=outside,romfile=,mac=52:54:00:00:00:02"),
    )


def spoke(folder: Path, name: str) -> tuple[str, ...]:
    mac = f"52:54:00:00:00:{list(SERVICES).index(name) + 0x11:02x}"
    link = f"stream,id=link,server=off,addr.type=unix,addr.path={folder}/{name}/link"
    return ("-netdev", link, "-device", card("link", mac))


def card(link: str, mac: str) -> str:
    return f"virtio-net-pci,netdev={link},id={CABLE},romfile=,mac={mac}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
