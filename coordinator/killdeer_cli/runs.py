"""`killdeer runs`: what was run, newest first."""

from typing import Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.run_view import verdict_style
from killdeer_cli.screen import AsJson, connected, print_json, say, screen, table
from killdeer_cli.text import moment, run_state_text, took, verdict_text
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def runs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs: their verdict, or how far they are."""
    with connected(ctx) as client:
        response = client.list_runs(limit)
    if as_json:
        print_json(response)
        return
    if not response.runs:
        say("nothing has been run yet")
        return
    listed = table("run", "started", "took", "experiment", "environment", "by", "verdict")
    for run in response.runs:
        lasted = max(run.ended_unix_ms - run.started_unix_ms, 0) if run.ended_unix_ms else 0
        listed.add_row(
            run.run_id,
            moment(run.started_unix_ms),
            took(lasted * 1_000_000) if run.ended_unix_ms else "",
            run.experiment,
            run.environment,
            run.started_by,
            _verdict(run),
            style=verdict_style(run),
        )
    screen().print(listed)


def _verdict(run: o.RunView) -> str:
    if run.state == o.RUN_STATE_ENDED:
        return verdict_text(run.verdict)
    return f"{run_state_text(run.state)}, wave {min(run.waves_done + 1, run.waves_total)} of {run.waves_total}"
