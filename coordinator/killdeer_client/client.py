"""The Python API over the operator service: one method for each thing an operator can ask.

Every method raises ClientError, and ContextError where the context's keys cannot be read. A call goes to
the first coordinator that can be reached; every one of them is equal. Messages are the wire's own.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.operator_pb2_grpc import OperatorServiceStub
from killdeer.v1.process_pb2 import CAUSE_UNSPECIFIED, Action, Cause, Selector
from killdeer_client.channel import open_channel
from killdeer_client.contexts import Context
from killdeer_client.diagnosis import unreachable
from killdeer_client.errors import ClientError, from_answer

Answer = TypeVar("Answer")

QUICK_S = 10.0
"""For what the coordinator knows by itself."""
SCAN_S = 60.0
"""For what it must ask its hosts."""
PARTING_S = 2.0
"""For threads beside to notice that their calls are cancelled."""
RUN_AGAIN_S = (0.3, 1.0)
"""Pauses before a Run that was not answered is sent again, with the same key."""


class Coordinator:
    """One coordinator's address, and calls to it."""

    def __init__(self, context: Context, address: str) -> None:
        self.address = address
        self._context = context
        self._channel = open_channel(context, address)
        self.stub = OperatorServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def call(self, verb: str, request: Any, deadline_s: float) -> Any:
        try:
            return getattr(self.stub, verb)(request, timeout=deadline_s)
        except grpc.RpcError as error:
            raise self._said(error) from error

    def stream(self, verb: str, request: Any) -> Iterator[Any]:
        """Ends when the coordinator ends it; closing the iterator cancels it."""
        call = getattr(self.stub, verb)(request)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._said(error) from error
        finally:
            call.cancel()

    def _said(self, error: grpc.RpcError) -> ClientError:
        said = from_answer(error, self.address)
        if said.code == "UNAVAILABLE" and not said.remedy:
            return unreachable(self._context, self.address, said.message)
        return said


class Client:
    """The operator service as a context has it. Use it as a context manager; it holds connections."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.coordinators = tuple(Coordinator(context, address) for address in context.coordinators)
        self._beside: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancels the calls under way, also those beside, and waits for these."""
        self._closed = True
        for coordinator in self.coordinators:
            coordinator.close()
        parting = time.monotonic() + PARTING_S
        for thread in self._beside:
            thread.join(max(0.0, parting - time.monotonic()))

    def beside(self, work: Callable[[], None]) -> None:
        """Calls in a thread of their own, which close() waits for: one that is within gRPC as the interpreter ends
        can keep it from ending."""

        def run() -> None:
            try:
                work()
            except ValueError:  # gRPC's word for a call on a closed channel
                if not self._closed:
                    raise

        thread = threading.Thread(target=run, daemon=True)
        self._beside.append(thread)
        thread.start()

    # --- experiments

    def plan(self, source: str, file: str, seed: int | None = None) -> o.PlanView:
        response: o.PlanResponse = self._call("Plan", o.PlanRequest(source=source, file=file, seed=seed), SCAN_S)
        return response.plan

    def run(
        self, source: str, file: str, *, key: str, seed: int | None = None, plan_hash: str = ""
    ) -> o.RunResponse:
        """`key` is the caller's own id of this wish: however often it is sent, one run starts."""
        request = o.RunRequest(source=source, file=file, seed=seed, plan_hash=plan_hash, key=key)
        for pause_s in (*RUN_AGAIN_S, None):
            try:
                response: o.RunResponse = self._call("Run", request, SCAN_S)
                return response
            except ClientError as error:
                if pause_s is None or not error.passing:
                    raise
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def list_runs(self, limit: int = 0) -> o.ListRunsResponse:
        response: o.ListRunsResponse = self._call("ListRuns", o.ListRunsRequest(limit=limit))
        return response

    def get_run(self, run: str) -> o.RunView:
        response: o.GetRunResponse = self._call("GetRun", o.GetRunRequest(run=run))
        return response.run

    def watch_run(self, run: str) -> Iterator[o.WatchRunResponse]:
        """As it comes, until the run has ended or the stream breaks; `following.follow` reconnects."""
        return self._stream("WatchRun", o.WatchRunRequest(run=run))

    def abort_run(self, run: str, reason: str) -> o.RunView:
        response: o.AbortRunResponse = self._call("AbortRun", o.AbortRunRequest(run=run, reason=reason))
        return response.run

    def report(self, run: str) -> o.GetReportResponse:
        """All that is known of a run: its file, what was measured, what was said of it, the runs before it."""
        response: o.GetReportResponse = self._call("GetReport", o.GetReportRequest(run=run), SCAN_S)
        return response

    def add_note(self, run: str, text: str, action: str = "") -> o.RunNote:
        """`action`: who is to act on it. Where an answer is lost on its way, the note may be there twice."""
        response: o.AddNoteResponse = self._call("AddNote", o.AddNoteRequest(run=run, text=text, action=action))
        return response.note

    # --- halt: see halting.py, which tells every coordinator

    def rearm(self, reason: str) -> o.RearmResponse:
        response: o.RearmResponse = self._call("Rearm", o.RearmRequest(reason=reason))
        return response

    # --- fleet

    def list_hosts(self) -> o.ListHostsResponse:
        response: o.ListHostsResponse = self._call("ListHosts", o.ListHostsRequest())
        return response

    def accept_host(self, host: str, reason: str) -> o.AcceptHostResponse:
        response: o.AcceptHostResponse = self._call("AcceptHost", o.AcceptHostRequest(host=host, reason=reason))
        return response

    def remove_host(self, host: str, reason: str) -> o.RemoveHostResponse:
        response: o.RemoveHostResponse = self._call("RemoveHost", o.RemoveHostRequest(host=host, reason=reason))
        return response

    def list_candidates(
        self, hosts: Sequence[o.LabelMatch], selector: Selector, action: Action
    ) -> o.ListCandidatesResponse:
        request = o.ListCandidatesRequest(hosts=hosts, selector=selector, action=action)
        response: o.ListCandidatesResponse = self._call("ListCandidates", request, SCAN_S)
        return response

    def inspect(self, host: str, selector: Selector) -> o.InspectResponse:
        """How well what matches there is prepared; with an empty selector, all that its guard lets be hit."""
        request = o.InspectRequest(host=host, selector=selector)
        response: o.InspectResponse = self._call("Inspect", request, SCAN_S)
        return response

    def watch_events(
        self,
        *,
        follow: bool,
        host: str = "",
        run: str = "",
        limit: int = 0,
        unit: str = "",
        cause: Cause = CAUSE_UNSPECIFIED,
        since_unix_ms: int = 0,
    ) -> Iterator[o.WatchEventsResponse]:
        """The newest `limit` of the past, oldest first; with `follow`, then what comes. `unit` is a glob; with
        it or with a cause, deaths alone.
        """
        request = o.WatchEventsRequest(
            follow=follow, host=host, run=run, limit=limit, unit=unit, cause=cause, since_unix_ms=since_unix_ms
        )
        return self._stream("WatchEvents", request)

    def explain(self, host: str, process: str, limit: int = 0) -> o.ExplainResponse:
        """Why the last `limit` (0: three) of what `process` names died there: a pid, a name or a unit; globs."""
        request = o.ExplainRequest(host=host, process=process, limit=limit)
        response: o.ExplainResponse = self._call("Explain", request)
        return response

    # --- limits, permits, record

    def list_limits(self) -> o.ListLimitsResponse:
        response: o.ListLimitsResponse = self._call("ListLimits", o.ListLimitsRequest())
        return response

    def set_limit(self, scope: str, limit: int, reason: str) -> o.SetLimitResponse:
        response: o.SetLimitResponse = self._call(
            "SetLimit", o.SetLimitRequest(scope=scope, limit=limit, reason=reason)
        )
        return response

    def list_permits(self) -> o.ListPermitsResponse:
        response: o.ListPermitsResponse = self._call("ListPermits", o.ListPermitsRequest())
        return response

    def clear_permit(self, permit_id: str, reason: str) -> o.ClearPermitResponse:
        response: o.ClearPermitResponse = self._call(
            "ClearPermit", o.ClearPermitRequest(permit_id=permit_id, reason=reason)
        )
        return response

    def list_audit(self, limit: int = 0, *, verify: bool = False) -> o.ListAuditResponse:
        request = o.ListAuditRequest(limit=limit, verify=verify)
        response: o.ListAuditResponse = self._call("ListAudit", request, SCAN_S)
        return response

    def status(self) -> o.GetStatusResponse:
        response: o.GetStatusResponse = self._call("GetStatus", o.GetStatusRequest())
        return response

    # --- which coordinator

    def _call(self, verb: str, request: Any, deadline_s: float = QUICK_S) -> Any:
        return self._first_that_answers(lambda coordinator: coordinator.call(verb, request, deadline_s))

    def _stream(self, verb: str, request: Any) -> Iterator[Any]:
        def begin(coordinator: Coordinator) -> tuple[list[Any], Iterator[Any]]:
            answers = coordinator.stream(verb, request)
            return list(islice(answers, 1)), answers

        first, rest = self._first_that_answers(begin)
        yield from first
        yield from rest

    def _first_that_answers(self, ask: Callable[[Coordinator], Answer]) -> Answer:
        """Every call is safe to send twice: reads, wishes with a key, notes, and settings that name their value."""
        failures = []
        for coordinator in self.coordinators:
            try:
                return ask(coordinator)
            except ClientError as error:
                if error.code != "UNAVAILABLE":
                    raise
                failures.append(error)
        raise failures[0]
