"""Operators' requests: who may ask what, and the answers that need no more than the state at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import Inspected
from killdeer.v1.process_pb2 import Action, HaltRecord, Kill
from killdeer_coordinator.core import admission, joining, ledger, notes
from killdeer_coordinator.core.books import Decide, Decision, HostRow, RunRow
from killdeer_coordinator.core.drafts import Drafts
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.halting import Halting
from killdeer_coordinator.core.inspecting import Inspections
from killdeer_coordinator.core.records import aborted_by, aborted_elsewhere
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.runs import Runs
from killdeer_coordinator.core.sighting import HostScan, reached
from killdeer_coordinator.core.starting import Starting
from killdeer_coordinator.core.views import host_view, host_views, run_view, status
from killdeer_coordinator.core.words import Asked, Decided, Refuse, Reply

ANY = frozenset({"viewer", "operator", "approver", "admin"})
STRIKE = frozenset({"operator", "admin"})
APPROVE = frozenset({"approver", "admin"})
WRITE = STRIKE | APPROVE

# Who may ask what. Any role may halt; only another's eyes open the fleet again (rule R30).
ROLES: dict[type[Message], frozenset[str]] = {
    o.PlanRequest: ANY,
    o.RunRequest: STRIKE,
    o.WatchRunRequest: ANY,
    o.AbortRunRequest: STRIKE,
    o.AddNoteRequest: WRITE,
    o.HaltRequest: ANY,
    o.RearmRequest: APPROVE,
    o.ListHostsRequest: ANY,
    o.AcceptHostRequest: APPROVE,
    o.RemoveHostRequest: APPROVE,
    o.ListCandidatesRequest: ANY,
    o.InspectRequest: ANY,
    o.ListLimitsRequest: ANY,
    o.SetLimitRequest: APPROVE,
    o.ListPermitsRequest: ANY,
    o.ClearPermitRequest: APPROVE,
    o.GetStatusRequest: ANY,
}

T = TypeVar("T")

_REASONED = (o.RearmRequest, o.AcceptHostRequest, o.RemoveHostRequest, o.SetLimitRequest, o.ClearPermitRequest)


@dataclass(frozen=True, slots=True)
class Asks:
    roster: Roster
    errands: Errands
    halting: Halting
    runs: Runs
    drafts: Drafts
    starting: Starting
    removed: Callable[[HostRow], None]
    """Told of hosts that were removed."""
    inspections: Inspections

    def asked(self, asked: Asked) -> None:
        ask, who, request = asked.ask, asked.who, asked.request
        if (no := _unfit(asked)) is not None:
            self._refuse(ask, no)
            return
        match request:
            case o.HaltRequest():
                self._halt(asked, request)
            case o.AbortRunRequest() | o.WatchRunRequest():
                self._of_run(asked, request)
            case o.AddNoteRequest():  # `run` is a whole id: the edge has looked it up
                decide = notes.added(request.run, who.name, request.text, request.action)
                self._read(ask, decide, _note)
            case o.RearmRequest():
                self.halting.rearm(ask, who.name, request.reason)
            case o.RunRequest():
                self.starting.run(ask, who, request, asked.fresh)
            case o.PlanRequest():
                self.starting.plan(ask, request, asked.fresh)
            case o.ListHostsRequest():
                self._reply(ask, o.ListHostsResponse(hosts=host_views(self.roster, self.errands.now)))
            case o.GetStatusRequest():
                self._reply(ask, status(self.roster, self.runs.active, who, self.errands.now))
            case o.ListCandidatesRequest():
                self._candidates(ask, request)
            case o.InspectRequest():
                self._inspect(ask, request)
            case o.AcceptHostRequest():
                self._accept(ask, who.name, request)
            case o.RemoveHostRequest():
                self._remove(ask, who.name, request)
            case o.ListLimitsRequest():
                self._read(ask, lambda books: Decision(answer=ledger.limit_views(books)), _limits)
            case o.ListPermitsRequest():
                self._read(ask, lambda books: Decision(answer=ledger.permit_views(books)), _permits)
            case o.SetLimitRequest():
                decide = ledger.set_limit(request.scope, request.limit, who.name, request.reason)
                self._read(ask, decide, _limit, nudge=True)
            case o.ClearPermitRequest():
                decide = ledger.clear(request.permit_id, who.name, request.reason)
                self._read(ask, decide, _permit, nudge=True)

    def _halt(self, asked: Asked, request: o.HaltRequest) -> None:
        """A client's id that was released already halts nothing any more, so it gets a new one."""
        halts = self.roster.halts
        halt_id = request.id if request.id and request.id not in halts.released else asked.fresh[:16]
        record = halts.engaged.get(halt_id) or HaltRecord(
            id=halt_id, by=asked.who.name, reason=request.reason, at_unix_ms=self.errands.now.unix_ms
        )
        self.halting.watch(asked.ask, record)

    def _of_run(self, asked: Asked, request: o.AbortRunRequest | o.WatchRunRequest) -> None:
        run = self.runs.named(request.run)
        ending = self.roster.books is not None and request.run in self.roster.books.runs
        if run is None and (self.roster.instance or ending):  # driven by another, or ended for one that is gone
            if isinstance(request, o.AbortRunRequest):
                self._abort_elsewhere(asked, request)
            else:
                self._reply(asked.ask, o.WatchRunResponse())
        elif run is None:
            no = Refused(
                code="NOT_FOUND",
                message=f"cannot find the run {request.run!r} among those of this coordinator",
                field="run",
                remedy="killdeer runs lists them",
            )
            self._refuse(asked.ask, no)
        elif isinstance(request, o.WatchRunRequest):
            self.runs.watch(asked.ask, run)
        else:
            if not run.ended:
                self.runs.abort(run, asked.who.name, request.reason)
            self._reply(asked.ask, o.AbortRunResponse(run=self.runs.view(run)))

    def _abort_elsewhere(self, asked: Asked, request: o.AbortRunRequest) -> None:
        """Its driver finds it in the books. `request.run` is a whole id: the edge has looked it up."""

        def then(decided: Decided) -> None:
            row = decided.answer
            if decided.failure:
                no = Refused(code="UNAVAILABLE", message=f"cannot abort: {decided.failure}")
                self._refuse(asked.ask, no)
            elif isinstance(row, RunRow):
                view = run_view(row, (), wave="", waves_done=row.wave)
                self._reply(asked.ask, o.AbortRunResponse(run=view))
            else:
                no = Refused(code="NOT_FOUND", message=f"cannot abort {request.run}: it has ended", field="run")
                self._refuse(asked.ask, no)

        why = aborted_by(asked.who.name, request.reason)
        self.errands.transact(aborted_elsewhere(request.run, asked.who.name, why), then)

    def _candidates(self, ask: int, request: o.ListCandidatesRequest) -> None:
        if not request.selector.terms:
            no = Refused(
                code="INVALID_ARGUMENT",
                message="cannot list candidates: the selector is empty, and an empty one matches nothing",
                field="selector",
                remedy="name at least one term, such as unit=payment-worker.service",
            )
            self._refuse(ask, no)
            return
        action = request.action if request.action.WhichOneof("kind") else Action(kill=Kill(signal=9))

        def seen(scans: list[HostScan]) -> None:
            hosts = [o.PlannedHost(host=s.row.host, verdict=reached(s), candidates=s.candidates) for s in scans]
            self._reply(ask, o.ListCandidatesResponse(hosts=hosts))

        self.drafts.sights(tuple(request.hosts), request.selector, action, seen)

    def _inspect(self, ask: int, request: o.InspectRequest) -> None:
        def answered(answer: Inspected | Refused) -> None:
            if isinstance(answer, Refused):
                self._refuse(ask, answer)
            else:
                subjects = sorted(answer.subjects, key=lambda one: one.service)
                self._reply(ask, o.InspectResponse(host=request.host, subjects=subjects))

        self.inspections.inspect(request.host, request.selector, answered)

    def _accept(self, ask: int, who: str, request: o.AcceptHostRequest) -> None:
        def accepted(row: object) -> Message:
            row = _as(HostRow, row)
            return o.AcceptHostResponse(host=host_view(row.host, row, None, self.errands.now))

        self._read(ask, admission.accept(request.host, who, request.reason), accepted)

    def _remove(self, ask: int, who: str, request: o.RemoveHostRequest) -> None:
        def removed(answer: object) -> Message:
            gone = _as(joining.Removed, answer)
            self.removed(gone.row)
            view = host_view(gone.row.host, gone.row, None, self.errands.now)
            return o.RemoveHostResponse(host=view, permits=[permit.permit_id for permit in gone.held])

        self._read(ask, joining.removed(request.host, who, request.reason), removed)

    def _read(
        self, ask: int, decide: Decide, answered: Callable[[object], Message], *, nudge: bool = False
    ) -> None:
        """Answer from one decision; a named no of it, or a store that fails, is a refusal. `nudge`: what was
        decided may let a waiting victim have its permit."""

        def then(decided: Decided) -> None:
            if decided.failure:
                message = f"cannot ask the store: {decided.failure}"
                self._refuse(ask, Refused(code="UNAVAILABLE", message=message, remedy="see `killdeer status`"))
            elif isinstance(decided.answer, Refused):
                self._refuse(ask, decided.answer)
            else:
                self._reply(ask, answered(decided.answer))
                if nudge:
                    self.runs.nudge()

        self.errands.transact(decide, then)

    def _reply(self, ask: int, message: Message) -> None:
        self.errands.ask(Reply(ask, message))

    def _refuse(self, ask: int, no: Refused) -> None:
        refuse = Refuse(ask=ask, code=no.code, message=no.message, field=no.field, remedy=no.remedy)
        self.errands.ask(refuse)


def _unfit(asked: Asked) -> Refused | None:
    roles = ROLES.get(type(asked.request))
    name = type(asked.request).__name__.removesuffix("Request")
    if roles is None:
        return Refused(code="UNIMPLEMENTED", message=f"cannot answer {name}: this coordinator does not know it")
    if not roles & asked.who.roles:
        has = ", ".join(sorted(asked.who.roles)) or "no role"
        return Refused(
            code="PERMISSION_DENIED",
            message=f"cannot {name}: {asked.who.name} has {has}, and it needs {' or '.join(sorted(roles))}",
            remedy="ask somebody who has the role; any role may halt",
        )
    if isinstance(asked.request, _REASONED) and not asked.request.reason.strip():
        return Refused(
            code="INVALID_ARGUMENT",
            message=f"cannot {name}: no reason is given",
            field="reason",
            remedy="say why: --reason TEXT",
        )
    return None


def _as(kind: type[T], value: object) -> T:
    """A decision's answer, as the kind that its docstring promises."""
    if not isinstance(value, kind):
        raise TypeError(f"cannot answer: the decision gave {type(value).__name__}, not {kind.__name__}")
    return value


def _limits(views: object) -> Message:
    return o.ListLimitsResponse(limits=_as(list, views))


def _permits(views: object) -> Message:
    return o.ListPermitsResponse(permits=_as(list, views))


def _note(note: object) -> Message:
    return o.AddNoteResponse(note=_as(o.RunNote, note))


def _limit(view: object) -> Message:
    return o.SetLimitResponse(limit=_as(o.LimitView, view))


def _permit(view: object) -> Message:
    return o.ClearPermitResponse(permit=_as(o.PermitView, view))
