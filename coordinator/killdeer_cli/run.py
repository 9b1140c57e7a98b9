"""`killdeer run`: an experiment, from its plan to its verdict."""

from pathlib import Path
from typing import Annotated

import typer

from killdeer_cli.launching import launch
from killdeer_cli.plan import Seed
from killdeer_cli.screen import AsJsonLines, connected
from killdeer_cli.source import read_checked
from killdeer_cli.verbs import Verb, application

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask in production.")]
Detach = Annotated[bool, typer.Option("--detach", help="Start it and leave; print its id.")]

app = application()


@app.command(cls=Verb)
def run(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE")],
    seed: Seed = None,
    plan: Annotated[
        str, typer.Option(metavar="HASH", help="Refuse if the fleet has changed since this plan was shown.")
    ] = "",
    go_on: Annotated[
        bool, typer.Option("--go-on", help="With --plan: run it all the same where the fleet has changed.")
    ] = False,
    yes: Yes = False,
    detach: Detach = False,
    as_json: AsJsonLines = False,
) -> None:
    """Run an experiment and stay with it to its verdict, which is the exit code.

    Ctrl-C aborts it and waits for the reverts; a second one leaves. A lost terminal never stops a run.
    With --json each line is a WatchRunResponse, with --detach the one RunResponse.
    """
    text, _ = read_checked(Path(file))
    with connected(ctx) as client:
        code = launch(
            client,
            text,
            file,
            seed=seed,
            plan_hash=plan,
            yes=yes,
            detach=detach,
            as_json=as_json,
            whole=False,
            go_on=go_on,
        )
    raise typer.Exit(code)
