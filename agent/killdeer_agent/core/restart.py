"""After a restart only reverts are sent, every pause first; then the watch goes on (rule R4, I6)."""

from killdeer.v1.process_pb2 import Blow, Exit, Reason, StrikeState
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.door import process_of
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.hold import Hold
from killdeer_agent.core.memory import Past
from killdeer_agent.core.recoveries import Recoveries
from killdeer_agent.core.recovery import Key, key_of
from killdeer_agent.core.reverts import Reverts
from killdeer_agent.core.strike import NS_PER_MS, OpenStrike, Phase
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Record, Watch

_RESTARTED = Refusal(Reason.REASON_CANCELLED, "the agent was restarted: only reverts are sent")
# The word of a blow comes after the blow; a successor may have started in between.
_SLACK_NS = 1_000 * NS_PER_MS
_VICTIM = Process(boot_id="", pid=0, start_ticks=0)  # in the words of a blow


def take_up(desk: Desk, strikes: Strikes, recoveries: Recoveries, reverts: Reverts) -> None:
    """All strikes that the journal holds open."""
    for command_id, past in desk.memory.strikes.items():
        strike = _from_past(past, desk.now.boot_ns)
        strikes.open[command_id] = strike
        if strike.hold is not None and strike.process.boot_id != desk.boot_id:
            strike.effect_open = strike.hold.starts = False  # the machine has started its units anew
    for strike in sorted(
        strikes.open.values(), key=lambda one: one.hold is not None
    ):  # systemd may be slow to answer
        if strike.effect_open:
            reverts.revert(strike)
    for boot_id, fell_ns in desk.memory.fell.values():
        if boot_id == desk.boot_id:
            strikes.blow_fell(fell_ns)
    for strike in list(strikes.open.values()):
        this_boot = strike.process.boot_id == desk.boot_id
        if this_boot and strike.unsaid and strike.hits_anew:
            strikes.blow_fell(desk.now.boot_ns)  # it may have fallen, up to now
            body = {"command": strike.command_id, "blow": strike.blow, "boot": desk.boot_id, "at": desk.now.boot_ns}
            desk.write(Record("fell", body))
        since_ns = _first_blow_ns(strike) - _SLACK_NS if this_boot else 0
        recoveries.expect(strike, since_ns, here=this_boot, taken=_taken(desk, strike))
        recoveries.counted_before(strike)
        if strike.exit is not None:
            recoveries.wait_for(strike)
        elif not this_boot:
            recoveries.victim_gone(strike, Exit(source="reboot"))
        elif strike.phase is Phase.OVER:
            strikes.finish(strike)
        else:
            desk.emit(Watch(command_id=strike.command_id, process=strike.process))


def _taken(desk: Desk, strike: OpenStrike) -> frozenset[Key]:
    """The successors of other strikes on its service that recovered before."""
    return frozenset(
        key_of(successor)
        for command_id, (service, successor) in desk.memory.claims.items()
        if service == strike.command.service
        and successor.boot_id == desk.boot_id
        and command_id != strike.command_id
    )


def _first_blow_ns(strike: OpenStrike) -> int:
    return min((blow.sent_boot_ns for blow in strike.blows if not blow.revert), default=_SLACK_NS)


def _from_past(past: Past, now_ns: int) -> OpenStrike:
    strike = OpenStrike(
        command=past.command,
        process=process_of(past.command),
        phase=Phase.STANDING,
        members=past.members,
        unit=past.in_unit,
        ready_after_ns=past.ready_after_ns,
        tallied={"ready"} if past.ready_after_ns else set(),  # an agent before this one has counted it
        blow=max(past.blows),
        restored_ns=now_ns,
        cancelled=_RESTARTED,
        state=StrikeState.STRIKE_STATE_STRUCK,
        unsaid=any(number not in past.sent and number not in past.not_sent for number in past.blows),
    )
    for number, at in past.sent.items():
        successor = past.successors.get(number, _VICTIM)
        strike.blows.append(
            Blow(
                number=number,
                signal=past.blows[number],
                sent_boot_ns=at,
                pid=successor.pid,
                start_ticks=successor.start_ticks,
            )
        )
    if past.command.action.HasField("hold_down"):
        strike.hold = _hold(past, now_ns)
        strike.effect_open = strike.hold.starts
        if not strike.unsaid:
            _, strike.detail = past.held or (True, "the hold ended before its time: the agent was restarted")
    if strike.unsaid:
        strike.state = StrikeState.STRIKE_STATE_UNKNOWN
        strike.detail = "the agent died between the intent and its word of the signal"
    # While no agent ran nobody kept the record, and what was lost of it just before may not be written (I8).
    strike.events_lost = max(past.lost, 1)
    strike.lost_at_start = -strike.events_lost
    if past.exited_ns:
        strike.exit = Exit(at_boot_ns=past.exited_ns, source="journal")
        strike.state = StrikeState.STRIKE_STATE_GONE
    elif strike.hold is not None:
        pass
    elif past.reverted and past.reverted_ns:
        strike.reverted(past.reverted_ns)
    elif past.reverted:
        strike.lives_on("resumed")
    else:
        # An intent without a word may have stopped the process: resuming what runs does no harm (R13).
        strike.effect_open = strike.action == "pause"
    return strike


def _hold(past: Past, now_ns: int) -> Hold:
    """It is over; what may be left to do is to start its unit. Without a word of its end it was cut short, whatever
    the time is now: no blow fell while there was no agent (I8)."""
    struck = {key_of(one): number for number, one in past.successors.items() if number not in past.not_sent}
    begun_ns = min(past.sent.values(), default=now_ns)
    length_ns = past.command.action.hold_down.length_ms * NS_PER_MS
    hold = Hold(length_ns=length_ns, unit=past.unit, starts=bool(past.unit), begun_ns=begun_ns, struck=struck)
    hold.end(now_ns, cut_short=past.held is None or past.held[0])
    return hold
