"""What a reload changes in an agent that runs: planned as a whole before anything is done. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final

from killdeer_agent.config import Config, ConfigError
from killdeer_agent.core.guard import Guard

# What takes effect at once, as the guard's files do. From all else the agent was built at its start.
AT_ONCE: Final = ("labels", "evidence", "log_level")
MEND: Final = "mend it, then systemctl reload killdeer-agent"


class ReloadRefused(Exception):
    """What is wrong. Nothing is changed by this reload, but that a guard that cannot be used allows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """`config` is what holds from now on; `changed` are the keys of agent.toml that are new in it; `waiting` those
    whose new value a restart alone puts in force."""

    config: Config
    changed: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def notice(self) -> str:
        """What the operator should still know; empty: nothing."""
        if not self.waiting:
            return ""
        return f"agent.toml has changed: {', '.join(self.waiting)} will be in force after a restart of the agent"


def plan(running: Config, reread: Callable[[], Config], guard: Guard) -> Reload:
    """Raises ReloadRefused for any one fault, in agent.toml or in the guard."""
    if guard.problem:
        raise ReloadRefused(guard.problem)
    try:
        read = reread()
    except ConfigError as fault:
        raise ReloadRefused(str(fault)) from fault
    differing = [one.name for one in fields(Config) if getattr(running, one.name) != getattr(read, one.name)]
    waiting = [key for key in differing if key not in AT_ONCE]
    evidence = read.evidence
    if evidence.collector != running.evidence.collector:
        waiting.append("evidence.collector")
        evidence = replace(evidence, collector=running.evidence.collector)
    config = replace(running, labels=read.labels, evidence=evidence, log_level=read.log_level)
    changed = tuple(key for key in AT_ONCE if getattr(running, key) != getattr(config, key))
    return Reload(config=config, changed=changed, waiting=tuple(waiting))
