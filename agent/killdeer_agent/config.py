"""The agent's configuration: one TOML file, one frozen record, all defaults here. Unknown keys are refused."""

import difflib
import socket
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

from killdeer_agent.evidence import Evidence, evidence_of

DEFAULT_FILE = Path("/etc/killdeer/agent.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Loopback:
    """An address that only this host can reach."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, key, cause and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    coordinators: tuple[str, ...]
    """HOST:PORT, tried in turn."""
    ca: Path = Path("/etc/killdeer/ca.pem")
    cert: Path = Path("/etc/killdeer/agent.pem")
    key: Path = Path("/etc/killdeer/agent.key")
    host: str = field(default_factory=socket.gethostname)
    """This host's name; the certificate must carry it."""
    server_name: str = "killdeer-coordinator"
    """The name that the coordinator's certificate must carry."""
    state: Path = Path("/var/lib/killdeer")
    """The journal and the halt file."""
    runtime: Path = Path("/run/killdeer")
    """A halt file here counts as well; it goes with a reboot."""
    guard: Path = Path("/etc/killdeer/guard.d")
    labels: dict[str, str] = field(default_factory=dict)
    """environment, zone, role, …; a host without `environment` is no candidate."""
    evidence: Evidence = field(default_factory=Evidence)
    """How the kernel's record is had, and what of it is told."""
    metrics: Loopback | Path | None = None
    """Prometheus metrics: where they are served, or the file they are written to; None: neither."""
    log_level: str = "info"

    @property
    def halt_files(self) -> tuple[Path, ...]:
        return (self.state / "halt", self.runtime / "halt")

    @property
    def secrets(self) -> Path:
        """Of all files of this host, what a header of a readiness check may hold is in one of these alone."""
        return self.guard.parent / "secrets"


_PATHS = ("ca", "cert", "key", "state", "runtime", "guard")
_CHOICES = {"log_level": LOG_LEVELS}


def load_config(file: Path) -> Config:
    """Raises ConfigError, which names every fault at once."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read {file}: it is not there; write it from the commented example") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    known = [f.name for f in fields(Config)]
    faults = [_unknown(key, known) for key in raw if key not in known]
    if "coordinators" not in raw:
        faults.append("'coordinators' is missing: name at least one, such as [\"coordinator.example.com:7442\"]")
    values: dict[str, object] = {}
    for key, value in raw.items():
        if key in known:
            try:
                values[key] = _checked(key, value)
            except ValueError as error:
                faults.append(f"{key!r}: {error}")
    if faults:
        raise ConfigError("\n".join(f"{file}: {fault}" for fault in faults))
    return Config(**values)  # type: ignore[arg-type]  # each value was checked by _checked


def load_places(file: Path) -> Config:
    """What halt, rearm and revert need: where journal and halt files are, whatever else is wrong with the file.

    Raises ConfigError where not even that can be read from a file other than the default one; with that one broken
    or missing, the default places are those in use.
    """
    try:
        return load_config(file)
    except ConfigError as fault:
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
            read = {key: _checked(key, raw[key]) for key in ("state", "runtime") if key in raw}
        except (OSError, ValueError):
            if file != DEFAULT_FILE:
                raise fault from None
            read = {}
    return Config(coordinators=(), **read)  # type: ignore[arg-type]  # each value was checked by _checked


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown key {key!r}: {hint}"


def _checked(key: str, value: object) -> object:
    if key == "coordinators":
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and ":" in v for v in value):
            raise ValueError('wants a list of "HOST:PORT"')
        return tuple(value)
    if key == "evidence":
        return evidence_of(value)
    if key == "labels":
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ValueError("wants a table of texts")
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"wants a text, found {value!r}")
    if key == "metrics":
        return _metrics(value)
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ValueError(f"wants one of {', '.join(_CHOICES[key])}; found {value!r}")
    return Path(value) if key in _PATHS else value


def _metrics(value: str) -> Loopback | Path | None:
    """Nothing of an agent is open to the network: another address than loopback's is refused."""
    if value == "off":
        return None
    if value.startswith("/"):
        if not value.endswith(".prom"):
            raise ValueError(f"wants a name that ends in .prom, as node_exporter does; found {value!r}")
        return Path(value)
    import ipaddress  # an agent without a listener does not load it

    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f'wants "off", "127.0.0.1:PORT" or the path of a file; found {value!r}')
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        raise ValueError(f'wants a number for an address, such as "127.0.0.1:{port}"; found {value!r}') from None
    if not address.is_loopback:
        raise ValueError(f'listens on this host alone, such as "127.0.0.1:{port}"; found {value!r}')
    return Loopback(str(address), int(port))
