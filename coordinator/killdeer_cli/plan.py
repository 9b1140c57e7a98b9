"""`killdeer plan`: who would be hit, who would not, and why; nothing is."""

from pathlib import Path
from typing import Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer_cli import exits
from killdeer_cli.plan_view import SHOWN_HASH, host_count, plan_lines
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.source import read_checked
from killdeer_cli.verbs import Verb, application

Seed = Annotated[int | None, typer.Option(metavar="N", min=0, max=2**64 - 1, help="Draw by this, not the file's.")]

app = application()


@app.command(cls=Verb)
def plan(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE")],
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Show host by host who would be hit, who would not and why, with the line to add where a host's guard says no.

    Exit code 2 when it can't be run as it stands.
    """
    text, _ = read_checked(Path(file))
    with connected(ctx) as client:
        view = client.plan(text, file, seed)
    if as_json:
        print_json(o.PlanResponse(plan=view))
    else:
        say(f"{client.context.name}: {host_count(view)}")
        for line in plan_lines(view):
            say(line)
        if not view.refusals:
            say(f"Run exactly this with: killdeer run {file} --seed {view.seed} --plan {view.hash[:SHOWN_HASH]}")
    if view.refusals:
        raise typer.Exit(exits.REFUSED)
