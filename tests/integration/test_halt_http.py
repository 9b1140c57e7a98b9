"""`POST /halt` of a real coordinator over HTTPS: a token that halts and can do nothing else."""

import asyncio
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.edges import halt_http
from tests.support.coordinator import Coordinator, coordinator, stub, wire_agent
from tests.support.fleet import wait_until
from tests.support.operator import DEADLINE_S


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with coordinator(tmp_path_factory.mktemp("coordinator"), "host-1") as started:
        yield started
        assert "Traceback" not in started.said
        assert "Unhandled" not in started.said


@pytest.fixture
def token(made: Coordinator) -> str:
    return (made.keys / "halt-token").read_text().strip()


def tls(made: Coordinator) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=made.keys / "ca.pem")


def ask(
    made: Coordinator,
    token: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/halt",
    headers: dict[str, str] | None = None,
) -> tuple[int, Any, http.client.HTTPMessage]:
    host, _, port = made.halt.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=tls(made), timeout=DEADLINE_S)
    try:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body, given | (headers or {}))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def halts(made: Coordinator) -> list[str]:
    """The reasons of those engaged."""
    with stub(made) as operators:
        return [halt.reason for halt in operators.GetStatus(o.GetStatusRequest(), timeout=DEADLINE_S).halts]


def rearm(made: Coordinator) -> None:
    with stub(made) as operators:
        operators.Rearm(o.RearmRequest(reason="tested"), timeout=DEADLINE_S)


@pytest.fixture
def opened(made: Coordinator) -> Iterator[None]:
    assert not halts(made)
    yield
    rearm(made)


def test_the_token_halts_the_fleet_and_is_named_in_the_record(made: Coordinator, token: str, opened: None) -> None:
    with wire_agent(made, "host-1") as agent:
        agent.hello("host-1")
        assert agent.read("welcome")
        agent.beat(1)
        assert agent.read("lease_renewal")

        def acknowledge() -> None:
            frame = agent.read("halt")
            assert frame is not None
            for stage in (a.HALT_STAGE_STOPPED, a.HALT_STAGE_REVERTED):
                ack = a.HaltAck(halt_id=frame.halt.halt.id, stage=stage)
                agent.send(a.ConnectRequest(halt_ack=ack))

        # While the caller waits for its answer.
        acknowledging = threading.Thread(target=acknowledge)
        acknowledging.start()
        status, said, _ = ask(made, token, json.dumps({"reason": "too many errors"}).encode())
        acknowledging.join()
    assert status == 202
    assert (said["stopped"], said["total"], said["complete"]) == (1, 1, True)
    assert [host["host"] for host in said["hosts"]] == ["host-1"]
    assert halts(made) == ["too many errors"]

    def on_record() -> list[o.AuditEntry]:
        with stub(made) as operators:
            entries = operators.ListAudit(o.ListAuditRequest(), timeout=DEADLINE_S).entries
        return [entry for entry in entries if entry.what == "halt.engaged"]

    # A halt waits for nothing, not for the store either.
    (engaged,) = wait_until(on_record, "the halt is on the record")
    assert (engaged.who, engaged.subject, engaged.why) == ("halt-token", said["halt_id"], "too many errors")


def test_hosts_that_do_not_answer_are_named_with_their_bound(made: Coordinator, token: str, opened: None) -> None:
    status, said, _ = ask(made, token)
    assert status == 202
    assert (said["stopped"], said["total"], said["complete"]) == (0, 1, False)
    assert int(said["hosts"][0]["stops_by_unix_ms"]) > 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", ""),
        (b"\xff\x00 garbage", "\ufffd\x00 garbage"),
        (b"[" * 100_000, "[" * 500),
        (b'"disk full"', "disk full"),
        (b'{"reason": {"a": 1}}', "{'a': 1}"),
        (b'{"reason": "\\ud800"}', "?"),
        (b'{"alerts": []}', ""),
    ],
)
def test_whatever_the_body_is_the_halt_goes_out(
    made: Coordinator, token: str, opened: None, body: bytes, reason: str
) -> None:
    status, _, _ = ask(made, token, body)
    assert status == 202
    assert halts(made) == [reason]


def test_a_body_in_chunks_after_a_100_continue_is_read(made: Coordinator, token: str, opened: None) -> None:
    host, _, port = made.halt.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE_S) as plain,
        tls(made).wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(
            f"POST /halt HTTP/1.1\r\nHost: x\r\nAuthorization: bearer {token}\r\n"
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert b" 100 " in secure.recv(100)
        secure.sendall(b"5\r\nquiet\r\n0\r\n\r\n")
        assert b" 202 " in secure.recv(100)
    assert halts(made) == ["quiet"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"token": ""}, 401),
        ({"token": "wrong"}, 401),
        ({"token": "", "headers": {"Authorization": "Basic Zm9vOmJhcg=="}}, 401),
        ({"method": "GET"}, 405),
        ({"method": "DELETE"}, 405),
        ({"path": "/"}, 404),
        ({"path": "/rearm"}, 404),
        ({"path": "/halt/../rearm"}, 404),
        ({"body": b"x" * (halt_http.BODY_MOST_BYTES + 1)}, 413),
        ({"token": "", "body": b"x" * (halt_http.BODY_MOST_BYTES + 1)}, 401),
        ({"headers": {"X-Long": "x" * (2 * halt_http.HEAD_MOST_BYTES)}}, 431),
    ],
)
def test_anything_else_is_answered_by_its_status_and_halts_nothing(
    made: Coordinator, token: str, given: dict[str, Any], status: int
) -> None:
    found, said, headers = ask(made, given.pop("token", token), given.pop("body", b""), **given)
    assert found == status
    assert said["error"]
    assert headers["allow"] == ("POST" if status == 405 else None)
    assert headers["www-authenticate"] == ("Bearer" if status == 401 else None)
    assert not halts(made)


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET\x00/ HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_answered_400(made: Coordinator, sent: bytes) -> None:
    host, _, port = made.halt.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE_S) as plain,
        tls(made).wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(sent)
        assert b" 400 " in secure.recv(100)


def test_a_caller_that_leaves_or_does_not_speak_tls_hurts_nobody(
    made: Coordinator, token: str, opened: None
) -> None:
    host, _, port = made.halt.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as plain:
        plain.sendall(b"POST /halt HTTP/1.1\r\n\r\n")
    plain = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
    tls(made).wrap_socket(plain, server_hostname="localhost").close()
    assert ask(made, token)[0] == 202


def test_the_token_opens_nothing_else(made: Coordinator, token: str) -> None:
    """The operators' listener asks for a certificate; a token is no identity there."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials((made.keys / "ca.pem").read_bytes()), grpc.access_token_call_credentials(token)
    )
    options = [("grpc.ssl_target_name_override", "killdeer-coordinator")]
    with grpc.secure_channel(made.operators, credentials, options) as channel:
        call: Any = channel.unary_unary("/killdeer.v1.OperatorService/Rearm")
        with pytest.raises(grpc.RpcError) as ended:
            call(o.RearmRequest(reason="x").SerializeToString(), timeout=DEADLINE_S)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("spoken", ["nothing", "half a head", "half a body"])
def test_a_caller_that_dawdles_is_cut_off_and_halts_nothing(made: Coordinator, spoken: str) -> None:
    said = {
        "nothing": b"",
        "half a head": b"POST /halt HTTP/1.1\r\nAuthori",
        "half a body": b"POST /halt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Length: 9\r\n\r\nhal",
    }[spoken]
    halted: list[str] = []

    async def halt(halt_id: str, reason: str) -> dict[str, object]:
        halted.append(halt_id)
        return {}

    async def run() -> bytes:
        listener = halt_http.HaltListener("t", halt, request_within_s=0.2)
        cert, key = made.keys / "coordinator.pem", made.keys / "coordinator.key"
        server = await listener.start("127.0.0.1", 0, cert, key)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls(made), server_hostname="localhost"
        )
        writer.write(said)
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        writer.close()
        server.close()
        return answer

    assert b" 408 " in asyncio.run(run())
    assert not halted
