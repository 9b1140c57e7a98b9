"""`killdeer rearm`: the release of every halt that is engaged."""

import typer

from killdeer_cli.screen import AsJson, Reason, connected, print_json, say
from killdeer_cli.text import moment
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def rearm(ctx: typer.Context, reason: Reason, as_json: AsJson = False) -> None:
    """Release the halt, so that experiments may run again. What was stopped stays stopped."""
    with connected(ctx) as client:
        response = client.rearm(reason)
    if as_json:
        print_json(response)
        return
    for halt in response.released:
        why = f": {halt.reason}" if halt.reason else ""
        say(f"released the halt {halt.id} of {moment(halt.at_unix_ms)} by {halt.by}{why}")
    if not response.released:
        say("no halt was engaged")
