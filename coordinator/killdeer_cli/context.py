"""`killdeer context`: which fleets are known, and which one is spoken to."""

import json
from typing import Annotated

import typer

from killdeer_cli.screen import say, screen, table
from killdeer_cli.verbs import Group, Verb, application
from killdeer_client.contexts import Context, ContextError, load_contexts, with_current

app = application(cls=Group, invoke_without_command=True)


@app.callback()
def context(
    ctx: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"path", "current", "contexts": {NAME: {…}}}.')
    ] = False,
) -> None:
    """List the contexts; the current one is marked. They live in ~/.config/killdeer/config.toml, or in the
    file that KILLDEER_CONFIG names."""
    if ctx.invoked_subcommand is not None:
        return
    contexts = load_contexts()
    if as_json:
        shown = {name: _as_json(one) for name, one in contexts.known.items()}
        print(json.dumps({"path": str(contexts.path), "current": contexts.current, "contexts": shown}, indent=2))
        return
    listed = table("", "context", "coordinators", "")
    for name, one in contexts.known.items():
        mark = "*" if name == contexts.current else ""
        listed.add_row(mark, name, ", ".join(one.coordinators), "production" if one.production else "")
    screen().print(listed)


@app.command(cls=Verb)
def use(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Make NAME the current context."""
    contexts = load_contexts()
    chosen = contexts.choose(name)
    changed = with_current(contexts.path.read_text(encoding="utf-8"), name)
    try:
        beside = contexts.path.with_name(contexts.path.name + ".new")
        beside.write_text(changed, encoding="utf-8")
        beside.replace(contexts.path)
    except OSError as error:
        raise ContextError(f"cannot write {contexts.path}: {error.strerror}") from error
    say(f"{name}: {', '.join(chosen.coordinators)}{' (production)' if chosen.production else ''}")


def _as_json(one: Context) -> dict[str, object]:
    return {
        "coordinators": list(one.coordinators),
        "ca": str(one.ca),
        "cert": str(one.cert),
        "key": str(one.key),
        "production": one.production,
        "server_name": one.server_name,
    }
