"""The coordinator's gRPC servers: each with its services, their health and, where wanted, reflection."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from killdeer_coordinator.config import Address

# Streams end by themselves after a Dismissal; what is left after this is cut.
DRAIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """`add`: puts services into a server and gives their full names. `calls_most`: at once; None: any number."""

    address: Address
    options: Sequence[tuple[str, int]]
    credentials: grpc.ServerCredentials
    add: Callable[[grpc.aio.Server], list[str]]
    calls_most: int | None = None


class Listeners:
    def __init__(self) -> None:
        self._servers: list[tuple[grpc.aio.Server, health_aio.HealthServicer]] = []

    async def open(self, listeners: Sequence[Listener], *, reflect: bool) -> None:
        """Raises OSError with the address that cannot be listened on, and why."""
        for listener in listeners:
            server = grpc.aio.server(options=listener.options, maximum_concurrent_rpcs=listener.calls_most)
            names = [*listener.add(server), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
            health = health_aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(health, server)
            for name in ("", *names):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            if reflect:
                reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
            try:
                server.add_secure_port(str(listener.address), listener.credentials)
            except RuntimeError as cause:
                raise OSError(f"cannot listen on {listener.address}: {_why_not(listener.address)}") from cause
            await server.start()
            self._servers.append((server, health))

    async def silence(self) -> None:
        """No new call; those under way have DRAIN_S to end, on all servers at once."""
        for _, health in self._servers:
            await health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(DRAIN_S) for server, _ in self._servers))


def _why_not(address: Address) -> str:
    """gRPC says only that it could not; the kernel says why."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "gRPC does not say why"
