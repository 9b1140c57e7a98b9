"""`POST /halt` over TLS, with a token that can do nothing else: for chatops and alert managers.

curl --cacert ca.pem -X POST -H "Authorization: Bearer $TOKEN" -d '{"reason": "…"}' https://…:7444/halt
"""

import asyncio
import hmac
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import h11

BODY_MOST_BYTES = 8 * 1024
REQUEST_WITHIN_S = 10.0

Halt = Callable[[str, str], Awaitable[dict[str, object]]]
"""(halt id, reason) -> the first answer, as a JSON object."""


class HaltListener:
    def __init__(self, token: str, halt: Halt) -> None:
        self._token = token
        self._halt = halt

    async def start(self, host: str, port: int, cert: Path, key: Path) -> asyncio.Server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        return await asyncio.start_server(self._serve, host, port, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=BODY_MOST_BYTES)
        with suppress(OSError, asyncio.CancelledError):
            try:
                async with asyncio.timeout(REQUEST_WITHIN_S):
                    status, body = await self._answer(connection, reader)
            except h11.RemoteProtocolError as error:
                status, body = error.error_status_hint, {"error": str(error)}
            except TimeoutError:
                status, body = 408, {"error": "the request took too long"}
            await _send(connection, writer, status, body)
        writer.close()

    async def _answer(
        self, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> tuple[int, dict[str, object]]:
        request, body = await _read(connection, reader)
        if request is None:
            return 400, {"error": "no request"}
        if request.target != b"/halt":
            return 404, {"error": "the one thing here is POST /halt"}
        if request.method != b"POST":
            return 405, {"error": "use POST"}
        headers = {bytes(name): bytes(value) for name, value in request.headers}
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not hmac.compare_digest(given, self._token.encode()):
            return 401, {"error": "the token is missing or wrong: send Authorization: Bearer TOKEN"}
        # Whatever the body is, the halt goes out: a malformed reason must not keep a fleet running.
        return 202, await self._halt(uuid.uuid4().hex, _reason(body))


def _reason(body: bytes) -> str:
    try:
        said = json.loads(body) if body else {}
    except ValueError:
        return body.decode(errors="replace")[:500]
    reason = said.get("reason", "") if isinstance(said, dict) else said
    return str(reason)[:500]


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(4096))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > BODY_MOST_BYTES:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        else:
            return request, body


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, status: int, body: dict[str, object]
) -> None:
    text = (json.dumps(body) + "\n").encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(text))), ("connection", "close")]
    if connection.our_state is h11.ERROR:
        return
    for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()
