"""OperatorService: each call is an ask of the core, or a question to the store that decides nothing."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from killdeer.v1 import operator_pb2 as wire
from killdeer.v1.operator_pb2_grpc import OperatorServiceServicer
from killdeer.v1.process_pb2 import StorePosition
from killdeer.version import VERSION
from killdeer_coordinator.core.unexplained import why_nothing
from killdeer_coordinator.core.words import Operator, Refuse
from killdeer_coordinator.edges.asks import Asks, Refused
from killdeer_coordinator.edges.feed import Feed
from killdeer_coordinator.edges.options import certificate
from killdeer_coordinator.outside import OutsideError
from killdeer_coordinator.pki import OperatorPeer, PeerError, peer_of
from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.deaths import Wanted
from killdeer_coordinator.store.errors import AmbiguousRun, NoSuchRun, StoreError

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)
T = TypeVar("T")
DETAILS_KEY = "grpc-status-details-bin"
REASON_DOMAIN = "killdeer"
LISTED_MOST = 1_000
EXPLAINED_MOST = 50
# How often a run of another coordinator is looked at.
LOOK_EVERY_S = 1.0
# A time that every column can hold.
FOREVER_MS = 2**62

Witnesses = Callable[[], Awaitable[Mapping[str, StorePosition]]]
"""Who was shown which store position (rule R28). Raises OutsideError."""
Notices = Callable[[], Iterable[str]]
"""What this coordinator itself has for operators to know."""


class Operators(OperatorServiceServicer):
    def __init__(
        self,
        asks: Asks,
        store: AsyncStore,
        feed: Feed,
        witnesses: Witnesses,
        notices: Notices = tuple,
        retention_days: Callable[[], int] = int,
    ) -> None:
        self._asks = asks
        self._store = store
        self._feed = feed
        self._witnesses = witnesses
        self._notices = notices
        self._retention_days = retention_days

    async def _one(self, request: Message, context: Context, kind: type[M]) -> M:
        async with aclosing(self._many(request, context)) as messages:
            async for message in messages:
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"the core did not answer with a {kind.__name__}")

    async def _many(self, request: Message, context: Context) -> AsyncGenerator[Any, None]:
        who = await _operator(context)
        try:
            async with aclosing(self._asks.ask(who, request)) as answers:
                async for message in answers:
                    yield message
        except Refused as refused:
            await refuse(context, refused.refuse)

    # Asks of the core. One line each: the core tells requests apart by their type.
    async def Plan(self, request: wire.PlanRequest, context: Context) -> wire.PlanResponse:
        return await self._one(request, context, wire.PlanResponse)

    async def Run(self, request: wire.RunRequest, context: Context) -> wire.RunResponse:
        return await self._one(request, context, wire.RunResponse)

    async def AbortRun(self, request: wire.AbortRunRequest, context: Context) -> wire.AbortRunResponse:
        await self._name_run(request, context)
        return await self._one(request, context, wire.AbortRunResponse)

    async def AddNote(self, request: wire.AddNoteRequest, context: Context) -> wire.AddNoteResponse:
        await self._name_run(request, context)
        return await self._one(request, context, wire.AddNoteResponse)

    async def Rearm(self, request: wire.RearmRequest, context: Context) -> wire.RearmResponse:
        return await self._one(request, context, wire.RearmResponse)

    async def ListHosts(self, request: wire.ListHostsRequest, context: Context) -> wire.ListHostsResponse:
        return await self._one(request, context, wire.ListHostsResponse)

    async def AcceptHost(self, request: wire.AcceptHostRequest, context: Context) -> wire.AcceptHostResponse:
        return await self._one(request, context, wire.AcceptHostResponse)

    async def RemoveHost(self, request: wire.RemoveHostRequest, context: Context) -> wire.RemoveHostResponse:
        return await self._one(request, context, wire.RemoveHostResponse)

    async def ListCandidates(
        self, request: wire.ListCandidatesRequest, context: Context
    ) -> wire.ListCandidatesResponse:
        return await self._one(request, context, wire.ListCandidatesResponse)

    async def Inspect(self, request: wire.InspectRequest, context: Context) -> wire.InspectResponse:
        return await self._one(request, context, wire.InspectResponse)

    async def ListLimits(self, request: wire.ListLimitsRequest, context: Context) -> wire.ListLimitsResponse:
        return await self._one(request, context, wire.ListLimitsResponse)

    async def SetLimit(self, request: wire.SetLimitRequest, context: Context) -> wire.SetLimitResponse:
        return await self._one(request, context, wire.SetLimitResponse)

    async def ListPermits(self, request: wire.ListPermitsRequest, context: Context) -> wire.ListPermitsResponse:
        return await self._one(request, context, wire.ListPermitsResponse)

    async def ClearPermit(self, request: wire.ClearPermitRequest, context: Context) -> wire.ClearPermitResponse:
        return await self._one(request, context, wire.ClearPermitResponse)

    async def WatchRun(
        self, request: wire.WatchRunRequest, context: Context
    ) -> AsyncIterator[wire.WatchRunResponse]:
        await self._name_run(request, context)
        run = await self._asked(context, lambda store: store.run(request.run))
        if run.state == wire.RUN_STATE_ENDED:  # also one of the coordinator before this one
            yield wire.WatchRunResponse(run=run)
            return
        elsewhere = False
        async with aclosing(self._many(request, context)) as messages:
            async for message in messages:
                elsewhere = not message.HasField("run")
                if not elsewhere:
                    yield message
        if elsewhere:
            async with aclosing(self._run_elsewhere(run, context)) as runs:
                async for run in runs:
                    yield wire.WatchRunResponse(run=run)

    async def Halt(self, request: wire.HaltRequest, context: Context) -> AsyncIterator[wire.HaltResponse]:
        async with aclosing(self._many(request, context)) as messages:
            async for message in messages:
                yield message

    async def GetStatus(self, request: wire.GetStatusRequest, context: Context) -> wire.GetStatusResponse:
        status = await self._one(request, context, wire.GetStatusResponse)
        status.version, status.unix_ms = VERSION, time.time_ns() // 1_000_000
        status.notices.extend(self._notices())
        status.retention_days = self._retention_days()
        try:
            sizes = await self._store.ask(lambda store: store.sizes())
        except StoreError as error:
            status.store_ok, status.store_detail = False, str(error)
        else:
            status.store_bytes, status.evidence_rows = sizes.store_bytes, sizes.evidence_rows
            status.evidence_since_unix_ms = sizes.evidence_since_ms
        return status

    # Questions to the store.
    async def ListRuns(self, request: wire.ListRunsRequest, context: Context) -> wire.ListRunsResponse:
        await _operator(context)
        limit = min(request.limit or 20, LISTED_MOST)
        return wire.ListRunsResponse(runs=await self._asked(context, lambda store: store.runs(limit)))

    async def GetRun(self, request: wire.GetRunRequest, context: Context) -> wire.GetRunResponse:
        await _operator(context)
        return wire.GetRunResponse(run=await self._asked(context, lambda store: store.run(request.run)))

    async def GetReport(self, request: wire.GetReportRequest, context: Context) -> wire.GetReportResponse:
        await _operator(context)
        return await self._answered(context, self._store.report(request.run or "latest"))

    async def ListAudit(self, request: wire.ListAuditRequest, context: Context) -> wire.ListAuditResponse:
        await _operator(context)
        entries = await self._asked(context, lambda store: store.audit(request.limit))
        response = wire.ListAuditResponse(entries=entries)
        response.length = entries[-1].number if entries else 0
        if request.verify:
            response.problem = await self._audit_problem(context)
            response.verified = not response.problem
        return response

    async def WatchEvents(
        self, request: wire.WatchEventsRequest, context: Context
    ) -> AsyncIterator[wire.WatchEventsResponse]:
        await _operator(context)
        wanted = Wanted(
            host=request.host,
            run=await self._run_id(request.run, context) if request.run else "",
            unit=request.unit,
            cause=request.cause,
            since_ms=min(request.since_unix_ms, FOREVER_MS),
        )
        limit = min(request.limit or 100, LISTED_MOST)
        with self._feed.listen() as listening:
            seen = 0
            past = await self._asked(context, lambda store: store.events(None, limit, wanted))
            for event in past:
                seen = event.number
                yield event
            while request.follow:
                event = await listening.get()
                if event is None:
                    message = "this coordinator stops; the evidence is kept"
                    await refuse(context, Refuse(ask=0, code="UNAVAILABLE", message=message, remedy="follow again"))
                if event.number > seen and wanted.fits(event):
                    yield event

    async def Explain(self, request: wire.ExplainRequest, context: Context) -> wire.ExplainResponse:
        hosts = await self._one(wire.ListHostsRequest(), context, wire.ListHostsResponse)
        limit = min(request.limit or 3, EXPLAINED_MOST)
        found = await self._asked(context, lambda store: store.explain(request.host, request.process, limit))
        response = wire.ExplainResponse(explanations=found)
        if not response.explanations:
            since_ms = await self._asked(context, lambda store: store.told_since_ms(request.host))
            response.nothing = why_nothing(request.host, request.process, hosts.hosts, since_ms)
        return response

    async def _run_elsewhere(self, run: wire.RunView, context: Context) -> AsyncGenerator[wire.RunView, None]:
        """A run that another coordinator drives, as the store has it, until it has ended."""
        run_id = run.run_id
        yield run
        while run.state != wire.RUN_STATE_ENDED:
            await asyncio.sleep(LOOK_EVERY_S)
            before, run = run, await self._asked(context, lambda store: store.run(run_id))
            if run != before:
                yield run

    async def _audit_problem(self, context: Context) -> str:
        """Where the chain breaks; empty: nowhere."""
        try:
            witnesses = await self._witnesses()
        except OutsideError as error:  # a witness that cannot be heard has not agreed
            return str(error)
        problem: str = await self._asked(context, lambda store: store.verify_audit(witnesses))
        return problem

    async def _name_run(
        self, request: wire.AbortRunRequest | wire.WatchRunRequest | wire.AddNoteRequest, context: Context
    ) -> None:
        """The run's own id in place of a prefix or `latest`; whoever may not ask learns of no run."""
        await _operator(context)
        request.run = await self._run_id(request.run, context)

    async def _run_id(self, name: str, context: Context) -> str:
        found: str = await self._asked(context, lambda store: store.run_id(name or "latest"))
        return found

    async def _asked(self, context: Context, question: Callable[[Any], Any]) -> Any:
        return await self._answered(context, self._store.ask(question))

    async def _answered(self, context: Context, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (NoSuchRun, AmbiguousRun) as error:
            remedy = "list them with: killdeer runs"
            await refuse(context, Refuse(ask=0, code="NOT_FOUND", message=str(error), field="run", remedy=remedy))
        except StoreError as error:
            await refuse(context, Refuse(ask=0, code="UNAVAILABLE", message=str(error)))


async def refuse(context: Context, answer: Refuse) -> NoReturn:
    """An error with the field at fault and what to do, as google.rpc.ErrorInfo."""
    code = grpc.StatusCode[answer.code]
    info = ErrorInfo(reason=answer.code, domain=REASON_DOMAIN)
    info.metadata.update({"field": answer.field, "remedy": answer.remedy})
    detail = AnyMessage()
    detail.Pack(info)
    status = Status(code=code.value[0], message=answer.message, details=[detail])
    await context.abort(code, answer.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort raises")


async def _operator(context: Context) -> Operator:
    """Who asks. Every role may ask the store; what else each may is the core's."""
    try:
        peer = peer_of(certificate(context.auth_context()))
    except PeerError as error:
        await refuse(context, Refuse(ask=0, code="UNAUTHENTICATED", message=str(error)))
    if not isinstance(peer, OperatorPeer):
        message = "this listener is for operators, the certificate is an agent's"
        await refuse(context, Refuse(ask=0, code="PERMISSION_DENIED", message=message))
    return Operator(peer.name, peer.roles)
