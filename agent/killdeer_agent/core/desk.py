"""What the core's parts share: the memory, the present, and the effects of the input under way."""

from collections.abc import Callable

from killdeer.v1.agent_pb2 import ConnectRequest, Hello
from killdeer_agent.core.facts import Now
from killdeer_agent.core.memory import Memory
from killdeer_agent.core.words import Effect, Note, Record, Send, Write

Then = Callable[[str], None]
"""Called with '' once the record is durable, or with why it cannot be."""


class Desk:
    """Records take effect on the memory when they are durable, never before."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.now = Now(0)
        self.boot_id = ""
        self.hello = Hello()
        self.journal_problem = ""
        self.stopping = False
        self._effects: list[Effect] = []
        self._writes: dict[int, tuple[Record, Then]] = {}
        self._token = 0

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def send(self, frame: ConnectRequest, *, urgent: bool = False) -> None:
        self.emit(Send(frame, urgent))

    def note(self, event: str, **fields: object) -> None:
        self.emit(Note(event, fields))

    def write(self, record: Record, then: Then) -> None:
        self._token += 1
        self._writes[self._token] = (record, then)
        self.emit(Write(self._token, record))

    def written(self, token: int, problem: str) -> None:
        record, then = self._writes.pop(token)
        if problem:
            if not self.journal_problem:
                self.note("journal_failed", problem=problem)
            self.journal_problem = problem
        else:
            self.memory.apply(record)
        then(problem)

    def taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
