"""Either daemon dies or freezes at any step of a strike: nothing is struck twice or stays broken, and the next
strike goes through. Real daemons, real processes; the signals are counted by a collector of the test's own."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import tests.support.faults
from tests.support.fleet import PATIENCE_S, Fleet, Running, fleet, wait_until
from tests.support.kernel_record import KernelRecord, record

pytestmark = pytest.mark.timeout(300)

LEASE_S = 3.0
TRIES = 3
STRUCK_BY = {"--kill": signal.SIGKILL, "--pause=12s": signal.SIGSTOP}
KILL, PAUSE = STRUCK_BY
DEATHS = (
    ("agent", "before", "Open", KILL),
    ("agent", "before", "Write intent", PAUSE),
    ("agent", "after", "Write intent", KILL),
    ("agent", "before", "Strike", PAUSE),
    ("agent", "after", "Strike", KILL),
    ("agent", "after", "Strike", PAUSE),
    ("agent", "before", "Write sent", PAUSE),
    ("agent", "after", "Send strike_update", PAUSE),
    ("agent", "after", "Write exit", KILL),
    ("agent", "before", "Revert", PAUSE),
    ("agent", "after", "Revert", PAUSE),
    ("coordinator", "before", "Transact", PAUSE),
    ("coordinator", "after", "Transact", KILL),
    ("coordinator", "before", "Tell strike", PAUSE),
    ("coordinator", "after", "Tell strike", KILL),
    ("coordinator", "after", "Tell ack", PAUSE),
)
FREEZES = (
    ("agent", "before", "Strike", KILL),
    ("agent", "after", "Strike", PAUSE),
    ("agent", "before", "Revert", PAUSE),
    ("coordinator", "before", "Tell strike", KILL),
    ("coordinator", "after", "Tell strike", PAUSE),
)
FAULTS = [
    pytest.param((daemon, when, effect), number, action, id=f"{number.name} {daemon} {when} {effect}, {action}")
    for number, steps in ((signal.SIGKILL, DEATHS), (signal.SIGSTOP, FREEZES))
    for daemon, when, effect, action in steps
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelRecord]:
    if os.geteuid():
        pytest.skip("needs root: the kernel's record is what is believed here")
    with record() as kept:
        yield kept


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(Path(tests.support.faults.__path__[0])), prepend=os.pathsep)
        patched.setenv("KILLDEER_TEST_FAULT", str(folder / "fault"))
        with fleet(folder, "--agents", "1", "--workers", "2", "--lease", f"{LEASE_S:g}s") as made:
            yield made


@contextmanager
def armed(fleet: Fleet, step: tuple[str, str, str], number: signal.Signals) -> Iterator[Path]:
    """Gives the file with the pid of who was hit, once it was."""
    fault = fleet.folder / "fault"
    hit = fault.with_suffix(".hit")
    hit.unlink(missing_ok=True)
    daemon, when, effect = step
    fault.write_text(json.dumps({"daemon": daemon, "when": when, "effect": effect, "signal": number}))
    try:
        yield hit
    finally:
        fault.unlink(missing_ok=True)


@pytest.mark.parametrize(("step", "number", "action"), FAULTS)
def test_a_daemon_that_dies_or_freezes_at_this_step_breaks_nothing(
    started: Fleet, kernel: KernelRecord, step: tuple[str, str, str], number: signal.Signals, action: str
) -> None:
    workers = {worker.pid for worker in started.workers()}
    sent_before, runs_before = signals(kernel, workers, STRUCK_BY[action]), runs(started)
    with armed(started, step, number) as hit:
        if step[2] == "Revert":
            waiting = [begun(started, action)]
            wait_until(started.stopped, "the worker is paused")
            waiting.append(started.begin("abort"))
            wait_until(hit.exists, f"{step} is reached")
        else:
            waiting = [reaching(hit, started, action)]
        if number == signal.SIGSTOP:
            thaw_after_lease(started.agent("sandbox-1") if step[0] == "agent" else started.coordinator())
    for command in waiting:
        command.process.wait(PATIENCE_S * 2)
    wait_until(lambda: started.connected() == 1, "the host is served again")
    wait_until(lambda: not started.stopped(), "nothing is paused")
    wait_until(lambda: not permits(started), "every permit is given back")
    sent = signals(kernel, workers, STRUCK_BY[action]) - sent_before
    assert sent <= 1, "struck more than once"
    strikes = [strike for run in runs(started) - runs_before for strike in started.strikes(run)]
    blows = [blow for strike in strikes for blow in strike.get("blows", [])]
    told = [blow for blow in blows if blow.get("seen_boot_ns") and not blow.get("revert")]
    assert len(told) <= sent, f"told of a signal that nobody saw: {strikes}"
    wait_until(lambda: len(started.workers()) == 2, "both workers are there")
    started.killdeer("strike", "sandbox-1", "name=sandbox-worker", "newest", "--kill", "--yes")


def begun(fleet: Fleet, action: str) -> Running:
    return fleet.begin("strike", "sandbox-1", "name=sandbox-worker", "oldest", action, "--yes")


def reaching(hit: Path, fleet: Fleet, action: str) -> Running:
    """One that is refused before the fault's step, as where the machine is too slow, is begun anew."""
    for _ in range(TRIES):
        command = begun(fleet, action)
        come_to_its_step(command, hit)
        if hit.exists():
            return command
    raise AssertionError(f"{TRIES} strikes never came to the step, the last: {command.output.read_text()}")


def come_to_its_step(command: Running, hit: Path) -> None:
    wait_until(lambda: hit.exists() or command.process.poll() is not None, "the step is reached, or never will be")


def thaw_after_lease(frozen: psutil.Process) -> None:
    """The freeze is the fault: it outlasts every right that the frozen one has, or has given."""
    wait_until(lambda: frozen.status() == psutil.STATUS_STOPPED, "it is frozen")
    time.sleep(LEASE_S * 1.5)
    frozen.send_signal(signal.SIGCONT)


def signals(kernel: KernelRecord, pids: set[int], number: int) -> int:
    """How many of these the kernel saw sent to one of these processes."""
    kernel.collector.flush()
    return sum(
        1
        for event in kernel.events
        if event.HasField("signal") and event.signal.signal == number and event.signal.target.pid in pids
    )


def runs(fleet: Fleet) -> set[str]:
    return {run["run_id"] for run in fleet.killdeer("runs", "--json").json.get("runs", [])}


def permits(fleet: Fleet) -> list[object]:
    told = fleet.killdeer("permits", "--json", code=None)
    if told.code:
        return [told.err]
    held: list[object] = told.json.get("permits", [])
    return held
