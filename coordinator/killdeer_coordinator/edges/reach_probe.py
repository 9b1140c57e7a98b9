"""Whether a port takes connections, and what a gRPC server says of its health."""

import asyncio
import re
import ssl
import time

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges import authorities
from killdeer_coordinator.edges.answers import MET, NOT_MET, Taken, Unknown, why
from killdeer_coordinator.edges.aside import Aside, Names

ANSWER_MOST_BYTES = 64 * 1024
_OPTIONS = (
    # Channels with equal arguments share one connection, and with it the wait after a failure, which grows to two
    # minutes: a service that is back would long read as gone.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", ANSWER_MOST_BYTES),
)
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/]+):[0-9]{1,5}")
# gRPC tells the cause of a broken connection in words alone.
_CAUSES = (
    ("connection refused", "connection refused"),
    ("certificate_verify_failed", "its certificate is not trusted"),
    ("certificate verify failed", "its certificate is not trusted"),
    ("peer name", "its certificate is not for that name"),
    ("wrong_version_number", "TLS failed: wrong version number"),
    ("lookup failed", "its name is not known"),
    ("dns resolution failed", "its name is not known"),
)


class TcpProbe:
    def __init__(self, names: Names) -> None:
        self._names = names

    async def take(self, source: p.TcpSource, take: p.Take) -> Taken:
        """Raises Unknown: who does not answer has not said no."""
        try:
            addresses = await self._names.addresses(source.host)
            begun = time.monotonic()
            await self._connect(addresses, source.port)
        except (OSError, OverflowError) as error:
            raise Unknown(f"no answer: {why(error)}") from None
        return Taken(time.monotonic() - begun) if take == p.TAKE_LATENCY else Taken(MET, "connected")

    async def _connect(self, addresses: list[str], port: int) -> None:
        """To the first that takes it. Raises the last one's OSError."""
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                if not left:
                    raise
                continue
            itself = writer.get_extra_info("sockname") == writer.get_extra_info("peername")
            writer.transport.abort()
            # Where nobody listens on a port that is also handed out to clients, the kernel can connect a client
            # to itself.
            if itself:
                raise ConnectionRefusedError(111, "Connection refused")
            return


class GrpcProbe:
    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._system: bytes | None = None

    async def take(self, source: p.GrpcSource, take: p.Take) -> Taken:
        """Over a connection of its own each time, which its latency includes. Raises Unknown."""
        if not _ADDRESS.fullmatch(source.address):
            raise Unknown(f"cannot use its address {source.address!r}: write HOST:PORT, or [HOST]:PORT of IPv6")
        credentials = await self._credentials(source) if source.tls else None
        begun = time.monotonic()
        try:
            async with _channel(source.address, credentials) as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=source.service)
                )
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise Unknown(f"no answer: {_cause(error)}") from None
            status = "SERVICE_UNKNOWN"  # so says Check; Watch has a value for it
        else:
            status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        if take != p.TAKE_LATENCY:
            return Taken(MET if status == "SERVING" else NOT_MET, status)
        if status != "SERVING":
            raise Unknown(status)
        return Taken(time.monotonic() - begun)

    async def _credentials(self, source: p.GrpcSource) -> grpc.ChannelCredentials:
        if not source.ca_file:
            # gRPC would bring authorities of its own.
            self._system = self._system or await self._aside.do("system", _systems_authorities)
            return grpc.ssl_channel_credentials(self._system)
        try:
            roots = await self._aside.do(("authorities", source.ca_file), lambda: authorities.read(source.ca_file))
        except (OSError, ValueError) as error:
            raise Unknown(f"cannot use ca_file {source.ca_file}: {why(error)}") from None
        return grpc.ssl_channel_credentials(roots)


def _systems_authorities() -> bytes:
    """PEM."""
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, trusted)).encode()


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    target = f"dns:///{address}"  # and no socket of this machine's file system
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


def _cause(error: grpc.aio.AioRpcError) -> str:
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return "it does not serve grpc.health.v1"
    said = (error.details() or "").lower()
    for sign, words in _CAUSES:
        if error.code() == grpc.StatusCode.UNAVAILABLE and sign in said:
            return words
    return f"gRPC says {error.code().name}"
