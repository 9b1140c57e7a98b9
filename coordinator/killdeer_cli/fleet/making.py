"""Makes a sandbox's folder: keys, configuration, guards, the workers' interpreter, the operators' context."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from killdeer_cli.fleet import worker
from killdeer_cli.fleet.layout import WORKER_DIR, WORKER_NAME, FleetPlan, HostPlan, Layout


class SandboxError(Exception):
    """The sandbox cannot be made or started; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    agents: int
    workers: int
    allow: tuple[str, ...]
    restart_after_ms: int
    lease_ms: int


def make(layout: Layout, wish: Wish) -> None:
    """Anew, except for what makes it the same fleet: keys, journals and the store stay."""
    for folder in (layout.folder, layout.logs):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"sandbox-{number}" for number in range(1, wish.agents + 1)]
    ports = free_ports(3 + wish.agents * wish.workers)
    _make_keys(layout, names)
    _write_coordinator(layout, ports[:3], wish.lease_ms)
    _write_context(layout, ports[1])
    workers = _copy_interpreter(layout)
    for index, name in enumerate(names):
        own = ports[3 + index * wish.workers :][: wish.workers]
        _write_host(layout, name, "abc"[index % 3], ports[0], own, workers, wish)
    coordinator = [*_tool("killdeer-coordinator"), "run", "--config", str(layout.folder / "coordinator.toml")]
    layout.write_fleet(FleetPlan(coordinator=coordinator, agents_port=ports[0], hosts=names))


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _tool(name: str) -> list[str]:
    """The daemons' own entry points, of this very installation."""
    module = {"killdeer-agent": "killdeer_agent.cli", "killdeer-coordinator": "killdeer_coordinator.cli"}[name]
    return [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())"]


def _make_keys(layout: Layout, names: list[str]) -> None:
    command = [*_tool("killdeer-coordinator"), "init", "--dir", str(layout.keys), "--operator", "sandbox"]
    for name in names:
        command += ["--agent", name]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SandboxError(f"cannot make the sandbox's keys: {made.stderr.strip()}")


def _write_coordinator(layout: Layout, ports: list[int], lease_ms: int) -> None:
    keys = layout.keys
    lines = [
        f'listen_agents = "127.0.0.1:{ports[0]}"',
        f'listen_operators = "127.0.0.1:{ports[1]}"',
        f'listen_halt = "127.0.0.1:{ports[2]}"',
        f"state = {json.dumps(str(layout.folder / 'coordinator'))}",
        f'lease = "{lease_ms}ms"',
        "[tls]",
        f"ca = {json.dumps(str(keys / 'ca.pem'))}",
        f"cert = {json.dumps(str(keys / 'coordinator.pem'))}",
        f"key = {json.dumps(str(keys / 'coordinator.key'))}",
        "[halt]",
        f"token = {json.dumps(str(keys / 'halt-token'))}",
        "[limits]",
        "in_flight = 10",
        "per_host = 5",
        "per_service = 10",
    ]
    (layout.folder / "coordinator.toml").write_text("\n".join(lines) + "\n")


def _write_context(layout: Layout, port: int) -> None:
    keys = layout.keys
    lines = [
        'current = "sandbox"',
        "[context.sandbox]",
        f'coordinators = ["127.0.0.1:{port}"]',
        f"ca = {json.dumps(str(keys / 'ca.pem'))}",
        f"cert = {json.dumps(str(keys / 'operators' / 'sandbox.pem'))}",
        f"key = {json.dumps(str(keys / 'operators' / 'sandbox.key'))}",
    ]
    layout.context_file.write_text("\n".join(lines) + "\n")


def _copy_interpreter(layout: Layout) -> Path:
    """An executable of its own, so that the workers are a service of their own."""
    folder = layout.folder / "workers"
    folder.mkdir(exist_ok=True)
    copy = folder / WORKER_NAME
    if not copy.exists():
        shutil.copy2(Path(sys.executable).resolve(), copy)
    shutil.copy2(worker.__file__, folder / "worker.py")
    return folder


def _write_host(
    layout: Layout, name: str, zone: str, agent_port: int, ports: list[int], workers: Path, wish: Wish
) -> None:
    own = layout.host(name)
    guard = own / "guard.d"
    guard.mkdir(parents=True, exist_ok=True)
    guard.chmod(0o755)
    rules = "".join(
        f'[[allow]]\nprocess = [{json.dumps(term)}]\nactions = ["kill", "terminate", "pause", "hold-down"]\n'
        for term in wish.allow
    )
    (guard / "sandbox.toml").write_text(rules)
    (guard / "sandbox.toml").chmod(0o644)
    keys = layout.keys / "agents" / name
    lines = [
        f'coordinators = ["127.0.0.1:{agent_port}"]',
        f'host = "{name}"',
        *(f"{key} = {json.dumps(str(keys / file))}" for key, file in _KEYS),
        f"state = {json.dumps(str(own / 'state'))}",
        f"runtime = {json.dumps(str(own / 'run'))}",
        f"guard = {json.dumps(str(guard))}",
        "[labels]",
        'environment = "development"',
        f'zone = "{zone}"',
        'role = "sandbox"',
    ]
    config = own / "agent.toml"
    config.write_text("\n".join(lines) + "\n")
    layout.write_host(
        HostPlan(
            name=name,
            agent=[*_tool("killdeer-agent"), "--config", str(config), "run"],
            workers=[[f"{WORKER_DIR}/{WORKER_NAME}", "-I", "-S", f"{WORKER_DIR}/worker.py", str(p)] for p in ports],
            worker_dir=str(workers),
            environment=_worker_environment(),
            restart_after_ms=wish.restart_after_ms,
        )
    )


_KEYS = (("ca", "ca.pem"), ("cert", "agent.pem"), ("key", "agent.key"))


def _worker_environment() -> dict[str, str]:
    """What a copied interpreter needs to find its library."""
    environment = {"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}", "PATH": os.defpath}
    library = sysconfig.get_config_var("LIBDIR")
    if library:
        environment["LD_LIBRARY_PATH"] = str(library)
    return environment
