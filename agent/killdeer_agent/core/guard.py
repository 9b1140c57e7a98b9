"""The guard: the host's own rules on what may be hit (invariant I7). No remote command overrides it.

Some processes are refused always; of all others only what the host opts in, by its guard files or by a unit's own
consent, may be hit. By default that is nothing.
"""

from dataclasses import dataclass
from typing import Any

from killdeer.v1.process_pb2 import Action, Reason
from killdeer_agent.core.facts import FactMissing, Facts, Now, Refusal
from killdeer_agent.core.protected import login_session, protected
from killdeer_agent.core.remedy import remedy
from killdeer_agent.core.selector import Matcher, subject

ACTIONS = ("kill", "terminate", "pause", "hold-down")

# A command line as it leaves the host is no longer than this.
SHOWN_BYTES = 256


def word_of(action: Action) -> str:
    """As a host's rules have it; empty where it is not known, or none is set."""
    return (action.WhichOneof("kind") or "").replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One `[[allow]]` or `[[deny]]` of a guard file, or one unit's consent. `source` is the file it stands in.

    A deny rule is for every action and has none named; its matcher is a strict one.
    """

    matcher: Matcher
    source: str
    actions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The host's rules, whole or not at all: with a `problem` nothing is allowed.

    `own` are the pids of the agent and its ancestors; `per_minute` the host's own rate, None when it has none;
    `redactions` compiled patterns of what never leaves the host; `version` a hash of all that was read, in hex;
    `directory` and `unit_directory` are where the operator of this host puts what a remedy says.
    """

    own: frozenset[int] = frozenset()
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    per_minute: int | None = None
    redactions: tuple[Any, ...] = ()
    version: str = ""
    problem: str = ""
    directory: str = "/etc/killdeer/guard.d"
    unit_directory: str = "/etc/systemd/system"

    def refuses_always(self, facts: Facts) -> Refusal | None:
        """The refusals that no rule lifts. Raises FactMissing, which is a refusal too."""
        if facts.pid == 1:
            return Refusal(Reason.REASON_INIT, "pid 1 is never struck")
        if facts.kernel_thread:
            return Refusal(Reason.REASON_KERNEL_THREAD, "it is a thread of the kernel")
        if facts.pid in self.own:
            return Refusal(Reason.REASON_KILLDEER, "it is killdeer's own, or started it")
        if facts.name.startswith("killdeer") or facts.unit.startswith("killdeer-"):
            return Refusal(Reason.REASON_KILLDEER, "it is killdeer's own")
        if what := protected(facts.name, facts.unit):
            return Refusal(Reason.REASON_PROTECTED, f"{what} is never struck: the host needs it to stay reachable")
        if session := login_session(facts.cgroup):
            return Refusal(Reason.REASON_LOGIN_SESSION, f"it belongs to a login session, {session}")
        return None

    def refuses(self, facts: Facts, now: Now, action: str) -> Refusal | None:
        """Deny rules, then allow rules, then no. A deny rule that cannot be evaluated denies; such an allow rule
        does not allow. `action` is one of ACTIONS."""
        if self.problem:
            return Refusal(Reason.REASON_GUARD_UNREADABLE, self.problem)
        for rule in self.deny:
            try:
                if rule.matcher.matches(facts, now):
                    return Refusal(Reason.REASON_DENIED, f"a deny rule in {rule.source} names it")
            except FactMissing as missing:
                detail = f"a deny rule in {rule.source} cannot be evaluated: {missing.detail}"
                return Refusal(Reason.REASON_DENIED, detail)
        for_others = ""
        unsure = ""
        for rule in self.allow:
            try:
                if not rule.matcher.matches(facts, now):
                    continue
            except FactMissing as missing:
                unsure = f"; an allow rule in {rule.source} cannot be evaluated: {missing.detail}"
                continue
            if action in rule.actions:
                return None
            for_others = rule.source
        how = remedy(facts, action, self.directory, self.unit_directory, self.redact)
        if for_others:
            detail = f"{for_others} opts it in, but not for {action}{unsure}"
            return Refusal(Reason.REASON_ACTION_NOT_ALLOWED, detail, how)
        return Refusal(Reason.REASON_NOT_ALLOWED, f"nothing on this host opts it in{unsure}", how)

    def redact(self, cmdline: str) -> str:
        """A command line that may leave the host: patterns replaced, at most SHOWN_BYTES long. With a problem the
        patterns are not known, so nothing is shown."""
        return self.hide(subject(cmdline))[:SHOWN_BYTES].decode(errors="ignore")

    def hide(self, cmdline: bytes) -> bytes:
        """What whoever is not on this host may know of it, in whichever way."""
        if self.problem:
            return b"***" if cmdline else b""
        for pattern in self.redactions:
            cmdline = pattern.sub(b"***", cmdline)
        return cmdline
