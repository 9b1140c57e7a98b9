"""The second line: after an agent died, its journal is read and what lasts is taken back (I6).

`killdeer-agent revert` is what the unit's ExecStopPost= calls. It needs no coordinator, no guard and no lease.
"""

import time
from collections import deque
from collections.abc import Callable

import structlog

from killdeer.v1.agent_pb2 import Heartbeat, Hello
from killdeer_agent.config import Config
from killdeer_agent.core.agent import Core
from killdeer_agent.core.facts import Now
from killdeer_agent.core.words import (
    Effect,
    Input,
    LookUnit,
    Record,
    Revert,
    Reverted,
    Started,
    StartUnit,
    Tick,
    UnitSeen,
    UnitStarted,
    Write,
    Written,
)
from killdeer_agent.journal import Journal, JournalError
from killdeer_agent.kernel import clock, proc
from killdeer_agent.kernel.striker import Striker
from killdeer_agent.systemd import Systemd, unit_seen, unit_started

log = structlog.get_logger()

# A revert that fails is tried again for this long; then its command is named, and systemd goes on.
PATIENCE_S = 5.0
PAUSE_S = 0.25
NOT_SAID = "systemd is still at its unit: it may come up, or be given up"
BY_HAND = "by hand: kill -CONT PID of what is paused, systemctl start UNIT of what is down"


def revert_open(config: Config) -> int:
    """0 when nothing is left, 1 when something could not be resumed, 2 when a live agent holds the journal."""
    boot_id = clock.boot_id()
    striker = Striker(boot_id=boot_id, facts_of=proc.facts_from(), halt_files=config.halt_files)
    try:
        journal, records, problem = Journal.open(config.state)
    except JournalError as error:
        log.info("nothing_to_revert", why=str(error))
        return 2
    started = Started(boot_id=boot_id, records=records, journal_problem=problem, hello=Hello(host=config.host))
    try:
        left = reverted(
            started,
            revert=striker.revert,
            systemd=Systemd(),
            append=journal.append,
            now=clock.now,
            pause=time.sleep,
        )
    finally:
        journal.close()
    for command_id, why in left.items():
        log.error("not_reverted", command=command_id, problem=why, remedy=BY_HAND)
    return 1 if left else 0


def reverted(
    started: Started,
    *,
    revert: Callable[[Revert], Reverted],
    systemd: Systemd,
    append: Callable[[Record], None],
    now: Callable[[], Now],
    pause: Callable[[float], None],
) -> dict[str, str]:
    """Has the core take back what its journal holds open; what is left, and why, by command id."""
    core, left = Core(), dict[str, str]()

    def carry_out(effect: Effect) -> Input | None:
        """Reverts, and the record of them; every other effect waits for a whole agent."""
        if isinstance(effect, Revert):
            answer = revert(effect)
            log.info("reverted", command=answer.command_id, gone=answer.gone, problem=answer.problem)
            return said(answer)
        if isinstance(effect, LookUnit):
            return said(unit_seen(systemd, effect))
        if isinstance(effect, StartUnit):
            log.info("starting", command=effect.command_id, unit=effect.unit)
            return said(unit_started(systemd, effect))
        if isinstance(effect, Write):
            try:
                append(effect.record)
            except JournalError as error:
                return Written(effect.token, str(error))
            return Written(effect.token)
        return None

    def said(answer: Reverted | UnitSeen | UnitStarted) -> Input:
        left.pop(answer.command_id, None)
        if answer.problem:
            left[answer.command_id] = answer.problem
        return answer

    def told(message: Input) -> None:
        inputs: deque[Input] = deque([message])
        while inputs:
            for effect in core.handle(inputs.popleft(), now()):
                if (answer := carry_out(effect)) is not None:
                    inputs.append(answer)

    told(started)
    for _ in range(int(PATIENCE_S / PAUSE_S)):
        if not left and not core.effects_open:
            break
        pause(PAUSE_S)
        told(Tick(Heartbeat()))
    return dict.fromkeys(core.effects_open, NOT_SAID) | left
