"""coordinator.toml: one frozen record, all defaults in its one block, unknown keys refused."""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from killdeer.durations import DurationError, parse_duration
from killdeer_coordinator.core.books import FleetLimits

DEFAULT_FILE = Path("/etc/killdeer/coordinator.toml")
SCOPES = ("in_flight", "per_host", "per_service", "per_zone", "per_minute")
LOG_LEVELS = ("debug", "info", "warning", "error")
SHORTEST_LEASE_MS, LONGEST_LEASE_MS = 1_000, 300_000
# An agent takes a strike until ten seconds after the heartbeat that was answered last: half of that is for its way.
LONGEST_HEARTBEAT_MS = 5_000
SHORTEST_CERTIFICATE_MS, LONGEST_CERTIFICATE_MS = 60_000, 30 * 24 * 3_600_000
LONGEST_RETENTION_DAYS = 3_650
_BUILT_IN = {"in_flight": 3, "per_host": 1, "per_service": 1}
_PORT_ENDS = 65_536


class ConfigError(ValueError):
    """The file cannot be used; the message holds every fault, a line each, with file, key and remedy."""


class _Secret(ValueError):
    """The value must not be shown."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Relative paths are taken from the file's own folder."""

    name: str = "coordinator"  # how the audit and the agents call it
    listen_agents: Address = Address("0.0.0.0", 7442)  # noqa: S104 - agents come from everywhere, with keys
    listen_operators: Address = Address("127.0.0.1", 7443)
    listen_halt: Address = Address("127.0.0.1", 7444)  # POST /halt, over TLS
    # Where hosts join, and whether running agents get new certificates; both need the CA's key. None: neither.
    listen_join: Address | None = None
    agents_at: tuple[Address, ...] = ()  # told to those who join; empty: the host they dialled
    certificates_ms: int = 7 * 24 * 3_600_000  # how long those of agents live that join
    state: Path = Path("/var/lib/killdeer-coordinator")
    store: str = ""  # the URL of a PostgreSQL database; empty: SQLite in the state directory
    ca: Path = Path("ca.pem")
    cert: Path = Path("coordinator.pem")
    key: Path = Path("coordinator.key")
    ca_key: Path = Path("ca.key")  # read only where hosts join
    halt_token: Path = Path("halt-token")  # the file with the token that can do nothing but halt
    lease_ms: int = 15_000
    heartbeat_ms: int = 5_000  # a third of the lease, 5 s at most, unless the file says otherwise
    limits: FleetLimits = field(
        default_factory=lambda: FleetLimits(limits=dict(_BUILT_IN), sources=dict.fromkeys(_BUILT_IN, "built in"))
    )
    secrets: Path = Path("secrets")  # the one folder that a header of a probe or a webhook may come from
    # Programs that experiments may run on this machine, by name: an absolute path and its first arguments.
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    retention_days: int = 30  # of evidence; the audit log is kept for ever
    reflection: bool = False
    log_level: str = "info"

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.state / 'killdeer.db'}"


def load(file: Path = DEFAULT_FILE) -> Config:
    """Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"cannot read {file}: it is not there; `killdeer-coordinator init` makes one, --config names another"
        ) from None
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"cannot read {file}: {cause}; mend its mode or encoding (UTF-8)") from cause
    return parse(text, file)


def parse(text: str, file: Path) -> Config:
    """Raises ConfigError with all faults at once."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"cannot read {file}: {cause}; write it as TOML") from cause
    faults: list[str] = []
    values: dict[str, object] = {}
    limits: dict[str, int] = {}
    commands: dict[str, tuple[str, ...]] = {}
    for key, value in _flat(table):
        place = f"{file}:{_line_of(text, key)}"
        section, _, last = key.partition(".")
        reader = _command if section == "commands" and last else _KEYS.get(key)
        if reader is None:
            faults.append(f"{place}: cannot use the key {key!r}: there is none of that name{_nearest(key)}")
            continue
        if reader is _command and not re.fullmatch(r"[A-Za-z0-9_-]+", last):
            faults.append(f"{place}: cannot call a command {last!r}: write letters, digits, - and _")
            continue
        try:
            read = reader(value)
        except _Secret as cause:
            faults.append(f"{place}: cannot read {key}: {cause}")
            continue
        except (ValueError, DurationError) as cause:
            faults.append(f"{place}: cannot read {key} = {_shown(value)}: {cause}")
            continue
        if section == "limits":
            assert isinstance(read, int)
            limits[last] = read
        elif section == "commands":
            assert isinstance(read, tuple)
            commands[last] = read
        else:
            values[_FIELDS.get(key, last or key)] = read
    faults += _lease_faults(values, text, file)
    if faults:
        raise ConfigError("\n".join(faults))
    return _assemble({"commands": commands, **values}, limits, file.absolute().parent)


_PLACES = ("state", "ca", "cert", "key", "ca_key", "halt_token", "secrets")


def _assemble(values: dict[str, object], limits: dict[str, int], folder: Path) -> Config:
    known = FleetLimits(
        limits={**_BUILT_IN, **limits},
        sources={**dict.fromkeys(_BUILT_IN, "built in"), **dict.fromkeys(limits, "coordinator.toml")},
    )
    config = replace(Config(limits=known), **values)  # type: ignore[arg-type]  # each was read by its own reader
    if "heartbeat_ms" not in values:
        config = replace(config, heartbeat_ms=min(config.lease_ms // 3, LONGEST_HEARTBEAT_MS))
    paths = {name: folder / getattr(config, name) for name in _PLACES}
    return replace(config, **paths)


def _lease_faults(values: dict[str, object], text: str, file: Path) -> list[str]:
    lease, heartbeat = values.get("lease_ms", Config().lease_ms), values.get("heartbeat_ms")
    if not isinstance(lease, int) or not isinstance(heartbeat, int) or heartbeat * 2 <= lease:
        return []
    return [
        f"{file}:{_line_of(text, 'heartbeat')}: cannot use the heartbeat: a lease of {lease} ms would end before "
        f"the second one; write {lease // 2} ms or less, or leave it out for a third of the lease, 5s at most"
    ]


def _flat(table: dict[str, object], above: str = "") -> list[tuple[str, object]]:
    """Dotted keys and values; tables that are no sections of ours stay whole, to be refused by name."""
    pairs: list[tuple[str, object]] = []
    for key, value in table.items():
        dotted = f"{above}{key}"
        if isinstance(value, dict) and dotted in _SECTIONS:
            pairs += _flat(value, f"{dotted}.")
        else:
            pairs.append((dotted, value))
    return pairs


def _nearest(key: str) -> str:
    section, _, last = key.rpartition(".")
    # A key in the wrong section is found by its own name, a mistyped one by its letters.
    moved = [known for known in _KEYS if known.rpartition(".")[2] == last]
    close = moved or difflib.get_close_matches(key, [*_KEYS, *_SECTIONS], n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    siblings = ", ".join(known for known in _KEYS if known.rpartition(".")[0] == section)
    return f"; known here are {siblings}" if siblings else f"; known are {', '.join(_KEYS)}"


def _line_of(text: str, key: str) -> int:
    """The line that says the key: by its section's header and its last name; 1 where it is written otherwise."""
    section, _, last = key.rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            current = header[1]
            if current == key:
                return number
        elif (name := re.match(r"""\s*["']?([\w.-]+?)["']?\s*=""", line)) and (
            (current == section and name[1] == last) or (not current and name[1] == key)
        ):
            return number
    return 1


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


# --- readers: a TOML value -> ours; ValueError says what to write instead --------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("write text in quotes")
    return value


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _address(value: object) -> Address:
    wanted = 'write HOST:PORT in quotes, such as "127.0.0.1:7443" or "[::1]:7443"'
    found = (
        re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:\s]+)):(\d{1,5})", value) if isinstance(value, str) else None
    )
    if found is None or int(found[3]) >= _PORT_ENDS:
        raise ValueError(wanted)
    return Address(found[1] or found[2], int(found[3]))


def _addresses(value: object) -> tuple[Address, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError('write a list of HOST:PORT, such as ["coordinator.example.com:7442"]')
    return tuple(_address(one) for one in value)


def _certificates(value: object) -> int:
    read = _duration(value)
    if not SHORTEST_CERTIFICATE_MS <= read <= LONGEST_CERTIFICATE_MS:
        raise ValueError("agents' certificates live between 1m and 30d; 7d is the default")
    return read


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('write a duration in quotes, such as "15s" or "2m"')
    return parse_duration(value)


def _lease(value: object) -> int:
    read = _duration(value)
    if not SHORTEST_LEASE_MS <= read <= LONGEST_LEASE_MS:
        raise ValueError("a lease is between 1s and 5m; 15s is the default")
    return read


def _heartbeat(value: object) -> int:
    read = _duration(value)
    if not read:
        raise ValueError("write more than 0, or leave it out for a third of the lease, 5s at most")
    if read > LONGEST_HEARTBEAT_MS:
        raise ValueError("write 5s or less: a host takes a strike only within 10s of its last heartbeat")
    return read


def _days(value: object) -> int:
    found = re.fullmatch(r"(\d{1,4})d", value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= LONGEST_RETENTION_DAYS:
        raise ValueError(f'write whole days in quotes, from "1d" to "{LONGEST_RETENTION_DAYS}d"')
    return int(found[1])


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false, without quotes")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError(
            "write a whole number from 0; to have no limit of this kind, leave out a scope without default"
        )
    return value


def _command(value: object) -> tuple[str, ...]:
    """Whether the program is there is looked at when it is run: a coordinator must start, for it can halt."""
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(word, str) and "\0" not in word for word in value)
    ):
        raise ValueError('write a list of texts, such as ["/usr/local/bin/replay", "--once"]')
    if not Path(value[0]).is_absolute():
        raise ValueError("its first word is the program's absolute path, for no PATH is searched")
    return tuple(value)


def _store(value: object) -> str:
    read = _text(value)
    wanted = "write postgresql://USER@HOST/DATABASE; without [store], it is SQLite in the state directory"
    try:
        parsed = urlsplit(read)
        password = parsed.password
    except ValueError as cause:
        raise ValueError(f"{cause}; {wanted}") from None
    if parsed.scheme != "postgresql" or not parsed.path.strip("/"):
        raise ValueError(wanted)
    if password or "password" in parsed.query:
        raise _Secret("a password is not written here: put it into the file that PGPASSFILE names, or PGPASSWORD")
    return read


def _log_level(value: object) -> str:
    if value not in LOG_LEVELS:
        raise ValueError(f"write one of {', '.join(LOG_LEVELS)} in quotes")
    return str(value)


_SECTIONS = ("tls", "halt", "store", "limits", "commands")
_KEYS: dict[str, Callable[[object], object]] = {
    "name": _text,
    "listen_agents": _address,
    "listen_operators": _address,
    "listen_halt": _address,
    "listen_join": _address,
    "agents_at": _addresses,
    "certificates": _certificates,
    "state": _path,
    "secrets": _path,
    "lease": _lease,
    "heartbeat": _heartbeat,
    "retention": _days,
    "reflection": _flag,
    "log_level": _log_level,
    "tls.ca": _path,
    "tls.cert": _path,
    "tls.key": _path,
    "tls.ca_key": _path,
    "halt.token": _path,
    "store.url": _store,
    **{f"limits.{scope}": _count for scope in SCOPES},
}
# Where a field is called otherwise than its key.
_FIELDS = {
    "lease": "lease_ms",
    "heartbeat": "heartbeat_ms",
    "retention": "retention_days",
    "certificates": "certificates_ms",
    "halt.token": "halt_token",
    "store.url": "store",
}
