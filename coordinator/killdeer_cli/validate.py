"""`killdeer validate`: is a file an experiment? Needs no coordinator."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from killdeer.wording import counted
from killdeer_cli import exits
from killdeer_cli.screen import say
from killdeer_cli.source import read_text
from killdeer_cli.verbs import Verb, application

if TYPE_CHECKING:
    from killdeer_experiment.faults import FileFaults

app = application()


@app.command(cls=Verb)
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE…")],
    as_json: Annotated[
        bool,
        typer.Option("--json", help='Print {"files": [{"file", "valid", "faults": [{"line", "column", …}]}]}.'),
    ] = False,
) -> None:
    """Check experiment files, offline: each fault with its line and column, and the nearest valid key."""
    from killdeer_experiment.faults import FileFaults
    from killdeer_experiment.file import load

    results = []
    for file in files:
        faults: FileFaults | None = None
        text = read_text(Path(file))
        try:
            experiment = load(text, file)
        except FileFaults as found:
            faults = found
        results.append(_as_json(file, faults))
        if as_json:
            continue
        say(
            str(faults) if faults else f"{file}: valid: {experiment.name}, {counted(len(experiment.waves), 'wave')}"
        )
    if as_json:
        print(json.dumps({"files": results}, indent=2))
    if not all(result["valid"] for result in results):
        raise typer.Exit(exits.REFUSED)


def _as_json(file: str, faults: "FileFaults | None") -> dict[str, object]:
    listed = [
        {
            "line": one.line,
            "column": one.column,
            "message": one.message,
            "excerpt": one.excerpt,
            "nearest": one.nearest,
        }
        for one in (faults.faults if faults else ())
    ]
    return {"file": file, "valid": faults is None, "faults": listed}
