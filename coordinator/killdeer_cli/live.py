"""A run as it stands, for the foot of a terminal: the file's sentences, its probes, its victims. Pure.

The coordinator's clock dates what is shown; this machine's may be another, see Recent.
"""

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_cli.findings import BAD, UNSURE, deviated, measured, probe_of, style_now
from killdeer_cli.recent import Recent, spark
from killdeer_cli.run_view import outcomes, place
from killdeer_cli.text import age_text, amount_text, state_text, took
from killdeer_cli.visible import in_cell

NAMED = 5
"""Victims in flight that have a row of their own."""
_OPEN = frozenset(
    {
        p.STRIKE_STATE_PLANNED,
        p.STRIKE_STATE_PERMITTED,
        p.STRIKE_STATE_SENT,
        p.STRIKE_STATE_RECORDED,
        p.STRIKE_STATE_STRUCK,
        p.STRIKE_STATE_GONE,
    }
)
_IN_FLIGHT = _OPEN - {p.STRIKE_STATE_PLANNED}
_PHASES: dict[int, str] = {
    o.RUN_PHASE_LOADING: "beginning: what the file does first, such as its load",
    o.RUN_PHASE_BASELINE: "measuring the baseline, nothing is hit yet",
    o.RUN_PHASE_WAVES: "striking",
    o.RUN_PHASE_GATE: "waiting for the steady state to hold again",
    o.RUN_PHASE_RECOVERY: "waiting until all is back to normal",
    o.RUN_PHASE_CLOSING: "closing: what the file does at the end",
}
_MARKS = {
    m.STANDING_MET: ("✓ holds", "✗ TRUE"),
    m.STANDING_UNMET: ("✗ UNMET", "✓ not so"),
    m.STANDING_UNKNOWN: ("? unknown", "? unknown"),
}
_HEAD, _KEYS, _TROUBLE, _PROGRESS, _VICTIM, _WELL, _ASIDE, _PROBE = range(8)
"""What a row is worth: where there is no room for all, those of the highest numbers go first."""

Row = tuple[int, Text]


def judged(run: o.RunView) -> bool:
    """Is anything measured for it?"""
    return bool(run.findings.findings or run.latest)


def panel(
    run: o.RunView, recent: Recent, keys: Text, *, now_ms: int, width: int, height: int, mark: str = "·"
) -> list[Text]:
    """At most two thirds of `height` rows, none wider than `width` columns. `keys`: what can be pressed; `mark`:
    what moves before the first row."""
    there_ms = recent.there_ms(now_ms)
    if not judged(run):
        rows: list[Row] = [(_HEAD, standing(run, there_ms)), (_KEYS, Text.assemble("  ", keys))]
    else:
        rows = [
            (_HEAD, phase(run, there_ms)),
            *_sentences(run, recent, width),
            *_probes(run, recent, width),
            *_victims(run, there_ms),
            (_PROGRESS, _progress(run)),
            (_KEYS, Text.assemble("  ", keys)),
        ]
    rows[0] = (_HEAD, Text.assemble(f"{mark} ", rows[0][1]))
    most = max(1, min(height - 3, height * 2 // 3))
    while len(rows) > most:
        least = max(range(len(rows)), key=lambda index: (rows[index][0], index))
        del rows[least]
    return [_fitted(text, width) for _, text in rows]


def standing(run: o.RunView, there_ms: int) -> Text:
    """All in one line, of a run without probes: the wave, and what is in flight."""
    flying = _in_flight(run)
    parts = [_wave(run)]
    if flying:
        named = ", ".join(f"{place(strike)} {state_text(strike.state)}" for strike in flying[:3])
        more = f" and {len(flying) - 3} more" if len(flying) > 3 else ""
        parts.append(f"in flight: {named}{more}")
    return Text(" · ".join((*parts, *_waiting(run), *_last_strike(run, there_ms))))


def phase(run: o.RunView, there_ms: int) -> Text:
    """What goes on, and for how long yet. `there_ms`: now, by the coordinator's clock."""
    between = run.phase == o.RUN_PHASE_WAVES and not run.wave
    text = Text("between waves" if between else _PHASES.get(run.phase, "under way"), style="bold")
    if run.state == o.RUN_STATE_ABORTING:
        text = Text.assemble(("aborting", "bold yellow"), " · ", text)
    left_s = round((run.phase_ends_unix_ms - there_ms) / 1_000)
    if run.phase_ends_unix_ms and left_s > 0:
        at_most = "at most " if run.phase in (o.RUN_PHASE_GATE, o.RUN_PHASE_RECOVERY) else ""
        text.append(f" · {at_most}{_whole(left_s)} left", style="not bold")
    for clause in _last_strike(run, there_ms):
        text.append(f" · {clause}", style="not bold")
    steady = [one for one in run.findings.findings if one.part == m.PART_STEADY_STATE]
    if steady:
        holding = sum(one.standing == m.STANDING_MET for one in steady)
        text.append(f" · {holding} of {len(steady)} hold", style="not bold")
    return text


def _sentences(run: o.RunView, recent: Recent, width: int) -> list[Row]:
    before = run.phase in (o.RUN_PHASE_UNSPECIFIED, o.RUN_PHASE_LOADING, o.RUN_PHASE_BASELINE)
    shown = [one for one in run.findings.findings if before or one.part != m.PART_PRECONDITION]
    said = {id(one): _said(one) for one in shown}
    pad = min(max((len(text) for text in said.values()), default=0), width * 2 // 5)
    rows: list[Row] = []
    for one in shown:
        aborts, style = one.part == m.PART_ABORT_WHEN, style_now(one)
        mark = _MARKS.get(one.standing, ("· not yet",) * 2)[aborts]
        sentence = Text(in_cell(said[id(one)]))
        sentence.truncate(pad, overflow="ellipsis", pad=True)
        row = Text.assemble(
            "  ", (f"{mark:<11}", style), sentence, "  ", (_against(one, recent), "" if style else "dim")
        )
        in_trouble = style in (BAD, UNSURE)
        aside = aborts or one.part == m.PART_PRECONDITION
        rows.append((_TROUBLE if in_trouble else _ASIDE if aside else _WELL, row))
    return rows


def _said(one: m.Finding) -> str:
    """`abort when` and `before` go with the sentences that are no steady state."""
    prefix = {m.PART_ABORT_WHEN: "abort when ", m.PART_PRECONDITION: "before: ", m.PART_READY: "ready: "}
    return prefix.get(one.part, "") + one.sentence


def _against(one: m.Finding, recent: Recent) -> str:
    """What is measured now, against a limit that the sentence does not show itself."""
    probe = probe_of(one.sentence, recent.readings)
    last = measured(one, probe)
    limit = f", limit {last.bound}" if last.bound else ""
    worst = ""
    if deviated(one):
        lasted = f" for {took(one.unmet_ms * 1_000_000)} in all" if one.unmet_ms else ""
        worst = f"was unmet{lasted}" + (f", at worst {last.value}" if last.value else "")
    if one.standing == m.STANDING_UNKNOWN:
        now = last.unknown or last.value
    else:
        now = recent.newest(probe) if worst else last.value
    return " · ".join(filter(None, (f"{now}{limit}" if now else "", worst)))


def _probes(run: o.RunView, recent: Recent, width: int) -> list[Row]:
    """Of each probe that a sentence is about: the newest reading, those before it, its baseline."""
    usual = {baseline.probe: baseline.median for baseline in run.findings.baselines}
    about = [probe_of(finding.sentence, recent.readings) for finding in run.findings.findings]
    names = list(dict.fromkeys(filter(None, about)))
    pad = min(max(map(len, names), default=0), width // 4)
    rows: list[Row] = []
    for name in names:
        unit = recent.units.get(name, m.UNIT_UNSPECIFIED)
        baseline = f"  baseline {amount_text(usual[name], unit)}" if name in usual and unit != m.UNIT_MET else ""
        values = [one.value if one.HasField("value") else None for one in recent.readings[name]]
        room = max(width - 2 - pad - 1 - 9 - 2 - len(baseline), 8)
        bars = Text(spark(values[-room:]))
        bars.highlight_regex(r"\?+", UNSURE)
        label = Text(in_cell(name))
        label.truncate(pad, overflow="ellipsis", pad=True)
        now = recent.newest(name) or "unknown"
        rows.append((_PROBE, Text.assemble("  ", label, f" {now:>9}  ", bars, (baseline, "dim"))))
    return rows


def _victims(run: o.RunView, there_ms: int) -> list[Row]:
    flying = _in_flight(run)
    rows: list[Row] = []
    for strike in flying[:NAMED]:
        age_s = (there_ms - strike.struck_unix_ms) // 1_000
        age = f", hit {_whole(age_s)} ago" if strike.struck_unix_ms and age_s > 0 else ""
        rows.append((_VICTIM, Text(f"  in flight  {place(strike)}  {state_text(strike.state)}{age}")))
    if (more := len(flying) - NAMED) > 0:
        rows.append((_VICTIM, Text(f"  and {more:,} more in flight")))
    return rows


def _progress(run: o.RunView) -> Text:
    return Text("  " + " · ".join((_wave(run), f"permits in use: {run.permits_held}", *_waiting(run))))


def _wave(run: o.RunView) -> str:
    """`wave 2 of 4 canary · 5 recovered`."""
    text = f"wave {min(run.waves_done + 1, run.waves_total)} of {run.waves_total}"
    text += f" {run.wave}" if run.wave else ""
    done = outcomes(strike for strike in run.strikes if strike.state not in _OPEN)
    return f"{text} · {done}" if done else text


def _in_flight(run: o.RunView) -> list[o.StrikeView]:
    return [strike for strike in run.strikes if strike.state in _IN_FLIGHT and not strike.dry_run]


def _waiting(run: o.RunView) -> list[str]:
    """At most one clause."""
    count = sum(strike.state == p.STRIKE_STATE_PLANNED and not strike.dry_run for strike in run.strikes)
    return [f"{count} waiting for a permit"] if count else []


def _last_strike(run: o.RunView, there_ms: int) -> list[str]:
    """At most one clause: how long the wave under way goes on striking."""
    left_s = round((run.last_strike_unix_ms - there_ms) / 1_000)
    return [f"last strike in {_whole(left_s)}"] if run.last_strike_unix_ms and left_s > 0 else []


def _whole(seconds: int) -> str:
    return age_text(seconds * 1_000).replace(".00 s", " s")


def _fitted(text: Text, width: int) -> Text:
    """One row, whatever it holds."""
    row = text.copy()
    row.plain = in_cell(row.plain)
    row.no_wrap, row.overflow = True, "ellipsis"
    row.truncate(width, overflow="ellipsis")
    return row
