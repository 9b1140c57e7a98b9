"""What became of a file's sentences, and of the probes they are about, as people read it. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer_cli.text import took

GOOD, BAD, UNSURE = "green", "red", "yellow"

_LABELS: dict[int, str] = {
    m.PART_PRECONDITION: "before",
    m.PART_STEADY_STATE: "steady",
    m.PART_ABORT_WHEN: "abort when",
    m.PART_READY: "ready when",
}
# `errors 2.3%, wanted < 0.1%`: what the coordinator measured, and against what.
_MEASURED = re.compile(r"(?P<measured>.*), (?:wanted|aborts when) (?P<limit>.*)", re.DOTALL)
_WHY_UNKNOWN = re.compile(r"is unknown(?P<least>, at least [^:]*)?(?:: (?P<why>.*))?", re.DOTALL)
_OF_BASELINE = re.compile(r"x baseline \((?P<bound>.+?)\)")
_NONE_YET = "of which there is none"
# Once it counts against the hypothesis, the detail is the worst that was measured.
_NOW = "; now "

_BOUND = re.compile(r"[<>=!≤≥≠]=?\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*(?P<unit>%|ms|[smhdx])?")
_AMOUNT = re.compile(r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?(?P<unit>%|[ 0-9dhm.]*(?:ms|[smhd]))?(?![0-9a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finding's detail, taken apart; what cannot be is in `value` as it came."""

    value: str = ""  # `2.3%`
    bound: str = ""  # `390 ms`, of a factor of the baseline
    unknown: str = ""  # why


def measured(finding: m.Finding, probe: str) -> Measured:
    """What was measured last or, once that counts against the hypothesis, at worst."""
    detail = finding.detail
    if finding.standing == m.STANDING_UNKNOWN:
        detail = detail.rpartition(_NOW)[2]
    found = _MEASURED.fullmatch(detail)
    if found is None:
        return Measured(value=detail)
    value = found["measured"].removeprefix(f"{probe} ")
    if unknown := _WHY_UNKNOWN.fullmatch(value):
        least = unknown["least"] or ""
        return Measured(unknown=(unknown["why"] or "nobody knows why") + least)
    if _NONE_YET in found["limit"]:
        return Measured(value=value, unknown=f"{value}, no baseline to hold it against")
    bound = _OF_BASELINE.search(found["limit"])
    return Measured(value=value, bound=bound["bound"] if bound else "")


def probe_of(sentence: str, names: Iterable[str]) -> str:
    """The one of these probes that a sentence is about; empty: none of them."""
    about = sentence.removeprefix("not ").lstrip()
    fit = [name for name in names if re.match(rf"{re.escape(name)}(?![\w.-])", about)]
    return max(fit, key=len, default="")


def unit_of(finding: m.Finding, probe: str) -> m.Unit | None:
    """The unit of a sentence's probe, as far as the sentence or what was measured shows it."""
    bound = _BOUND.search(finding.sentence)
    if bound is None:
        return m.UNIT_UNSPECIFIED if " in target" in finding.sentence else m.UNIT_MET
    if bound["unit"] != "x":
        return _unit(bound["unit"])
    seen = _AMOUNT.match(finding.detail.removeprefix(f"{probe} "))
    return _unit(seen["unit"]) if seen else None


def _unit(suffix: str | None) -> m.Unit:
    if not suffix:
        return m.UNIT_UNSPECIFIED
    return m.UNIT_FRACTION if suffix == "%" else m.UNIT_SECONDS


def deviated(finding: m.Finding) -> bool:
    """It counts against the hypothesis, whatever was measured since."""
    return finding.part == m.PART_STEADY_STATE and finding.unmet_unix_ms > 0


def style_now(finding: m.Finding) -> str:
    """How the newest standing is coloured; of an abort rule it is good that it is not met."""
    aborts = finding.part == m.PART_ABORT_WHEN
    if finding.standing == m.STANDING_MET:
        return BAD if aborts else GOOD
    if finding.standing == m.STANDING_UNMET:
        return GOOD if aborts else BAD
    return UNSURE if finding.standing == m.STANDING_UNKNOWN else ""


def came_true(run: o.RunView) -> m.Finding | None:
    """The abort rule that ended the run."""
    rules = (one for one in run.findings.findings if one.part == m.PART_ABORT_WHEN)
    return next((one for one in rules if one.standing == m.STANDING_MET), None)


def closing_lines(run: o.RunView) -> list[Text]:
    """What became of each sentence, when it was noticed and when it was over; nothing of a run without any."""
    found = run.findings
    lines = [_line(_LABELS.get(one.part, "sentence"), one.sentence, *_outcome(one)) for one in found.findings]
    if found.HasField("detected_after_ms"):
        lines.append(Text(f"{'detected':<12}{_ms(found.detected_after_ms)} after the first strike"))
        again = (
            f"{_ms(found.recovered_after_ms)} later"
            if found.HasField("recovered_after_ms")
            else "not by the run's end"
        )
        lines.append(Text(f"{'held again':<12}{again}"))
    return lines


def _line(label: str, sentence: str, outcome: str, style: str) -> Text:
    return Text.assemble(f"{label:<12}{sentence}: ", (outcome, style))


def _outcome(one: m.Finding) -> tuple[str, str]:
    """(in words, colour), over the whole run."""
    lasting = f" for {_ms(one.unknown_ms)}" if one.unknown_ms else ""
    unsure = f", unknown{lasting}" if lasting else ""
    detail = f": {one.detail}" if one.detail else ""
    if one.part == m.PART_ABORT_WHEN and one.standing in (m.STANDING_MET, m.STANDING_UNMET):
        if one.standing == m.STANDING_MET:
            return f"came true{detail}", BAD
        return f"did not come true{unsure}", UNSURE if unsure else ""
    if deviated(one):
        return f"did not hold{f' for {_ms(one.unmet_ms)}' if one.unmet_ms else ''}{unsure}{detail}", BAD
    if one.standing == m.STANDING_UNMET:
        return f"did not hold{detail}", BAD
    if one.standing == m.STANDING_UNKNOWN:
        return f"unknown{lasting}{detail}", UNSURE
    if one.standing == m.STANDING_MET:
        return f"held{unsure}", UNSURE if unsure else GOOD
    return "not looked at", ""


def _ms(milliseconds: int) -> str:
    return took(milliseconds * 1_000_000)
