"""`killdeer candidates`: which processes match now, and which of them may be hit."""

from typing import Annotated

import typer
from rich.text import Text

from killdeer.durations import format_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import counted
from killdeer_cli import words
from killdeer_cli.known import refuse_unknown
from killdeer_cli.screen import AsJson, connected, print_json, say, screen, table
from killdeer_cli.text import reason_text, remedy_text
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def candidates(
    ctx: typer.Context,
    terms: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE…", help="Such as unit=worker@*.service user!=root.")
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="KEY=VALUE,…", help="Hosts with these labels; host=NAME is one.")
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="|".join(words.ACTIONS), help="The action to ask each host's guard about.")
    ] = "kill",
    as_json: AsJson = False,
) -> None:
    """List the processes that match now, on every host or some, with the guard's verdict on each."""
    selector, labels, asked = words.selector(terms), words.host_labels(on), words.action(action)
    with connected(ctx) as client:
        named = [name for label in labels if label.key == "host" for name in label.values]
        refuse_unknown(client, named, globs=True)
        response = client.list_candidates(labels, selector, asked)
    if as_json:
        print_json(response)
        return
    _show(response)


def _show(response: o.ListCandidatesResponse) -> None:
    listed = table("host", "service", "pid", "user", "age", "command", "", right=("pid",))
    found = [(host.host, one) for host in response.hosts for one in host.candidates]
    for name, one in found:
        listed.add_row(
            name,
            f"{one.service}[{one.ordinal}]",
            str(one.identity.pid),
            one.user,
            format_duration(one.age_ms // 1_000 * 1_000),
            Text(one.cmdline or one.name, no_wrap=True, overflow="ellipsis"),
            Text("may be hit", style="green") if one.verdict.allowed else Text(_why(one.verdict), style="red"),
        )
    if found:
        screen().print(listed)
    for host in response.hosts:
        if not host.verdict.allowed and not host.candidates:
            say(Text.assemble((f"{host.host}: ", "bold"), (_why(host.verdict, detail=True), "red")))
    for remedy, who in _remedies(response).items():
        say(
            Text.assemble(
                f"{', '.join(who[:3])}{f' and {len(who) - 3} more' if len(who) > 3 else ''}:\n",
                (remedy_text(remedy), "cyan"),
            )
        )
    allowed = sum(one.verdict.allowed for _, one in found)
    say(f"{counted(len(found), 'candidate')} on {counted(len(response.hosts), 'host')}, {allowed:,} may be hit")


def _why(verdict: p.Verdict, *, detail: bool = False) -> str:
    reason = reason_text(verdict.reason)
    return f"{reason}: {verdict.detail}" if detail and verdict.detail else reason


def _remedies(response: o.ListCandidatesResponse) -> dict[str, list[str]]:
    """The lines to add -> the services and hosts they are for."""
    remedies: dict[str, list[str]] = {}
    for host in response.hosts:
        if host.verdict.remedy:
            remedies.setdefault(host.verdict.remedy, []).append(host.host)
        for one in host.candidates:
            named = f"{host.host} {one.service}"
            if one.verdict.remedy and named not in remedies.setdefault(one.verdict.remedy, []):
                remedies[one.verdict.remedy].append(named)
    return remedies
