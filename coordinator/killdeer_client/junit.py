"""A run's report as JUnit XML, for pipelines that show test results. Pure.

One testsuite; a testcase for the verdict, one for each sentence that was judged, one for each strike that was no
rehearsal. `failure`: what was to hold did not. `error`: that cannot be said, or the run did not come to its end.
`skipped`: nobody came to look at it, or it was not struck.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer.wording import word

# All that XML 1.0 does not allow, not even as a reference (its section 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_VERDICTS = {
    o.RUN_VERDICT_HELD: "",
    o.RUN_VERDICT_DEVIATED: "failure",
    o.RUN_VERDICT_NOT_RECOVERED: "failure",
}
"""All others left the hypothesis untested, or the test unfinished: errors, also those that are newer than this."""

_STRIKES = {
    p.STRIKE_STATE_RECOVERED: "",
    p.STRIKE_STATE_LOST: "failure",
    p.STRIKE_STATE_PLANNED: "skipped",
    p.STRIKE_STATE_PERMITTED: "skipped",
    p.STRIKE_STATE_REFUSED: "skipped",
    p.STRIKE_STATE_EXPIRED: "skipped",
    p.STRIKE_STATE_HALTED: "skipped",
}
"""All others say that it was struck, and not what came of it: errors. `survived` depends on what was done."""

# A process may well live on after any other signal.
_DEADLY = (9, 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    group: str
    name: str
    result: str = ""  # failure | error | skipped; empty: passed
    kind: str = ""
    message: str = ""
    took_ms: int = 0


def to_junit(report: o.GetReportResponse) -> str:
    """The document as text, declared UTF-8. Characters that XML forbids are U+FFFD in it."""
    run = report.run
    cases = [_verdict(run), *map(_finding, run.findings.findings), *_strikes(run)]
    suite = xml.Element("testsuite", name=_clean(run.experiment), tests=str(len(cases)))
    for result in ("failure", "error", "skipped"):
        plural = result if result == "skipped" else f"{result}s"
        suite.set(plural, str(sum(case.result == result for case in cases)))
    suite.set("time", _seconds(_length_ms(run)))
    suite.set("timestamp", _moment(run.started_unix_ms))
    _add_properties(suite, run)
    for case in cases:
        _add_case(suite, run, case)
    if said := "\n".join(_said(report)):
        xml.SubElement(suite, "system-out").text = _clean(said)
    suites = xml.Element("testsuites")
    suites.append(suite)
    xml.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def _verdict(run: o.RunView) -> _Case:
    name = run.hypothesis or "verdict"
    if run.state != o.RUN_STATE_ENDED:
        return _Case(group="verdict", name=name, result="error", kind="not ended", message="the run has not ended")
    kind = word(o.RunVerdict, run.verdict)
    result = _VERDICTS.get(run.verdict, "error")
    return _Case(
        group="verdict", name=name, result=result, kind=kind, message=run.why or kind, took_ms=_length_ms(run)
    )


def _finding(found: m.Finding) -> _Case:
    result, kind = _standing(found)
    message = found.detail or kind
    if result == "failure" and found.unmet_unix_ms:
        met = "met" if found.part == m.PART_ABORT_WHEN else "not met"
        lasted = f", for {format_duration(found.unmet_ms)} in all" if found.unmet_ms else ""
        message = f"first {met} at {_moment(found.unmet_unix_ms)}{lasted}: {message}"
    return _Case(group=word(m.Part, found.part), name=found.sentence, result=result, kind=kind, message=message)


def _standing(found: m.Finding) -> tuple[str, str]:
    """(result, kind). What was wrong while victims were struck counts, whatever was measured last."""
    wrong = m.STANDING_MET if found.part == m.PART_ABORT_WHEN else m.STANDING_UNMET
    if found.unmet_unix_ms or found.standing == wrong:
        return "failure", "met" if found.part == m.PART_ABORT_WHEN else "not met"
    if found.unknown_ms or found.standing == m.STANDING_UNKNOWN:
        return "error", "unknown"
    if found.standing in (m.STANDING_MET, m.STANDING_UNMET):
        return "", ""
    return "skipped", "not looked at"


def _strikes(run: o.RunView) -> Iterator[_Case]:
    # A victim may be struck again: pipelines take testcases of one name for one.
    for number, strike in enumerate((one for one in run.strikes if not one.dry_run), 1):
        kind = word(p.StrikeState, strike.state)
        result = _struck(strike)
        reason = word(p.Reason, strike.reason) if strike.reason else ""
        action = (strike.action.WhichOneof("kind") or "strike").replace("_", "-")
        victim = f"{strike.victim.host} {strike.service}[{strike.ordinal}], pid {strike.victim.pid}"
        yield _Case(
            group=f"wave {strike.wave}",
            name=f"strike {number}: {action} {victim}",
            result=result,
            kind=kind,
            message=": ".join(filter(None, (reason, strike.detail))) or kind,
            took_ms=strike.recovered_after_ns // 1_000_000,
        )


def _struck(strike: o.StrikeView) -> str:
    """The result. A fault that did not happen as it was asked for has tested nothing."""
    if strike.state == p.STRIKE_STATE_SURVIVED:
        signalled = strike.action.HasField("kill") and strike.action.kill.signal not in _DEADLY
        ignored = any(blow.kernel_verdict == "ignored" for blow in strike.blows)
        return "" if strike.action.HasField("pause") or (signalled and not ignored) else "error"
    result = _STRIKES.get(strike.state, "error")
    undone = strike.cut_short or (result == "skipped" and strike.blows)
    return "error" if undone and result != "failure" else result


def _add_properties(suite: xml.Element, run: o.RunView) -> None:
    said = {
        "run": run.run_id,
        "verdict": word(o.RunVerdict, run.verdict),
        "environment": run.environment,
        "owner": run.owner,
        "started_by": run.started_by,
        "seed": str(run.seed),
        "plan": run.plan_hash,
    }
    if run.findings.HasField("detected_after_ms"):
        said["detected_after_ms"] = str(run.findings.detected_after_ms)
    if run.findings.HasField("recovered_after_ms"):
        said["recovered_after_ms"] = str(run.findings.recovered_after_ms)
    properties = xml.SubElement(suite, "properties")
    for name, value in said.items():
        xml.SubElement(properties, "property", name=name, value=_clean(value))


def _add_case(suite: xml.Element, run: o.RunView, case: _Case) -> None:
    group = f"{run.experiment}.{case.group}"
    made = xml.SubElement(suite, "testcase", classname=_clean(group), name=_clean(case.name))
    made.set("time", _seconds(case.took_ms))
    if case.result:
        result = xml.SubElement(made, case.result, message=_clean(case.message))
        if case.result != "skipped":  # which has a message and nothing else
            result.set("type", _clean(case.kind))


def _said(report: o.GetReportResponse) -> Iterator[str]:
    for line in report.log:
        yield f"{_moment(line.at_unix_ms)} {line.line}"
    for note in report.notes:
        action = f" ({note.action} is to act on it)" if note.action else ""
        yield f"{_moment(note.at_unix_ms)} note by {note.who}{action}: {note.text}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def _length_ms(run: o.RunView) -> int:
    return max(0, run.ended_unix_ms - run.started_unix_ms) if run.ended_unix_ms else 0


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1_000:.3f}"


def _moment(unix_ms: int) -> str:
    """UTC, as the schema has it; of no time that a calendar knows, its number."""
    try:
        moment = datetime.datetime.fromtimestamp(unix_ms / 1_000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{unix_ms} ms"
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
