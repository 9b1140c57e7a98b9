"""What to look at next: one sentence for each fact of a run that asks for something. Pure."""

from collections.abc import Iterator

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.wording import NOT_ON_RECORD, counted
from killdeer_report.measures import ONE_REPETITION, Measures
from killdeer_report.victims import Victim
from killdeer_report.wording import length, verdict_word

_BEFORE = (m.PART_PRECONDITION, m.PART_STEADY_STATE)
_NAMED = 3
"""Victims named one by one."""


def advice(report: o.GetReportResponse, measured: Measures) -> list[str]:
    """The most pressing first; each once."""
    run = report.run
    found = [
        *_of_verdict(run),
        *_of_deeds(run),
        *_of_victims(run, measured),
        *_of_record(report),
        *_of_probes(run, measured),
        *_of_history(report),
    ]
    return list(dict.fromkeys(found))


def _of_verdict(run: o.RunView) -> Iterator[str]:
    if run.state != o.RUN_STATE_ENDED:
        yield f"The run has not ended: this is how it stands. Watch it: killdeer watch {run.run_id}"
    match run.verdict:
        case o.RUN_VERDICT_REFUSED:
            unmet = [one.sentence for one in run.findings.findings if one.part in _BEFORE and _failed(one)]
            first = f"Make true first: {'; '.join(unmet)}." if unmet else "See above why."
            yield f"Nothing was hit. {first}"
        case o.RUN_VERDICT_ABORTED:
            for one in _findings(run, m.PART_ABORT_WHEN, m.STANDING_MET):
                yield (
                    f'"{one.sentence}" came true and stopped the run: find out what it was that gave way before'
                    " more is hit."
                )
        case o.RUN_VERDICT_INCONCLUSIVE:
            yield f"Inconclusive is not held: {run.why or 'the run does not say why'}. Mend that and run it again."
        case o.RUN_VERDICT_NOT_RECOVERED:
            yield "Something is still broken: see to the victims that have not recovered before anything else."
        case o.RUN_VERDICT_HALTED:
            yield "The fleet was halted: see why with killdeer audit, then killdeer rearm --reason WHY."
        case o.RUN_VERDICT_HELD if run.findings.findings:
            yield "It held. Widen the blast radius by one step, or hit what is next to it."
        case _:
            pass
    if run.verdict != o.RUN_VERDICT_REFUSED:
        for one in _findings(run, m.PART_STEADY_STATE, m.STANDING_UNMET):
            how_long = f" for {length(one.unmet_ms)}" if one.unmet_ms else ""
            yield (
                f'"{one.sentence}" was not met{how_long}: look at those that call the service, their timeouts and'
                " retries."
            )


def _of_victims(run: o.RunView, measured: Measures) -> Iterator[str]:
    struck = [victim for victim in measured.victims if victim.signals]
    asked = sum(bool(victim.term) for victim in struck)
    if slow := [victim for victim in struck if victim.term == "escalated"]:
        yield (
            f"{counted(len(slow), 'victim')} of {asked} did not end on SIGTERM within the grace ({_named(slow)}):"
            " look at the handler of SIGTERM, what it waits for, and TimeoutStopSec= of the unit."
        )
    if deaf := [victim for victim in struck if victim.term == "ignored"]:
        yield (
            f"{counted(len(deaf), 'victim')} of {asked} lived on after SIGTERM ({_named(deaf)}): look at its"
            " handler there, or ask for a grace after which it is SIGKILL."
        )
    if lost := [victim for victim in measured.victims if victim.state == "lost"]:
        yield (
            f"No successor came in time for {_named(lost)}: look at Restart= and StartLimitBurst= of the unit,"
            " and ask killdeer why what its successors died of."
        )
    if unready := [v for v in lost if v.successor]:
        yield (
            f"A successor started, but was not ready in time, for {_named(unready)}: look at what its start waits"
            " for."
        )
    if measured.victims and not struck:
        yield f"No victim was struck: {_whys(measured)}."
    elif refused := [victim for victim in measured.victims if victim.state == "refused"]:
        yield f"{counted(len(refused), 'strike')} of {len(measured.victims)} refused: {_whys(measured)}."
    if unsure := [victim for victim in measured.victims if victim.state == "unknown"]:
        yield f"What became of {_named(unsure)} is not known: {unsure[0].why or 'no evidence'}."
    if any(strike.changed for strike in run.strikes):
        yield "A victim ran another program in the instant of its signal: read its evidence before anything else."
    if gone := sum(strike.events_lost for strike in run.strikes):
        yield (
            f"{counted(gone, 'kernel event')} were lost during strikes: the evidence has holes there. Run it again"
            " when the host is quieter, or filter more in [evidence] of agent.toml."
        )
    blind = sorted({victim.host for victim in struck if victim.evidence != "kernel"})
    if blind:
        yield (
            f"Without the kernel's record on {', '.join(blind[:_NAMED])}{_more(len(blind))}, neither sender nor"
            " cause is known there: killdeer hosts says what is missing."
        )


def _of_deeds(run: o.RunView) -> Iterator[str]:
    for said in run.findings.deeds:
        if said.startswith("load.stop") and not said.endswith(": done"):
            yield f"The load may still be there: {said}. Stop it by hand."


def _of_record(report: o.GetReportResponse) -> Iterator[str]:
    missing = [line.line.removeprefix(NOT_ON_RECORD) for line in report.log if line.line.startswith(NOT_ON_RECORD)]
    if missing:
        more = f", and {len(missing) - 1} more times" if len(missing) > 1 else ""
        yield f"This report is not whole, as the store did not keep {missing[0]}{more}."


def _of_probes(run: o.RunView, measured: Measures) -> Iterator[str]:
    for one in run.findings.findings:
        if one.standing == m.STANDING_UNKNOWN:
            why = one.detail or "nothing was measured"
            yield f'"{one.sentence}" could not be judged, and unknown is not met: {why}.'
    for taken in measured.series:
        if unknown := taken.unknown():
            yield (
                f"The probe {taken.probe} had no answer {counted(unknown, 'time')} of {len(taken.points):,},"
                f" mostly: {taken.reasons[0]}."
            )
    if not any(one.part == m.PART_STEADY_STATE for one in run.findings.findings):
        yield "No sentence says what must stay true: add a steady_state, and the next run has a hypothesis to test."
    once = [one.probe for one in measured.impacts if one.why_not == ONE_REPETITION]
    if once:
        yield (
            f"Of {', '.join(once)} there is the impact of one repetition, which may be chance: repeat the wave"
            " (repeat:, every:), or run it again."
        )


def _of_history(report: o.GetReportResponse) -> Iterator[str]:
    run = report.run
    others = [
        one
        for one in report.earlier
        if one.plan_hash
        and one.plan_hash == run.plan_hash
        and one.state == run.state == o.RUN_STATE_ENDED
        and one.verdict != run.verdict
    ]
    if others:
        yield (
            f"The same plan ended differently before ({verdict_word(others[0])}, run {others[0].run_id}): repeat it"
            f" before believing either; killdeer compare {others[0].run_id} {run.run_id}"
        )


def _findings(run: o.RunView, part: m.Part, standing: m.Standing) -> list[m.Finding]:
    return [
        one
        for one in run.findings.findings
        if one.part == part and (one.standing == standing or (standing == m.STANDING_UNMET and one.unmet_unix_ms))
    ]


def _failed(one: m.Finding) -> bool:
    return one.standing in (m.STANDING_UNMET, m.STANDING_UNKNOWN)


def _named(some: list[Victim]) -> str:
    return ", ".join(victim.place for victim in some[:_NAMED]) + _more(len(some))


def _more(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""


def _whys(measured: Measures) -> str:
    """`not allowed (3), gone (1)`, of what was not struck."""
    whys = [victim.why.partition(":")[0] or victim.state for victim in measured.victims if not victim.signals]
    return ", ".join(f"{why} ({whys.count(why)})" for why in dict.fromkeys(whys))
