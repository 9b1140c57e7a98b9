"""The agents' edge alone, on a real gRPC server with TLS in this process: what it tells the core is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from killdeer.v1 import agent_pb2 as a
from killdeer_coordinator.core.words import Input
from killdeer_coordinator.edges.agents import Agents
from killdeer_coordinator.edges.options import listener_options, server_credentials
from tests.support.coordinator import CONNECT, SERVER_NAME, make_keys, pair_at
from tests.support.operator import DEADLINE_S

T = TypeVar("T")
Stream = grpc.aio.StreamStreamCall[bytes, a.ConnectResponse]


@dataclass(kw_only=True)
class Edge:
    keys: Path
    address: str = ""
    inputs: list[Input] = field(default_factory=list)
    agents: Agents = field(init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    answers: Callable[[Input], None] = lambda message: None

    def post(self, message: Input) -> None:
        self.inputs.append(message)
        self.answers(message)
        self._news.set()

    def of(self, kind: type[T]) -> list[T]:
        return [message for message in self.inputs if isinstance(message, kind)]

    async def until(self, kind: type[T], times: int = 1) -> list[T]:
        """The inputs of a kind, once there are so many."""
        async with asyncio.timeout(DEADLINE_S * 2):
            while len(self.of(kind)) < times:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)

    def credentials(self, host: str) -> grpc.ChannelCredentials:
        pair = pair_at(self.keys / "agents" / host / "agent")
        return grpc.ssl_channel_credentials((self.keys / "ca.pem").read_bytes(), pair.key, pair.certificate)

    def options(self, *more: tuple[str, Any]) -> list[tuple[str, Any]]:
        return [("grpc.ssl_target_name_override", SERVER_NAME), *more]

    def channel(self, host: str, *more: tuple[str, Any]) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self.address, self.credentials(host), self.options(*more))


def connect(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(CONNECT, response_deserializer=a.ConnectResponse.FromString)()


def hello(host: str) -> bytes:
    return a.ConnectRequest(hello=a.Hello(host=host, boot_id="boot")).SerializeToString()


@asynccontextmanager
async def edge(
    folder: Path, *hosts: str, options: Sequence[tuple[str, Any]] | None = None, **settings: Any
) -> AsyncIterator[Edge]:
    """`settings` are those of Agents."""
    keys = make_keys(folder, hosts).folder
    made = Edge(keys=keys)
    made.agents = Agents(made.post, **settings)
    server = grpc.aio.server(options=listener_options() if options is None else options)
    server.add_generic_rpc_handlers((made.agents.handler(),))
    credentials = server_credentials(keys / "ca.pem", keys / "coordinator.pem", keys / "coordinator.key")
    made.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield made
    finally:
        await server.stop(0)
