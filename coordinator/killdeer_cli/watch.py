"""`killdeer watch`: a run that is under way, or was."""

from typing import Annotated

import typer

from killdeer_cli.screen import AsJsonLines, connected
from killdeer_cli.verbs import Verb, application
from killdeer_cli.watching import Inbox, attend

app = application()


@app.command(cls=Verb)
def watch(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="An id, a unique prefix of one, or `latest`.")
    ] = "latest",
    as_json: AsJsonLines = False,
) -> None:
    """Watch a run to its verdict, which is the exit code. Ctrl-C only leaves; the run goes on."""
    with connected(ctx) as client, Inbox() as inbox:
        code = attend(client, run, inbox, as_json=as_json, aborts=False)
    raise typer.Exit(code)
