"""An agent's words on a strike, merged; what they do to its permit; and what a run's strikes come to (I8, R16)."""

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core.books import PutPermit
from killdeer_coordinator.core.flight import Flight
from killdeer_coordinator.core.ledger import Withheld
from killdeer_coordinator.core.schedule import Step
from killdeer_coordinator.core.strikes import Told, merged, told
from killdeer_coordinator.core.turns import withheld_alike
from killdeer_coordinator.core.verdict import judged
from killdeer_coordinator.core.words import Now
from tests.support.fake_agent import FakeAgent
from tests.support.world import World

KILL = p.Action(kill=p.Kill(signal=9))
BLOW = p.Blow(number=1, signal=9, sent_boot_ns=1_000)


def view(state: p.StrikeState = p.STRIKE_STATE_SENT, **fields: object) -> o.StrikeView:
    known = o.StrikeView(command_id="c1", victim=p.Identity(host="a-1", pid=7), action=KILL, state=state)
    known.MergeFrom(o.StrikeView(**fields))  # type: ignore[arg-type]
    return known


def update(state: p.StrikeState, **fields: object) -> a.StrikeUpdate:
    said = a.StrikeUpdate(number=1, command_id="c1", state=state)
    said.MergeFrom(a.StrikeUpdate(**fields))  # type: ignore[arg-type]
    return said


@pytest.mark.parametrize(
    ("known", "said", "then"),
    [
        (p.STRIKE_STATE_GONE, p.STRIKE_STATE_STRUCK, p.STRIKE_STATE_GONE),
        (p.STRIKE_STATE_RECOVERED, p.STRIKE_STATE_LOST, p.STRIKE_STATE_RECOVERED),
        (p.STRIKE_STATE_LOST, p.STRIKE_STATE_RECOVERED, p.STRIKE_STATE_RECOVERED),
        (p.STRIKE_STATE_STRUCK, p.STRIKE_STATE_REFUSED, p.STRIKE_STATE_STRUCK),
        (p.STRIKE_STATE_UNKNOWN, p.STRIKE_STATE_STRUCK, p.STRIKE_STATE_STRUCK),
        (p.STRIKE_STATE_UNKNOWN, p.STRIKE_STATE_REFUSED, p.STRIKE_STATE_REFUSED),
        (p.STRIKE_STATE_RECORDED, p.STRIKE_STATE_UNKNOWN, p.STRIKE_STATE_UNKNOWN),
        (p.STRIKE_STATE_STRUCK, p.STRIKE_STATE_UNKNOWN, p.STRIKE_STATE_STRUCK),
    ],
)
def test_a_strike_never_goes_back(known: p.StrikeState, said: p.StrikeState, then: p.StrikeState) -> None:
    assert merged(view(known), update(said)).state == then


def test_i8_a_journal_that_was_lost_does_not_unsay_a_signal_that_is_known() -> None:
    known = view(p.STRIKE_STATE_UNKNOWN, blows=[BLOW], detail="nobody said whether its service recovered")
    after = merged(known, update(p.STRIKE_STATE_REFUSED, used_up=True, detail="past the command's not_after"))
    assert (after.state, after.detail) == (known.state, known.detail)


def test_a_hold_that_was_cut_short_stays_so_and_its_blows_keep_whom_they_hit() -> None:
    second = p.Blow(number=2, signal=9, sent_boot_ns=2_000, pid=8, start_ticks=80)
    known = merged(
        view(p.STRIKE_STATE_GONE, blows=[BLOW]), update(p.STRIKE_STATE_GONE, blows=[BLOW, second], cut_short=True)
    )
    then = merged(known, update(p.STRIKE_STATE_RECOVERED, blows=[BLOW, second]))
    assert then.cut_short and [blow.pid for blow in then.blows] == [0, 8]


def test_facts_once_known_stay() -> None:
    known = view(
        p.STRIKE_STATE_GONE,
        blows=[p.Blow(number=1, signal=9, sent_boot_ns=1_000, seen_boot_ns=999, kernel_verdict="delivered")],
        exit=p.Exit(signal=9, source="bpf"),
        changed=True,
        events_lost=3,
    )
    said = update(p.STRIKE_STATE_GONE, blows=[BLOW], exit=p.Exit(source="pidfd"), events_lost=1)
    after = merged(known, said)
    assert after.blows[0].kernel_verdict == "delivered"
    assert after.exit.source == "bpf"
    assert after.changed and after.events_lost == 3


def test_recovery_is_measured_from_the_first_blow() -> None:
    after = merged(view(blows=[BLOW]), update(p.STRIKE_STATE_RECOVERED, blows=[BLOW], at_boot_ns=5_000))
    assert after.recovered_after_ns == 4_000


def test_r16_used_up_is_not_believed_of_a_strike_that_has_struck() -> None:
    w = World([FakeAgent("a-1", recovers_ms=None)]).start()
    source = (
        "killdeer: 1\nname: n\nenvironment: staging\nhypothesis: h\ntarget: {process: {name: worker}}\n"
        "action: kill\nwaves: [{name: one, strikes: 1}]\nrecovery: {within: 20s}\n"
    )
    w.ask(o.RunRequest(source=source, key="k"), "operator")
    w.run(300)
    (command,) = w.store.strikes
    lie = a.StrikeUpdate(command_id=command, state=p.STRIKE_STATE_REFUSED, used_up=True)
    decision = told("a-1", lie)(w.store.books())
    assert isinstance(decision.answer, Told) and not decision.answer.released
    assert not any(isinstance(change, PutPermit) and change.row.released_ms for change in decision.changes)


@pytest.mark.parametrize(
    ("strikes", "verdict"),
    [
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW])], o.RUN_VERDICT_HELD),
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW], events_lost=2)], o.RUN_VERDICT_INCONCLUSIVE),
        ([view(p.STRIKE_STATE_REFUSED)], o.RUN_VERDICT_INCONCLUSIVE),
        ([], o.RUN_VERDICT_INCONCLUSIVE),
        ([view(p.STRIKE_STATE_LOST, blows=[BLOW]), view(p.STRIKE_STATE_UNKNOWN)], o.RUN_VERDICT_NOT_RECOVERED),
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW]), view(p.STRIKE_STATE_UNKNOWN)], o.RUN_VERDICT_INCONCLUSIVE),
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW]), view(p.STRIKE_STATE_EXPIRED)], o.RUN_VERDICT_INCONCLUSIVE),
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW]), view(p.STRIKE_STATE_REFUSED)], o.RUN_VERDICT_HELD),
        ([view(p.STRIKE_STATE_SURVIVED, blows=[BLOW])], o.RUN_VERDICT_INCONCLUSIVE),
        ([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW], cut_short=True)], o.RUN_VERDICT_INCONCLUSIVE),
    ],
)
def test_a_verdict_says_no_more_than_the_strikes_show(strikes: list[o.StrikeView], verdict: o.RunVerdict) -> None:
    assert judged(strikes, rehearsal=False)[0] == verdict


def test_i8_of_a_hold_that_had_its_time_the_verdict_does_not_say_that_it_ended_early() -> None:
    detail = "held for its time: 2 successors struck; not held all the time: its service was whole before the end"
    said = judged([view(p.STRIKE_STATE_RECOVERED, blows=[BLOW], cut_short=True, detail=detail)], rehearsal=False)[1]
    assert said == f"1 victim not held down all the time: {detail}"


def test_a_signal_that_may_be_survived_holds_unless_the_kernel_ignored_it() -> None:
    hup = p.Action(kill=p.Kill(signal=1))
    heard = view(p.STRIKE_STATE_SURVIVED, action=hup, blows=[p.Blow(number=1, kernel_verdict="delivered")])
    ignored = view(p.STRIKE_STATE_SURVIVED, action=hup, blows=[p.Blow(number=1, kernel_verdict="ignored")])
    assert judged([heard], rehearsal=False)[0] == o.RUN_VERDICT_HELD
    assert judged([ignored], rehearsal=False)[0] == o.RUN_VERDICT_INCONCLUSIVE


@pytest.mark.parametrize(("scope", "waiting"), [("in_flight", 3), ("per_host", 2), ("per_service", 3), ("busy", 1)])
def test_what_one_limit_holds_back_waits_together(scope: str, waiting: int) -> None:
    step = Step(wave_name="w", wave_index=0, repetition=1, step=0, strikes=3, at_ms=0, action=KILL, dry_run=False)
    queue = [
        Flight(view=view(p.STRIKE_STATE_PLANNED, victim=p.Identity(host=host), service="s"), step=step)
        for host in ("a-1", "a-1", "a-2")
    ]
    alike = withheld_alike(queue[0], queue, Withheld(scope=scope, detail="full"), Now(1_000, 0))
    assert len(alike) == waiting
    assert all(flight.again_ns > 1_000 for flight in alike)
