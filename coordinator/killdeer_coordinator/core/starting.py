"""Starting a run: drafted, checked against its plan, stored, then driven. The same key starts no second run."""

from dataclasses import dataclass

from killdeer.v1.operator_pb2 import PlanRequest, PlanResponse, RunRequest, RunResponse, RunState
from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.drafts import Draft, Drafts
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.records import earlier, halted, never_begun, started
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import Roster, describe
from killdeer_coordinator.core.runs import Runs
from killdeer_coordinator.core.words import Decided, Operator, Refuse, Reply


@dataclass(slots=True)
class Starting:
    roster: Roster
    errands: Errands
    drafts: Drafts
    runs: Runs

    def plan(self, ask: int, plan: PlanRequest, fresh: str) -> None:
        def drafted(draft: Draft | Refused) -> None:
            if isinstance(draft, Refused):
                self._refuse(ask, draft)
            else:
                self.errands.ask(Reply(ask, PlanResponse(plan=draft.plan)))

        seed = plan.seed if plan.HasField("seed") else None
        self.drafts.draft(plan.source, plan.file, seed, fresh, drafted)

    def run(self, ask: int, who: Operator, run: RunRequest, fresh: str) -> None:
        if (known := self.runs.started_by_key(run.key)) is not None:
            self.errands.ask(Reply(ask, RunResponse(run_id=known.row.run_id)))
        elif trouble := self.roster.store_trouble(self.errands.now.mono_ns):
            remedy = "see `killdeer status`, and the coordinator's log"
            self._refuse(ask, Refused(code="UNAVAILABLE", message=f"cannot run: {trouble}", remedy=remedy))
        else:
            seed = run.seed if run.HasField("seed") else None
            self.drafts.draft(
                run.source, run.file, seed, fresh, lambda draft: self._drafted(ask, who, run, fresh, draft)
            )

    def _drafted(self, ask: int, who: Operator, asked: RunRequest, fresh: str, draft: Draft | Refused) -> None:
        if isinstance(draft, Refused):
            self._refuse(ask, draft)
            return
        if no := self._unfit(asked, draft):
            # The key may belong to a run that was started before this coordinator, or this halt: that comes first.
            self.errands.transact(earlier(asked.key), lambda decided: self._answer_earlier(ask, draft, no, decided))
            return
        intake = draft.intake
        row = RunRow(
            run_id=fresh[:8],
            key=asked.key or fresh,
            source=asked.source,
            file=asked.file,
            experiment=intake.name,
            environment=intake.environment,
            owner=intake.owner,
            hypothesis=intake.hypothesis,
            started_by=who.name,
            seed=draft.seed,
            plan_hash=draft.plan.hash,
            limits=intake.limits,
            state=RunState.RUN_STATE_RUNNING,
            waves_total=len(intake.waves),
            driver=self.roster.coordinator,
        )
        self.errands.transact(started(row), lambda decided: self._started(ask, row.run_id, draft, decided))

    def _unfit(self, asked: RunRequest, draft: Draft) -> Refused | None:
        if active := self.roster.halts.active:
            return halted(describe(active))
        if draft.plan.refusals:
            return Refused(
                code="FAILED_PRECONDITION",
                message="cannot run: " + "; ".join(draft.plan.refusals),
                field="source",
                remedy=f"killdeer plan {asked.file or 'FILE'} shows who would be hit, and who not and why",
            )
        if asked.plan_hash and not draft.plan.hash.startswith(asked.plan_hash):
            return Refused(
                code="FAILED_PRECONDITION",
                message=(
                    f"cannot run: the world has drifted from the plan {asked.plan_hash[:12]}; now it is "
                    f"{draft.plan.hash[:12]}: the file, the seed, the limits, a guard or the candidates differ"
                ),
                field="plan_hash",
                remedy=f"look at killdeer plan {asked.file or 'FILE'} --seed {draft.seed} again",
            )
        return None

    def _started(self, ask: int, run_id: str, draft: Draft, decided: Decided) -> None:
        answer = decided.answer
        if decided.failure:
            # It may be in the books all the same, where nobody would drive it and nothing end it.
            self.errands.insist(never_begun(run_id, f"its start could not be stored: {decided.failure}"))
            message = f"cannot run: the start cannot be stored: {decided.failure}"
            self._refuse(ask, Refused(code="UNAVAILABLE", message=message, remedy="see `killdeer status`"))
        elif isinstance(answer, Refused):
            self._refuse(ask, answer)
        elif isinstance(answer, RunRow):
            self.runs.begin(answer, draft.intake)
            self.errands.ask(Reply(ask, RunResponse(run_id=answer.run_id, plan=draft.plan)))
        else:
            self.errands.ask(Reply(ask, RunResponse(run_id=str(answer), plan=draft.plan)))

    def _answer_earlier(self, ask: int, draft: Draft, no: Refused, decided: Decided) -> None:
        if isinstance(decided.answer, str) and decided.answer:
            self.errands.ask(Reply(ask, RunResponse(run_id=decided.answer, plan=draft.plan)))
        else:
            self._refuse(ask, no)

    def _refuse(self, ask: int, no: Refused) -> None:
        refuse = Refuse(ask=ask, code=no.code, message=no.message, field=no.field, remedy=no.remedy)
        self.errands.ask(refuse)
