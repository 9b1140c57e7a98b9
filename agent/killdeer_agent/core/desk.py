"""What the core's parts share: the memory, the present, and the effects of the input under way."""

from collections.abc import Callable

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest, Hello
from killdeer.v1.process_pb2 import HaltRecord
from killdeer_agent.core.facts import Now
from killdeer_agent.core.memory import Memory
from killdeer_agent.core.tally import Tally
from killdeer_agent.core.words import Compact, Effect, Note, Record, Send, Write

Then = Callable[[str], None]
"""Called with '' once the record is durable, or with why it cannot be."""

# A journal of more records than this, and twice what it must hold, is written anew with what still counts.
LONG_JOURNAL = 20_000


class Desk:
    """Records take effect on the memory when they are durable, never before. Halts are the exception: they hold
    from the moment they are heard (I4)."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.tally = Tally()
        self.now = Now(0)
        self.boot_id = ""
        self.pid = 0
        self.hello = Hello()
        self.distrust = ""  # why the journal cannot be trusted, for as long as this agent runs
        self.stopping = False
        self.halting: dict[str, HaltRecord] = {}  # heard, and not yet durable
        self._effects: list[Effect] = []
        self._writes: dict[int, tuple[Record, Then]] = {}
        self._token = 0
        self._write_problem = ""  # the last write's
        self._records = 0
        self._long = LONG_JOURNAL

    @property
    def journal_problem(self) -> str:
        """Why no intent can be made durable now. A full disk that has room again is none any more."""
        return self.distrust or self._write_problem

    @property
    def halts(self) -> Halts:
        """What is in force here."""
        return self.memory.halts.union(Halts(self.halting))

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def send(self, frame: ConnectRequest, *, urgent: bool = False) -> None:
        self.emit(Send(frame, urgent))

    def note(self, event: str, **fields: object) -> None:
        self.emit(Note(event, fields))

    def warn(self, event: str, **fields: object) -> None:
        self.emit(Note(event, fields, wrong=True))

    def recall(self, records: tuple[Record, ...], problem: str) -> None:
        """The whole journal, at start. What can be read is still reverted; nothing is struck on a journal that is
        not understood (R13)."""
        self.distrust = problem
        self._records = len(records)
        for record in records:
            try:
                self.memory.apply(record)
            except Exception as error:  # whatever one record holds, the others are reverted
                self.distrust = self.distrust or f"cannot read the record {record.kind!r}: {error!r}"

    def write(self, record: Record, then: Then = lambda problem: None) -> None:
        self._token += 1
        self._records += 1
        self._writes[self._token] = (record, then)
        self.emit(Write(self._token, record))

    def written(self, token: int, problem: str) -> None:
        record, then = self._writes.pop(token)
        if problem and not self._write_problem:
            self.warn("journal_failed", problem=problem)
        self._write_problem = problem
        if not problem:
            self.memory.apply(record)
        then(problem)

    def compact(self) -> None:
        """With each tick. A journal that is not understood is left as it is."""
        if self._records < self._long or self._writes or self.distrust:
            return
        self.memory.forget(self.now.boot_ns)
        records = self.memory.essential()
        self._records, self._long = len(records), max(LONG_JOURNAL, 2 * len(records))
        self.emit(Compact(records))

    def taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
