"""Killdeer as the services that are shipped, installed in this guest as their own headers say, and used by an
operator's commands."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from killdeer.v1.operator_pb2 import RunState
from killdeer_client.client import Client
from killdeer_client.contexts import load_contexts
from killdeer_client.errors import ClientError
from tests.support.corpus.kinds import IN_GUEST
from tests.support.fleet import Said, wait_until
from tests.support.kernel_record import stat_fields

assert IN_GUEST, "this installs services, and strikes: only on a machine of the tests' own"

SHIPPED = Path(__file__).resolve().parents[3] / "deploy" / "systemd"
PROGRAMS = Path("/opt/killdeer/bin")
ETC = Path("/etc/killdeer")
UNITS = Path("/etc/systemd/system")
AGENT, COORDINATOR = "killdeer-agent.service", "killdeer-coordinator.service"
HOST = "guest"
# An emulated processor takes its time to load Python's modules.
PATIENCE_S = 300.0
TRIES = 3
SLOW = "[Service]\nTimeoutStartSec=5min\nTimeoutStopSec=2min\n"

AGENT_TOML = f"""
coordinators = ["localhost:7442"]
host = "{HOST}"
[labels]
environment = "staging"
"""
CONTEXT = f"""
current = "guest"
[context.guest]
coordinators = ["localhost:7443"]
ca = "{ETC}/ca.pem"
cert = "{ETC}/operators/ops.pem"
key = "{ETC}/operators/ops.key"
"""
VICTIM = """
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sleep infinity
User=nobody
Restart=always
RestartSec=0
"""
CONSENT = "[X-Killdeer]\nAllow=kill terminate pause\n"


def ran(*command: str | Path, code: int | None = 0, **environment: str) -> Said:
    """What a command said; its exit code is checked unless None is given."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    said = Said(done.returncode, done.stdout, done.stderr)
    assert code is None or said.code == code, f"{command}: exit {said.code}\n{said.out}\n{said.err}\n{journal()}"
    return said


def killdeer(*arguments: str, code: int | None = 0) -> Said:
    return ran(
        PROGRAMS / "killdeer", *arguments, code=code, KILLDEER_CONFIG=str(ETC / "context.toml"), NO_COLOR="1"
    )


def systemctl(*arguments: str) -> str:
    return ran("systemctl", *arguments).out.strip()


def shown(unit: str, name: str) -> str:
    return systemctl("show", "--value", f"--property={name}", unit)


def main_of(unit: str) -> int:
    return int(shown(unit, "MainPID"))


def journal(unit: str = AGENT) -> str:
    """The last that the service, and systemd about it, said."""
    return subprocess.run(
        ("journalctl", "--no-pager", "--lines=60", f"--unit={unit}", "--output=short-monotonic"),
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def told(unit: str, event: str) -> list[dict[str, Any]]:
    """The service's own log lines of this event, with the pid of who logged it as `pid`."""
    lines = ran("journalctl", "--no-pager", f"--unit={unit}", "--output=json").out.splitlines()
    found = []
    for line in map(json.loads, lines):
        message = line["MESSAGE"]
        if isinstance(message, str) and message.startswith("{") and json.loads(message).get("event") == event:
            found.append(json.loads(message) | {"pid": int(line["_PID"])})
    return found


def state_of(pid: int) -> str:
    return stat_fields(pid)[0]


@contextmanager
def installed() -> Iterator[None]:
    """Coordinator and agent, running and connected; two units that may be struck, and one that may not."""
    for kind in ("sysusers", "tmpfiles"):
        Path(f"/usr/lib/{kind}.d").mkdir(exist_ok=True)
        for daemon in ("killdeer-agent", "killdeer-coordinator"):
            shutil.copy(SHIPPED / f"{daemon}.{kind}.conf", f"/usr/lib/{kind}.d/{daemon}.conf")
    ran("systemd-sysusers")
    ran(PROGRAMS / "killdeer-coordinator", "init", "--operator=ops", f"--agent={HOST}")
    for file in (ETC / "agents" / HOST).iterdir():
        shutil.move(file, ETC / file.name)
    (ETC / "agent.toml").write_text(AGENT_TOML)
    (ETC / "context.toml").write_text(CONTEXT)
    ran("systemd-tmpfiles", "--create", "killdeer-agent.conf", "killdeer-coordinator.conf")
    for name in (AGENT, COORDINATOR):
        shutil.copy(SHIPPED / name, UNITS / name)
    (UNITS / f"{AGENT}.d").mkdir()
    (UNITS / f"{AGENT}.d" / "slow.conf").write_text(SLOW)
    (UNITS / "victim@.service").write_text(VICTIM + CONSENT)
    (UNITS / "other.service").write_text(VICTIM)
    systemctl("daemon-reload")
    try:
        systemctl("start", "victim@1.service", "victim@2.service", "other.service", COORDINATOR, AGENT)
        connected()
        yield
    finally:
        systemctl("stop", AGENT, COORDINATOR, "victim@1.service", "victim@2.service", "other.service")


@contextmanager
def no_btf() -> Iterator[None]:
    """As on a kernel that does not describe its types."""
    ran("mount", "-t", "tmpfs", "none", "/sys/kernel/btf")
    try:
        yield
    finally:
        ran("umount", "/sys/kernel/btf")


def connected() -> None:
    """Until the agent may act."""

    def leased() -> bool:
        try:
            return any(host.lease_left_ms for host in client.list_hosts().hosts)
        except ClientError:
            return False  # the coordinator has just been started

    with Client(load_contexts(ETC / "context.toml").choose()) as client:
        wait_until(leased, f"{HOST} is connected", PATIENCE_S)


def run(experiment: str, struck: Callable[[], bool]) -> None:
    """Begins a run, and again where one ends before its strike: an emulated host may be too late for that."""
    with Client(load_contexts(ETC / "context.toml").choose()) as client:
        runs = [begun(client, experiment)]
        ends: list[str] = []

        def come() -> bool:
            if not struck() and (run := client.get_run(runs[-1])).state == RunState.RUN_STATE_ENDED:
                ends.append(run.why)
                assert len(ends) < TRIES, f"{len(ends)} runs have ended without a strike: {ends}"
                runs.append(begun(client, experiment))
            return struck()

        wait_until(come, "a run has struck", PATIENCE_S)


def begun(client: Client, experiment: str) -> str:
    return client.run(experiment, "test", key=str(uuid.uuid4()), seed=1, plan_hash="").run_id
