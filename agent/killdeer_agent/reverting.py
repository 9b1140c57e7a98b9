"""The second line: after an agent died in mid-pause, its journal is read and what lasts is resumed (I6).

`killdeer-agent revert` is what the unit's ExecStopPost= calls. It needs no coordinator, no guard and no lease.
"""

from collections.abc import Callable

import structlog

from killdeer.v1.agent_pb2 import Hello
from killdeer_agent.config import Config
from killdeer_agent.core.agent import Core
from killdeer_agent.core.words import Effect, Input, Revert, Reverted, Started, Write, Written
from killdeer_agent.journal import Journal, JournalError
from killdeer_agent.kernel import clock, proc
from killdeer_agent.kernel.striker import Striker

log = structlog.get_logger()


def revert_open(config: Config) -> int:
    """0 when nothing is left, 1 when something could not be resumed, 2 when a live agent holds the journal."""
    boot_id = clock.boot_id()
    striker = Striker(boot_id=boot_id, facts_of=proc.facts_from(), halt_files=config.halt_files)
    try:
        journal, records, problem = Journal.open(config.state)
    except JournalError as error:
        log.info("nothing_to_revert", why=str(error))
        return 2
    core, left = Core(), 0
    pending: list[Input] = [
        Started(boot_id=boot_id, records=records, journal_problem=problem, hello=Hello(host=config.host))
    ]
    try:
        while pending:
            for effect in core.handle(pending.pop(0), clock.now()):
                answer = _carried_out(effect, striker, journal.append)
                if isinstance(answer, Reverted):
                    log.info("reverted", command=answer.command_id, gone=answer.gone, problem=answer.problem)
                    left += bool(answer.problem)
                if answer is not None:
                    pending.append(answer)
    finally:
        journal.close()
    return 1 if left else 0


def _carried_out(effect: Effect, striker: Striker, append: Callable[..., None]) -> Input | None:
    """Reverts, and the record of them; every other effect waits for a whole agent."""
    if isinstance(effect, Revert):
        return striker.revert(effect)
    if isinstance(effect, Write):
        try:
            append(effect.record)
        except JournalError as error:
            return Written(effect.token, str(error))
        return Written(effect.token)
    return None
