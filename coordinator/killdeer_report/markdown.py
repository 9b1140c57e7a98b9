"""A report as Markdown, for a ticket or a repository. Text from afar is escaped: it stays text."""

import re
from collections.abc import Iterable, Iterator

from killdeer.wording import counted
from killdeer_report import side_by_side, tables
from killdeer_report.account import Account
from killdeer_report.comparison import Comparison
from killdeer_report.tables import Table
from killdeer_report.wording import clock, visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$!])")


def markdown(told: Account) -> str:
    return visible("\n".join(_lines(told))) + "\n"


def comparison_markdown(told: Comparison) -> str:
    return visible("\n".join(_side_by_side(told))) + "\n"


def plain(text: str) -> str:
    """As text within a line: nothing in it is markup, and it ends no line."""
    line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def comment(text: str) -> str:
    """That nobody sees; nothing in it ends it."""
    return f"<!-- {re.sub('[^A-Za-z0-9 _.-]|--', '', text)} -->"


def fenced(text: str) -> Iterator[str]:
    """As it is, in a fence longer than any that it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (fence, *text.rstrip("\n").split("\n"), fence, "")


def table(of: Table) -> Iterator[str]:
    yield f"| {' | '.join(plain(heading) for heading in of.headings)} |"
    yield f"|{'---|' * len(of.headings)}"
    for row in of.rows:
        yield f"| {' | '.join(plain(cell) for cell in row)} |"
    yield ""


def listed(sentences: Iterable[str]) -> Iterator[str]:
    yield from (f"- {plain(sentence)}" for sentence in sentences)
    yield ""


def _lines(told: Account) -> Iterator[str]:
    yield comment(told.stamp)
    yield ""
    yield f"# {plain(told.run.experiment)}: {told.verdict.upper()}"
    yield ""
    yield plain(told.sentence)
    yield ""
    yield "## What was asked"
    yield ""
    yield from table(tables.asked(told))
    yield "## What was hit"
    yield ""
    if told.measured.rehearsed:
        yield f"{counted(told.measured.rehearsed, 'strike')} rehearsed: nothing was sent for them."
        yield ""
    yield from table(tables.hit(told)) if told.measured.victims else ("Nothing.", "")
    yield "## What it did to the probes"
    yield ""
    if told.run.findings.findings:
        yield from table(tables.findings(told))
    if told.measured.impacts:
        yield from table(tables.impacts(told))
        yield from (tables.HOW_IMPACTS_ARE_TAKEN, "")
    if not (told.run.findings.findings or told.measured.impacts):
        yield from ("Nothing was measured.", "")
    yield "## How long it took"
    yield ""
    yield from listed(tables.how_long(told))
    if told.measured.times:
        yield from table(tables.times(told.measured.times))
        yield from table(tables.victim_times(told))
    if told.run.findings.deeds:
        yield "## What was done besides"
        yield ""
        yield from listed(told.run.findings.deeds)
    yield "## What to look at next"
    yield ""
    yield from listed(told.advice)
    yield "## How to replay it"
    yield ""
    yield from fenced(told.replay)
    yield from _record(told)


def _record(told: Account) -> Iterator[str]:
    yield "## How the last runs of it ended"
    yield ""
    yield from table(tables.earlier(told)) if told.report.earlier else ("This is the first.", "")
    if said := tables.before_now(told):
        yield from (said, "")
    if told.measured.history.times:
        yield from table(tables.times(told.measured.history.times))
    if told.measured.history.impacts:
        yield from table(tables.impacts_over_runs(told))
    yield "## Notes"
    yield ""
    yield from table(tables.notes(told.report)) if told.report.notes else ("None yet.", "")
    yield "## The log"
    yield ""
    yield from fenced("\n".join(f"{clock(line.at_unix_ms)} {line.line}" for line in told.report.log))
    yield "## The file"
    yield ""
    yield from fenced(told.report.source)


def _side_by_side(told: Comparison) -> Iterator[str]:
    yield comment(told.stamp)
    yield ""
    runs = (told.first.run.run_id, told.second.run.run_id)
    yield f"# {plain(runs[0])} and {plain(runs[1])} of {plain(told.second.run.experiment)}"
    yield ""
    yield from table(side_by_side.verdicts(told))
    if told.differs:
        yield "## What else differs"
        yield ""
        yield from listed(told.differs)
    yield "## What was found"
    yield ""
    yield from table(side_by_side.findings(told))
    yield "## What it did to the probes"
    yield ""
    yield from table(side_by_side.impacts(told))
    if (over_runs := side_by_side.over_runs(told)).rows:
        yield from table(over_runs)
    yield "## How long it took"
    yield ""
    yield from table(side_by_side.lengths(told))
    yield "## How to replay them"
    yield ""
    yield from fenced(f"{told.first.replay}\n{told.second.replay}")
    if told.file_changes:
        yield "## What changed in the file"
        yield ""
        yield from fenced("\n".join(told.file_changes))
