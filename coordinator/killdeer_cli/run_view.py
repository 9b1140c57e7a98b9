"""A run as it goes: what is new since the last look, line by line, and the last word on it. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import counted, process_text, signal_name, words_of
from killdeer_cli.findings import came_true, closing_lines
from killdeer_cli.text import action_text, reason_text, state_text, took, verdict_text

_WAVE = re.compile(r"wave (.+): \d")
_REPEATS = re.compile(
    "run |wave .+: done$|would hit: |permit granted|ending: "
    + "".join(f"|{word}: " for word in (*words_of(p.StrikeState), *words_of(o.RunVerdict)))
)
_FIRST = re.compile("run .+ of .+, seed ")
_NOTHING = "nothing was hit"
_TELLING = {
    "the steady state deviates: ": "red",
    "the steady state holds again": "green",
    "not back to normal: ": "yellow",
}
_CLOSING = {
    p.STRIKE_STATE_REFUSED: "yellow",
    p.STRIKE_STATE_SURVIVED: "yellow",
    p.STRIKE_STATE_LOST: "red",
    p.STRIKE_STATE_EXPIRED: "yellow",
    p.STRIKE_STATE_HALTED: "yellow",
    p.STRIKE_STATE_UNKNOWN: "red",
}


class Narrator:
    """Tells what each update of a run says that those before did not."""

    def __init__(self) -> None:
        self.run: o.RunView | None = None
        self._told: Counter[str] = Counter()
        self._heard: Counter[str] = Counter()
        self._announced: set[str] = set()

    def tell(self, update: o.WatchRunResponse) -> list[Text]:
        before, self.run = self.run, update.run
        known = {} if before is None else {strike.command_id: strike for strike in before.strikes}
        lines = [] if before is not None else [Text(_head(update.run), style="bold")]
        log = self._log(update.log)
        lines += log.pop("", [])
        for strike in update.run.strikes:
            # What waits for its permit is nothing yet.
            if strike.state == p.STRIKE_STATE_PLANNED and not strike.dry_run:
                continue
            told = known.get(strike.command_id)
            if told is not None and told.state == p.STRIKE_STATE_PLANNED and not strike.dry_run:
                told = None
            if told is None:
                lines += self._begun(strike, log)
            lines += _dry(told, strike) if strike.dry_run else _strike(told, strike)
        for of_wave in log.values():
            lines += of_wave
        if update.run.state == o.RUN_STATE_ABORTING and (before is None or before.state != o.RUN_STATE_ABORTING):
            lines.append(
                Text(f"aborting: {_rule(update.run)}no more strikes; waiting for the reverts", style="yellow")
            )
        return lines

    def _log(self, log: Iterable[str]) -> dict[str, list[Text]]:
        """By wave, first those before any: the coordinator's lines that the strikes and the verdict do not say
        themselves, each as often as it was said there. The first of a wave announces it.
        """
        waves: dict[str, list[Text]] = {"": []}
        current = ""
        for line in log:
            if _FIRST.match(line):  # the log from its beginning, as after a broken stream
                self._heard.clear()
            self._heard[line] += 1
            if self._heard[line] <= self._told[line] or _REPEATS.match(line):
                continue
            self._told[line] += 1
            if announced := _WAVE.match(line):
                current = announced[1]
                self._announced.add(current)
            waves.setdefault(current, []).append(Text(line, style="bold" if announced else _style(line)))
        return waves

    def _begun(self, strike: o.StrikeView, log: dict[str, list[Text]]) -> list[Text]:
        """What is to be said before the first strike of a wave."""
        if strike.wave not in self._announced:
            self._announced.add(strike.wave)
            return [Text(f"wave {strike.wave}{': dry run' if strike.dry_run else ''}", style="bold")]
        return log.pop(strike.wave, [])


def _head(run: o.RunView) -> str:
    by = f", started by {run.started_by}" if run.started_by else ""
    return f"run {run.run_id} of {run.experiment}, seed {run.seed}{by}"


def _style(line: str) -> str:
    return next((style for words, style in _TELLING.items() if line.startswith(words)), "dim")


def _rule(run: o.RunView) -> str:
    """The abort rule that came true; what else ends a run early is said elsewhere."""
    rule = came_true(run)
    return "" if rule is None else f"{rule.sentence!r} came true ({rule.detail}): "


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
        held = f": {strike.detail}" if strike.action.HasField("hold_down") and strike.detail else ""
        yield _line(strike, f"recovered{after}{held}", "yellow" if strike.cut_short else "green")
    elif strike.state in _CLOSING:
        why = _why(strike)
        yield _line(strike, state_text(strike.state) + (f": {why}" if why else ""), _CLOSING[strike.state])


def _blow(told: p.Blow | None, blow: p.Blow, strike: o.StrikeView) -> Iterator[Text]:
    sent = f"{signal_name(blow.signal)}{' (revert)' if blow.revert else ''}"
    whom = f"its successor, pid {blow.pid}" if blow.pid else f"pid {strike.victim.pid}"
    kernel = ""
    if blow.kernel_verdict:
        by = f"sent by pid {blow.sender_pid}, " if blow.sender_pid else ""
        # SIGCONT resumes when it is generated; that nobody handles it besides is no news.
        verdict = "" if blow.revert else blow.kernel_verdict.replace("_", " ")
        kernel = f"the kernel saw {sent}{f' to {whom},' if blow.pid else ''} {by}{verdict}".rstrip(", ")
    if told is None and kernel:
        yield _line(strike, kernel)
    elif told is None:
        yield _line(strike, f"{sent} sent to {whom}")
    elif kernel and not told.kernel_verdict:
        yield _line(strike, kernel)


def _exit(seen: p.Exit) -> str:
    if seen.source != "bpf":
        # A pidfd tells that it has exited, neither how nor why (I8).
        how = "exited, how is not known without kernel evidence,"
    else:
        how = f"killed by {signal_name(seen.signal)}" if seen.signal else f"exited by itself with code {seen.code}"
    core = ", core dumped" if seen.core_dumped else ""
    after = f" {took(seen.after_blow_ns)} after the signal" if seen.after_blow_ns else ""
    source = f" ({seen.source})" if seen.source else ""
    return f"{how}{core}{after}{source}"


def _why(strike: o.StrikeView) -> str:
    reason = reason_text(strike.reason) if strike.reason else ""
    return ": ".join(part for part in (reason, strike.detail) if part)


def _line(strike: o.StrikeView, what: str, style: str = "") -> Text:
    return Text.assemble((f"  {place(strike)}  ", "dim"), (what, style))


def place(strike: o.StrikeView) -> str:
    return process_text(strike.victim.host, strike.service, strike.ordinal)


def closing(run: o.RunView) -> list[Text]:
    """The last word on a run."""
    style = verdict_style(run)
    why = run.why
    if run.verdict == o.RUN_VERDICT_REFUSED and not why.startswith(_NOTHING):
        why = f"{_NOTHING}: {why}" if why else _NOTHING
    lines = [Text.assemble((verdict_text(run.verdict).upper(), f"bold {style}"), f"  {why}" if why else "")]
    if run.hypothesis:
        lines.append(Text(f"hypothesis  {run.hypothesis}"))
    lasted = took(max(run.ended_unix_ms - run.started_unix_ms, 0) * 1_000_000)
    waves = f"{run.waves_done} of {counted(run.waves_total, 'wave')}"
    lines.append(Text(f"run         {run.run_id} · {waves} in {lasted} · seed {run.seed}"))
    if came_to := outcomes(run.strikes):
        lines.append(Text(f"strikes     {came_to}"))
    struck = [strike for strike in run.strikes if not strike.dry_run]
    for what, times in (
        ("exit", [s.exit.after_blow_ns for s in struck if s.HasField("exit") and s.exit.after_blow_ns]),
        ("successor", [s.successor.after_exit_ns for s in struck if s.HasField("successor")]),
        ("recovery", [s.recovered_after_ns for s in struck if s.recovered_after_ns]),
        ("ready", [s.ready_after_ns for s in struck if s.ready_after_ns]),
    ):
        if times:
            times.sort()
            several = f"median {took(times[len(times) // 2])}, longest {took(times[-1])}"
            lines.append(Text(f"{what:<12}{several if len(times) > 1 else took(times[0])}"))
    if found := closing_lines(run):
        lines += [*found, Text(f"report      killdeer report {run.run_id}")]
    return lines


def outcomes(strikes: Iterable[o.StrikeView]) -> str:
    """`5 recovered, 1 refused`."""
    states = Counter(state_text(strike.state) for strike in strikes if not strike.dry_run)
    return ", ".join(f"{count:,} {state}" for state, count in states.most_common())


def verdict_style(run: o.RunView) -> str:
    if run.state != o.RUN_STATE_ENDED:
        return ""
    if run.verdict == o.RUN_VERDICT_HELD:
        return "green"
    return "red" if run.verdict in (o.RUN_VERDICT_DEVIATED, o.RUN_VERDICT_NOT_RECOVERED) else "yellow"
