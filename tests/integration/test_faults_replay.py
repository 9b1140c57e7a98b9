"""1,000 commands by hand, repeated, old or changed: a coordinator that is nothing but its frames sends them to a
real agent, which dies in the middle of it. One signal in all, by the kernel's own record; each refusal is named."""

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from killdeer.halts import Halts
from killdeer.terms import parse_selector
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p
from killdeer_cli.fleet.keeper import host_command
from killdeer_cli.fleet.layout import Layout
from killdeer_cli.fleet.making import Wish, make
from tests.support.fleet import PATIENCE_S
from tests.support.kernel_record import record, start_ticks
from tests.support.prepared import HOST, SELECTOR, needs_root
from tests.support.wire_coordinator import WireCoordinator, wire_coordinator

pytestmark = pytest.mark.timeout(300)

COMMANDS = 1_000
# Its victim outlives it: every one more would be seen.
HARMLESS = signal.SIGURG
FENCE = 7
UNKNOWN_FIELD = b"\xf8\x7f\x01"  # field 2047, a varint


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    needs_root()
    made = Layout(tmp_path / "fleet")
    make(made, Wish(agents=1, workers=2, allow=(SELECTOR,), restart_after_ms=300, lease_ms=3_000))
    return made


@pytest.fixture
def coordinator(layout: Layout) -> Iterator[WireCoordinator]:
    with wire_coordinator(layout.keys, f"127.0.0.1:{layout.read_fleet().agents_port}") as made:
        yield made


@pytest.fixture
def host(layout: Layout, coordinator: WireCoordinator) -> Iterator[psutil.Process]:
    machine = subprocess.Popen(host_command(layout, HOST), stdin=subprocess.PIPE)
    try:
        coordinator.until(lambda: coordinator.renewed, "the agent has its lease")
        yield psutil.Process(machine.pid)
    finally:
        assert machine.stdin is not None
        machine.stdin.close()
        machine.wait(PATIENCE_S)


def test_i2_of_a_thousand_commands_repeated_old_or_changed_one_signal_is_sent_and_each_refusal_is_named(
    coordinator: WireCoordinator, host: psutil.Process
) -> None:
    with record() as kernel:
        for worker in workers(host):
            kernel.collector.watch(worker.pid, start_ticks(worker.pid))
        coordinator.send(
            a.ConnectResponse(scan=a.Scan(scan_id="s", selector=parse_selector([SELECTOR]), deadline_ms=10_000))
        )
        coordinator.until(lambda: len(coordinator.candidates) == 2, "both workers are found")
        first = command(coordinator, coordinator.candidates[0])
        coordinator.send(a.ConnectResponse(strike=first))
        coordinator.until(
            lambda: any(update.settled for update in coordinator.updates.get("first", ())),
            "it is struck, and lives",
        )
        assert len(coordinator.updates["first"][-1].blows) == 1

        draw = random.Random(4)
        for number in range(COMMANDS):
            if number == COMMANDS // 2:
                died(coordinator, host)
            kind = draw.choice(["repeated", *CHANGES])
            if kind == "repeated":
                coordinator.send(a.ConnectResponse(strike=first))
                continue
            changed = a.Strike()
            changed.CopyFrom(first)
            changed.command_id = f"{number} {kind}"
            # The other worker is as good a victim, but for what is changed here.
            changed.victim.CopyFrom(draw.choice(coordinator.candidates).identity)
            reason, change = CHANGES[kind]
            change(changed, coordinator)
            times = draw.choice([1, 1, 2])
            for _ in range(times):
                coordinator.send(a.ConnectResponse(strike=changed))
            refused = coordinator.refusal(changed.command_id, times=times)
            assert refused.reason == reason, (kind, refused)
            assert refused.used_up and refused.detail and not refused.blows

        repeated = coordinator.updates["first"]
        assert all(len(update.blows) <= 1 and not update.used_up for update in repeated)
        sent = [event.signal for worker in workers(host) for event in kernel.of(worker.pid, "signal")]
        assert [seen.signal for seen in sent] == [HARMLESS]
        assert len(workers(host)) == 2


def command(coordinator: WireCoordinator, candidate: p.Candidate) -> a.Strike:
    return a.Strike(
        command_id="first",
        run_id="run",
        run_fence=FENCE,
        permit_id="permit",
        victim=candidate.identity,
        service=candidate.service,
        selector=parse_selector([SELECTOR]),
        action=p.Action(kill=p.Kill(signal=HARMLESS)),
        not_after_boot_ns=coordinator.stamp_boot_ns + 600 * 10**9,
        halts_digest=Halts().digest,
        recover_within_ms=500,
        stable_for_ms=100,
    )


def died(coordinator: WireCoordinator, host: psutil.Process) -> None:
    """The agent, in the middle of it; its ids are known to the one that comes after it."""
    streams = coordinator.streams
    (agent,) = (process for process in host.children(recursive=True) if "agent.toml" in str(process.cmdline()))
    agent.kill()
    coordinator.until(lambda: coordinator.streams > streams and coordinator.renewed, "the agent is back")


def workers(host: psutil.Process) -> list[psutil.Process]:
    return [process for process in host.children(recursive=True) if process.name() == "sandbox-worker"]


def old(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.run_fence -= 1


def past(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.not_after_boot_ns = coordinator.stamp_boot_ns


def of_other_halts(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.halts_digest = Halts().engage(p.HaltRecord(id="unheard of")).digest


def newer_at_depth(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.selector.terms[0].MergeFromString(UNKNOWN_FIELD)


def newer_victim(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.victim.MergeFromString(UNKNOWN_FIELD)


def without_an_action(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.ClearField("action")


def for_another_host(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.victim.host = "sandbox-2"


def of_another_boot(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.victim.boot_id = strike.victim.boot_id[::-1]


def of_another_process(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.victim.start_ticks -= 1


def of_another_program(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.victim.program = strike.victim.program[::-1]


def of_another_name(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.selector.CopyFrom(parse_selector(["name=somebody-else"]))


def stopping(strike: a.Strike, coordinator: WireCoordinator) -> None:
    strike.action.kill.signal = signal.SIGSTOP


def taken_back(strike: a.Strike, coordinator: WireCoordinator) -> None:
    coordinator.send(a.ConnectResponse(revert=a.Revert(command_id=strike.command_id)))


CHANGES = {
    change.__name__.replace("_", " "): (reason, change)
    for reason, change in (
        (p.REASON_OLD_FENCE, old),
        (p.REASON_TOO_LATE, past),
        (p.REASON_HALTS_DIFFER, of_other_halts),
        (p.REASON_NEWER_THAN_ME, newer_at_depth),
        (p.REASON_NEWER_THAN_ME, newer_victim),
        (p.REASON_NEWER_THAN_ME, without_an_action),
        (p.REASON_GONE, for_another_host),
        (p.REASON_OTHER_BOOT, of_another_boot),
        (p.REASON_REUSED, of_another_process),
        (p.REASON_CHANGED, of_another_program),
        (p.REASON_NOT_MATCHING, of_another_name),
        (p.REASON_ACTION_NOT_ALLOWED, stopping),
        (p.REASON_CANCELLED, taken_back),
    )
}
