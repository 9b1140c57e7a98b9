"""The tables of a report, in words; HTML and Markdown only dress them."""

from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.wording import counted, word
from killdeer_report.account import Account
from killdeer_report.intervals import Interval, Spread
from killdeer_report.measures import Impact, Times, detected_ms, recovered_ms
from killdeer_report.wording import amount, difference, length, moment, part_word, verdict_word

HOW_IMPACTS_ARE_TAKEN = (
    "A repetition begins with a strike that falls while no other victim is away, and lasts until the next begins."
    " Its impact is the mean of the probe's values in that time, less the mean of the baseline; the interval is"
    " Student's t over the repetitions."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def asked(told: Account) -> Table:
    run = told.run
    lasted = length(run.ended_unix_ms - run.started_unix_ms) if run.ended_unix_ms else "not ended"
    facts = {
        "hypothesis": run.hypothesis or "none was written down",
        "experiment": run.experiment,
        "environment": run.environment,
        "owner": run.owner,
        "started by": run.started_by,
        "started": moment(run.started_unix_ms),
        "took": lasted,
        "waves": f"{run.waves_done} of {run.waves_total}",
        "run": run.run_id,
        "file": told.report.file,
        "seed": str(run.seed),
        "plan": run.plan_hash,
    }
    rows = [(what, said) for what, said in facts.items() if said]
    return Table(headings=("", ""), rows=(*rows, *told.asked.notes))


def hit(told: Account) -> Table:
    rows = [
        (
            victim.place,
            f"{victim.pid} {victim.name}".strip(),
            victim.wave,
            victim.action,
            "; ".join(victim.signals),
            victim.exit,
            victim.cause,
            victim.successor,
            f"{victim.state}: {victim.why}" if victim.why else victim.state,
        )
        for victim in told.measured.victims
    ]
    headings = ("victim", "process", "wave", "action", "signals", "exit", "cause", "successor", "outcome")
    return Table(headings=headings, rows=tuple(rows))


def findings(told: Account) -> Table:
    rows = []
    for one in told.run.findings.findings:
        since = "-"
        if one.unmet_unix_ms and told.marks.struck_ms:
            since = f"{length(one.unmet_unix_ms - told.marks.struck_ms)} after the first strike"
        elif one.unmet_unix_ms:
            since = moment(one.unmet_unix_ms)
        rows.append(
            (
                part_word(one.part),
                one.sentence,
                standing(one),
                since,
                length(one.unmet_ms) if one.unmet_ms else "-",
                length(one.unknown_ms) if one.unknown_ms else "-",
                one.detail,
            )
        )
    headings = ("part", "sentence", "at the end", "first deviated", "for", "unknown for", "measured")
    return Table(headings=headings, rows=tuple(rows))


def standing(one: m.Finding) -> str:
    """In words: an abort rule is not met but comes true."""
    if one.part == m.PART_ABORT_WHEN and one.standing in (m.STANDING_MET, m.STANDING_UNMET):
        return "came true" if one.standing == m.STANDING_MET else "did not come true"
    return "not looked at" if not one.standing else word(m.Standing, one.standing)


def impacts(told: Account) -> Table:
    rows = [
        (
            one.probe,
            spread_text(one.before, one),
            spread_text(one.during, one),
            impact_text(one),
            interval_text(one.repeated.interval if one.repeated else None, one.unit) or one.why_not,
            f"{one.unknown:,}",
        )
        for one in told.measured.impacts
    ]
    headings = (
        "probe",
        "before",
        "from the first strike",
        "impact of a repetition",
        "95% confidence over repetitions",
        "unknown readings",
    )
    return Table(headings=headings, rows=tuple(rows))


def spread_text(of: Spread | None, one: Impact) -> str:
    """`median 120 ms (90 ms to 180 ms, 60 readings)`."""
    if of is None:
        return "no readings"
    if one.unit == m.UNIT_MET:
        return f"met in {amount(of.mean, one.unit)} of {counted(of.count, 'reading')}"
    ends = f"{amount(of.lowest, one.unit)} to {amount(of.highest, one.unit)}"
    return f"median {amount(of.median, one.unit)} ({ends}, {counted(of.count, 'reading')})"


def impact_text(one: Impact) -> str:
    """`+60 ms (x1.5) in 3 repetitions, of +50 ms to +70 ms`."""
    if one.repeated is None:
        return "-"
    of, base = one.repeated.sample, one.baseline or 0.0
    factor = f" (x{(base + of.mean) / base:.3g})" if base > 0 and one.unit != m.UNIT_MET else ""
    ends = f", of {difference(of.lowest, one.unit)} to {difference(of.highest, one.unit)}" if of.count > 1 else ""
    return f"{difference(of.mean, one.unit)}{factor} in {counted(of.count, 'repetition')}{ends}"


def impacts_over_runs(told: Account) -> Table:
    rows = [
        (
            one.probe,
            f"{one.repeated.sample.count:,}",
            difference(one.repeated.sample.mean, one.unit),
            interval_text(one.repeated.interval, one.unit) or "each came to the same",
            difference(one.repeated.sample.lowest, one.unit),
            difference(one.repeated.sample.highest, one.unit),
        )
        for one in told.measured.history.impacts
    ]
    headings = ("probe", "runs", "mean impact", "95% confidence over runs", "lowest", "highest")
    return Table(headings=headings, rows=tuple(rows))


def interval_text(of: Interval | None, unit: int) -> str:
    """Empty: there is none."""
    if of is None:
        return ""
    return f"{difference(of.low, unit)} to {difference(of.high, unit)} ({of.method})"


def times(found: tuple[Times, ...]) -> Table:
    rows = [
        (
            one.what,
            f"{one.spread.count:,}",
            length(one.spread.median),
            f"{length(one.median.low)} to {length(one.median.high)}" if one.median else "too few",
            length(one.spread.lowest),
            length(one.spread.highest),
        )
        for one in found
    ]
    headings = ("", "seen", "median", "95% confidence of it", "shortest", "longest")
    return Table(headings=headings, rows=tuple(rows))


def victim_times(told: Account) -> Table:
    rows = [
        (
            victim.place,
            length(victim.exit_after_ms),
            victim.term or "-",
            length(victim.successor_after_exit_ms),
            length(victim.ready_after_ms),
            length(victim.recovered_after_ms),
        )
        for victim in told.measured.victims
        if victim.signals
    ]
    headings = (
        "victim",
        "exit after the signal",
        "SIGTERM",
        "successor after the exit",
        "ready after the signal",
        "recovered after the signal",
    )
    return Table(headings=headings, rows=tuple(rows))


def how_long(told: Account) -> tuple[str, ...]:
    """To detect and to recover, and what SIGTERM came to: a sentence each."""
    measured = told.measured
    said = []
    if not measured.first_strike_unix_ms:
        return ("Nothing was struck.",)
    if measured.detected_after_ms is not None:
        said.append(f"Detected {length(measured.detected_after_ms)} after the first strike.")
        recovered = measured.recovered_after_ms
        said.append(
            "The steady state did not hold again."
            if recovered is None
            else f"The steady state held again {length(recovered)} after that, for good."
        )
    elif any(one.part == m.PART_STEADY_STATE for one in told.run.findings.findings):
        said.append("No probe deviated from the steady state.")
    if measured.term:
        said.append("SIGTERM: " + ", ".join(f"{count} {what}" for what, count in measured.term.items()) + ".")
    if not said and not measured.times:
        said.append("Nothing of it has a length: no exit, no successor, no steady state that deviated.")
    return tuple(said)


def before_now(told: Account) -> str:
    """`Held in 7 of 10 runs that hit something (95% confidence: 40% to 89%).` Empty with none that count."""
    history = told.measured.history
    if not history.runs or history.share is None:
        return ""
    sure = f"{history.share.low:.0%} to {history.share.high:.0%}"
    return f"Held in {history.held} of {counted(history.runs, 'run')} that hit something (95% confidence: {sure})."


def earlier(told: Account) -> Table:
    rows = [
        (
            run.run_id,
            moment(run.started_unix_ms),
            verdict_word(run),
            run.why,
            str(run.seed),
            "yes" if run.plan_hash and run.plan_hash == told.run.plan_hash else "no",
            length(detected_ms(run)),
            length(recovered_ms(run)),
        )
        for run in told.report.earlier
    ]
    headings = ("run", "started", "verdict", "why", "seed", "same plan", "detected after", "steady again after")
    return Table(headings=headings, rows=tuple(rows))


def notes(report: o.GetReportResponse) -> Table:
    rows = [(moment(note.at_unix_ms), note.who, note.text, note.action or "-") for note in report.notes]
    return Table(headings=("at", "who", "what was learned", "to act"), rows=tuple(rows))
