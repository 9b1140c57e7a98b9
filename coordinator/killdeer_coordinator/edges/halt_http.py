"""`POST /halt` over TLS, with a token that can do nothing else: for chatops and alert managers.

curl --cacert ca.pem -X POST -H "Authorization: Bearer $TOKEN" -d '{"reason": "…"}' https://…:7444/halt
"""

import asyncio
import hmac
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11

HEAD_MOST_BYTES = 16 * 1024
# An alert manager's body lists every alert. Only whoever has the token is read so far.
BODY_MOST_BYTES = 1024 * 1024
REQUEST_WITHIN_S = 10.0
# What was not read is thrown away for so long before the close: a reset would take the answer with it.
LINGER_S = 1.0
# Small, for h11 looks at the size of a head only while it waits for more of it.
READ_BYTES = 4096
REASON_MOST = 500

Halt = Callable[[str, str], Awaitable[dict[str, object]]]
"""(halt id, reason) -> the state of the halt, as a JSON object."""


class Refusal(Exception):
    """The request is answered with this status, and nothing is halted."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


class HaltListener:
    def __init__(self, token: str, halt: Halt, *, request_within_s: float = REQUEST_WITHIN_S) -> None:
        self._token = token.encode()
        self._halt = halt
        self._request_within_s = request_within_s

    async def start(self, host: str, port: int, cert: Path, key: Path) -> asyncio.Server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        return await asyncio.start_server(
            self._serve, host, port, ssl=context, ssl_handshake_timeout=self._request_within_s
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MOST_BYTES)
        try:
            await self._converse(connection, reader, writer)
        except OSError:
            return  # the caller has gone; a halt that it asked for is out
        finally:
            writer.close()

    async def _converse(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        headers: dict[str, str] = {}
        body: dict[str, object]
        try:
            async with asyncio.timeout(self._request_within_s):
                reason = await self._asked(connection, reader, writer)
        except Refusal as no:
            status, body, headers = no.status, {"error": str(no)}, no.headers
        except h11.RemoteProtocolError as error:
            status, body = error.error_status_hint, {"error": str(error)}
        except TimeoutError:
            status, body = 408, {"error": "the request took too long"}
        else:
            status, body = 202, await self._halt(uuid.uuid4().hex, reason)
        await _send(connection, writer, status, headers, body)
        if connection.their_state is not h11.DONE:
            await _discard(reader)

    async def _asked(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        """The reason to halt. Raises Refusal before anything of the body is read, for who may not."""
        event = await _next(connection, reader)
        if not isinstance(event, h11.Request):
            raise Refusal(400, "no request")
        self._check(event)
        if connection.they_are_waiting_for_100_continue:
            writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = b""
        while isinstance(event := await _next(connection, reader), h11.Data):
            body += bytes(event.data)
            if len(body) > BODY_MOST_BYTES:
                raise Refusal(
                    413, f"cannot read the body: it is longer than {BODY_MOST_BYTES} bytes; send less, or none"
                )
        return _reason(body)

    def _check(self, request: h11.Request) -> None:
        if request.target != b"/halt":
            raise Refusal(404, "the one thing here is POST /halt")
        if request.method != b"POST":
            raise Refusal(405, "use POST", allow="POST")
        given = dict(request.headers).get(b"authorization", b"")
        scheme, _, token = bytes(given).partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
            why = "the token is missing or wrong: send Authorization: Bearer TOKEN"
            raise Refusal(401, why, **{"www-authenticate": "Bearer"})


def _reason(body: bytes) -> str:
    """Whatever the body is, the halt goes out: a malformed reason must not keep a fleet running."""
    try:
        said = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return body.decode(errors="replace")[:REASON_MOST]
    reason = said.get("reason", "") if isinstance(said, dict) else said
    return str(reason).encode(errors="replace").decode()[:REASON_MOST]


async def _next(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await reader.read(READ_BYTES))


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    status: int,
    more: dict[str, str],
    body: dict[str, object],
) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    text = (json.dumps(body) + "\n").encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(text)),
        "connection": "close",
        **more,
    }
    for event in (
        h11.Response(status_code=status, headers=list(headers.items())),
        h11.Data(data=text),
        h11.EndOfMessage(),
    ):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _discard(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(LINGER_S):
            while await reader.read(65_536):
                pass
    except TimeoutError:
        return
