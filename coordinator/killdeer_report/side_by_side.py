"""The tables of a comparison, in words."""

from killdeer.v1 import probe_pb2 as m
from killdeer.wording import counted
from killdeer_report.comparison import Comparison
from killdeer_report.measures import Impact, OverRuns
from killdeer_report.tables import Table, impact_text, interval_text, standing
from killdeer_report.victims import Victim
from killdeer_report.wording import difference, length, moment, part_word


def verdicts(told: Comparison) -> Table:
    rows = []
    for one in (told.first, told.second):
        struck = [victim for victim in one.measured.victims if victim.signals]
        rows.append(
            (
                one.run.run_id,
                one.verdict,
                one.sentence,
                _struck_text(struck),
                moment(one.run.started_unix_ms),
            )
        )
    return Table(headings=("run", "verdict", "why", "hit", "started"), rows=tuple(rows))


def _struck_text(struck: list[Victim]) -> str:
    back = sum(victim.state == "recovered" for victim in struck)
    return f"{counted(len(struck), 'victim')}, {back} recovered"


def findings(told: Comparison) -> Table:
    """Every sentence of either run, in the order of the first."""
    sides = [
        {(one.part, one.sentence): one for one in side.run.findings.findings} for side in (told.first, told.second)
    ]
    rows = []
    for part, sentence in {**sides[0], **sides[1]}:
        both = [_finding_text(side.get((part, sentence))) for side in sides]
        rows.append((part_word(part), sentence, *both))
    headings = ("part", "sentence", told.first.run.run_id, told.second.run.run_id)
    return Table(headings=headings, rows=tuple(rows))


def _finding_text(one: m.Finding | None) -> str:
    if one is None:
        return "not in its file"
    unmet = f", not met for {length(one.unmet_ms)}" if one.unmet_ms else ""
    return f"{standing(one)}{unmet}{': ' + one.detail if one.detail else ''}"


def impacts(told: Comparison) -> Table:
    """What each run did to each probe against its own baseline, and the second against the first."""
    sides = [{one.probe: one for one in side.measured.impacts} for side in (told.first, told.second)]
    changes = {one.what: one for one in told.probes}
    rows = []
    for probe in {**sides[0], **sides[1]}:
        both = [_impact_text(side.get(probe)) for side in sides]
        change = changes.get(probe)
        apart = difference(change.difference, change.unit) if change else "-"
        sure = (interval_text(change.interval, change.unit) or change.no_interval) if change else "-"
        rows.append((probe, *both, apart, sure))
    first, second = told.first.run.run_id, told.second.run.run_id
    headings = (
        "probe",
        f"{first}, against its baseline",
        f"{second}, against its baseline",
        f"{second} against {first}",
        "95% confidence",
    )
    return Table(headings=headings, rows=tuple(rows))


def _impact_text(one: Impact | None) -> str:
    """`+60 ms (x1.5) in 3 repetitions, of +50 ms to +70 ms; 95% confidence: +35 ms to +85 ms (t)`."""
    if one is None:
        return "not measured"
    if one.repeated is None:
        return one.why_not
    sure = interval_text(one.repeated.interval, one.unit)
    return impact_text(one) + (f"; 95% confidence: {sure}" if sure else "")


def over_runs(told: Comparison) -> Table:
    """The impacts of each run with those before it of its experiment; no rows: neither has such."""
    sides = [{one.probe: one for one in side.measured.history.impacts} for side in (told.first, told.second)]
    rows = [(probe, *(_over_runs_text(side.get(probe)) for side in sides)) for probe in {**sides[0], **sides[1]}]
    first, second = told.first.run.run_id, told.second.run.run_id
    return Table(headings=("probe", f"runs up to {first}", f"runs up to {second}"), rows=tuple(rows))


def _over_runs_text(one: OverRuns | None) -> str:
    """`+16 ms in 4 runs; 95% confidence: +3 ms to +29 ms (t)`."""
    if one is None:
        return "one run, or none"
    of, sure = one.repeated.sample, interval_text(one.repeated.interval, one.unit)
    ends = f"95% confidence: {sure}" if sure else "each came to the same"
    return f"{difference(of.mean, one.unit)} in {counted(of.count, 'run')}; {ends}"


def lengths(told: Comparison) -> Table:
    rows = []
    for one in told.lengths:
        apart = length(one.difference)
        sure = f"{length(one.interval.low)} to {length(one.interval.high)}" if one.interval else one.no_interval
        signed = f"+{apart}" if one.difference and one.difference > 0 else apart
        rows.append((one.what, length(one.first), length(one.second), signed, sure))
    headings = ("", told.first.run.run_id, told.second.run.run_id, "difference", "95% confidence")
    return Table(headings=headings, rows=tuple(rows))
