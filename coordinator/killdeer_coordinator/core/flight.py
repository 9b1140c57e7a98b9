"""One victim of a live run, from its drawing to its last word."""

from dataclasses import dataclass

from killdeer.v1.agent_pb2 import Strike
from killdeer.v1.operator_pb2 import StrikeView
from killdeer.v1.process_pb2 import Action, Candidate, StrikeState
from killdeer_coordinator.core.books import RunRow
from killdeer_coordinator.core.impact import Absence
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.ledger import OVER
from killdeer_coordinator.core.roster import NS_PER_MS, Link, Roster, right_ns
from killdeer_coordinator.core.schedule import Step
from killdeer_coordinator.core.strikes import WITHOUT_A_SIGNAL, hit

# A strike is given up by its agent this long after the heartbeat that was answered before it was sent.
NOT_AFTER_MS = 10_000

# How long after a strike's own time its agent's last word is waited for.
MARGIN_MS = 30_000

REVERTIBLE = frozenset(
    {
        StrikeState.STRIKE_STATE_PERMITTED,
        StrikeState.STRIKE_STATE_SENT,
        StrikeState.STRIKE_STATE_RECORDED,
        StrikeState.STRIKE_STATE_STRUCK,
        StrikeState.STRIKE_STATE_HALTED,
        StrikeState.STRIKE_STATE_UNKNOWN,
    }
)
"""Outcomes at which there may be a blow to come, or an effect that lasts. A hold's blows come after its victim has
gone: see `revertible`."""


@dataclass(slots=True, kw_only=True)
class Flight:
    view: StrikeView
    step: Step
    again_ns: int = 0  # mono: no permit is asked for before
    withheld: str = ""  # why it has no permit yet
    permit_id: str = ""
    doubted: bool = False  # a grant was reported as failed, and may be committed all the same
    told: bool = False  # the Strike was sent
    asked_boot_ns: int = 0  # Link.answered_boot_ns as its permit was asked for; far hosts have none
    sent_ns: int = 0  # mono
    answered: bool = False  # its agent has said that no blow is to come, since the Revert if there was one
    effect_open: bool = False

    @property
    def host(self) -> str:
        return self.view.victim.host

    @property
    def in_queue(self) -> bool:
        return not self.permit_id and not self.resolved

    @property
    def resolved(self) -> bool:
        return self.view.dry_run or self.view.state in OVER

    @property
    def in_flight(self) -> bool:
        return bool(self.permit_id) and not self.resolved

    @property
    def absence(self) -> Absence | None:
        """Of its victim, from when it was sent; None: nothing is known to have been hit."""
        if not self.told or not hit(self.view):
            return None
        if self.view.recovered_after_ns:
            return Absence(self.sent_ns, self.sent_ns + self.view.recovered_after_ns)
        if self.view.state == StrikeState.STRIKE_STATE_SURVIVED:  # a pause was survived once it was over
            return Absence(self.sent_ns, self.sent_ns + lasts_ms(self.view.action) * NS_PER_MS)
        return Absence(self.sent_ns, None)

    def permitted(self, permit_id: str, now_ns: int) -> None:
        """From here on it counts as sent: it is never sent again (rule R23)."""
        view = StrikeView()
        view.CopyFrom(self.view)
        view.state, view.detail = StrikeState.STRIKE_STATE_SENT, ""
        self.view, self.permit_id, self.sent_ns = view, permit_id, now_ns

    def overdue(self, now_ns: int, lease_ms: int, recovery_ms: int) -> str:
        """Why its outcome is unknown by now; empty while its agent may still speak."""
        if not self.in_flight:
            return ""
        right_to_strike_ns = NOT_AFTER_MS * NS_PER_MS + right_ns(lease_ms)
        if self.view.state in WITHOUT_A_SIGNAL and now_ns > self.sent_ns + right_to_strike_ns:
            return f"{self.host} has not said what became of it"
        length_ms = NOT_AFTER_MS + lasts_ms(self.view.action) + recovery_ms + MARGIN_MS
        if now_ns > self.sent_ns + length_ms * NS_PER_MS:
            return f"{self.host} has not said whether its service recovered"
        return ""

    def closed(self, now_ns: int, lease_ms: int) -> bool:
        """Is an abort over for this one: acknowledged, or past not_after and lease? (rule R11)"""
        if not self.permit_id or self.resolved:
            return not self.effect_open or self._past(now_ns, lease_ms)
        if not revertible(self.view) or (self.answered and not self.effect_open):
            return True
        return self._past(now_ns, lease_ms)

    def _past(self, now_ns: int, lease_ms: int) -> bool:
        return now_ns > self.sent_ns + NOT_AFTER_MS * NS_PER_MS + right_ns(lease_ms)


def drawn(command_id: str, candidate: Candidate, step: Step, link: Link | None) -> Flight:
    view = StrikeView(
        command_id=command_id,
        wave=step.wave_name,
        step=step.step,
        dry_run=step.dry_run,
        victim=candidate.identity,
        service=candidate.service,
        ordinal=candidate.ordinal,
        name=candidate.name,
        action=step.action,
        state=StrikeState.STRIKE_STATE_PLANNED,
    )
    if link is not None:
        view.evidence = link.hello.evidence
    return Flight(view=view, step=step)


def command(flight: Flight, row: RunRow, intake: Intake, link: Link, roster: Roster) -> Strike:
    """The frame; `not_after` is in the agent's own clock (rule R7), and counts from before the permit's own does,
    however long the grant has taken: the rate rests on that (rule R20)."""
    return Strike(
        command_id=flight.view.command_id,
        run_id=row.run_id,
        run_fence=row.fence,
        permit_id=flight.permit_id,
        victim=flight.view.victim,
        service=flight.view.service,
        selector=intake.selector,
        action=flight.view.action,
        not_after_boot_ns=min(flight.asked_boot_ns, link.answered_boot_ns) + NOT_AFTER_MS * NS_PER_MS,
        halts_digest=roster.halts.digest,
        position=roster.position,
        recover_within_ms=intake.recover_within_ms,
        stable_for_ms=intake.stable_for_ms,
        ready=intake.outlook.ready,
    )


def revertible(view: StrikeView) -> bool:
    """Whether an abort has to take it back."""
    held = view.action.HasField("hold_down") and view.state == StrikeState.STRIKE_STATE_GONE
    return held or view.state in REVERTIBLE


def lasts_ms(action: Action) -> int:
    """How long the action itself goes on after its first blow."""
    if action.HasField("terminate"):
        return action.terminate.grace_ms
    if action.HasField("hold_down"):
        return action.hold_down.length_ms
    return action.pause.length_ms if action.HasField("pause") else 0
