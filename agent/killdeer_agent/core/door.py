"""What a coordinator orders of a strike: to do it, to take it back, or to say what became of it (I2, R11, R23)."""

from killdeer.v1 import agent_pb2
from killdeer.v1.process_pb2 import Reason, StrikeState
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.evidence import Evidence
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.intake import first_no, warrant_for
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.reverts import Reverts
from killdeer_agent.core.session import Session
from killdeer_agent.core.strike import OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Open

_CANCELLED = Refusal(Reason.REASON_CANCELLED, "reverted before its blow")
_NOBODY = Process(boot_id="", pid=0, start_ticks=0)


class Door:
    def __init__(
        self,
        desk: Desk,
        session: Session,
        strikes: Strikes,
        recoveries: Recoveries,
        reverts: Reverts,
        evidence: Evidence,
    ) -> None:
        self._desk = desk
        self._session = session
        self._strikes = strikes
        self._recoveries = recoveries
        self._reverts = reverts
        self._evidence = evidence

    def commanded(self, command: agent_pb2.Strike) -> None:
        if self._strikes.answer(command.command_id):
            return
        refusal = first_no(command, self._strikes, self._desk, self._session.lease)
        strike = OpenStrike(command=command, process=process_of(command))
        self._strikes.open[command.command_id] = strike
        if refusal is not None:
            self._strikes.use_up(strike, refusal)
            return
        self._evidence.opened(strike)
        self._recoveries.expect(strike, self._desk.now.boot_ns)
        warrant = warrant_for(strike, self._strikes.guard, self._desk.boot_id, self._session.lease)
        self._desk.emit(Open(command_id=command.command_id, service=command.service, warrant=warrant))

    def taken_back(self, command_id: str) -> None:
        """Revert: uses up an id that was not seen, cancels what is to come, reverts what lasts (rule R11)."""
        strike = self._strikes.open.get(command_id)
        if strike is None:
            if not self._strikes.answer(command_id):
                self._use_up_unseen(command_id)
            return
        self._reverts.cancel(strike, _CANCELLED)
        if strike.phase in (Phase.STANDING, Phase.OVER):
            self._strikes.tell(strike)

    def asked_about(self, held: agent_pb2.OpenStrike, *, journal_whole: bool) -> None:
        """Welcome names a strike that the coordinator holds open here: each gets an answer (R16, R23)."""
        # An id that was used up after an older journal was lost says nothing of what that one did.
        in_doubt = held.doubtful and held.command_id in self._desk.memory.used
        if not in_doubt and self._strikes.answer(held.command_id):
            return
        if journal_whole and not held.doubtful:
            self._use_up_unseen(held.command_id)
            return
        # A journal that was lost cannot say that nothing was sent. What may be paused is resumed by identity.
        command = agent_pb2.Strike(command_id=held.command_id, victim=held.victim, action=held.action)
        strike = OpenStrike(
            command=command,
            process=process_of(command),
            phase=Phase.STANDING,
            cancelled=_CANCELLED,
            orphan=True,
            unsaid=True,
            state=StrikeState.STRIKE_STATE_UNKNOWN,
            detail="this host's journal does not hold it",
        )
        self._strikes.open[held.command_id] = strike
        self._strikes.adopt(strike)
        if strike.action == "pause":
            strike.effect_open = True
            self._reverts.revert(strike)
            self._strikes.tell(strike)
        else:
            self._strikes.finish(strike)

    def _use_up_unseen(self, command_id: str) -> None:
        strike = OpenStrike(command=agent_pb2.Strike(command_id=command_id), process=_NOBODY)
        self._strikes.open[command_id] = strike
        self._strikes.use_up(strike, _CANCELLED)


def process_of(command: agent_pb2.Strike) -> Process:
    victim = command.victim
    return Process(boot_id=victim.boot_id, pid=victim.pid, start_ticks=victim.start_ticks, program=victim.program)
