"""`killdeer status`: may anything run now, and does the coordinator feel well?"""

import time

import typer
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.wording import counted
from killdeer_cli.checkup import certificate, evidence_kept
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.text import moment, size
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show whether the fleet is halted, how many hosts, runs and permits there are, and the store."""
    with connected(ctx) as client:
        response = client.status()
        context = client.context
    if as_json:
        print_json(response)
        return
    for line in _lines(response):
        say(line)
    mine = certificate(context, time.time())
    if not mine.ok and not mine.needed:  # it was good for this answer, and is not for much longer
        say(_notice(f"{mine.fact}: {mine.remedy}"))
    production = " (production)" if context.production else ""
    roles = f" ({', '.join(response.roles)})" if response.roles else ""
    version = f", coordinator {response.version}" if response.version else ""
    say(f"context    {context.name}{production}{version}, you are {response.name}{roles}")


def _lines(status: o.GetStatusResponse) -> list[Text]:
    lines = [
        Text.assemble(
            ("HALTED", "bold red"),
            f"     by {halt.by} at {moment(halt.at_unix_ms)}",
            f": {halt.reason}" if halt.reason else "",
            f" (halt {halt.id}); release it with: killdeer rearm --reason …",
        )
        for halt in status.halts
    ]
    if not lines:
        lines = [Text.assemble(("armed", "green"), "      no halt is engaged")]
    hosts = f"hosts      {status.hosts_connected:,} of {status.hosts_known:,} connected"
    if status.hosts_quarantined:
        hosts += f", {status.hosts_quarantined:,} quarantined (see: killdeer hosts)"
    lines.append(Text(hosts))
    lines.append(Text(f"runs       {status.runs_active:,} active; {counted(status.permits_held, 'permit')} held"))
    store = f"{size(status.store_bytes)}, {evidence_kept(status)}"
    store += f", {counted(status.position.length, 'audit entry', 'audit entries')}"
    if status.store_ok:
        lines.append(Text(f"store      {store}"))
    else:
        lines.append(
            Text.assemble(
                "store      ", ("not usable", "red"), f": {status.store_detail or 'no reason given'}; {store}"
            )
        )
    return [*lines, *map(_notice, status.notices)]


def _notice(text: str) -> Text:
    return Text.assemble(("notice", "yellow"), f"     {' '.join(text.split())}")
