"""`killdeer audit`: who did what, why, and what came of it; in a chain of hashes."""

from typing import Annotated

import typer
from rich.text import Text

from killdeer.wording import counted
from killdeer_cli import exits
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.text import moment
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def audit(
    ctx: typer.Context,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the chain from its first entry; exit 1 where it breaks.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="The newest so many; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, oldest first."""
    with connected(ctx) as client:
        response = client.list_audit(limit, verify=verify)
    if as_json:
        print_json(response)
    else:
        for entry in response.entries:
            parts: list[str | tuple[str, str]] = [
                f"{entry.number:>6}  {moment(entry.at_unix_ms)}  ",
                (entry.what, "bold"),
            ]
            parts += [f"  {entry.subject}" if entry.subject else "", f"  by {entry.who}"]
            parts.append(f": {entry.why}" if entry.why else "")
            say(Text.assemble(*parts))
        if verify:
            say(_verified(response.verified, response.problem, response.length))
    if verify and not response.verified:
        raise typer.Exit(exits.DEVIATED)


def _verified(whole: bool, problem: str, length: int) -> Text:
    if whole:
        return Text(f"the chain of {counted(length, 'entry', 'entries')} is whole", style="green")
    return Text(f"the chain is broken: {problem}", style="bold red")
