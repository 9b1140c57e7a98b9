"""Random bad days of one host, each from a seed; the world's oracle judges after each step (I1, I2, I4 to I6)."""

import random

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import probe_pb2
from killdeer_agent.core import words as w
from tests.support import host as h

FAULTS = ("crash", "freeze", "unlink", "silence", "disk", "revert", "census", "halt", "duplicate", "guard", "other")
READY = probe_pb2.Probe(name="healthy", tcp=probe_pb2.TcpSource(host="127.0.0.1", port=80), every_ms=200)
STALLS: tuple[type[object], ...] = (w.Open, w.Write, w.Census)


def bad_day(seed: int, *, ready: bool = False) -> h.Host:
    lots = random.Random(seed)
    host = h.leased(4)
    moods = random.Random(f"ready {seed}")
    host.ready = lambda: moods.choice(["", "", "no answer within 500 ms"])
    also: dict[str, object] = {"ready": READY, "stable_for_ms": moods.choice([0, 1_000])} if ready else {}
    host.coordinator.lease_ms = 3_000
    host.coordinator.heartbeat_ms = 1_000
    commands: list[a.Strike] = []
    for number in range(60):
        running = [one for one in host.world.processes.values() if not one.ours]
        if running and lots.random() < 0.4:
            victim, kind = lots.choice(running), lots.choice(["kill", "terminate", "pause", "hold-down"])
            victim.outlives_term_ns = lots.choice([0, 500 * h.MS, 60 * h.SECOND])
            commands.append(host.coordinator.strike(f"c{number}", victim, kind, **also))
            host.inputs.append(w.Heard(a.ConnectResponse(strike=commands[-1])))
        if lots.random() < 0.4:
            fault(host, lots, commands)
        for _ in range(lots.randint(0, 6)):
            host.step()
        host.run(lots.choice([100, 300, 1_000]) * h.MS)
    heal(host)
    return host


def fault(host: h.Host, lots: random.Random, commands: list[a.Strike]) -> None:
    coordinator = host.coordinator
    match lots.choice(FAULTS):
        case "crash":
            host.crash()
            host.start()
            open_strikes = [a.OpenStrike(command_id=one.command_id, victim=one.victim) for one in commands[-3:]]
            coordinator.link(*open_strikes)
        case "freeze":
            host.world.pass_time(lots.choice([1, 5, 30]) * h.SECOND, frozen=True)
        case "unlink":
            coordinator.unlink()
        case "silence":
            coordinator.renews = not coordinator.renews
        case "disk":
            host.journal_problem = "" if host.journal_problem else "no space left"
        case "revert":
            host.revert_problem = "" if host.revert_problem else "EPERM"
        case "census":
            host.census_problem = "" if host.census_problem else "cannot read /proc"
        case "halt":
            active = coordinator.halts.active
            if coordinator.linked and active:
                coordinator.rearm(active[0].id)
            elif coordinator.linked:
                coordinator.halt(f"halt-{len(coordinator.halts.engaged)}")
        case "duplicate" if commands:
            host.inputs.append(w.Heard(a.ConnectResponse(strike=lots.choice(commands))))
            host.inputs.append(
                w.Heard(a.ConnectResponse(revert=a.Revert(command_id=lots.choice(commands).command_id)))
            )
        case "other" if host.world.processes:
            host.world.signal(lots.choice(list(host.world.processes.values())), lots.choice([9, 15, 18]), 1)
        case _:
            host.stalled = set() if host.stalled else {lots.choice(STALLS)}
            host.release(*(() if not host.stalled else [type(None)]))


def heal(host: h.Host) -> None:
    """The faults are over; half a minute later nothing is stopped and every strike has said how it ended."""
    host.journal_problem = host.revert_problem = host.census_problem = ""
    host.release()
    coordinator = host.coordinator
    coordinator.renews = True
    for number in (1, 2):
        coordinator.unlink()
        coordinator.link()
        for halt in coordinator.halts.active:
            coordinator.rearm(halt.id)
        host.run(number * 30 * h.SECOND)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_a_bad_day(seed: int, ready: bool) -> None:
    host = bad_day(seed, ready=ready)
    host.oracle.quiet()
    left = [(one.command_id, one.phase, one.state, one.refusal) for one in host.core._strikes.open.values()]
    assert not left
    assert not host.core._recoveries._services
    for fell in host.world.log:
        assert host.coordinator.updates[fell.command_id].used_up is False
