"""A host's way to its coordinator: a network namespace, a router's between it and this machine's, and packets that
vanish there without a word, in both directions or in one.

    this machine ── veth ── router ── veth ── host
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

BOTH, TO_HOST, TO_COORDINATOR = "both directions", "to the host", "to the coordinator"


class Cable:
    def __init__(self) -> None:
        own = os.getpid()
        self._router, self._host = f"killdeer-{own}-router", f"killdeer-{own}-host"
        # Addresses of benchmarks, which nothing else routes.
        net = f"198.{18 + own // 256 % 2}.{own % 256}"
        self.coordinator, self.host = f"{net}.1", f"{net}.6"
        self._near, self._far, self._side = f"{net}.2", f"{net}.5", f"kd{own}"

    def lay(self) -> None:
        for name in (self._router, self._host):
            ip("netns", "add", name)
        ip("link", "add", self._side, "type", "veth", "peer", "name", "near", "netns", self._router)
        ip("-n", self._router, "link", "add", "far", "type", "veth", "peer", "name", "eth0", "netns", self._host)
        ip("addr", "add", f"{self.coordinator}/30", "dev", self._side)
        ip("link", "set", self._side, "up")
        ip("route", "add", f"{self.host}/32", "via", self._near)
        for name, device, address in (
            (self._router, "near", self._near),
            (self._router, "far", self._far),
            (self._host, "eth0", self.host),
        ):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", device)
            ip("-n", name, "link", "set", device, "up")
        ip("-n", self._host, "link", "set", "lo", "up")
        ip("-n", self._host, "route", "add", "default", "via", self._far)
        ip("netns", "exec", self._router, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def take_up(self) -> None:
        for name in (self._host, self._router):  # the veth pairs go with them
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    @property
    def behind(self) -> list[str]:
        """Put before a command that is to run at its far end."""
        return ["nsenter", f"--net=/run/netns/{self._host}"]

    @contextmanager
    def cut(self, where: str) -> Iterator[None]:
        ends = {TO_HOST: [self.host], TO_COORDINATOR: [self.coordinator]}.get(where, [self.host, self.coordinator])
        for end in ends:
            ip("-n", self._router, "route", "add", "blackhole", f"{end}/32")
        try:
            yield
        finally:
            for end in ends:
                ip("-n", self._router, "route", "del", "blackhole", f"{end}/32")


@contextmanager
def cable() -> Iterator[Cable]:
    laid = Cable()
    try:
        laid.lay()
        yield laid
    finally:
        laid.take_up()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
