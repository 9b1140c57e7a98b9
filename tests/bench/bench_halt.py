"""From an operator's halt to the last acknowledgement, for N agents over mutual TLS; and nats-server doing the same
fan-out in the same run: one message published to N subscribers over mutual TLS, each of whom answers.

Agents and subscribers live in this process, each with a connection of its own (counted at the server), and cost
about the same. The rounds of both take turns.
"""

import asyncio
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import psutil

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.operator_pb2_grpc import OperatorServiceStub
from tests.bench.streams import StreamAgent, tls
from tests.support.coordinator import Coordinator, coordinator
from tests.support.operator import free_address

SIZES = (1_000, 3_000)
ROUNDS = 9
TO_HOLD = 2.0
TOGETHER = 50  # connections made at once
PATIENCE_S = 300.0
CONFIGURATION = """
host: 127.0.0.1
port: {port}
tls {{
  cert_file: "{keys}/coordinator.pem", key_file: "{keys}/coordinator.key", ca_file: "{keys}/ca.pem", verify: true
}}
"""


def run(sizes: tuple[int, ...] = SIZES) -> list[dict[str, object]]:
    if not shutil.which("nats-server"):
        raise SystemExit("cannot measure the halt: nats-server is missing; `make bench` installs it")
    wanted = 2 * max(sizes) + 1_000  # both ends
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
    return [row for size in sizes for row in asyncio.run(_measured(size))]


async def _measured(size: int) -> list[dict[str, object]]:
    hosts = [f"host-{number}" for number in range(size)]
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder, coordinator(Path(folder), *hosts, lease="60s") as made:
        assert made.process is not None
        serving = psutil.Process(made.process.pid)
        bare = serving.memory_info().rss
        async with _agents(made, hosts), _nats(made.keys, size) as publish:
            each = (serving.memory_info().rss - bare) / size / 1024
            connected = _established(serving, made.agents)
            assert connected == size, f"{connected} connections are established, {size} agents were started"
            for number in range(ROUNDS):
                if number % 2:
                    theirs.append(await publish())
                    ours.append(await _halted(made, size))
                else:
                    ours.append(await _halted(made, size))
                    theirs.append(await publish())
    reference = statistics.median(theirs)
    return [
        {
            "name": f"halt to all acknowledged, {size:,} agents, ms",
            "ours": round(statistics.median(ours), 1),
            "reference": round(reference, 1),
            "ratio": round(statistics.median(ours) / reference, 2),
            "to_hold": TO_HOLD,
            "detail": {"ours_ms": ours, "reference_ms": theirs},
        },
        {
            "name": f"coordinator memory for each of {size:,} agents, KiB",
            "ours": round(each, 1),
            "reference": 100.0,
            "ratio": round(each / 100, 2),
            "to_hold": 1.0,
        },
    ]


@asynccontextmanager
async def _agents(made: Coordinator, hosts: list[str]) -> AsyncIterator[None]:
    """All of them served, beating until the end."""
    loop = asyncio.get_running_loop()
    address, port = made.agents.rsplit(":", 1)
    served = asyncio.Semaphore(0)
    agents = [StreamAgent(host, served.release) for host in hosts]

    async def connect(agent: StreamAgent) -> None:
        keys = made.keys / "agents" / agent.host
        context = tls(str(made.keys / "ca.pem"), str(keys / "agent.pem"), str(keys / "agent.key"))
        await loop.create_connection(lambda: agent, address, int(port), ssl=context, server_hostname="localhost")
        async with asyncio.timeout(PATIENCE_S):
            await served.acquire()
        agent.beat(time.monotonic_ns())

    async def beat() -> None:
        while True:
            for number, agent in enumerate(agents):
                agent.beat(time.monotonic_ns())
                if number % TOGETHER == 0:
                    await asyncio.sleep(20 * TOGETHER / len(agents))

    for first in range(0, len(agents), TOGETHER):
        await asyncio.gather(*map(connect, agents[first : first + TOGETHER]))
    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        ended = {agent.ended for agent in agents if agent.ended}
        for agent in agents:
            agent.close()
        assert not ended, ended


async def _halted(made: Coordinator, size: int) -> float:
    """Milliseconds until the operator was told that all have stopped and reverted; the halt is lifted again."""
    pair = made.operator()
    credentials = grpc.ssl_channel_credentials(made.ca, pair.key, pair.certificate)
    async with grpc.aio.secure_channel(made.operators.replace("127.0.0.1", "localhost"), credentials) as channel:
        await channel.channel_ready()
        stub = OperatorServiceStub(channel)
        began = time.monotonic()
        async for told in stub.Halt(o.HaltRequest(reason="bench")):
            if told.reverted >= size:
                break
        took = (time.monotonic() - began) * 1e3
        assert told.total == told.stopped == size, told
        await stub.Rearm(o.RearmRequest(reason="bench"))
        await asyncio.sleep(1)  # the rearm's own fan-out is not what is measured
    return took


@asynccontextmanager
async def _nats(keys: Path, size: int) -> AsyncIterator["Publish"]:
    address = free_address()
    port = int(address.rsplit(":", 1)[1])
    configuration = keys.parent / "nats.conf"
    configuration.write_text(CONFIGURATION.format(port=port, keys=keys))
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec("nats-server", "-c", configuration, stderr=quiet)
    try:
        publish = Publish(port, keys)
        await publish.connect(size)
        connected = _established(psutil.Process(server.pid), address)
        assert connected == size + 1, f"{connected} connections are established, not {size} and the publisher's"
        yield publish
        publish.close()
    finally:
        server.terminate()
        await server.wait()


class Publish:
    """Called: publishes once, and returns the milliseconds until all have answered."""

    def __init__(self, port: int, keys: Path) -> None:
        self._port, self._keys = port, keys
        self._subscribers: list[NatsClient] = []
        self._publisher: NatsClient | None = None

    async def connect(self, size: int) -> None:
        self._publisher = await self._client("ack", b"")
        for first in range(0, size, TOGETHER):
            count = min(TOGETHER, size - first)
            made = await asyncio.gather(*(self._client("halt", b"PUB ack 2\r\nok\r\n") for _ in range(count)))
            self._subscribers += made

    async def __call__(self) -> float:
        assert self._publisher is not None
        answered = self._publisher.expect(len(self._subscribers))
        began = time.monotonic()
        self._publisher.write(b"PUB halt 70\r\n" + b"x" * 70 + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await answered
        return (time.monotonic() - began) * 1e3

    def close(self) -> None:
        for client in (*self._subscribers, *([self._publisher] if self._publisher else [])):
            client.close()

    async def _client(self, subject: str, answer: bytes) -> "NatsClient":
        """It subscribes to the subject, and answers each message."""
        loop = asyncio.get_running_loop()
        client = NatsClient(subject, answer)
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                transport, _ = await loop.create_connection(lambda: client, "127.0.0.1", self._port)
                break
            except OSError:  # it does not listen yet
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.05)
        async with asyncio.timeout(PATIENCE_S):
            await client.greeted
            keys = self._keys
            context = tls(str(keys / "ca.pem"), str(keys / "operators/all.pem"), str(keys / "operators/all.key"))
            secured = await loop.start_tls(transport, client, context, server_hostname="localhost")
            assert secured is not None
            client.secured(secured)
            await client.subscribed
        return client


class NatsClient(asyncio.Protocol):
    def __init__(self, subject: str, answer: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self._subject, self._answer = subject, answer
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._left = 0
        self._answered: asyncio.Future[None] | None = None

    def expect(self, count: int) -> "asyncio.Future[None]":
        self._left, self._answered = count, asyncio.get_running_loop().create_future()
        return self._answered

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def secured(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        options = json.dumps({"verbose": False, "pedantic": False, "tls_required": True})
        self.write(f"CONNECT {options}\r\nSUB {self._subject} 1\r\nPING\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if not self.greeted.done():
            self.greeted.set_result(None)  # INFO, before TLS
            return
        self._buffer += data
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return
            if line.startswith(b"MSG"):
                length = int(line.rsplit(b" ", 1)[1]) + 2
                if len(rest) < length:
                    return
                rest = rest[length:]
                self._message()
            elif line == b"PING":
                self.write(b"PONG\r\n")
            elif line == b"PONG" and not self.subscribed.done():
                self.subscribed.set_result(None)
            self._buffer = rest

    def _message(self) -> None:
        if self._answer:
            self.write(self._answer)
        elif self._answered is not None:
            self._left -= 1
            if not self._left:
                self._answered.set_result(None)


def _established(process: psutil.Process, address: str) -> int:
    port = int(address.rsplit(":", 1)[1])
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in process.net_connections("tcp")
    )


if __name__ == "__main__":
    print(json.dumps(run(tuple(map(int, sys.argv[1:])) or SIZES), indent=1))
