"""A plan on the screen: who would be hit, host by host, who would not, why, and what to do about it. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import counted, process_text
from killdeer_cli.text import action_text, reason_text, remedy_text

SHOWN_HASH = 12
"""Digits of a plan's hash that people copy; `run --plan` takes them."""
NAMED = 4
"""Hosts named before the rest is counted."""
NAMED_WIDTH = 75
"""Characters of victims named before the rest is counted."""

Victims = dict[tuple[str, str, int], list[str]]
"""(host, service, ordinal) -> the waves it would be hit in; a dry run hits nobody."""


def plan_lines(plan: o.PlanView) -> list[Text]:
    lines = [*heading(plan), Text()]
    lines += [*wave_lines(plan), Text()]
    lines += host_lines(plan.hosts, _victims(plan))
    return [*lines, *verdict_lines(plan)]


def heading(plan: o.PlanView) -> list[Text]:
    strikes = sum(wave.strikes for wave in plan.waves if not wave.dry_run)
    environment = Text(plan.environment or "no environment", style="bold red" if plan.production else "")
    return [
        Text.assemble((plan.experiment, "bold"), " · ", environment, f" · seed {plan.seed}"),
        Text(f"{counted(len(plan.waves), 'wave')}, {counted(strikes, 'strike')} · plan {plan.hash[:SHOWN_HASH]}"),
    ]


def wave_lines(plan: o.PlanView) -> list[Text]:
    return [_wave(wave) for wave in plan.waves]


def verdict_lines(plan: o.PlanView) -> list[Text]:
    """Warnings, and why it cannot be run; or that it can."""
    lines = [Text.assemble(("warning: ", "yellow"), warning) for warning in plan.warnings]
    lines += [Text.assemble(("refused: ", "bold red"), refusal) for refusal in plan.refusals]
    return lines


def host_lines(hosts: Sequence[o.PlannedHost], victims: Victims | None = None) -> list[Text]:
    """Hosts that look the same and hold no victim are shown once, with their count."""
    victims = victims or {}
    alike: dict[tuple[object, ...], list[o.PlannedHost]] = {}
    for host in hosts:
        struck = any((host.host, c.service, c.ordinal) in victims for c in host.candidates)
        look = (host.host,) if struck else (_verdict_key(host.verdict), *_folded(host.candidates))
        alike.setdefault(look, []).append(host)
    lines = []
    for group in alike.values():
        lines += _host([host.host for host in group], group[0], victims)
    return lines


@dataclass(frozen=True)
class _Kind:
    """Candidates that are shown as one line."""

    service: str
    allowed: bool
    reason: p.Reason
    remedy: str
    detail: str
    count: int
    restarts: bool


def _folded(candidates: Iterable[p.Candidate]) -> list[_Kind]:
    """By service and verdict. A detail that only one of them has would tell them apart for nothing."""
    groups: dict[tuple[str, bool, int, str], list[p.Candidate]] = {}
    for one in candidates:
        verdict = one.verdict
        key = (one.service, verdict.allowed, verdict.reason, verdict.remedy)
        groups.setdefault(key, []).append(one)
    kinds = []
    for (service, allowed, _, remedy), group in groups.items():
        details = {one.verdict.detail for one in group}
        kinds.append(
            _Kind(
                service=service,
                allowed=allowed,
                reason=group[0].verdict.reason,
                remedy=remedy,
                detail=details.pop() if len(details) == 1 else "",
                count=len(group),
                restarts=all(one.restarts for one in group),
            )
        )
    return sorted(kinds, key=lambda kind: (not kind.allowed, kind.service))


def _host(names: list[str], host: o.PlannedHost, victims: Victims) -> list[Text]:
    named = ", ".join(names[:NAMED])
    if len(names) > NAMED:
        named += f" and {len(names) - NAMED:,} more ({counted(len(names), 'host')} alike)"
    head = Text(named, style="bold")
    if not host.verdict.allowed:
        head.append_text(Text.assemble(("  not: ", "not bold red"), (_why(host.verdict), "not bold")))
    elif not host.candidates:
        head.append_text(Text("  nothing matches", style="not bold dim"))
    lines = [head]
    if host.verdict.remedy:
        lines.append(_remedy(host.verdict.remedy, "  "))
    drawn = [one for one in host.candidates if (host.host, one.service, one.ordinal) in victims]
    for one in drawn:
        waves = ", ".join(victims[host.host, one.service, one.ordinal])
        lines.append(
            Text.assemble(
                ("  would be hit  ", "yellow" if one.verdict.allowed else "red"),
                f"{one.service}[{one.ordinal}]  pid {one.identity.pid} {one.name}",
                (f"  in {waves}", "dim"),
            )
        )
    for kind in _folded(one for one in host.candidates if (host.host, one.service, one.ordinal) not in victims):
        times = f" x {kind.count}" if kind.count > 1 else ""
        if kind.allowed:
            unwatched = "" if kind.restarts else "  nothing is known to restart it"
            lines.append(
                Text.assemble(("  could be hit  ", "dim"), f"{kind.service}{times}", (unwatched, "yellow"))
            )
            continue
        why = reason_text(kind.reason) + (f": {kind.detail}" if kind.detail else "")
        lines.append(Text.assemble(("  not           ", "red"), f"{kind.service}{times}  {why}"))
        if kind.remedy:
            lines.append(_remedy(kind.remedy, " " * 16))
    return lines


def _remedy(remedy: str, indent: str) -> Text:
    return Text("\n".join(indent + line for line in remedy_text(remedy).splitlines()), style="cyan")


def _verdict_key(verdict: p.Verdict) -> tuple[bool, int, str, str]:
    return verdict.allowed, verdict.reason, verdict.detail, verdict.remedy


def _why(verdict: p.Verdict) -> str:
    reason = reason_text(verdict.reason)
    return f"{reason}: {verdict.detail}" if verdict.detail else reason


def _wave(wave: o.PlannedWave) -> Text:
    name = wave.name + (f" ({wave.repetition})" if wave.repetition > 1 else "")
    what = ("would " if wave.dry_run else "") + action_text(wave.action)
    over = f" over {format_duration(wave.spread_ms)}" if wave.spread_ms else ""
    rehearsal = ", dry run" if wave.dry_run else ""
    line = Text.assemble((f"  {name:<12} ", "bold"), f"{counted(wave.strikes, 'strike')}{over}{rehearsal}: {what}")
    named = _some(process_text(one.host, one.service, one.ordinal) for one in wave.victims)
    if named:
        line.append(f"\n{'':15}{named}", style="dim")
    return line


def _some(names: Iterable[str]) -> str:
    """The first names, as many as fit on a line, and the count of the others."""
    listed = list(names)
    shown = 0
    while shown < len(listed) and len(", ".join(listed[: shown + 1])) <= NAMED_WIDTH:
        shown += 1
    shown = max(shown, 1)
    rest = [f"{len(listed) - shown:,} more"] if len(listed) > shown else []
    return ", ".join([*listed[:shown], *rest])


def _victims(plan: o.PlanView) -> Victims:
    victims: Victims = {}
    for wave in plan.waves:
        for one in () if wave.dry_run else wave.victims:
            waves = victims.setdefault((one.host, one.service, one.ordinal), [])
            if wave.name not in waves:
                waves.append(wave.name)
    return victims


def host_count(plan: o.PlanView) -> str:
    """`3 hosts, 2 with victims`."""
    victims = Counter(one.host for wave in plan.waves if not wave.dry_run for one in wave.victims)
    return f"{counted(len(plan.hosts), 'host')}, {len(victims):,} with victims"
