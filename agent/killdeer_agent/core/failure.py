"""A revert that fails again and again: why, what to do about it, and when that is worth logging (rule R13).

It is tried as often as ever; only the words about it grow rarer.
"""

import shlex
from dataclasses import dataclass

# The same cause is said again after this long, then after twice that, and so on up to the most.
FIRST_PAUSE_NS = 5_000_000_000
MOST_PAUSE_NS = 60_000_000_000
# Where the host grants the start of units (deploy/systemd/killdeer.rules says how).
RULES = "/etc/polkit-1/rules.d/60-killdeer.rules"


@dataclass(slots=True, kw_only=True)
class Failure:
    problem: str = ""  # the last one; empty: it has not failed
    remedy: str = ""
    _pause_ns: int = 0
    _due_ns: int = 0

    @property
    def said(self) -> str:
        """For the operator; empty: it has not failed."""
        return "; ".join(filter(None, (self.problem, self.remedy)))

    def again(self, problem: str, remedy: str, now_ns: int) -> bool:
        """It has failed once more. Whether to log that: a new cause at once, the same one ever more seldom."""
        if problem != self.problem:
            self.problem, self.remedy, self._pause_ns, self._due_ns = problem, remedy, 0, now_ns
        if now_ns < self._due_ns:
            return False
        self._pause_ns = min(max(2 * self._pause_ns, FIRST_PAUSE_NS), MOST_PAUSE_NS)
        self._due_ns = now_ns + self._pause_ns
        return True


def to_start(unit: str, *, denied: bool) -> str:
    """What to do about a unit that could not be started. `denied`: the agent has no right to."""
    name = shlex.quote(unit)  # what systemd has escaped holds backslashes
    by_hand = f"systemctl start {name}"
    if not denied:
        return f"look why: systemctl status {name}; then {by_hand}"
    service = f"{unit.partition('@')[0]}@" if "@" in unit else unit
    return (
        f'the agent may not start it: name "{service}" in {RULES} on that host, of which killdeer.rules is the '
        f"example; or {by_hand}"
    )


def to_resume(pid: int) -> str:
    return f"by hand on that host: kill -CONT {pid}; the line `rights` of killdeer-agent doctor says what it may"
