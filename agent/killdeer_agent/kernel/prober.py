"""Asks a service of this host whether it is ready: by HTTP, TCP or gRPC's health protocol (rule R30).

All of it in the loop, bounded as a whole, and only at addresses of this host: an agent is nobody's way into a
network.
What is sent may hold secrets and what is answered may hold anything, so neither is ever part of a detail.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import h11
from grpc_health.v1 import health_pb2

from killdeer.v1 import probe_pb2
from killdeer.version import VERSION
from killdeer_agent.core.readiness import host_and_port
from killdeer_agent.core.words import Probe, Probed
from killdeer_agent.kernel import authorities

MOST_AT_ONCE = 8
# Where the probe says nothing of it.
WITHIN_MS = 1_000
# A longer answer is not read to its end, and so not met.
MOST_BYTES = 1024 * 1024
# Of a header's value in a file.
MOST_SECRET_BYTES = 8 * 1024

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_PORTS = {"http": 80, "https": 443}


class Unmet(Exception):
    """It is not ready, or that cannot be told; the message says why, without a secret."""


class Prober:
    """`secrets`: the one folder that headers `from_file` come from. Belongs to the loop that it is made in."""

    def __init__(self, secrets: Path) -> None:
        self._secrets = secrets
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def probe(self, effect: Probe) -> Probed:
        within_ms = effect.probe.within_ms or WITHIN_MS
        async with self._slots:
            try:
                async with asyncio.timeout(within_ms / 1_000):
                    met, detail = True, await self._ask(effect.probe)
            except Unmet as unmet:
                met, detail = False, str(unmet)
            except TimeoutError:
                met, detail = False, f"no answer within {within_ms} ms"
            except Exception as error:  # whatever it is, it is not met; its message may hold what was sent
                met, detail = False, f"cannot be asked: {type(error).__name__}"
        return Probed(command_id=effect.command_id, turn=effect.turn, met=met, detail=detail)

    async def _ask(self, probe: probe_pb2.Probe) -> str:
        match probe.WhichOneof("source"):
            case "http":
                return await self._http(probe.http)
            case "tcp":
                _, writer, _ = await _connect(probe.tcp.host, probe.tcp.port)
                writer.transport.abort()
                return "it takes connections"
            case "grpc":
                return await _grpc(probe.grpc)
        raise Unmet("it is no http, tcp or grpc probe")

    async def _http(self, source: probe_pb2.HttpSource) -> str:
        url = urlsplit(source.url)
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
        request = self._request(source)
        tls = await asyncio.to_thread(_trusting, source.ca_file) if url.scheme == "https" else None
        reader, writer, _ = await _connect(host, port, tls)
        try:
            status, body = await _exchange(request, reader, writer)
        finally:
            writer.transport.abort()
        if status not in (source.status or range(200, 300)):
            raise Unmet(f"it answered {status}")
        if source.contains.encode() not in body:
            raise Unmet(f"it answered {status}, without the text that is asked for")
        return f"it answered {status}"

    def _request(self, source: probe_pb2.HttpSource) -> h11.Request:
        url = urlsplit(source.url)
        headers = {"host": url.netloc, "user-agent": f"killdeer-agent/{VERSION}", "accept": "*/*"}
        headers |= {header.name.lower(): self._value(header) for header in source.headers}
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        try:
            fields = [(name.encode(), value.encode()) for name, value in headers.items()]
            return h11.Request(
                method=source.method or "GET", target=target, headers=[*fields, (b"connection", b"close")]
            )
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise Unmet("its URL or a header cannot be sent by HTTP") from None

    def _value(self, header: probe_pb2.Header) -> str:
        match header.WhichOneof("source"):
            case "from_env":
                value = os.environ.get(header.from_env)
                if value is None:
                    raise Unmet(f"the agent's environment has no {header.from_env} for the header {header.name}")
                return value
            case "from_file":
                return self._secret(header)
        return header.value

    def _secret(self, header: probe_pb2.Header) -> str:
        file = (self._secrets / header.from_file).resolve()
        if not file.is_relative_to(self._secrets.resolve()):
            raise Unmet(f"cannot read the header {header.name}: on this host such a file is in {self._secrets}")
        try:
            if not file.is_file():  # a pipe without a writer would hold the agent up
                raise Unmet(f"cannot read the header {header.name} from {header.from_file}: it is no file")
            with file.open("rb") as opened:
                return opened.read(MOST_SECRET_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise Unmet(f"cannot read the header {header.name} from {header.from_file}: {why}") from None


async def _connect(
    host: str, port: int, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """Also the address that answered, one of this host's."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unmet(f"cannot find the address of {host}: {error.strerror}") from None
    addresses = [str(one[4][0]) for one in found if _is_here(one[0], one[4])]
    if not addresses:
        raise Unmet(f"{host} is no address of this host: whether a service is ready is asked where it runs")
    why = ""
    for address in addresses:
        try:
            reader, writer = await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=host if tls is not None else None
            )
        except ssl.SSLCertVerificationError as error:
            raise Unmet(f"its certificate is not accepted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise Unmet(f"no TLS with it: {error.reason}") from None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "no connection"
            continue
        return reader, writer, address
    raise Unmet(f"cannot connect to port {port}: {why}")


def _is_here(family: int, address: tuple[Any, ...]) -> bool:
    """By a bind, as the agent's unit lets it ask no netlink. Where the host lets everybody bind what is not its own
    (ip_nonlocal_bind) that proves nothing, and loopback alone is left (I10)."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.is_loopback or ip.is_unspecified or ip.is_multicast:
        return ip.is_loopback
    version = "ipv6" if family == socket.AF_INET6 else "ipv4"
    try:
        if Path(f"/proc/sys/net/{version}/ip_nonlocal_bind").read_text().strip() != "0":
            return False
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True


async def _exchange(
    request: h11.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[int, bytes]:
    """Status and body. A redirect is an answer like any other."""
    http = h11.Connection(h11.CLIENT)
    sent = [http.send(event) or b"" for event in (request, h11.EndOfMessage())]
    with suppress(ConnectionError):  # it may have answered all the same
        writer.write(b"".join(sent))
        await writer.drain()
    status, body = 0, bytearray()
    try:
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MOST_BYTES:
                    raise Unmet(f"its answer is longer than {MOST_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body)
    except h11.RemoteProtocolError:
        raise Unmet("its answer is no whole answer of HTTP/1.1") from None
    except ConnectionError:
        raise Unmet("it broke the connection off") from None


async def _grpc(source: probe_pb2.GrpcSource) -> str:
    host, port = host_and_port(source.address)
    # gRPC itself would hide why nobody is there, and ask a name that may lead elsewhere a second time.
    _, writer, address = await _connect(host, port)
    writer.transport.abort()
    target = f"ipv6:[{address}]:{port}" if ":" in address else f"ipv4:{address}:{port}"
    options = [
        ("grpc.default_authority", source.address),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", MOST_BYTES),
    ]
    if source.tls:
        roots = await asyncio.to_thread(_authorities, source.ca_file)
        options.append(("grpc.ssl_target_name_override", host))
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options)
    else:
        channel = grpc.aio.insecure_channel(target, options)
    async with channel:
        check = channel.unary_unary(
            _HEALTH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=source.service))
        except grpc.aio.AioRpcError as error:
            raise Unmet(f"its health check answered {error.code().name}") from None
    if answer.status != _SERVING:
        raise Unmet(f"it says that it is {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")
    return "it says that it is SERVING"


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return authorities.trusting(ca_file)
    except OSError as error:
        raise Unmet(f"cannot read the authorities in {ca_file}: {error.strerror}") from None


def _authorities(ca_file: str) -> bytes | None:
    try:
        return authorities.read(ca_file)
    except OSError as error:
        raise Unmet(f"cannot read the authorities in {ca_file}: {error.strerror}") from None
