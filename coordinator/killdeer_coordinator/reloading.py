"""What a reload changes in a coordinator that runs: planned as a whole before anything is done. Pure."""

from dataclasses import dataclass, fields, replace
from typing import Final

from killdeer_coordinator.config import Config

# What takes effect at once. From all else the coordinator was built at its start.
AT_ONCE: Final = ("limits", "commands", "retention_days", "log_level")
MEND: Final = "mend it, then systemctl reload killdeer-coordinator"
# As coordinator.toml calls them, where it calls them otherwise.
_KEYS: Final = {
    "retention_days": "retention",
    "lease_ms": "lease",
    "heartbeat_ms": "heartbeat",
    "ca": "tls.ca",
    "cert": "tls.cert",
    "key": "tls.key",
    "ca_key": "tls.ca_key",
    "certificates_ms": "certificates",
    "halt_token": "halt.token",
    "store": "store.url",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """`config` is what holds from now on; `changed` are the keys of coordinator.toml that are new in it; `waiting`
    those whose new value a restart alone puts in force."""

    config: Config
    changed: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def notice(self) -> str:
        """What an operator should still know; empty: nothing."""
        if not self.waiting:
            return ""
        return f"coordinator.toml has changed: {', '.join(self.waiting)} will be in force after a restart"


def plan(running: Config, read: Config) -> Reload:
    differing = [one.name for one in fields(Config) if getattr(running, one.name) != getattr(read, one.name)]
    config = replace(
        running,
        limits=read.limits,
        commands=read.commands,
        retention_days=read.retention_days,
        log_level=read.log_level,
    )
    changed, waiting = (
        tuple(_KEYS.get(name, name) for name in differing if (name in AT_ONCE) is at_once)
        for at_once in (True, False)
    )
    return Reload(config=config, changed=changed, waiting=waiting)
