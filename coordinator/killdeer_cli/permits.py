"""`killdeer permits`: victims that still count, and why."""

from typing import Annotated

import typer

from killdeer.durations import format_duration
from killdeer_cli.screen import AsJson, Reason, connected, print_json, say, screen, table
from killdeer_cli.text import state_text
from killdeer_cli.verbs import Group, Verb, application

app = application(cls=Group, invoke_without_command=True)


@app.callback()
def permits(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the permits that are held: each counts towards the limits until its victim has recovered."""
    if ctx.invoked_subcommand is not None:
        return
    with connected(ctx) as client:
        response = client.list_permits()
    if as_json:
        print_json(response)
        return
    if not response.permits:
        say("no permit is held")
        return
    listed = table("permit", "run", "victim", "strike", "held for", "why")
    for permit in response.permits:
        listed.add_row(
            permit.permit_id,
            permit.run_id,
            f"{permit.victim.host} {permit.service} (pid {permit.victim.pid})",
            state_text(permit.state),
            format_duration(permit.held_ms // 1_000 * 1_000),
            permit.why,
        )
    screen().print(listed)
    say("A victim that will not come back is cleared with: killdeer permits clear ID --reason …")


@app.command(cls=Verb)
def clear(
    ctx: typer.Context,
    permit: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Count this victim no more. The risk is yours: nothing has shown that it is back."""
    with connected(ctx) as client:
        response = client.clear_permit(permit, reason)
    if as_json:
        print_json(response)
        return
    view = response.permit
    say(f"permit {view.permit_id or permit} is cleared: {view.victim.host} {view.service}")
