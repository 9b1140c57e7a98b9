"""Operators' calls that wait for the core: each has a number, and its answers in the order they were given."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable

from google.protobuf.message import Message

from killdeer_coordinator.core.words import Asked, Gone, Input, Operator, Refuse, Reply

# More answers than this wait to be read: the caller does not read them. Its call is ended.
WAITING_MOST = 256


class Asks:
    """The calls that wait for the core."""

    def __init__(self, post: Callable[[Input], None]) -> None:
        self._post = post
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Reply | Refuse]] = {}

    def answer(self, answer: Reply | Refuse) -> None:
        queue = self._waiting.get(answer.ask)
        if queue is None:
            return
        if queue.qsize() < WAITING_MOST:
            queue.put_nowait(answer)
            return
        del self._waiting[answer.ask]
        while not queue.empty():
            queue.get_nowait()
        message = f"this call is ended: {WAITING_MOST} answers wait and are not read"
        queue.put_nowait(Refuse(ask=answer.ask, code="UNAVAILABLE", message=message, remedy="ask again"))
        self._post(Gone(answer.ask))

    async def ask(self, who: Operator, request: Message) -> AsyncGenerator[Message, None]:
        """Raises Refused. The core is told when the caller leaves before the last answer."""
        number = next(self._numbers)
        queue = self._waiting[number] = asyncio.Queue()
        ended = False
        try:
            self._post(Asked(ask=number, who=who, request=request, fresh=secrets.token_hex(32)))
            while not ended:
                answer = await queue.get()
                ended = isinstance(answer, Refuse) or answer.last
                if isinstance(answer, Refuse):
                    raise Refused(answer)
                yield answer.message
        finally:
            self._waiting.pop(number, None)
            if not ended:
                self._post(Gone(number))


class Refused(Exception):
    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.message)
        self.refuse = refuse
