"""`killdeer note`: a person's own words, added to the record of a run."""

from typing import Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def note(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="An id, a unique prefix of one, or `latest`.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was seen, learnt, or is to be done.")],
    action: Annotated[str, typer.Option(metavar="WHO", help="Who is to act on it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a note to a run, for its report and the audit log. It can't be changed or taken back."""
    with connected(ctx) as client:
        added = client.add_note(run, text, action)
    if as_json:
        print_json(o.AddNoteResponse(note=added))
        return
    say(f"noted on run {added.run or run}{f'; {added.action} is to act on it' if added.action else ''}")
