"""A real coordinator as a process of its own on loopback, the keys of those who speak to it, and agents that are
nothing but their frames."""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.operator_pb2_grpc import OperatorServiceStub
from killdeer_coordinator.keyring import Keyring
from killdeer_coordinator.pki import ROLES, Pair
from tests.support.fleet import wait_until
from tests.support.operator import DEADLINE_S, free_address

CONNECT = "/killdeer.v1.AgentService/Connect"
SERVER_NAME = "killdeer-coordinator"


def make_keys(folder: Path, agents: tuple[str, ...] = ()) -> Keyring:
    """As `init` does: a CA, the coordinator's, the operators `all` and `viewer`, the agents', a halt token."""
    ring = Keyring(folder)
    ring.make_ca()
    ring.issue_coordinator(["localhost", "127.0.0.1"])
    ring.issue_operator("all", ROLES)
    ring.issue_operator("viewer", ["viewer"])
    ring.make_halt_token()
    for host in agents:
        ring.issue_agent(host)
    return ring


def pair_at(stem: Path) -> Pair:
    return Pair(
        certificate=stem.with_name(f"{stem.name}.pem").read_bytes(),
        key=stem.with_name(f"{stem.name}.key").read_bytes(),
    )


class Coordinator:
    """`keys` is its folder of keys; `start` and `stop` may be called again and again."""

    def __init__(self, folder: Path, *hosts: str, extra: str = "", lease: str = "3s") -> None:
        self.folder = folder
        self.lease = lease
        self.keys = folder / "keys"
        make_keys(self.keys, hosts)
        self.agents, self.operators, self.halt = (free_address() for _ in range(3))
        self.state = folder / "state"
        self.config = folder / "coordinator.toml"
        self.config.write_text(self.configuration(extra))
        self.log = folder / "coordinator.log"
        self.process: subprocess.Popen[bytes] | None = None

    def configuration(self, extra: str = "") -> str:
        return (
            f'listen_agents = "{self.agents}"\nlisten_operators = "{self.operators}"\nlisten_halt = "{self.halt}"\n'
            f'state = "{self.state}"\nlease = "{self.lease}"\n{extra}\n'
            f'[tls]\nca = "{self.keys}/ca.pem"\ncert = "{self.keys}/coordinator.pem"\n'
            f'key = "{self.keys}/coordinator.key"\n[halt]\ntoken = "{self.keys}/halt-token"\n'
        )

    @property
    def command(self) -> list[str]:
        program = "import sys; from killdeer_coordinator.cli import main; sys.exit(main())"
        return [sys.executable, "-c", program, "run", "--config", str(self.config)]

    @property
    def ca(self) -> bytes:
        return (self.keys / "ca.pem").read_bytes()

    def start(self) -> None:
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            process = self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_until(lambda: process.poll() is not None or '"event": "started"' in self.said, "it listens")
        assert process.poll() is None, self.said

    def fails(self) -> subprocess.CompletedProcess[str]:
        """Of a start that must not succeed."""
        return subprocess.run(self.command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process = None

    def operator(self, name: str = "all") -> Pair:
        return pair_at(self.keys / "operators" / name)

    def agent(self, host: str) -> Pair:
        return pair_at(self.keys / "agents" / host / "agent")

    def context(self, name: str = "all") -> Path:
        """A configuration file for `killdeer`."""
        path = self.folder / f"context-{name}.toml"
        path.write_text(
            f'current = "test"\n[context.test]\ncoordinators = ["{self.operators}"]\nca = "{self.keys}/ca.pem"\n'
            f'cert = "{self.keys}/operators/{name}.pem"\nkey = "{self.keys}/operators/{name}.key"\n'
        )
        return path


@contextmanager
def coordinator(folder: Path, *hosts: str, extra: str = "", lease: str = "3s") -> Iterator[Coordinator]:
    made = Coordinator(folder, *hosts, extra=extra, lease=lease)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def channel(address: str, ca: bytes, pair: Pair | None, *more: tuple[str, Any]) -> Iterator[grpc.Channel]:
    """A connection of its own, as `pair`, or without a certificate."""
    credentials = grpc.ssl_channel_credentials(ca, *((pair.key, pair.certificate) if pair else (None, None)))
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        *more,
    ]
    with grpc.secure_channel(address, credentials, options) as opened:
        yield opened


@contextmanager
def stub(made: Coordinator, name: str = "all") -> Iterator[Any]:
    """The operator service as that operator."""
    with channel(made.operators, made.ca, made.operator(name)) as opened:
        yield OperatorServiceStub(opened)


class WireAgent:
    """One stream to the agents' listener: whatever frames or bytes a test sends."""

    def __init__(self, opened: grpc.Channel) -> None:
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        connect: Any = opened.stream_stream(CONNECT, response_deserializer=a.ConnectResponse.FromString)
        self.call = connect(iter(self._frames.get, None), timeout=DEADLINE_S * 2, wait_for_ready=False)

    def send(self, frame: a.ConnectRequest | bytes) -> None:
        self._frames.put(frame if isinstance(frame, bytes) else frame.SerializeToString())

    def hello(self, host: str, **fields: Any) -> None:
        self.send(a.ConnectRequest(hello=a.Hello(host=host, boot_id="boot", **fields)))

    def beat(self, stamp: int) -> None:
        self.send(a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=stamp)))

    def read(self, kind: str = "") -> a.ConnectResponse | None:
        """The next frame, of that kind; None: the stream has ended well. Raises grpc.RpcError."""
        for frame in self.call:
            if frame.WhichOneof("frame") == (kind or frame.WhichOneof("frame")):
                response: a.ConnectResponse = frame
                return response
        return None

    def close(self) -> None:
        self._frames.put(None)
        self.call.cancel()


@contextmanager
def wire_agent(made: Coordinator, host: str) -> Iterator[WireAgent]:
    with channel(made.agents, made.ca, made.agent(host)) as opened:
        agent = WireAgent(opened)
        try:
            yield agent
        finally:
            agent.close()


def environment(context: Path) -> dict[str, str]:
    return os.environ | {"KILLDEER_CONFIG": str(context), "NO_COLOR": "1"}
