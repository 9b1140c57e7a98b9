"""A real agent asks a real service whether it is ready: a coordinator that is nothing but its frames orders the
strikes, a supervisor restarts the workers, and each worker listens one second after it has started, or never."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from killdeer.halts import Halts
from killdeer.terms import parse_selector
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import probe_pb2
from killdeer.v1 import process_pb2 as p
from killdeer_cli.fleet.keeper import host_command
from killdeer_cli.fleet.layout import Layout
from killdeer_cli.fleet.making import Wish, make
from tests.support.fleet import PATIENCE_S, wait_until
from tests.support.prepared import HOST, SELECTOR, needs_root
from tests.support.wire_coordinator import WireCoordinator, wire_coordinator

pytestmark = pytest.mark.timeout(300)

SECOND = 10**9
SLOW_S = 1.0
# What comes before it serves, in place of a cache to warm or a schema to check.
SLOW = f"import time\ntime.sleep({SLOW_S})\n"
# Ready at first, never again: what it needs is there only once.
ONCE = """import pathlib, time
used = pathlib.Path(__file__).parent / f"used-{sys.argv[1]}"
if used.exists():
    time.sleep(3600)
used.touch()
"""


@contextmanager
def one_host(folder: Path, before_it_serves: str) -> Iterator[tuple[WireCoordinator, psutil.Process, int]]:
    """The coordinator, the host's first process and the port of its one worker, which serves there by now."""
    needs_root()
    layout = Layout(folder)
    make(layout, Wish(agents=1, workers=1, allow=(SELECTOR,), restart_after_ms=300, lease_ms=3_000))
    plan = layout.read_host(HOST)
    port = int(plan.workers[0][-1])
    script = Path(plan.worker_dir) / "worker.py"
    script.write_text(script.read_text().replace("    serve(int(", f"{_indented(before_it_serves)}    serve(int("))
    with wire_coordinator(layout.keys, f"127.0.0.1:{layout.read_fleet().agents_port}") as coordinator:
        machine = subprocess.Popen(host_command(layout, HOST), stdin=subprocess.PIPE)
        try:
            coordinator.until(lambda: coordinator.renewed, "the agent has its lease")
            host = psutil.Process(machine.pid)
            wait_until(lambda: serves(host, port), "the worker serves")
            yield coordinator, host, port
        finally:
            assert machine.stdin is not None
            machine.stdin.close()
            machine.wait(PATIENCE_S)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def serves(host: psutil.Process, port: int) -> bool:
    return any(
        one.laddr.port == port and one.status == psutil.CONN_LISTEN
        for worker in host.children(recursive=True)
        if worker.name() == "sandbox-worker"
        for one in worker.net_connections("tcp4")
    )


def struck(coordinator: WireCoordinator, port: int, command_id: str = "c1", **changed: object) -> None:
    """A SIGKILL to the worker, with a check of its answer by HTTP ten times a second."""
    coordinator.candidates = []
    selector = parse_selector([SELECTOR])
    coordinator.send(a.ConnectResponse(scan=a.Scan(scan_id=command_id, selector=selector, deadline_ms=10_000)))
    coordinator.until(lambda: coordinator.candidates, "the worker is found")
    (candidate,) = coordinator.candidates
    ready = probe_pb2.Probe(
        name="healthy",
        http=probe_pb2.HttpSource(url=f"http://127.0.0.1:{port}/", contains="worker pid"),
        within_ms=2_000,
        every_ms=100,
    )
    terms: dict[str, object] = {"recover_within_ms": 60_000, "stable_for_ms": 300, "ready": ready}
    strike = a.Strike(
        command_id=command_id,
        run_id="run",
        run_fence=1,
        permit_id="permit",
        victim=candidate.identity,
        service=candidate.service,
        selector=selector,
        action=p.Action(kill=p.Kill(signal=9)),
        not_after_boot_ns=coordinator.stamp_boot_ns + 60 * SECOND,
        halts_digest=Halts().digest,
        **(terms | changed),  # type: ignore[arg-type]
    )
    coordinator.send(a.ConnectResponse(strike=strike))


def last(coordinator: WireCoordinator, command_id: str = "c1") -> a.StrikeUpdate:
    return (coordinator.updates.get(command_id) or [a.StrikeUpdate()])[-1]


def to_successor_ns(update: a.StrikeUpdate) -> int:
    """From the blow."""
    (blow,) = update.blows
    return update.successor.at_boot_ns - (blow.seen_boot_ns or blow.sent_boot_ns)


def test_the_time_to_ready_is_later_than_the_time_to_the_successor(tmp_path: Path) -> None:
    with one_host(tmp_path / "fleet", SLOW) as (coordinator, host, port):
        struck(coordinator, port)
        coordinator.until(lambda: last(coordinator).settled, "the service has recovered")
        update = last(coordinator)
        assert update.state == p.STRIKE_STATE_RECOVERED and update.successor.identity.pid
        assert update.ready_after_ns - to_successor_ns(update) >= SLOW_S * SECOND * 0.9
        (blow,) = update.blows
        assert update.at_boot_ns - blow.sent_boot_ns >= update.ready_after_ns + 300_000_000
        before = [one for one in coordinator.updates["c1"] if one.HasField("successor") and not one.ready_after_ns]
        assert before and all(one.state == p.STRIKE_STATE_GONE for one in before)
        assert serves(host, port)


def test_i8_a_worker_that_is_never_ready_is_lost_and_its_agent_beats_on(tmp_path: Path) -> None:
    with one_host(tmp_path / "fleet", ONCE) as (coordinator, host, port):
        struck(coordinator, port, recover_within_ms=3_000)
        coordinator.until(lambda: last(coordinator).state == p.STRIKE_STATE_LOST, "it is given up")
        update = last(coordinator)
        assert update.successor.identity.pid and not update.settled and not update.ready_after_ns
        assert update.detail == (
            "no recovery in time: its successor is there, and healthy was never met "
            f"(cannot connect to port {port}: Connection refused)"
        )
        beats = coordinator.renewed
        coordinator.until(lambda: coordinator.renewed > beats + 2, "heartbeats are answered")
        assert not serves(host, port)


def test_an_agent_that_is_killed_while_it_waits_goes_on_asking(tmp_path: Path) -> None:
    with one_host(tmp_path / "fleet", SLOW) as (coordinator, host, port):
        struck(coordinator, port)
        coordinator.until(lambda: last(coordinator).HasField("successor"), "its successor is there")
        (agent,) = [one for one in host.children(recursive=True) if "killdeer_agent.cli" in " ".join(one.cmdline())]
        streams = coordinator.streams
        agent.kill()
        coordinator.until(lambda: coordinator.streams > streams and last(coordinator).settled, "it has recovered")
        update = last(coordinator)
        assert update.state == p.STRIKE_STATE_RECOVERED
        assert update.ready_after_ns >= SLOW_S * SECOND * 0.9


def test_what_is_no_readiness_of_this_host_is_refused_and_nothing_is_hit(tmp_path: Path) -> None:
    with one_host(tmp_path / "fleet", SLOW) as (coordinator, host, port):
        workers = [one.pid for one in host.children(recursive=True) if one.name() == "sandbox-worker"]
        ready = probe_pb2.Probe(name="disk", command=probe_pb2.CommandSource(command="df"))
        struck(coordinator, port, ready=ready)
        assert coordinator.refusal("c1", times=1).reason == p.REASON_CANNOT_EVALUATE
        assert workers == [one.pid for one in host.children(recursive=True) if one.name() == "sandbox-worker"]
