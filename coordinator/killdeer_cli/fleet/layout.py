"""Where everything of a sandbox is, and what its parts tell each other, as files in one folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

# The sandbox's hosts see their workers under this path, wherever the folder is: the mount is their own.
WORKER_DIR = "/mnt"
WORKER_NAME = "sandbox-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """What the first process of one host is to run."""

    name: str
    agent: list[str]
    workers: list[list[str]]
    worker_dir: str
    environment: dict[str, str]
    restart_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What the keeper is to run."""

    coordinator: list[str]
    agents_port: int
    hosts: list[str]


@dataclass(frozen=True, slots=True)
class Layout:
    folder: Path

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def context_file(self) -> Path:
        return self.folder / "config.toml"

    @property
    def keeper_file(self) -> Path:
        """The keeper's pid and start time, while it lives."""
        return self.folder / "keeper.json"

    @property
    def fleet_file(self) -> Path:
        return self.folder / "fleet.json"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def host(self, name: str) -> Path:
        return self.folder / "hosts" / name

    def write_host(self, plan: HostPlan) -> None:
        (self.host(plan.name) / "host.json").write_text(json.dumps(asdict(plan)))

    def read_host(self, name: str) -> HostPlan:
        return HostPlan(**json.loads((self.host(name) / "host.json").read_text()))

    def write_fleet(self, plan: FleetPlan) -> None:
        self.fleet_file.write_text(json.dumps(asdict(plan)))

    def read_fleet(self) -> FleetPlan:
        return FleetPlan(**json.loads(self.fleet_file.read_text()))


def default_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "killdeer" / "sandbox"


def start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 when there is no such process. A pid alone names nobody."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if fields[0] == b"Z" else int(fields[19])
