"""Calls that may hang for long (a name service, a file on a dead server), where they hold up nobody else.

The loop's own threads are few, and what must be durable before a halt is acknowledged waits for one of them.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Hashable
from threading import Thread
from typing import Any, TypeVar, cast

T = TypeVar("T")
Resolve = Callable[[str], list[str]]


class Aside:
    """Each call has a thread of its own; those of one key that come while it is under way share its answer, so that
    one that hangs takes one thread and no more."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}

    async def do(self, key: Hashable, call: Callable[[], T]) -> T:
        """What the call gives or raises. Who waits may be cancelled; the call goes on."""
        asked = self._under_way.get(key)
        if asked is None:
            asked = asyncio.get_running_loop().create_future()
            self._under_way[key] = asked
            asked.add_done_callback(lambda done: self._forget(key, done))
            Thread(target=_work, args=(call, asked), name=f"aside {key}", daemon=True).start()
        return cast(T, await asyncio.shield(asked))

    def _forget(self, key: Hashable, done: "asyncio.Future[Any]") -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # looked at: whoever asked may have left


class Names:
    def __init__(self, aside: Aside, resolve: Resolve | None = None) -> None:
        self._aside = aside
        self._resolve = resolve or _resolve

    async def addresses(self, host: str) -> list[str]:
        """Where a name leads now, best first; an address leads to itself. Raises socket.gaierror."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return await self._aside.do(("name", host), lambda: self._resolve(host))
        return [host]


def _resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _work(call: Callable[[], Any], asked: "asyncio.Future[Any]") -> None:
    error: Exception | None = None
    answer = None
    try:
        answer = call()
    except Exception as problem:
        error = problem

    def tell() -> None:
        if asked.done():
            return
        if error is not None:
            asked.set_exception(error)
        else:
            asked.set_result(answer)

    try:
        asked.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop has ended
