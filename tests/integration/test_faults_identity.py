"""A second agent with a host's keys and disk, and a host whose journal is gone: neither is served until an operator
has accepted the host, and what was open there is unknown, never fine (I2, I6, R16, R23)."""

import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from killdeer_cli.fleet.keeper import host_command
from tests.support.fleet import PATIENCE_S, wait_until
from tests.support.kernel_record import KernelRecord, record
from tests.support.prepared import HOST, SELECTOR, Prepared, needs_root, prepared

pytestmark = pytest.mark.timeout(300)
CLONE = "clone"
ONE_PAUSE = Counter({signal.SIGSTOP: 1, signal.SIGCONT: 1})


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelRecord]:
    needs_root()
    with record() as kept:
        yield kept


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    with prepared(tmp_path_factory.mktemp("identity")) as fleet:
        yield fleet


@contextmanager
def cloned(fleet: Prepared) -> Iterator[Path]:
    """A machine that has begun from a copy of the host's disk as it is now; its log."""
    layout = fleet.layout
    own = layout.host(CLONE)
    shutil.copytree(layout.host(HOST), own)
    config = own / "agent.toml"
    config.write_text(config.read_text().replace(str(layout.host(HOST)), str(own)))
    plan = layout.read_host(HOST)
    command = [word.replace(str(layout.host(HOST)), str(own)) for word in plan.agent]
    layout.write_host(replace(plan, name=CLONE, agent=command, workers=[]))
    log = own / "agent.log"
    log.write_bytes(b"")
    machine = subprocess.Popen(
        host_command(layout, CLONE), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield log
    finally:
        assert machine.stdin is not None
        machine.stdin.close()
        machine.wait(PATIENCE_S)
        shutil.rmtree(own)


def test_r23_of_two_agents_with_one_identity_neither_is_served_and_both_are_told(
    started: Prepared, kernel: KernelRecord
) -> None:
    before = sent(kernel, started)
    started.pause()
    with cloned(started) as log:
        wait_until(lambda: started.host["quarantined"], "the host is quarantined")
        assert "a clone, or a disk that was rolled back" in started.host["problem"]
        wait_until(lambda: not started.stopped(), "without a lease, its victim goes on")
        wait_until(lambda: told(log), "the one is told")
        wait_until(lambda: told(started.layout.host(HOST) / "agent.log"), "so is the other")
        nothing_goes_to(started)
    accepted(started)
    started.as_it_was()
    assert sent(kernel, started) - before == ONE_PAUSE, "continued by its own host alone"


def test_r23_a_pause_that_the_journal_has_lost_is_ended_once_the_host_is_accepted(
    started: Prepared, kernel: KernelRecord
) -> None:
    before = sent(kernel, started)
    started.pause()
    for file in (started.layout.host(HOST) / "state").iterdir():
        file.unlink()
    restart(started)
    wait_until(lambda: started.host["quarantined"], "the host is quarantined")
    assert "a lost journal" in started.host["problem"]
    nothing_goes_to(started)
    accepted(started)
    started.as_it_was()
    assert sent(kernel, started) - before == ONE_PAUSE


def sent(kernel: KernelRecord, fleet: Prepared) -> Counter[int]:
    """Stops and continues of this host's first worker so far, which is nobody's victim but of pauses."""
    return Counter(
        event.signal.signal
        for event in kernel.of(fleet.workers()[0].pid, "signal")
        if event.signal.signal in ONE_PAUSE
    )


def nothing_goes_to(fleet: Prepared) -> None:
    (permit,) = fleet.permits
    assert permit["state"] == "STRIKE_STATE_UNKNOWN", "what was open there counts"
    assert not fleet.connected()
    refused = fleet.killdeer("strike", HOST, SELECTOR, "newest", "--kill", "--yes", code=2)
    assert "quarantined" in refused.err, refused


def accepted(fleet: Prepared) -> None:
    fleet.killdeer("hosts", "accept", HOST, "--reason", "its twin is gone")
    restart(fleet)  # it would come by itself, half a minute after it was told off


def restart(fleet: Prepared) -> None:
    agent: psutil.Process = fleet.agent(HOST)
    agent.kill()
    agent.wait()


def told(log: Path) -> list[Any]:
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [
        line for line in lines if line["event"] == "dismissed" and f"hosts accept {HOST}" in line.get("detail", "")
    ]
