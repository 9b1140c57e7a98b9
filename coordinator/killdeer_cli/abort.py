"""`killdeer abort`: the end of one run before its time."""

from typing import Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.text import verdict_text
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def abort(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="An id, a unique prefix of one, or `latest`.")
    ] = "latest",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes on the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Strike no more in this run, and revert what lasts. Other runs go on; to stop all: killdeer halt."""
    with connected(ctx) as client:
        view = client.abort_run(run, reason)
    if as_json:
        print_json(o.AbortRunResponse(run=view))
    elif view.state == o.RUN_STATE_ENDED:
        say(f"run {view.run_id} has ended: {verdict_text(view.verdict)}")
    else:
        say(f"run {view.run_id} is being aborted; see its reverts with: killdeer watch {view.run_id}")
