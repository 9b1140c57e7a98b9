"""`killdeer inspect`: before anything is hit, how well is it prepared?"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.text import Text

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.process_pb2 import Selector
from killdeer.wording import counted
from killdeer_cli import exits, words
from killdeer_cli.known import refuse_unknown
from killdeer_cli.screen import AsJson, connected, print_json, say, screen, table
from killdeer_cli.verbs import Verb, application

app = application()

_STYLES = {a.SEVERITY_PROBLEM: ("problem", "red"), a.SEVERITY_WARNING: ("warning", "yellow")}
_NAMED_MOST = 4


@app.command(cls=Verb)
def inspect(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST")],
    terms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE…",
            help="Such as unit=worker@*.service; without any, all that the host's guard lets be hit.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how well the services of a host are prepared to be struck: signals, restarts, limits. Nothing is hit."""
    selector = words.selector(terms) if terms else Selector()
    with connected(ctx) as client:
        refuse_unknown(client, [host])
        response = client.inspect(host, selector)
    if as_json:
        print_json(response)
        if not response.subjects:
            raise typer.Exit(exits.REFUSED)
        return
    if not response.subjects:
        if terms:
            seen = f"see what runs there with: killdeer candidates 'name=*' --on host={host}"
            raise exits.Refused(f"nothing on {host} matches {' '.join(terms)}", seen)
        remedy = "name some, such as unit=nginx.service; or let it be hit: killdeer candidates says how"
        raise exits.Refused(f"the guard of {host} lets nothing be hit that runs there", remedy)
    for subject in response.subjects:
        _show(subject)
    found = [one for subject in response.subjects for one in subject.findings]
    say(f"{counted(len(response.subjects), 'service')} on {host}: {summed(found)}")


def _show(subject: a.Subject) -> None:
    say(Text.assemble((subject.service, "bold"), f"  {about(subject)}"))
    if subject.unasked:
        say(Text(f"what its unit says is not known: {subject.unasked}", style="yellow"))
    listed = table("", "")
    listed.show_header = False
    for finding in subject.findings:
        label, style = _STYLES.get(finding.severity, ("info", "dim"))
        listed.add_row(Text(label, style=style), Text(f"{finding.fact}{whom(finding, subject)}"))
        if change := changed(finding):
            listed.add_row("", Text(change, style="cyan" if style != "dim" else "dim"))
    screen().print(listed)
    for unit, lines in drop_ins(subject).items():
        say(Text.assemble(f"systemctl edit {unit}\n", ("\n".join(lines), "cyan")))
    say("")


def about(subject: a.Subject) -> str:
    """Of what it is made: `worker@1.service, worker@2.service; 2 processes, 812 the main one`."""
    number = len(subject.processes) + subject.left_out
    parts = [counted(number, "process", "processes")]
    if mains := [str(one.pid) for one in subject.processes if one.main]:
        parts.append(f"main {_some(mains)}")
    if subject.left_out:
        parts.append(f"{subject.left_out:,} of them not looked at")
    units = [unit for unit in subject.units if unit != subject.service]
    named = _some(units) or (f"container {subject.container[:12]}" if subject.container else "")
    return "; ".join(filter(None, (named, ", ".join(parts))))


def whom(finding: a.InspectionFinding, subject: a.Subject) -> str:
    """The units or pids that it is about, where it is not about all."""
    if len(finding.units) not in (0, len(subject.units)):
        return f" ({_some(finding.units)})"
    if len(finding.pids) not in (0, len(subject.processes)):
        return f" (pid {_some([str(pid) for pid in finding.pids])})"
    return ""


def changed(finding: a.InspectionFinding) -> str:
    line = f"[{finding.section}] {finding.directive}" if finding.directive else ""
    return "; ".join(filter(None, (line, finding.change)))


def drop_ins(subject: a.Subject) -> dict[str, list[str]]:
    """Unit -> the lines of a drop-in with what the problems and warnings ask for, each directive once: that of the
    gravest finding, which comes first. Instances of a template have one."""
    wanted: dict[str, dict[str, dict[str, str]]] = {}
    for finding in subject.findings:
        if finding.severity < a.SEVERITY_WARNING or not finding.directive:
            continue
        for unit in finding.units or subject.units:
            if unit.endswith(".service"):
                sections = wanted.setdefault(_template(unit), {})
                key = finding.directive.partition("=")[0]
                sections.setdefault(finding.section, {}).setdefault(key, finding.directive)
    return {unit: list(_lines(sections)) for unit, sections in wanted.items()}


def summed(findings: Iterable[a.InspectionFinding]) -> str:
    """`1 problem, 3 warnings, 7 facts`."""
    severities = [one.severity for one in findings]
    problems, warnings = severities.count(a.SEVERITY_PROBLEM), severities.count(a.SEVERITY_WARNING)
    facts = len(severities) - problems - warnings
    return f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}, {counted(facts, 'fact')}"


def _lines(sections: dict[str, dict[str, str]]) -> Iterator[str]:
    for section in sorted(sections, reverse=True):  # Unit before Service
        yield f"[{section}]"
        yield from sections[section].values()


def _template(unit: str) -> str:
    stem, at, _ = unit.partition("@")
    return f"{stem}@.service" if at else unit


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMED_MOST
    return ", ".join(listed[:_NAMED_MOST]) + (f" and {more:,} more" if more > 0 else "")
