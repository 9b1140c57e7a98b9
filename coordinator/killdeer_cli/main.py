"""`killdeer`, the operator's command line."""

import os
from typing import Annotated

# gRPC core writes its own view of each failed handshake to standard error; ours is for people.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import typer

from killdeer.version import VERSION
from killdeer_cli import exits
from killdeer_cli.verbs import Verbs

Verbs.verbs = (
    "sandbox",
    "context",
    "hosts",
    "candidates",
    "inspect",
    "new",
    "validate",
    "plan",
    "run",
    "runs",
    "watch",
    "abort",
    "report",
    "compare",
    "note",
    "strike",
    "events",
    "why",
    "halt",
    "rearm",
    "status",
    "limits",
    "permits",
    "audit",
    "doctor",
    "schema",
)

app = typer.Typer(
    name="killdeer",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exits.LEGEND,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    context: Annotated[
        str, typer.Option(metavar="NAME", help="The fleet to speak to, instead of the current one.")
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Break processes on purpose, on a fleet of Linux machines, within limits and on the record.

    STOP EVERYTHING: killdeer halt
    """
    ctx.obj = context


def main() -> None:
    app(prog_name="killdeer")
