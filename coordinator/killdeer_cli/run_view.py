"""A run as it goes: what is new since the last look, line by line, and how it stands. Pure."""

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli.text import action_text, counted, reason_text, signal_name, state_text, took, verdict_text

OPEN = frozenset(
    {
        p.STRIKE_STATE_PLANNED,
        p.STRIKE_STATE_PERMITTED,
        p.STRIKE_STATE_SENT,
        p.STRIKE_STATE_RECORDED,
        p.STRIKE_STATE_STRUCK,
        p.STRIKE_STATE_GONE,
    }
)
_CLOSING = {
    p.STRIKE_STATE_REFUSED: "yellow",
    p.STRIKE_STATE_SURVIVED: "yellow",
    p.STRIKE_STATE_LOST: "red",
    p.STRIKE_STATE_EXPIRED: "yellow",
    p.STRIKE_STATE_HALTED: "yellow",
    p.STRIKE_STATE_UNKNOWN: "red",
}


def news(before: o.RunView | None, now: o.RunView) -> list[Text]:
    """What `now` says that `before` did not."""
    lines = []
    known = {} if before is None else {strike.command_id: strike for strike in before.strikes}
    wave = "" if before is None else before.wave
    for strike in now.strikes:
        told = known.get(strike.command_id)
        if told is None and strike.wave != wave:
            wave = strike.wave
            lines.append(wave_line(now, wave, dry_run=strike.dry_run))
        lines += _dry(told, strike) if strike.dry_run else _strike(told, strike)
    if now.state == o.RUN_STATE_ABORTING and (before is None or before.state != o.RUN_STATE_ABORTING):
        lines.append(Text("aborting: no more strikes; waiting for the reverts", style="yellow"))
    return lines


def wave_line(run: o.RunView, wave: str, *, dry_run: bool) -> Text:
    place = f" {min(run.waves_done + 1, run.waves_total)} of {run.waves_total}" if run.waves_total > 1 else ""
    return Text(f"wave{place}: {wave}{' (dry run)' if dry_run else ''}", style="bold")


def _dry(told: o.StrikeView | None, strike: o.StrikeView) -> Iterator[Text]:
    if told is None:
        yield _line(strike, f"would be hit: {action_text(strike.action)}")
    if strike.state == p.STRIKE_STATE_REFUSED and (told is None or told.state != strike.state):
        yield _line(strike, f"would be refused: {_why(strike)}", "yellow")


def _strike(told: o.StrikeView | None, strike: o.StrikeView) -> Iterator[Text]:
    if told is None:
        yield _line(strike, f"{action_text(strike.action)} (pid {strike.victim.pid}, {strike.name})")
    blows = {} if told is None else {blow.number: blow for blow in told.blows}
    for blow in strike.blows:
        yield from _blow(blows.get(blow.number), blow, strike)
    if strike.HasField("exit") and (told is None or not told.HasField("exit")):
        yield _line(strike, _exit(strike.exit))
    if strike.HasField("successor") and (told is None or not told.HasField("successor")):
        after = f" {took(strike.successor.after_exit_ns)} after the exit" if strike.HasField("exit") else ""
        source = f" ({strike.successor.source})" if strike.successor.source else ""
        yield _line(strike, f"successor: pid {strike.successor.identity.pid}{after}{source}")
    if strike.changed and not (told is not None and told.changed):
        yield _line(strike, "changed: it ran another program in the instant of the signal", "red")
    if strike.events_lost > (0 if told is None else told.events_lost):
        yield _line(strike, f"{counted(strike.events_lost, 'kernel event')} lost during this strike", "red")
    if told is None or told.state != strike.state:
        yield from _ending(strike)


def _ending(strike: o.StrikeView) -> Iterator[Text]:
    if strike.state == p.STRIKE_STATE_RECOVERED:
        after = f" {took(strike.recovered_after_ns)} after the first signal" if strike.recovered_after_ns else ""
        yield _line(strike, f"recovered{after}", "green")
    elif strike.state in _CLOSING:
        why = _why(strike)
        yield _line(strike, state_text(strike.state) + (f": {why}" if why else ""), _CLOSING[strike.state])


def _blow(told: p.Blow | None, blow: p.Blow, strike: o.StrikeView) -> Iterator[Text]:
    sent = f"{signal_name(blow.signal)}{' (revert)' if blow.revert else ''}"
    kernel = ""
    if blow.kernel_verdict:
        by = f"sent by pid {blow.sender_pid}, " if blow.sender_pid else ""
        kernel = f"the kernel saw {sent} {by}{blow.kernel_verdict.replace('_', ' ')}"
    if told is None and kernel:
        yield _line(strike, kernel)
    elif told is None:
        yield _line(strike, f"{sent} sent to pid {strike.victim.pid}")
    elif kernel and not told.kernel_verdict:
        yield _line(strike, kernel)


def _exit(seen: p.Exit) -> str:
    how = f"killed by {signal_name(seen.signal)}" if seen.signal else f"exited by itself with code {seen.code}"
    core = ", core dumped" if seen.core_dumped else ""
    after = f" {took(seen.after_blow_ns)} after the signal" if seen.after_blow_ns else ""
    source = f" ({seen.source})" if seen.source else ""
    return f"{how}{core}{after}{source}"


def _why(strike: o.StrikeView) -> str:
    reason = reason_text(strike.reason) if strike.reason else ""
    return ": ".join(part for part in (reason, strike.detail) if part)


def _line(strike: o.StrikeView, what: str, style: str = "") -> Text:
    return Text.assemble((f"  {strike.victim.host} {strike.service} #{strike.ordinal}  ", "dim"), (what, style))


def standing(run: o.RunView) -> Text:
    """One line for the foot of a terminal: the wave, and what is in flight."""
    in_flight = [s for s in run.strikes if s.state in OPEN and not s.dry_run]
    text = Text(f"wave {min(run.waves_done + 1, run.waves_total)} of {run.waves_total}")
    text.append(f" {run.wave}" if run.wave else "")
    text.append(f" · {_outcomes(run) or 'no strike yet'}")
    if in_flight:
        named = ", ".join(f"{s.victim.host} {s.service} #{s.ordinal} {state_text(s.state)}" for s in in_flight[:3])
        text.append(f" · in flight: {named}{' …' if len(in_flight) > 3 else ''}")
    return text


def closing(run: o.RunView) -> list[Text]:
    """The last word on a run."""
    style = verdict_style(run)
    lines = [Text.assemble((verdict_text(run.verdict).upper(), f"bold {style}"), f"  {run.why}" if run.why else "")]
    if run.hypothesis:
        lines.append(Text(f"hypothesis  {run.hypothesis}"))
    lasted = took(max(run.ended_unix_ms - run.started_unix_ms, 0) * 1_000_000)
    waves = f"{run.waves_done} of {counted(run.waves_total, 'wave')}"
    lines.append(Text(f"run         {run.run_id} · {waves} in {lasted} · seed {run.seed}"))
    if outcomes := _outcomes(run):
        lines.append(Text(f"strikes     {outcomes}"))
    struck = [strike for strike in run.strikes if not strike.dry_run]
    for what, times in (
        ("exit", [s.exit.after_blow_ns for s in struck if s.HasField("exit") and s.exit.after_blow_ns]),
        ("successor", [s.successor.after_exit_ns for s in struck if s.HasField("successor")]),
        ("recovery", [s.recovered_after_ns for s in struck if s.recovered_after_ns]),
    ):
        if times:
            times.sort()
            lines.append(Text(f"{what:<12}median {took(times[len(times) // 2])}, longest {took(times[-1])}"))
    return lines


def _outcomes(run: o.RunView) -> str:
    """`5 recovered, 1 refused`."""
    states = Counter(state_text(strike.state) for strike in run.strikes if not strike.dry_run)
    return ", ".join(f"{count:,} {state}" for state, count in states.most_common())


def verdict_style(run: o.RunView) -> str:
    if run.state != o.RUN_STATE_ENDED:
        return ""
    if run.verdict == o.RUN_VERDICT_HELD:
        return "green"
    return "red" if run.verdict in (o.RUN_VERDICT_DEVIATED, o.RUN_VERDICT_NOT_RECOVERED) else "yellow"
