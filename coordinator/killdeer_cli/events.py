"""`killdeer events`: what the kernels of the fleet have reported."""

import time
from typing import Annotated

import typer

from killdeer_cli import words
from killdeer_cli.event_view import Heard, event_line
from killdeer_cli.known import refuse_unknown
from killdeer_cli.screen import AsJsonLines, connected, print_json, say
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    host: Annotated[str, typer.Option(metavar="HOST", help="Of this host only.")] = "",
    unit: Annotated[
        str, typer.Option(metavar="GLOB", help="Deaths in these units or services only, such as 'worker@*'.")
    ] = "",
    cause: Annotated[
        str, typer.Option(metavar="NAME", help=f"Deaths by this cause only: {', '.join(words.causes())}.")
    ] = "",
    run: Annotated[str, typer.Option(metavar="RUN", help="Of this run only: an id, a prefix, or `latest`.")] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Since so long ago, such as 10m; or since 14:02.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="How many past ones, at most 1000.")] = 100,
    as_json: AsJsonLines = False,
) -> None:
    """Show signals, exits, successors, OOM kills and deaths with their causes; and how many events were lost."""
    wanted, since_ms = words.cause(cause), words.since(since, time.time_ns() // 1_000_000)
    heard = Heard()
    with connected(ctx) as client:
        if host and not follow:  # who follows may wait for a host that has yet to come
            refuse_unknown(client, [host])
        try:
            for one in client.watch_events(
                follow=follow, host=host, run=run, limit=limit, unit=unit, cause=wanted, since_unix_ms=since_ms
            ):
                if as_json:
                    print_json(one, line=True)
                elif heard.is_new(one.event):
                    say(event_line(one))
        except KeyboardInterrupt:
            if not follow:
                raise
