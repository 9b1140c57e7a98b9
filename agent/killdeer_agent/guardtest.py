"""`killdeer-agent guard test`: what on this host would be open to a strike, and the line that would open the rest.

Host-local: no coordinator, no lease, and nothing is sent. The scan and the guard are those of the agent.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from killdeer.terms import parse_selector
from killdeer.v1.process_pb2 import Action, Candidate, HoldDown, Kill, Pause, Reason, Terminate, Verdict
from killdeer_agent.config import Config
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.guardfiles import load_guard
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.proc import ancestors
from killdeer_agent.kernel.scan import Scanner
from killdeer_agent.kernel.units import UNIT_DIRS

# The guard asks for the kind alone.
_ACTIONS = {
    "kill": Action(kill=Kill(signal=9)),
    "terminate": Action(terminate=Terminate(grace_ms=10_000)),
    "pause": Action(pause=Pause(length_ms=10_000)),
    "hold-down": Action(hold_down=HoldDown(length_ms=10_000)),
}
SCAN_NS = 10_000_000_000

Row = dict[str, Any]


class TrialError(Exception):
    """cannot try the guard: why, and what to do."""


def trial(config: Config, terms: Sequence[str], actions: Sequence[str]) -> list[Row]:
    """A row per process that matches, by service and ordinal, with a verdict per action:

    {pid, start_ticks, service, ordinal, name, cmdline (redacted), user, unit, container, state, age_ms,
     actions: {ACTION: {allowed, reason, detail, file, lines, restarts}}}

    `file` and `lines` say what to add where; both empty where no line would help. `restarts`: systemd is known to
    start it again. Raises TermError or TrialError.
    """
    try:
        matcher = Matcher(parse_selector(terms))
    except SelectorError as error:
        raise TrialError(f"cannot try the guard: {error}") from error
    guard = load_guard(config.guard, own=ancestors(os.getpid()), unit_dirs=UNIT_DIRS)
    scanner = Scanner(host=config.host, boot_id=clock.boot_id(), clock=clock.boot_ns)
    rows: dict[tuple[int, int], Row] = {}
    for action in actions:
        now = clock.now()
        result = scanner.scan(matcher, guard, _ACTIONS[action], now, now.boot_ns + SCAN_NS)
        if result.failure:
            raise TrialError(f"cannot try the guard: {result.detail}")
        for candidate in result.candidates:
            identity = candidate.identity
            row = rows.setdefault((identity.pid, identity.start_ticks), _row(candidate))
            row["actions"][action] = {**_verdict(candidate.verdict), "restarts": candidate.restarts}
    return list(rows.values())


def render(rows: Iterable[Row]) -> str:
    """A block per process, then the count."""
    shown = list(rows)
    if not shown:
        return "nothing on this host matches"
    blocks = [_block(row) for row in shown]
    open_to = {action: 0 for row in shown for action in row["actions"]}
    for row in shown:
        for action, verdict in row["actions"].items():
            open_to[action] += verdict["allowed"]
    counts = ", ".join(f"{count} open to {action}" for action, count in open_to.items())
    return "\n\n".join([*blocks, f"{len(shown)} match: {counts}"])


def _row(candidate: Candidate) -> Row:
    return {
        "pid": candidate.identity.pid,
        "start_ticks": candidate.identity.start_ticks,
        "service": candidate.service,
        "ordinal": candidate.ordinal,
        "name": candidate.name,
        "cmdline": candidate.cmdline,
        "user": candidate.user,
        "unit": candidate.unit,
        "container": candidate.container,
        "state": candidate.state,
        "age_ms": candidate.age_ms,
        "actions": {},
    }


def _verdict(verdict: Verdict) -> Row:
    place, _, lines = verdict.remedy.partition("\n")
    return {
        "allowed": verdict.allowed,
        "reason": "" if verdict.allowed else Reason.Name(verdict.reason).removeprefix("REASON_").lower(),
        "detail": verdict.detail,
        "file": place.removeprefix("in ").removesuffix(":"),
        "lines": lines.splitlines(),
    }


def _block(row: Row) -> str:
    lines = [f"pid {row['pid']}  {row['name']}  service {row['service']}  user {row['user']}"]
    if row["cmdline"]:
        lines.append(f"  {row['cmdline']}")
    for action, verdict in row["actions"].items():
        if not verdict["allowed"]:
            said = f"no   {verdict['reason'].replace('_', ' ')}: {verdict['detail']}"
        else:
            said = "yes" if verdict["restarts"] or action == "pause" else "yes  (nothing is known to restart it)"
        lines.append(f"  {action:<9}  {said}")
    mendable = [action for action, verdict in row["actions"].items() if verdict["file"]]
    if mendable:
        first = row["actions"][mendable[0]]
        lines.append(f"  to allow {', '.join(mendable)}, add to {first['file']}:")
        lines += [f"    {line}" for line in _for_all(first["lines"], mendable)]
        lines.append("  and make it known: systemctl reload killdeer-agent")
    return "\n".join(lines)


def _for_all(lines: Sequence[str], actions: Sequence[str]) -> list[str]:
    """A remedy for one action, its last line, as one for several: `Allow=kill pause`, or a TOML list."""
    *before, last = lines
    joint = '", "' if last.endswith('"]') else " "
    return [*before, last.replace(actions[0], joint.join(actions))]
