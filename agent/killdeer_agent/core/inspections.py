"""Inspections that a coordinator asks for: what is to be looked at, and what it means. Nothing is struck, so
neither lease nor consent is needed."""

from killdeer.newer import newer_than_me
from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import Field, Match, Reason, Selector, Term
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.inspecting import subject
from killdeer_agent.core.scans import ANSWER_MOST_BYTES
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Inspect, Inspected

_EVERYTHING = Selector(terms=[Term(field=Field.FIELD_NAME, match=Match.MATCH_GLOB, values=["*"])])


class Inspections:
    def __init__(self, desk: Desk, strikes: Strikes) -> None:
        self._desk = desk
        self._strikes = strikes

    def asked(self, inspect: agent_pb2.Inspect) -> None:
        """Without terms: all that the guard lets be hit."""
        if newer := newer_than_me(inspect):
            detail = f"this agent does not know all of it: {newer}"
            self._refuse(inspect.ask, Reason.REASON_NEWER_THAN_ME, detail)
            return
        try:
            matcher = Matcher(inspect.selector if inspect.selector.terms else _EVERYTHING)
        except SelectorError as error:
            self._refuse(inspect.ask, Reason.REASON_CANNOT_EVALUATE, str(error))
            return
        self._desk.emit(
            Inspect(
                ask=inspect.ask,
                matcher=matcher,
                open_only=not inspect.selector.terms,
                guard=self._strikes.guard,
                deadline_boot_ns=self._desk.now.boot_ns + inspect.deadline_ms * NS_PER_MS,
            )
        )

    def inspected(self, inspected: Inspected) -> None:
        if inspected.failure:
            self._refuse(inspected.ask, inspected.failure, inspected.detail)
            return
        answer = agent_pb2.Inspected(
            ask=inspected.ask, subjects=[subject(service) for service in inspected.services]
        )
        if answer.ByteSize() > ANSWER_MOST_BYTES:
            detail = "more was found here than one answer can carry: narrow the selector, by unit or user"
            self._refuse(inspected.ask, Reason.REASON_CANNOT_EVALUATE, detail)
            return
        self._desk.send(ConnectRequest(inspected=answer))

    def _refuse(self, ask: str, reason: Reason, detail: str) -> None:
        failure = agent_pb2.Inspected(ask=ask, failure=reason, failure_detail=detail)
        self._desk.send(ConnectRequest(inspected=failure))
