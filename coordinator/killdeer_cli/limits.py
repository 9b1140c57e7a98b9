"""`killdeer limits`: how much may be hit at once in the fleet, and how much is."""

from typing import Annotated

import typer

from killdeer_cli.screen import AsJson, Reason, connected, print_json, say, screen, table
from killdeer_cli.verbs import Group, Verb, application

NOT_LIMITED = "not limited"
"""The source of a scope without a limit, whose number means nothing; a limit of 0 is one."""

app = application(cls=Group, invoke_without_command=True)


@app.callback()
def limits(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the fleet's limits. An experiment can only narrow them; a victim counts until it has recovered."""
    if ctx.invoked_subcommand is not None:
        return
    with connected(ctx) as client:
        response = client.list_limits()
    if as_json:
        print_json(response)
        return
    listed = table("scope", "used", "limit", "most used", "set by", right=("used", "limit"))
    for limit in response.limits:
        limited = limit.source != NOT_LIMITED
        listed.add_row(
            limit.scope,
            f"{limit.used:,}",
            f"{limit.limit:,}" if limited else "none",
            limit.where,
            limit.source,
            style="yellow" if limited and limit.used >= limit.limit else None,
        )
    screen().print(listed)


@app.command("set", cls=Verb)
def set_limit(
    ctx: typer.Context,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="As the list has it, such as in_flight.")],
    limit: Annotated[int, typer.Argument(metavar="N", min=0, max=2**32 - 1)],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Set one of the fleet's limits, from now on."""
    with connected(ctx) as client:
        response = client.set_limit(scope, limit, reason)
    if as_json:
        print_json(response)
    else:
        say(f"{response.limit.scope} is now {response.limit.limit:,} (used: {response.limit.used:,})")
