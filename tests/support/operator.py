"""A coordinator that says what a test tells it to: the operator service over real gRPC and TLS on loopback."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, cast

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import operator_pb2_grpc
from tests.support.certificates import Authority, Keys

DEADLINE_S = 20.0
"""A guard against hanging; nothing is timed by it."""

CLI = [sys.executable, "-c", "from killdeer_cli.main import main; main()"]

Answer = Callable[[Any, grpc.ServicerContext], Any]


class FakeOperator:
    """Answers each verb by `answers[verb](request, context)`, else with the verb's empty response."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any]] = []
        self.closing = threading.Event()
        self._news = threading.Condition()

    def requests(self, verb: str) -> list[Any]:
        with self._news:
            return [request for name, request in self.asked if name == verb]

    def wait_for(self, verb: str, times: int = 1) -> Any:
        """The last request of a verb, once it was asked so often."""

        def count() -> bool:
            return sum(name == verb for name, _ in self.asked) >= times

        with self._news:
            assert self._news.wait_for(count, DEADLINE_S), f"{verb} was not asked {times} times: {self.asked}"
        return self.requests(verb)[-1]

    def answer(self, verb: str, request: Any, context: grpc.ServicerContext) -> Any:
        with self._news:
            self.asked.append((verb, request))
            self._news.notify_all()
        if verb in self.answers:
            return self.answers[verb](request, context)
        return None


def _unary(verb: str, empty: type[Any]) -> Answer:
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        told = self.answer(verb, request, context)
        return empty() if told is None else told

    return answer  # type: ignore[return-value]


def _stream(verb: str) -> Answer:
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        told = self.answer(verb, request, context)
        yield from () if told is None else told

    return answer  # type: ignore[return-value]


for _method in o.DESCRIPTOR.services_by_name["OperatorService"].methods:
    _made = (
        _stream(_method.name)
        if _method.server_streaming
        else _unary(_method.name, getattr(o, _method.output_type.name))
    )
    setattr(FakeOperator, _method.name, _made)


def refuse(
    context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *, field: str = "", remedy: str = ""
) -> NoReturn:
    """Ends a call as the coordinator does: a status with ErrorInfo among its details."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain="killdeer", metadata={"field": field, "remedy": remedy}))
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message, details=[detail])
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("an aborted call goes on")


class Served:
    """A FakeOperator on a port of its own, and the keys an operator needs to speak to it."""

    def __init__(self, operator: FakeOperator, authority: Authority, *, name: str = "killdeer-coordinator") -> None:
        self.operator = operator
        keys = authority.issue("coordinator", dns=name)
        self._server = grpc.server(ThreadPoolExecutor(8))
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(cast(Any, operator), self._server)
        credentials = grpc.ssl_server_credentials(
            [(keys.key, keys.cert)], root_certificates=authority.cert, require_client_auth=True
        )
        self.address = f"127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', credentials)}"
        self._server.start()

    def stop(self) -> None:
        self.operator.closing.set()
        self._server.stop(0).wait(DEADLINE_S)


def free_address() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def write_context(
    folder: Path,
    addresses: list[str],
    authority: Authority,
    *,
    keys: Keys | None = None,
    name: str = "test",
    extra: str = "",
) -> Path:
    """A configuration file with one context, which is the current one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(authority.cert)
    (keys or authority.issue("operator")).write(folder, "operator")
    listed = ", ".join(f'"{address}"' for address in addresses)
    path = folder / "config.toml"
    path.write_text(
        f'current = "{name}"\n\n[context.{name}]\ncoordinators = [{listed}]\n'
        f'ca = "ca.crt"\ncert = "operator.crt"\nkey = "operator.key"\n{extra}'
    )
    return path
